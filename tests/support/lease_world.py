"""A small world for leases: hubs with drifting clocks, a store, a network, guards; true time is seen from outside."""

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

from hubagent.core import lease_events as ev
from hubagent.core.lease import Lease
from hubagent.core.lease_policy import PROFILES, LeasePolicy, Memory
from tests.fakes.lease_store import LeaseRows

TRACE_LINES = 50
NEVER = float("-inf")


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Network:
    """How messages fare; `cut` holds ordered pairs (from, to)."""

    lose: float = 0.0
    duplicate: float = 0.0
    slow: float = 0.0  # share of messages that take up to `slow_s`
    slow_s: float = 1.5
    fast_s: float = 0.004
    cut: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class Guard:
    """What runs on a hub whatever its agent does: the active services, until the deadline (true time)."""

    token: object = None
    is_acting: bool = False
    until: float = NEVER

    def acts(self, now: float) -> bool:
        """Tell whether the services run at this true time."""
        return self.is_acting and now < self.until


class SimHub:
    """One hub: a lease core behind a clock that runs at its own rate, and a disk that survives restarts."""

    def __init__(self, world: "World", name: str, rate: float) -> None:
        self.world, self.name, self.rate = world, name, rate
        self.memory = Memory()
        self.guard = Guard()
        self.lease: Lease | None = None
        self.boots = 0
        self.asleep_s = 0.0  # what monotonic lags behind boottime
        self.paused_until = NEVER
        self.is_hung = False  # the main loop does not pulse
        self.waiting: deque = deque()
        self.concluded: list[ev.Concluded] = []
        self.notes: list[str] = []
        self._wake = 0

    def local(self, true: float) -> float:
        """Boottime of this hub."""
        return 1000.0 + true * self.rate

    def true(self, local: float) -> float:
        """True time of a local boottime."""
        return (local - 1000.0) / self.rate

    def start(self) -> None:
        """A fresh agent process."""
        self.boots += 1
        now = self.local(self.world.now)
        self.lease = self.world.lease_class(self.world.policy(self.name), f"{self.name}-{self.boots}", self.memory, now)
        self.feed(None)

    def stop(self) -> None:
        """kill -9 of the agent; the guard goes on until its deadline."""
        self.lease = None
        self.waiting.clear()

    def feed(self, event, boots: int | None = None) -> None:
        """Hand an event to the core, or keep it while the process is paused."""
        if self.lease is None or (boots is not None and boots != self.boots):
            return
        if self.world.now < self.paused_until:
            self.waiting.append(event)
            return
        self._clocks()
        local = self.local(self.world.now)
        effects = self.lease.tick(local) if event is None else self.lease.handle(event, local)
        self.world.say(self.name, event, effects)
        for effect in effects:
            self.world.carry_out(self, effect)
        self._schedule()

    def resume(self) -> None:
        """SIGCONT: everything that waited comes at once, after a tick."""
        if self.world.now < self.paused_until or self.lease is None:
            return
        self.feed(None)
        while self.waiting and self.lease is not None:
            self.feed(self.waiting.popleft())

    def _clocks(self) -> None:
        local = self.local(self.world.now)
        effects = self.lease.handle(ev.Clocks(local - self.asleep_s, self.world.now + 1.8e9), local)
        pulse_at = local - local % (self.lease.profile.span_s / 4)  # as often as a main loop must
        if not self.is_hung and pulse_at > self.lease.pulse_at:
            effects += self.lease.handle(ev.Pulse(pulse_at), local)
        for effect in effects:
            self.world.carry_out(self, effect)

    def _schedule(self) -> None:
        self._wake += 1
        wake, boots, at = self._wake, self.boots, self.lease.deadline()
        if at is not None:
            due = max(self.true(at), self.world.now) + 1e-6
            self.world.at(due, lambda: wake == self._wake and self.feed(None, boots))


class World:
    """The heap of what comes next, the network, the store and the checker."""

    def __init__(
        self,
        seed: int = 0,
        hubs=("a", "b"),
        lease_class=Lease,
        profile="fast",
        auto="armed",
        drift=0.0,
        members=None,
        **policy,
    ):
        self.random = random.Random(seed)
        self.seed, self.lease_class, self.extra = seed, lease_class, policy
        self.profile, self.auto = PROFILES[profile], auto
        self.now = 0.0
        self.network, self.rows = Network(), LeaseRows()
        self.heap: list = []
        self._order = 0
        self.trace: deque[tuple[float, str, object, object]] = deque(maxlen=TRACE_LINES)
        self.is_checked = True
        self.tokens: dict = {}
        self.members = members or {}  # rosters that differ from the full list
        self.late: dict[tuple[str, str], float] = {}  # what one way takes longer than the other
        self.changes: list[tuple[float, str]] = []
        self.hubs = {}
        rates = [self.random.choice((1 - drift, 1 + drift, self.random.uniform(1 - drift, 1 + drift))) for _ in hubs]
        self.hubs = {name: SimHub(self, name, rate) for name, rate in zip(hubs, rates, strict=True)}

    def policy(self, name: str) -> LeasePolicy:
        """The policy of one hub."""
        members = self.members.get(name, tuple(self.hubs))
        return LeasePolicy("core", name, members, self.profile, auto=self.auto, **self.extra)

    def start(self) -> "World":
        """Start every agent."""
        for hub in self.hubs.values():
            hub.start()
        return self

    # --- time

    def at(self, when: float, call) -> None:
        """Do something at a true time; what returns False did nothing."""
        self._order += 1
        heapq.heappush(self.heap, (when, self._order, call))

    def run(self, seconds: float) -> None:
        """Let true time pass."""
        end = self.now + seconds
        while self.heap and self.heap[0][0] <= end:
            self._step()
        self.now = end

    def run_until(self, condition, seconds: float) -> None:
        """Until the condition holds, or Broken."""
        end = self.now + seconds
        while not condition():
            if not self.heap or self.heap[0][0] > end:
                raise Broken(self.story(f"not within {seconds} s"))
            self._step()

    def _step(self) -> None:
        self.now, _, call = heapq.heappop(self.heap)
        if call() is not False:  # time alone ends authority, and never begins it
            self.check()

    # --- effects

    def carry_out(self, hub: SimHub, effect) -> None:
        """Do what a core asked for."""
        getattr(self, f"_do_{type(effect).__name__.lower()}")(hub, effect)

    def _do_read(self, hub, effect):
        life, failed = self.rows.life, ev.ReadFailed(effect.read_id)

        def served():
            seq, record = self.rows.last()
            return ev.ReadDone(effect.read_id, seq, record, life)

        self._request(hub, served, effect.timeout_s, failed, failed)

    def _do_write(self, hub, effect):
        boots, life, write_id = hub.boots, self.rows.life, effect.write_id
        if effect.connection not in (None, life):
            self.at(self.now + 1e-4, lambda: hub.feed(ev.WriteNotSent(write_id), boots))
            return

        def served():
            seq = self.rows.put(effect.record, effect.expect)
            return ev.WriteRefused(write_id) if seq is None else ev.WriteDone(write_id, seq)

        self._request(hub, served, effect.timeout_s, ev.WriteUnknown(write_id), ev.WriteNotSent(write_id))

    def _request(self, hub, served, timeout_s, late, not_sent):
        boots, life, is_over = hub.boots, self.rows.life, False

        def answered(event):
            nonlocal is_over
            is_over = True
            hub.feed(event, boots)

        def arrived():
            if self.rows.is_up and self.rows.life == life:
                answer = served()
                self.send("store", hub.name, lambda: answered(answer))

        down = not self.rows.is_up or (hub.name, "store") in self.network.cut
        if down and self.random.random() < 0.5:  # a link known to be down fails at once; otherwise silence
            self.at(self.now + 1e-4, lambda: hub.feed(not_sent, boots))
            return
        self.send(hub.name, "store", arrived)
        self.at(self.now + timeout_s, lambda: not is_over and hub.feed(late, boots))

    def _do_keepepoch(self, hub, effect):
        boots = hub.boots
        memory = hub.memory
        hub.memory = Memory(max(memory.own_epoch, effect.epoch), memory.seen, effect.span_s)
        self.at(self.now + 0.002, lambda: hub.feed(ev.EpochKept(effect.epoch), boots))

    def _do_remember(self, hub, effect):
        assert effect.token >= hub.memory.seen, self.story("a remembered token fell")
        hub.memory = Memory(hub.memory.own_epoch, effect.token, effect.span_s)

    def _do_ask(self, hub, effect):
        for name in effect.members:
            if name in self.hubs:
                self._ask_one(hub, self.hubs[name], effect)

    def _ask_one(self, hub, peer, effect):
        boots = hub.boots
        request_id = self._order

        def asked():
            self.replies[peer.name, request_id] = (hub, boots, effect.round_id)
            peer.feed(ev.PeerAsked(request_id, hub.name, effect.ask, effect.token, effect.span_s))

        self.send(hub.name, peer.name, asked)

    @property
    def replies(self):
        """Who waits for the answer to a peer's question."""
        return self.__dict__.setdefault("_replies", {})

    def _do_answer(self, hub, effect):
        asker, boots, round_id = self.replies[hub.name, effect.request_id]
        answer = ev.PeerAnswered(round_id, hub.name, effect.ok, effect.epoch, effect.why)
        self.send(hub.name, asker.name, lambda: asker.feed(answer, boots))

    def _do_hold(self, hub, effect):
        guard = hub.guard
        guard.is_acting = guard.acts(self.now)  # what was killed at its deadline does not come back
        if guard.token is None or effect.token >= guard.token:
            if effect.token != guard.token:
                guard.is_acting = False
            guard.token, guard.until = effect.token, hub.true(effect.deadline)

    def _do_promoted(self, hub, effect):
        owner = self.tokens.setdefault(effect.token, (hub.name, hub.boots))
        if owner != (hub.name, hub.boots) and self.extra.get("has_witness", True):
            raise Broken(self.story(f"token {effect.token} was used by {owner} before"))
        self._do_remember(hub, ev.Remember(max(effect.token, hub.memory.seen), effect.span_s))
        if hub.guard.token == effect.token:
            hub.guard.is_acting = True
            self.changes.append((self.now, hub.name))

    def _do_demoted(self, hub, effect):
        pass  # the guard has its deadline already

    def _do_drain(self, hub, effect):
        boots = hub.boots

        def drained():
            if hub.boots == boots and hub.lease is not None:
                hub.guard.is_acting = False
                hub.feed(ev.Drained(ok=True), boots)

        self.at(self.now + self.random.uniform(0.01, 0.2), drained)

    def _do_note(self, hub, effect):
        hub.notes.append(effect.text)

    def _do_concluded(self, hub, effect):
        hub.concluded.append(effect)

    # --- network

    def send(self, source: str, target: str, arrive) -> None:
        """Lose, delay, duplicate or deliver."""
        net, chance = self.network, self.random.random
        if net.lose and chance() < net.lose:
            return
        for _ in range(2 if net.duplicate and chance() < net.duplicate else 1):
            slow = net.slow and chance() < net.slow
            delay = self.random.uniform(0.0, net.slow_s if slow else net.fast_s) + self.late.get((source, target), 0.0)
            self.at(self.now + delay, lambda: None if (source, target) in net.cut else arrive())

    def cut(self, one: str, other: str, *, both: bool = True) -> None:
        """Cut a link, one way or both."""
        self.network.cut |= {(one, other), (other, one)} if both else {(one, other)}

    def heal(self) -> None:
        """End all cuts."""
        self.network.cut.clear()

    def pause(self, name: str, seconds: float) -> None:
        """SIGSTOP of an agent."""
        hub = self.hubs[name]
        hub.paused_until = max(hub.paused_until, self.now + seconds)
        self.at(hub.paused_until + 1e-6, hub.resume)

    def sleep(self, name: str, seconds: float) -> None:
        """The machine is suspended: its agent stands still, boottime runs on, monotonic does not."""
        self.pause(name, seconds)
        hub = self.hubs[name]
        self.at(self.now + seconds, lambda: setattr(hub, "asleep_s", hub.asleep_s + seconds))

    def restart(self, name: str, down_s: float) -> None:
        """kill -9 of an agent, and a fresh one later."""
        hub = self.hubs[name]
        hub.stop()
        self.at(self.now + down_s, lambda: hub.start() if hub.lease is None else None)

    # --- the checker: true time, from outside

    def acting(self) -> list[str]:
        """Every hub whose services run, or whose agent believes that it may act, at this moment."""
        return [name for name, hub in self.hubs.items() if hub.guard.acts(self.now) or self._believes(hub)]

    def _believes(self, hub: SimHub) -> bool:
        if hub.lease is None or self.now < hub.paused_until:
            return False
        return hub.lease.has_authority(hub.local(self.now))

    def check(self) -> None:
        """At most one authority."""
        if self.is_checked and len(self.acting()) > 1:
            raise Broken(self.story(f"two act at once: {self.acting()}"))

    def say(self, name: str, event, effects) -> None:
        """Keep a line for the story."""
        self.trace.append((self.now, name, event, effects))

    def story(self, what: str) -> str:
        """What went wrong, how to see it again, and the last lines."""
        lines = [f"{at:9.4f} {name} {event} -> {effects}" for at, name, event, effects in self.trace]
        return "\n".join([f"{what} at {self.now:.4f}, --seed={self.seed}", *lines])
