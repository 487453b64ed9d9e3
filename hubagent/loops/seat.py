"""One group's lease core at work: its effects are started, never awaited, and their outcomes are the next events."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from hubagent.clock import Clock
from hubagent.core import lease_events as ev
from hubagent.core.lease import Lease
from hubagent.core.lease_fit import RoundTrips, slow_s
from hubagent.core.lease_view import group_state
from hubagent.core.outcome import Outcome
from hubagent.edges.lease_store import LeaseStore, NotStored, RecordChanged
from hubagent.edges.tokens import Tokens, TokensRefused
from hubagent.errors import HubagentError
from hubagent.wire.reports import GroupState

SNAPSHOT_S = 0.25  # how old a report to the main thread may be
MEASURE_S = 1.0
OBSERVED_MAX = 200  # answers and timers of the last ten seconds or more
SLIP_SHOWN_S = 60.0
GUARD_S_MAX = 1.0  # a promotion waits this long for the guard's word, then lets the services find out


class Surroundings(Protocol):
    """What a seat needs of the keeper around it."""

    def ask(self, seat: "Seat", effect: ev.Ask) -> None:
        """Put a question to members."""
        ...

    def answer(self, group: str, effect: ev.Answer) -> None:
        """Answer a member."""
        ...

    async def hold(self, group: str, effect: ev.Hold) -> None:
        """Give the guard its deadline, and return when it has it."""
        ...

    def promoted(self, group: str, effect: ev.Promoted) -> None:
        """Tell the main loop."""
        ...

    def demoted(self, group: str, effect: ev.Demoted) -> None:
        """Tell the main loop."""
        ...

    def drain(self, group: str, effect: ev.Drain) -> Awaitable[Outcome]:
        """Have the main loop stop the active services."""
        ...

    def note(self, group: str, effect: ev.Note) -> None:
        """Have it recorded."""
        ...

    def conclude(self, effect: ev.Concluded) -> None:
        """Tell whoever asked."""
        ...

    def pulse_at(self) -> float:
        """When the main loop last said that it is alive (boottime)."""
        ...

    def pulses_late(self) -> Sequence[float]:
        """How late the last pulses came, in seconds."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task that outlives this call."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """A group as the main thread may read it: a copy, at most a quarter of a second old."""

    state: GroupState
    taken_at: float
    members: tuple[str, ...]
    held_s: float | None
    changes: int


class Seat:
    """Feeds one lease core and carries out what it asks for; belongs to the keeper's loop."""

    def __init__(
        self, lease: Lease, store: LeaseStore | None, tokens: Tokens, around: Surroundings, clock: Clock
    ) -> None:
        self.lease = lease
        self.group = lease.policy.group
        self._store, self._tokens, self._around, self._clock = store, tokens, around, clock
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._due_at = 0.0
        self._round_trips = RoundTrips(OBSERVED_MAX)
        self._late: deque[float] = deque(maxlen=OBSERVED_MAX)
        self._slipped: deque[float] = deque(maxlen=OBSERVED_MAX)
        self._measured_at = clock.boottime()
        self.standing = self._stand(clock.boottime())
        self.claimed_at = 0.0  # when this hub last concluded that it may take over (boottime)
        self.slips = 0  # timers that came more than the margin late: counted and shown, every effect checks anyway
        self._actions: dict[type, Callable[[Any], None]] = {
            ev.Read: self._read,
            ev.Write: self._write,
            ev.KeepEpoch: self._keep_epoch,
            ev.Remember: self._remember,
            ev.Ask: lambda effect: around.ask(self, effect),
            ev.Answer: self._answer,
            ev.Hold: lambda effect: around.spawn(around.hold(self.group, effect)),
            ev.Promoted: lambda effect: around.spawn(self._promote(effect)),
            ev.Demoted: lambda effect: around.demoted(self.group, effect),
            ev.Drain: lambda effect: around.spawn(self._drain(effect)),
            ev.Note: lambda effect: around.note(self.group, effect),
            ev.Concluded: around.conclude,
        }
        self._waiting_answers: dict[int, ev.Answer | None] = {}

    def feed(self, event: ev.Event | None = None) -> None:
        """Hand the core an event, or the time alone, and start what it asks for."""
        now = self._clock.boottime()
        effects = self.lease.handle(ev.Clocks(self._clock.monotonic(), self._clock.wall()), now)
        effects += self.lease.handle(ev.Pulse(self._around.pulse_at()), now)
        effects += self._measure(now)
        effects += self.lease.tick(now) if event is None else self.lease.handle(event, now)
        for effect in effects:
            self._actions[type(effect)](effect)
        self._arrange(now)

    def _measure(self, now: float) -> list[ev.Effect]:
        if now - self._measured_at < MEASURE_S:
            return []
        self._measured_at = now
        profile = self.lease.base_profile
        lag_s = max(slow_s(late, profile) for late in (self._late, self._around.pulses_late()))
        return self.lease.handle(ev.Measured(slow_s(self._round_trips.seconds, profile), lag_s), now)

    def _arrange(self, now: float) -> None:
        if self.standing.state.epoch != self.lease.seen.epoch or now - self.standing.taken_at > SNAPSHOT_S:
            self.standing = self._stand(now)
        at = self.lease.deadline()
        if at == self._timer_at and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._due_at = max(at or 0.0, now)
        loop = asyncio.get_running_loop()
        self._timer = None if at is None else loop.call_later(max(at - now, 0.0005), self._due)

    def _due(self) -> None:
        now = self._clock.boottime()
        self._late.append(now - self._due_at)
        if now - self._due_at > self.lease.profile.margin_s:
            self.slips += 1
            self._slipped.append(now)
        self._timer = None
        self.feed()

    def set_hub_maintenance(self, on: bool) -> None:  # the one argument of a callback
        """This hub takes over nothing by itself while on."""
        self.lease.hub_maintenance = on
        self.feed()
        self.refresh()

    def now_state(self) -> GroupState:
        """The last copy with the time that has passed since taken off; safe from the main thread."""
        standing = self.standing
        left_s, passed_s = standing.state.left_s, self._clock.boottime() - standing.taken_at
        if left_s is None:
            return standing.state
        return msgspec.structs.replace(standing.state, left_s=max(left_s - passed_s, 0.0))

    def close(self) -> None:
        """No timer any more."""
        if self._timer is not None:
            self._timer.cancel()

    def refresh(self) -> None:
        """Take a fresh copy for the main thread."""
        self.standing = self._stand(self._clock.boottime())

    def _stand(self, now: float) -> Standing:
        lease = self.lease
        recent = sum(1 for at in lease.changes if now - at < lease.policy.changes_window_s)
        held_s = now - lease.held.since if lease.held else None
        recent_slips = sum(1 for at in self._slipped if now - at < SLIP_SHOWN_S)
        said = (
            [f"{recent_slips} slip{'s' * (recent_slips > 1)} of the lease timer in the last minute"]
            if recent_slips
            else []
        )
        return Standing(group_state(lease, now, said), now, lease.members, held_s, recent)

    # --- effects

    def _read(self, effect: ev.Read) -> None:
        self._around.spawn(self._reading(effect))

    async def _reading(self, effect: ev.Read) -> None:
        event: ev.Event = ev.ReadFailed(effect.read_id)
        if self._store is not None:
            try:
                with self._timed():
                    last = await self._store.read(effect.timeout_s)
                event = ev.ReadDone(effect.read_id, last.seq, last.record, last.connection, last.foreign)
            except HubagentError:
                pass  # the core hears that it failed; why stands in the link's own words
        self.feed(event)

    def _write(self, effect: ev.Write) -> None:
        self._around.spawn(self._writing(effect))

    async def _writing(self, effect: ev.Write) -> None:
        event: ev.Event
        if self._store is None:
            event = ev.WriteNotSent(effect.write_id)
        else:
            try:
                with self._timed():
                    seq = await self._store.write(effect.record, effect.expect, effect.timeout_s, effect.connection)
                event = ev.WriteDone(effect.write_id, seq)
            except RecordChanged:
                event = ev.WriteRefused(effect.write_id)
            except NotStored:
                event = ev.WriteNotSent(effect.write_id)
            except HubagentError:
                event = ev.WriteUnknown(effect.write_id)
        self.feed(event)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        began, is_answered = self._round_trips.begin(self._clock.boottime()), False
        try:
            yield
            is_answered = True
        finally:
            self._round_trips.end(began, self._clock.boottime(), is_answered=is_answered)

    def _keep_epoch(self, effect: ev.KeepEpoch) -> None:
        self.claimed_at = self._clock.boottime()
        self._around.spawn(self._keeping(effect))

    async def _keeping(self, effect: ev.KeepEpoch) -> None:
        why = await self._on_disk(self._tokens.keep_epoch, self.group, effect.epoch, effect.span_s)
        self.feed(ev.EpochKept(effect.epoch, why))

    async def _on_disk(self, keep: Callable[..., None], *args: object) -> str:
        """In a thread of its own: a slow disk must not hold up renewals."""
        try:
            await asyncio.to_thread(keep, *args)
        except TokensRefused as error:
            return str(error)
        return ""

    def _remember(self, effect: ev.Remember) -> None:
        if effect.request_id is not None:
            self._waiting_answers[effect.request_id] = None
        self._around.spawn(self._remembering(effect))

    async def _remembering(self, effect: ev.Remember) -> None:
        why = await self._on_disk(self._tokens.remember, self.group, *effect.token, effect.span_s)
        answer = self._waiting_answers.pop(effect.request_id, None) if effect.request_id is not None else None
        if why:
            self.feed(ev.EpochKept(effect.token.epoch, why))
        elif answer is not None:
            self._around.answer(self.group, answer)

    def _answer(self, effect: ev.Answer) -> None:
        """An answer that acknowledges a token waits until the token is on disk."""
        if effect.request_id in self._waiting_answers:
            self._waiting_answers[effect.request_id] = effect
        else:
            self._around.answer(self.group, effect)

    async def _promote(self, effect: ev.Promoted) -> None:
        """Token on disk, deadline with the guard, authority checked once more: only then do services start."""
        why = await self._on_disk(self._tokens.remember, self.group, *effect.token, effect.span_s)
        if why:
            self.feed(ev.EpochKept(effect.token.epoch, why))
            return
        held = self.lease.held
        if held is None or held.token != effect.token:
            return
        hold = ev.Hold(held.token, self.lease.term_at(held.until), held.until)
        try:
            async with asyncio.timeout(GUARD_S_MAX):
                await self._around.hold(self.group, hold)
        except TimeoutError:
            pass  # a guard that does not answer refuses the start; the services say so
        if self.lease.has_authority(self._clock.boottime()) and self.lease.held is held:
            self.refresh()
            self._around.promoted(self.group, effect)

    async def _drain(self, effect: ev.Drain) -> None:
        outcome = await self._around.drain(self.group, effect)
        self.feed(ev.Drained(outcome.ok, outcome.why))
