"""A simulated hub with two hub servers: the real sender core, chunk log and SQL over a fake clock, network and disk.

Everything that can go wrong is drawn from one seed. What the checker asserts is looked at from outside: the streams,
and the list of what the hub's user was told is accepted.
"""

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import msgspec

from hubagent.core import delivery as core
from hubagent.core.backoff import BackoffPolicy
from hubagent.core.chunking import ChunkPolicy, chain_hash
from hubagent.core.retention import START, Keeping
from hubagent.edges.spool_store import CursorRow, Store
from hubagent.loops.chunk_log import SPARED, ChunkLog, spared_place
from hubagent.loops.renumbering import confirm, last_of, needs_settling, settle, unspare
from hubagent.loops.resync import StreamRead, StreamReader
from hubagent.loops.spool_rows import Shed
from hubagent.wire import chunk as wire_chunk
from hubagent.wire import subjects
from hubagent.wire.chunk import open_chunk
from hubagent.wire.signing import payload_hash, seed_from, signer
from tests.fakes.clock import FakeClock
from tests.support.history import Stored, Verdict, check, identity

VERIFIED = lru_cache(4096)(wire_chunk.verify)  # pure, and the same frames are read again and again
KEY = signer(seed_from(b"k" * 32))
HUB = "alpha"
TIMEOUT = 2.0
POLICY = core.SenderPolicy(TIMEOUT, 10.0, BackoffPolicy(0.2, 2.0), BackoffPolicy(0.5, 2.0))
KEEP = 20.0
TRACE_LINES = 50


@dataclass
class Faults:
    """Probabilities, all zero once the world heals."""

    request_lost: float = 0.05
    ack_lost: float = 0.05
    late: float = 0.03  # the frame arrives long after the sender gave up
    stale_read: float = 0.05
    link_cut: float = 0.02  # a second
    tail_loss: float = 0.01
    expiry: float = 0.01
    made_anew: float = 0.004
    stranger: float = 0.01
    full: float = 0.01
    crash: float = 0.01
    crash_in_commit: float = 0.005  # at each commit
    rollback: float = 0.002
    damage: float = 0.004
    shed: float = 0.006


# What a restored log runs into: its numbers are taken, and frames are on their way under them.
RESTORING = Faults(
    ack_lost=0.15, late=0.1, tail_loss=0.02, rollback=0.04, crash=0.02, expiry=0.002, damage=0.0, shed=0.0
)  # fmt: skip


class SimStream:
    """One subject of one stream: compare-and-append, with everything that a real server was seen to do to it."""

    def __init__(self) -> None:
        self.messages: list[Stored] = []
        self.expired: list[Stored] = []
        self.cut_off: list[Stored] = []  # lost with a tail, under numbers that others may get
        self.next_seq, self.first_seq, self.life = 1, 1, 0
        self.is_full = False
        self.starts = 0  # a server that starts anew has forgotten every frame on its way
        self.ids: dict[str, float] = {}

    @property
    def lineage(self) -> str:
        """Changes when the stream is made anew."""
        return f"S/{self.life}"

    @property
    def last_seq(self) -> int:
        """Of the subject."""
        return self.messages[-1].seq if self.messages else 0

    def append(self, payload: bytes, signature: str | None, expect: int | None) -> int | str:
        """The sequence, or why not."""
        if self.is_full:
            return "full"
        if expect is not None and expect != self.last_seq:
            return "wrong"
        self.messages.append(Stored(payload, signature, self.next_seq))
        self.next_seq += 1
        return self.messages[-1].seq

    def lose_tail(self, count: int) -> None:
        """A power cut: acknowledged, and gone."""
        self.starts += 1
        for _ in range(min(count, len(self.messages))):
            self.cut_off.append(self.messages.pop())
            self.next_seq = self.cut_off[-1].seq

    def expire(self, count: int) -> None:
        """The oldest go by age."""
        for _ in range(min(count, len(self.messages))):
            self.expired.append(self.messages.pop(0))
        self.first_seq = self.messages[0].seq if self.messages else self.next_seq
        # What a tail loss took before would have expired with the rest by now: nobody can tell, and nobody is told.
        self.expired += [one for one in self.cut_off if one.seq < self.first_seq]
        self.cut_off = [one for one in self.cut_off if one.seq >= self.first_seq]

    def make_anew(self) -> None:
        """Deleted and created again."""
        self.messages, self.expired, self.cut_off, self.next_seq, self.first_seq = [], [], [], 1, 1
        self.life += 1
        self.starts += 1


@dataclass
class Dest:
    """One hub server and the link to it."""

    name: str
    streams: dict[str, SimStream] = field(default_factory=lambda: {lane: SimStream() for lane in subjects.LANES})
    is_up: bool = True


class World:
    """Time, chance, two servers and one hub."""

    def __init__(self, seed: int, faults: Faults | None = None, sender=core.Sender, hub=None) -> None:
        self.seed, self.chance, self.faults = seed, random.Random(seed), faults or Faults()
        self.clock = FakeClock(1000.0, 1_000_000.0)
        self.dests = [Dest("central"), Dest("edge")]
        self.trace: deque[str] = deque(maxlen=TRACE_LINES)
        self.accepted: dict[str, list[int]] = {lane: [] for lane in subjects.LANES}
        self.digests: dict[int, set[str]] = {}  # of the chunks that a value ever stood in
        self.places: dict[str, dict[str, set[tuple[int, int]]]] = {lane: {} for lane in subjects.LANES}
        self.copies: deque[Copy] = deque(maxlen=40)  # of the disk, from every life of the hub
        self.restored: dict[str, list[tuple[int, int]]] = {lane: [] for lane in subjects.LANES}
        self.forgiven: set[int] = set()
        self.durable: set[str] = set()
        self.problems: list[str] = []
        self.values = 0
        self.is_quiet = False
        self.make_sender = sender
        self._heap: list = []
        self._bytes: dict[str, dict[tuple[int, int], str]] = {}
        self._order = 0
        self.hub = (hub or SimHub)(self, None)

    def say(self, text: str) -> None:
        """One line of the trace."""
        self.trace.append(f"{self.clock.monotonic_s - 1000:8.3f} {text}")

    def after(self, seconds: float, call, *arguments) -> None:
        """Later; a call for a hub that has crashed since is dropped by the hub itself."""
        self._order += 1
        heapq.heappush(self._heap, (self.clock.monotonic_s + seconds, self._order, call, arguments))

    def likely(self, probability: float) -> bool:
        """Draw."""
        return self.chance.random() < probability

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.clock.monotonic_s + seconds
        while self._heap and self._heap[0][0] <= end:
            at, _, call, arguments = heapq.heappop(self._heap)
            self.clock.advance(max(at - self.clock.monotonic_s, 0.0))
            call(*arguments)
        self.clock.advance(max(end - self.clock.monotonic_s, 0.0))

    # Faults

    def disturb(self) -> None:
        """Once a second: what happens to the world."""
        faults = self.faults
        for dest in self.dests:
            if self.likely(faults.link_cut):
                self._cut(dest, self.chance.choice([0.3, 3.0, 20.0]))
            for lane, stream in dest.streams.items():
                self._disturb_stream(dest, lane, stream)
        if self.likely(faults.damage):
            self.hub.damage()
        if self.likely(faults.shed):
            self.hub.shed()
        if self.likely(faults.rollback):
            self.hub.crash(rolled_back=True)
        elif self.likely(faults.crash):
            self.hub.crash()
        self.after(1.0, self.disturb)

    def _disturb_stream(self, dest: Dest, lane: str, stream: SimStream) -> None:
        faults = self.faults
        if self.likely(faults.tail_loss):
            count = self.chance.choice([1, 2, 5, 30])
            self.say(f"{dest.name} {lane} loses its last {count}")
            stream.lose_tail(count)
            self._cut(dest, 0.5)
        if self.likely(faults.expiry):
            self.say(f"{dest.name} {lane} expires")
            stream.expire(self.chance.choice([1, 5, 1000]))
        if self.likely(faults.made_anew):
            self.say(f"{dest.name} {lane} is made anew")
            stream.make_anew()
            self._cut(dest, 0.5)
        if self.likely(faults.stranger):
            self.say(f"{dest.name} {lane} gets a foreign message")
            stream.append(b'{"stream":"S"}', None, None)
        if self.likely(faults.full):
            self.say(f"{dest.name} {lane} is full")
            stream.is_full = True
            self.after(3.0, setattr, stream, "is_full", False)

    def _cut(self, dest: Dest, seconds: float) -> None:
        if dest.is_up:
            self.say(f"{dest.name} is cut off for {seconds} s")
            dest.is_up = False
            self.hub.link_changed(dest)
            self.after(seconds, self._mend, dest)

    def _mend(self, dest: Dest) -> None:
        dest.is_up = True
        self.hub.link_changed(dest)

    def heal(self) -> None:
        """The last fault is over."""
        self.say("healed")
        self.faults = Faults(*[0.0] * 15)
        for dest in self.dests:
            for stream in dest.streams.values():
                stream.is_full = False
            if not dest.is_up:
                self._mend(dest)

    def look_at_lag(self) -> None:
        """While records come and nothing is broken, nobody waits for a check read to get its chunks."""
        for (dest, lane), part in self.hub.parts.items():
            owed = self.hub.store.owed(lane, *part.core.cursor.position).chunks
            if owed > 2:
                self.problems.append(f"{dest} {lane} lags by {owed} chunks on a healthy link")

    def settle(self) -> None:
        """Nothing more is recorded, and what is open is closed."""
        self.is_quiet = True
        self.hub.commit(lambda: self.hub.log.close_all(self.hub.store))

    # The outside checker

    def verdicts(self) -> dict[tuple[str, str], Verdict]:
        """The history checker's word on each stream."""
        return {(dest.name, lane): self._verdict(dest, lane) for dest in self.dests for lane in subjects.LANES}

    def _verdict(self, dest: Dest, lane: str) -> Verdict:
        stream = dest.streams[lane]
        accepted = [value for value in self.accepted[lane] if value not in self.forgiven]
        subject = subjects.ops(lane, HUB)
        places = self.places[lane]
        where = {
            value: [place for digest in self.digests.get(value, ()) for place in places.get(digest, ())]
            for value in accepted
        }
        known = dict.fromkeys(self.accepted[lane] + list(self.forgiven))
        return check(
            stream.messages, accepted, public=KEY.public, subject=subject, where=where,
            expired=stream.expired, known=known, bytes_of=self._bytes.setdefault(lane, {}),
            reused=lambda place: any(inc == place[0] and n < place[1] for inc, n in self.restored[lane]),
        )  # fmt: skip

    def check(self) -> list[str]:
        """Everything that does not hold, in words."""
        found = list(self.problems)
        for (dest, lane), verdict in self.verdicts().items():
            if not verdict.is_clean:
                found.append(f"{dest} {lane}: {verdict}")
            owed = self.hub.store.owed(lane, *self.hub.sender(dest, lane).cursor.position).chunks
            if owed > 2:
                found.append(f"{dest} {lane}: still owes {owed} chunks, {self.hub.sender(dest, lane).state}")
        return found


class Crashed(Exception):
    """The hub died in the middle of something."""


class Copy(NamedTuple):
    """A copy of the disk, how many records of each lane were accepted by then, and where each lane ended."""

    disk: bytes
    accepted: dict[str, int]
    ends: dict[str, tuple[int, int]]


class SimReader(StreamReader):
    """The real search for where stream and log part, over the simulated stream."""

    def __init__(self, sender: "SimSender") -> None:
        super().__init__(None, HUB, sender.lane, KEY.public)
        self._sender = sender

    async def _last(self, timeout_s):
        return self._sender.stream.messages[-1] if self._sender.stream.messages else None

    async def _next(self, seq, timeout_s):
        return next((one for one in self._sender.stream.messages if one.seq >= seq), None)


def at_once(coroutine):
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


class SimHub:
    """One life of the hub agent's delivery: real core, chunk log and SQL; the loop's work done by the world."""

    sender_class: "type[SimSender] | None" = None

    def __init__(self, world: World, snapshot: bytes | None, why_new: str = "") -> None:
        self.world, self.is_alive = world, True
        self.store = Store(Path(":memory:"))
        if snapshot is not None:
            self.store.db.close()
            self.store = _restored(snapshot)
        self.snapshot = self.store.db.serialize()
        self.boot = f"boot{world.chance.randrange(1 << 30)}"
        self.log = ChunkLog(HUB, self.boot, KEY, ChunkPolicy(2.0, 4096), world.clock)
        self.log.opened(self.store, why_new)
        self.pending: list[tuple[str, int]] = []
        self.stored_at: dict[tuple[str, str, int, int], float] = {}  # in this life: a restart forgets, on the safe side
        self._seen_id = 0
        self.confirmed: list[tuple[str, str, int]] = []
        self._durable()
        kept = {(row.dest, row.lane): row for row in self.store.cursors()}
        self.parts = {}
        for dest in world.dests:
            for lane in subjects.LANES:
                self.parts[dest.name, lane] = (self.sender_class or SimSender)(
                    self, dest, lane, kept.get((dest.name, lane))
                )
        self._cursors: dict = {}
        for dest in world.dests:
            self.link_changed(dest)
        self._later(0.5, self.work)
        self._later(5.0, self.release)

    def sender(self, dest: str, lane: str) -> core.Sender:
        """One sender core."""
        return self.parts[dest, lane].core

    def _later(self, seconds: float, call, *arguments) -> None:
        self.world.after(seconds, self._if_alive, call, arguments)

    def _if_alive(self, call, arguments) -> None:
        if self.is_alive:
            try:
                call(*arguments)
            except Crashed:
                self.crash()

    # Recording

    def work(self) -> None:
        """Each second a sample, sometimes events; then the group commit."""
        self.adopt()
        if self.world.is_quiet:
            return
        with_event = self.world.likely(0.3)

        def ops() -> None:
            self._record("met")
            if with_event:
                self._record("evt")

        self.commit(ops)
        self._later(1.0, self.work)

    def adopt(self) -> None:
        """An operator who sees an identity conflict says that this hub is the one."""
        if not any(part.core.is_fenced_by_identity for part in self.parts.values()):
            return
        self.world.say("adopted")
        shown = max(part.core.seen_inc for part in self.parts.values())
        self.commit(lambda: self.log.reincarnate(self.store, shown + 1))
        for part in self.parts.values():
            part.put(core.Adopted())

    def _record(self, lane: str) -> None:
        self.world.values += 1
        value, now = self.world.values, self.world.clock.wall()
        self.pending.append((lane, value))
        if lane == "met":
            self.log.add_sample(self.store, ("t", "mono", "x"), f"[{now},1,{value}]".encode(), now)
        else:
            self.log.add_event(self.store, b'{"data":{"id":%d}}' % value, now)

    def commit(self, ops) -> None:
        """A transaction as the spool makes it; it may crash at the write, before or after the fsync."""
        world = self.world
        self.log.begin()
        self.store.begin()
        for cursor in self._cursors.values():
            self.store.set_cursor(cursor)
        self._cursors.clear()
        for one in self.confirmed:
            confirm(self.store, *one)
        self.confirmed.clear()
        result = ops()
        self.log.before_commit(self.store)
        if world.likely(world.faults.crash_in_commit):
            world.say("crash before the fsync")
            self.store.rollback()
            raise Crashed
        self.store.commit()
        if world.likely(world.faults.crash_in_commit):
            world.say("crash after the fsync, before anybody was told")
            self._durable()
            raise Crashed
        self.log.committed()
        self._durable()
        self._accept()
        for part in self.parts.values():
            part.put(core.Grew())
        return result

    def _accept(self) -> None:
        for lane, value in self.pending:
            self.world.accepted[lane].append(value)
        self.pending = []

    def _durable(self) -> None:
        """What the disk holds now."""
        world, self.snapshot = self.world, self.store.db.serialize()
        ends = {lane: (self.log.inc, self.log.lane(lane).last_n) for lane in subjects.LANES}
        world.copies.append(Copy(self.snapshot, {lane: len(world.accepted[lane]) for lane in subjects.LANES}, ends))
        found = self.store.db.execute(
            "SELECT id, chunk.lane, inc, n, hash, payload FROM chunk LEFT JOIN body USING(id) WHERE id>? ORDER BY id",
            (self._seen_id,),
        )
        for self._seen_id, lane, inc, n, digest, payload in found:
            world.places[lane].setdefault(digest, set()).add((inc, n))
            if payload is not None and payload_hash(payload) == digest:
                world.durable.add(digest)
                for record in msgspec.json.decode(payload)["recs"]:
                    world.digests.setdefault(identity(record), set()).add(digest)

    # Faults of the hub

    def crash(self, *, rolled_back: bool = False) -> None:
        """kill -9, or a restored backup: everything that was not committed is gone."""
        world = self.world
        if not self.is_alive:
            return
        self.is_alive = False
        # An unaccepted record may or may not have reached the disk: both are allowed, silence about it too.
        world.forgiven |= {value for _, value in self.pending}
        snapshot = self.snapshot
        if rolled_back:
            copy = world.chance.choice(world.copies)
            snapshot = copy.disk
            for lane in subjects.LANES:  # what was accepted since is in no log any more
                world.forgiven.update(world.accepted[lane][copy.accepted[lane] :])
                world.restored[lane].append(copy.ends[lane])
        world.say("the hub starts again" + (" from an older copy" if rolled_back else ""))
        world.hub = type(self)(world, snapshot)

    def damage(self) -> None:
        """A bit flips in a stored body."""
        rows = self.store.db.execute("SELECT id, payload FROM body ORDER BY id").fetchall()
        if rows:
            row = self.world.chance.choice(rows)
            self.world.say(f"body {row[0]} is damaged")
            self.store.db.execute("UPDATE body SET payload=? WHERE id=?", (b"X" + row[1][1:], row[0]))

    def shed(self) -> None:
        """The budget is used up: the oldest metrics go."""
        positions = {dest.name: self.sender(dest.name, "met").cursor.position for dest in self.world.dests}
        act = Shed("met", 600, positions, self.world.clock.wall())
        self._if_alive(self.commit, (lambda: act(self.store),))
        self.world.say("shed")

    def release(self) -> None:
        """As the housekeeping does it, and the checker looks whether the rule held for each chunk."""
        for lane in subjects.LANES:
            limit = min(part.keeping.released for (_, at), part in self.parts.items() if at == lane)
            if limit > START:
                self._check_release(lane, limit)
                self.commit(lambda lane=lane, limit=limit: self.store.release(lane, *limit))
        self._later(5.0, self.release)

    def _check_release(self, lane: str, limit) -> None:
        now = self.world.clock.monotonic_s
        for row in self.store.db.execute(
            "SELECT inc, n FROM chunk JOIN body USING(id) WHERE chunk.lane=? AND (inc,n)<=(?,?)", (lane, *limit)
        ).fetchall():
            for dest in self.world.dests:
                at = self.stored_at.get((dest.name, lane, *row))
                if at is not None and now - at < KEEP - 0.001:
                    self.world.problems.append(f"{lane} {row} released {now - at:.1f} s after {dest.name} acked it")

    def keep_cursor(self, row: CursorRow) -> None:
        """With the next commit."""
        self._cursors[row.dest, row.lane] = row

    def link_changed(self, dest: Dest) -> None:
        """The link came or went."""
        for (name, _), part in self.parts.items():
            if name == dest.name:
                part.put(core.LinkUp() if dest.is_up else core.LinkLost("cut"))


class SimSender:
    """Carries out one sender's effects over the simulated network."""

    def __init__(self, hub: SimHub, dest: Dest, lane: str, kept: CursorRow | None) -> None:
        kept = kept or CursorRow(dest.name, lane, 0, 0, 0, "")
        self.hub, self.world, self.dest, self.lane = hub, hub.world, dest, lane
        now = self.world.clock.monotonic_s
        cursor = core.Cursor(kept.inc, kept.n, kept.seq, kept.lineage)
        self.core = self.world.make_sender(dest.name, lane, POLICY, cursor, now)
        self.keeping = Keeping(KEEP, cursor.position, (kept.released_inc, kept.released_n), now)
        self.item = None
        self.compared: tuple[int, tuple[int, int]] | None = None
        self._armed: float | None = None

    def reader(self) -> SimReader:
        """Asks the simulated stream; a broken sender's may be told lies."""
        return SimReader(self)

    @property
    def stream(self) -> SimStream:
        """The subject at the server."""
        return self.dest.streams[self.lane]

    def put(self, event) -> None:
        """One event to the core, and its effects."""
        if self.hub.is_alive:
            self._do(self.core.handle(event, self.world.clock.monotonic_s))

    def _tick(self) -> None:
        self._armed = None
        if self.hub.is_alive:
            self._do(self.core.tick(self.world.clock.monotonic_s))

    def _do(self, effects) -> None:
        for effect in effects:
            getattr(self, "_do_" + type(effect).__name__)(effect)
        due = self.core.deadline()
        if due is not None and (self._armed is None or due < self._armed):
            self._armed = due
            self.world.after(max(due - self.world.clock.monotonic_s, 0.0), self._tick)

    def _latency(self) -> float:
        return self.world.chance.uniform(0.001, 0.1)

    # Effects

    def _do_ReadStream(self, effect) -> None:  # noqa: N802  # named after the effect
        if not self.dest.is_up or self.world.likely(self.world.faults.request_lost):
            failed = core.ReadFailed(effect.turn, "timeout", self.world.chance.random())
            self.world.after(effect.timeout_s, self.put, failed)
            return
        stale = self.world.likely(self.world.faults.stale_read)
        messages = self.stream.messages[:-1] if stale else list(self.stream.messages)
        facts = (self.stream.lineage, self.stream.first_seq, messages)
        self.world.after(self._latency(), self._read_done, effect, *facts)

    def _read_done(self, effect, lineage: str, first_seq: int, messages: list[Stored]) -> None:
        if not self.hub.is_alive:
            return
        seen = next((own for message in reversed(messages) if (own := self._own(message))), None)
        last_seq = messages[-1].seq if messages else 0
        foreign = bool(messages) and self._own(messages[-1]) is None
        read = StreamRead(lineage, first_seq, last_seq, seen, foreign)
        is_vouched = at_once(self.reader().vouches_for(effect.cursor, read, TIMEOUT))
        last, digest, needed = self._local(seen)
        facts = (lineage, first_seq, last_seq, seen, foreign, self.hub.log.inc, last, digest)
        self.put(core.ReadDone(effect.turn, core.Read(*facts, needed or not is_vouched)))

    def _local(self, seen: core.Seen | None) -> tuple[int | None, str | None, bool]:
        store = self.hub.store
        if seen is None:
            return None, None, False
        row = store.row(self.lane, *seen.position)
        needed = needs_settling(store, self.dest.name, self.lane, self.core.cursor.position, seen.inc)
        return last_of(store, self.lane, seen.inc), row.hash if row else None, needed

    def _own(self, message: Stored) -> core.Seen | None:
        chunk = open_chunk(KEY.public, subjects.ops(self.lane, HUB), message.payload, message.signature)
        return chunk and core.Seen(chunk.inc, chunk.last, chain_hash(chunk, message.payload), message.seq)

    def _do_Load(self, effect) -> None:  # noqa: N802  # named after the effect
        self.hub._later(0.002, self._loaded, effect.turn, effect.position, effect.reason)

    def _loaded(self, turn: int, position, reason: str) -> None:
        if not self.hub.is_alive or turn != self.core._turn:
            return
        item = self.next_item(position, reason)
        if item is None:
            self.put(core.Loaded(turn))
            return
        self.item = item
        size = len(item.payload)
        self.put(core.Loaded(turn, item.inc, item.n, item.n_to, size, item.kind, item.reason, item.records))

    def next_item(self, position, reason: str):
        """What is sent next; what is spared is looked for in the stream first."""
        hub, dest = self.hub, self.dest.name
        while (item := hub.log.next_item(hub.store, dest, self.lane, position, reason)) is not None:
            if not item.reason.startswith(SPARED):
                break
            looked = self.reader().first_missing(spared_place(item.reason, item.n), item.n_to - item.n + 1, TIMEOUT)
            if (missing := at_once(looked)) is None:
                break
            hub.commit(lambda n=item.n + missing, inc=item.inc: unspare(hub.store, dest, self.lane, inc, n))
        return item

    def _do_Send(self, effect) -> None:  # noqa: N802  # named after the effect
        world, item, faults = self.world, self.item, self.world.faults
        if item.kind == "data" and payload_hash(item.payload) not in world.durable:
            world.problems.append(f"{self.lane} {item.inc}/{item.n} was sent before its fsync")
        lost = not self.dest.is_up or world.likely(faults.request_lost)
        latency = world.chance.uniform(2.0, 15.0) if world.likely(faults.late) else self._latency()
        if not lost:
            world.after(latency, self._arrive, effect, item, self.stream.starts)
        world.after(effect.timeout_s, self._unanswered, effect.turn)

    def _unanswered(self, turn: int) -> None:
        self.put(core.Unanswered(turn, "timeout", self.world.chance.random(), timed_out=True))

    def expected(self, effect) -> int | None:
        """What the frame says; a broken sender says something else."""
        return effect.expect

    def _arrive(self, effect, item, starts: int) -> None:
        """At the server; the hub may be dead by now."""
        if starts != self.stream.starts:
            return
        stored = self.stream.append(item.payload, item.sig, self.expected(effect))
        self.world.say(f"{self.dest.name} {self.lane} {item.kind} {item.inc}/{item.n}-{item.n_to} → {stored}")
        # A late frame may bring back what has expired: it has been there for its whole life, and owes nobody another.
        has_expired = any(one.payload == item.payload for one in self.stream.expired)
        if isinstance(stored, int) and item.kind == "data" and not has_expired:
            self.hub.stored_at[self.dest.name, self.lane, item.inc, item.n] = self.world.clock.monotonic_s
        if not self.dest.is_up or self.world.likely(self.world.faults.ack_lost):
            return
        jitter = self.world.chance.random()
        codes = {"full": 10077, "wrong": 10071}
        answer = (
            core.Acked(effect.turn, stored)
            if isinstance(stored, int)
            else core.Refused(effect.turn, codes[stored], stored, jitter)
        )
        self.world.after(self._latency(), self.put, answer)

    def _do_KeepCursor(self, effect) -> None:  # noqa: N802  # named after the effect
        cursor, now = effect.cursor, self.world.clock.monotonic_s
        self.keeping.acked(cursor.position, now)
        if self.compared is not None and cursor.position > self.compared[1]:
            self.hub.confirmed.append((self.dest.name, self.lane, self.compared[0]))
            self.compared = None
        released = self.keeping.released
        self.hub.keep_cursor(
            CursorRow(self.dest.name, self.lane, cursor.inc, cursor.n, cursor.seq, cursor.lineage, *released)
        )

    def _do_Checked(self, effect) -> None:  # noqa: N802  # named after the effect
        self.keeping.checked(effect.position, self.world.clock.monotonic_s)

    def _do_Doubted(self, effect) -> None:  # noqa: N802  # named after the effect
        self.keeping.doubted(effect.position)

    def _do_Note(self, effect) -> None:  # noqa: N802  # named after the effect
        self.world.say(effect.text)

    def _do_Listen(self, effect) -> None:  # noqa: N802  # named after the effect
        self.world.after(effect.seconds, self.put, core.Heard(effect.turn, other=False))

    def _do_Settle(self, effect) -> None:  # noqa: N802  # named after the effect
        self.world.after(0.1, self.hub._if_alive, self._settle, (effect,))

    def _settle(self, effect) -> None:
        if effect.turn != self.core._turn:
            return
        store, dest = self.hub.store, self.dest.name
        found = self.compare(self.reader(), effect)
        done = self.hub.commit(lambda: settle(self.hub.log, store, dest, self.lane, *found))
        self.compared = done.compared, effect.seen.position
        if done.renumbered:
            self.tell_others()
        self.put(core.Settled(effect.turn, done.inc, done.renumbered, done.spared, done.has_begun))

    def compare(self, reader: SimReader, effect):
        """What the stream and the log have in common."""

        async def ask(op):
            return op(self.hub.store)

        return at_once(reader.compare(effect.cursor, effect.seen, self.dest.name, ask, TIMEOUT))

    def tell_others(self) -> None:
        """The lane's other senders hear that numbers have changed."""
        for (_, lane), part in self.hub.parts.items():
            if lane == self.lane and part is not self:
                part.put(core.Renumbered())


def _restored(snapshot: bytes) -> Store:
    store = Store(Path(":memory:"))
    store.db.deserialize(snapshot)
    return store


def _live(world: World) -> list[str]:
    world.disturb()
    world.run(60)
    world.heal()
    world.run(30)
    world.look_at_lag()
    world.settle()
    world.run(20)
    return world.check()


def run_seed(seed: int, faults: Faults | None = None, sender=core.Sender, hub=None) -> list[str]:
    """A stormy minute, half a quiet one, and what does not hold then; the trace goes with it."""
    world = World(seed, faults, sender, hub)
    try:
        with patch.object(wire_chunk, "verify", VERIFIED):
            found = _live(world)
    except (AssertionError, KeyError, AttributeError, TypeError) as error:
        found = [f"{type(error).__name__}: {error}"]
    return [f"--seed={seed}", *found, *world.trace] if found else []
