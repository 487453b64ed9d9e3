"""The lease keeper: its own thread, event loop and links; the main loop pulses, is told, and may ask."""

import asyncio
import concurrent.futures
import itertools
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hubagent.clock import Clock
from hubagent.core import lease_events as ev
from hubagent.core.lease import Lease
from hubagent.core.lease_policy import LeasePolicy, Memory, Profile, Token
from hubagent.core.outcome import Outcome
from hubagent.edges.children import GuardClient
from hubagent.edges.lease_store import LeaseStore
from hubagent.edges.nats_link import Link
from hubagent.edges.tokens import Tokens, TokensRefused
from hubagent.errors import GuardGone, HubagentError
from hubagent.loops.lease_leader import LeaseLeader
from hubagent.loops.peer_line import PeerLine
from hubagent.loops.recorder import Recorder
from hubagent.loops.seat import Seat, Standing
from hubagent.wire.reports import GroupState
from hubagent.wire.signing import Signer

GUARD_RETRY_S = 0.2
STOP_S_MAX = 5.0  # beyond the services' own grace: the release itself, then the thread
ASK_S_MAX = 120.0  # a request whose outcome the core never tells is unknown after this
PULSES_MAX = 200
KeyOf = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the keeper does in the main loop; `drain` returns when the group's active services have stopped."""

    on_promoted: Callable[[str, int], None]
    on_demoted: Callable[[str, str], None]
    drain: Callable[[str], Awaitable[Outcome | None]]


class Keeper:
    """Holds or seeks the lease of each group of this hub.

    Links belong to this keeper alone: build them for it, and do not run them elsewhere. `witness` None: plain groups,
    promoted by hand. `guard` None: nobody keeps deadlines (tests only). `own_servers`: the servers on this machine, by
    their names in the roster.
    """

    def __init__(
        self,
        hub: str,
        policies: Sequence[LeasePolicy],
        *,
        signer: Signer,
        key_of: KeyOf,
        witness: Link | None,
        hub_servers: Sequence[Link],
        tokens: Path,
        guard: Path | None,
        recorder: Recorder,
        clock: Clock,
        callbacks: Callbacks,
        own_servers: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._hub, self._policies, self._signer, self._key_of = hub, policies, signer, key_of
        self._witness, self._hub_servers = witness, hub_servers
        self._tokens, self._recorder, self._clock, self._callbacks = Tokens(tokens), recorder, clock, callbacks
        self._guard = GuardClient(guard) if guard else None
        self._holds: dict[str, tuple[ev.Hold, float]] = {}  # the last of each group, and when it was said
        self._pulsed = clock.boottime()
        self._coming: dict[str, float] = {}  # the span that the roster last named for each group
        self._pulses_late: deque[float] = deque(maxlen=PULSES_MAX)
        self._leader = LeaseLeader(witness, own_servers, self._is_active) if witness else None
        self._ids = itertools.count(1)
        self._asked: dict[int, concurrent.futures.Future[Outcome]] = {}
        self._seats: dict[str, Seat] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._peers = PeerLine(hub, hub_servers, signer, key_of, self.spawn)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._has_ended = self._is_stopping = False
        self._hub_maintenance = False

    # --- for the main loop

    @property
    def pulse_s(self) -> float:
        """How often the main loop must call `pulse`: a quarter of the shortest span that is, or will be, in force."""
        leases = [seat.lease for seat in self._seats.values()]
        spans = [span for lease in leases for span in (lease.profile.span_s, lease.base_profile.span_s)]
        spans += self._coming.values()
        return min((*spans, *(policy.profile.span_s for policy in self._policies)), default=4.0) / 4

    def start(self) -> None:
        """Start the thread; call it in the main loop."""
        self._main = asyncio.get_running_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._thread_main, args=(ready,), name="keeper", daemon=True)
        self._thread.start()
        ready.wait(10.0)

    def pulse(self) -> None:
        """The main loop is alive; it must not live on without its keeper, whose end is a broken invariant."""
        assert self._is_stopping or not self._has_ended, "the thread of the lease keeper ended"
        now = self._clock.boottime()
        self._pulses_late.append(max(now - self._pulsed - self.pulse_s, 0.0))
        self._pulsed = now

    async def stop(self, *, release: bool) -> None:
        """End the thread; with `release` hand over what is held first: drained, then released."""
        if self._thread is None or self._loop is None or self._ending is None:
            return
        self._is_stopping = True
        if release:
            await self._release()
        if not self._has_ended:
            self._loop.call_soon_threadsafe(self._ending.set)
        await asyncio.to_thread(self._thread.join, STOP_S_MAX)
        self._thread = None

    async def _release(self) -> None:
        """Let go of every group; this loop is alive meanwhile, whoever pulsed before."""
        requests = [self._ask(group, ev.Switchover(next(self._ids), stop=True)) for group in self._seats]
        released = asyncio.gather(*requests)
        while not released.done():
            self.pulse()
            await asyncio.wait((released,), timeout=self.pulse_s)

    def groups(self) -> list[GroupState]:
        """Every group as of now."""
        return [self.state(group) for group in self._seats]

    def state(self, group: str) -> GroupState:
        """One group as of now."""
        state = self._seats[group].now_state()
        degraded = self._leader.degraded if self._leader else ""
        if not degraded or not state.role.startswith("ACTIVE"):
            return state
        return msgspec.structs.replace(state, why="; ".join(filter(None, (state.why, degraded))))

    def standing(self, group: str) -> Standing | None:
        """What gates want to know of a group besides its state."""
        seat = self._seats.get(group)
        return seat.standing if seat else None

    def claimed_at(self, group: str) -> float:
        """When this hub last concluded that it may take over (boottime)."""
        return self._seats[group].claimed_at

    def has_authority(self, group: str) -> bool:
        """Tell whether an effect of this group may start at this moment."""
        seat = self._seats.get(group)
        held = seat.lease.held if seat else None
        return held is not None and held.is_acting and self._clock.boottime() < held.until

    async def switchover(self, group: str, to: str = "", forced: frozenset[str] = frozenset()) -> Outcome:
        """Hand over as planned; returns when the successor is active, or why it is not."""
        return await self._ask(group, ev.Switchover(next(self._ids), to, forced))

    async def promote(self, group: str) -> Outcome:
        """Make this hub active by hand, with a higher epoch."""
        return await self._ask(group, ev.Promote(next(self._ids)))

    async def set_auto(self, group: str, auto: str) -> Outcome:
        """off, shadow or armed; returns when the record says so."""
        return await self._ask(group, ev.SetAuto(next(self._ids), auto))

    async def set_maintenance(self, group: str, on: bool) -> Outcome:
        """No automatic failover while on; returns when the record says so."""
        return await self._ask(group, ev.SetMaintenance(next(self._ids), on))

    def set_hub_maintenance(self, *, on: bool) -> None:
        """This hub becomes active in no group by itself while on."""
        self._hub_maintenance = on
        if self._loop is not None:
            for seat in self._seats.values():
                self._loop.call_soon_threadsafe(seat.set_hub_maintenance, on)

    def configure(self, group: str, members: tuple[str, ...], profile: Profile) -> None:
        """The roster changed: the holder writes it into the record, once the main loop pulses often enough for it."""
        if self._loop is not None and not self._has_ended and group in self._seats:
            wait_s, self._coming[group] = self.pulse_s, profile.span_s
            change = ev.Configure(members, profile)
            self._loop.call_soon_threadsafe(self._loop.call_later, wait_s, self._seats[group].feed, change)

    async def _ask(self, group: str, event: Any) -> Outcome:
        if self._loop is None or self._has_ended or group not in self._seats:
            return Outcome(ok=False, gate="group-known", why=f"{self._hub} keeps no group {group}")
        answer: concurrent.futures.Future[Outcome] = concurrent.futures.Future()
        self._asked[event.request_id] = answer
        self._loop.call_soon_threadsafe(self._seats[group].feed, event)
        try:
            async with asyncio.timeout(ASK_S_MAX):
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            return Outcome(ok=False, why="unknown: the lease keeper has not said what became of it")
        finally:
            self._asked.pop(event.request_id, None)

    # --- the thread

    def _thread_main(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._run(ready))
        finally:
            self._has_ended = True

    def _broken(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A core that broke its invariants must not go on: the thread ends, and `pulse` ends the process."""
        loop.default_exception_handler(context)
        if self._ending is not None:
            self._ending.set()

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(self._broken)
        self._seats = {policy.group: self._seat(policy) for policy in self._policies}
        self._peers.listen({group: seat.feed for group, seat in self._seats.items()})
        links = [link for link in (self._witness, *self._hub_servers) if link is not None]
        async with asyncio.TaskGroup() as started:
            running = [started.create_task(link.run()) for link in links]
            if self._guard is not None:
                running.append(started.create_task(self._keep_guard(self._guard)))
            if self._leader is not None:
                running.append(started.create_task(self._leader.run()))
            for seat in self._seats.values():
                # The roster counts, whatever an older one wrote into the record.
                seat.lease.wanted = ev.Configure(seat.lease.policy.members, seat.lease.policy.profile)
                seat.feed()
            ready.set()
            await self._ending.wait()
            for task in (*running, *self._tasks):
                task.cancel()
        self._close()

    def _close(self) -> None:
        for seat in self._seats.values():
            seat.close()
        if self._guard is not None:
            self._guard.close()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(Outcome(ok=False, why="unknown: the hub agent is ending"))

    def _seat(self, policy: LeasePolicy) -> Seat:
        memory, broken = Memory(), ""
        try:
            kept = self._tokens.load(policy.group)
            memory = Memory(kept.own_epoch, Token(kept.epoch, kept.holder), kept.span_s)
        except TokensRefused as error:
            broken = str(error)
        lease = Lease(policy, self._recorder.boot, memory, self._clock.boottime())
        lease.broken, lease.hub_maintenance = broken, self._hub_maintenance
        store = LeaseStore(self._witness, policy.group, self._signer, self._key_of) if self._witness else None
        return Seat(lease, store, self._tokens, self, self._clock)

    async def _keep_guard(self, guard: GuardClient) -> None:
        """Stay connected; a guard that comes back is given every deadline again."""
        gone = asyncio.Event()
        guard.on_event(lambda event: gone.set() if event.get("event") == "gone" else None)
        while True:
            gone.clear()
            try:
                await guard.connect()
                for group in list(self._holds):
                    await self._tell_guard(group)
                await gone.wait()
            except GuardGone:
                await asyncio.sleep(GUARD_RETRY_S)

    async def _tell_guard(self, group: str) -> None:
        assert self._guard is not None
        hold, at = self._holds[group]
        await self._guard.request(
            "lease", group=group, epoch=hold.token.epoch, holder=hold.token.holder,
            term_at=hold.term_at, deadline=hold.deadline, at=at,
        )  # fmt: skip

    def _is_active(self) -> bool:
        return any(seat.lease.held is not None for seat in self._seats.values())

    # --- what the seats ask for

    def pulses_late(self) -> Sequence[float]:
        """How late the last pulses of the main loop came."""
        return list(self._pulses_late)

    def pulse_at(self) -> float:
        """When the main loop was last alive."""
        return self._pulsed

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task in the keeper's loop and keep it from being forgotten."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._loop is not None:
            self._loop.call_exception_handler({"message": "the lease keeper failed", "exception": error, "task": task})

    def ask(self, seat: Seat, effect: ev.Ask) -> None:
        """Put a question to members."""
        self._peers.ask(seat.group, effect, seat.feed)

    def answer(self, group: str, effect: ev.Answer) -> None:
        """Answer a member."""
        self._peers.answer(effect)

    async def hold(self, group: str, effect: ev.Hold) -> None:
        """Give the guard its deadline; a guard that is away gets the last one when it is back."""
        self._holds[group] = effect, self._clock.boottime()
        if self._guard is not None and self._guard.is_connected:
            try:
                await self._tell_guard(group)
            except GuardGone:
                return  # _keep_guard has noticed as well

    def promoted(self, group: str, effect: ev.Promoted) -> None:
        """Tell the main loop."""
        self._in_main(self._callbacks.on_promoted, group, effect.token.epoch)

    def demoted(self, group: str, effect: ev.Demoted) -> None:
        """Tell the main loop."""
        self._seats[group].refresh()
        self._in_main(self._callbacks.on_demoted, group, effect.why)

    async def drain(self, group: str, effect: ev.Drain) -> Outcome:
        """Have the main loop stop the active services; no main loop, no drain."""
        assert self._main is not None
        work = asyncio.ensure_future(
            asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._drain_in_main(group), self._main))
        )
        return await work

    async def _drain_in_main(self, group: str) -> Outcome:
        try:
            return await self._callbacks.drain(group) or Outcome(ok=True)
        except HubagentError as error:
            return Outcome(ok=False, why=str(error))

    def note(self, group: str, effect: ev.Note) -> None:
        """Have it recorded, in the main loop."""
        data = {"group": group}
        self._in_main(lambda: self._recorder.event("lease", effect.severity, f"{group}: {effect.text}", data=data))

    def conclude(self, effect: ev.Concluded) -> None:
        """Tell whoever asked."""
        answer = self._asked.get(effect.request_id)
        if answer is not None and not answer.done():
            answer.set_result(effect.outcome)

    def _in_main(self, call: Callable[..., None], *args: object) -> None:
        if self._main is not None and not self._main.is_closed():
            self._main.call_soon_threadsafe(call, *args)
