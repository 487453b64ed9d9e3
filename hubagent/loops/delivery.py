"""Every lane to every destination: runs the senders, keeps the spool within its budget, and says how far each is."""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from hubagent.clock import Clock
from hubagent.core import delivery as core
from hubagent.core.chunking import CHUNK_BYTES_MIN, ChunkPolicy
from hubagent.core.retention import START, Figures, Plan, Position, RetentionPolicy, drain_s, loss_s, plan
from hubagent.edges.nats_link import Link, Message
from hubagent.edges.spool import Spool
from hubagent.edges.spool_store import CursorRow, GapRow, Owed, Row, Store
from hubagent.errors import LinkDown, NotAllowed, StoreFailed
from hubagent.loops.chunk_log import ChunkLog
from hubagent.loops.recorder import SpoolRecorder
from hubagent.loops.sender import SenderLoop
from hubagent.loops.spool_rows import Release, ReleaseUntil, Shed, fetch_chunks, kept_bytes, owed_by
from hubagent.wire import reports, subjects
from hubagent.wire.codec import WireError, decode, encode
from hubagent.wire.commands import FetchReply, FetchRequest
from hubagent.wire.signing import Signer

HOUSEKEEPING_SECONDS = 1.0
SHEDDING_SECONDS = 30.0  # a lane counts as shedding so long after the last chunk shed
RESYNC_SECONDS = 2.0  # a RESYNC longer than this is BUFFERING for the operator
FETCHES_MAX = 16  # requests that wait; more are dropped, the reader asks again
SHED_BYTES_MIN = 64 << 10  # shed a little more than needed, or every second would shed again
SLOW_BYTES_PER_S = 256 << 10  # below this measured rate chunks get smaller
DROPPED_MAX = 5


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """The policies of the parts."""

    sender: core.SenderPolicy = field(default_factory=core.SenderPolicy)
    retention: RetentionPolicy = field(default_factory=RetentionPolicy)
    chunk: ChunkPolicy = field(default_factory=ChunkPolicy)


@dataclass(slots=True)
class _Lane:
    """What is measured for one sender between two looks."""

    owed: Owed = field(default_factory=Owed)
    last_n: int = 0
    acked_bytes: int | None = None
    out_rate: float = 0.0
    shed_at: float | None = None
    told: str = ""
    dropped: list[GapRow] = field(default_factory=list)


@dataclass(slots=True)
class _Look:
    """One reading of the spool's rows."""

    figures: Figures
    ends: dict[str, Row | None]
    owed: dict[tuple[str, str], Owed]
    acked: dict[tuple[str, str], int]
    dropped: dict[tuple[str, str], list[GapRow]]


class Delivery:
    """Delivers both lanes to all hub servers."""

    def __init__(
        self, *, key: Signer, spool: Spool, log: ChunkLog, recorder: SpoolRecorder, links: Mapping[str, Link],
        policy: DeliveryPolicy, clock: Clock,
    ) -> None:  # fmt: skip
        self._key, self._spool, self._log, self._recorder, self._clock = key, spool, log, recorder, clock
        self._links, self._policy = dict(links), policy
        self._senders: dict[tuple[str, str], SenderLoop] = {}
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._absent: dict[tuple[str, str], Position] = {}  # required, but in no configuration: they pin what they lack
        self._figures = Figures(0, 0, 0, 0, 0)
        self._in_bytes: dict[str, int] = {}
        self._in_rate: dict[str, float] = {}
        self._looked_at: float | None = None
        self._places: dict[str, Position] = {}
        self._released: dict[str, Position] = {}
        self._fetches: deque[tuple[Link, Message]] = deque()
        self._fetch_asked = asyncio.Event()

    # For the reporter and the commands

    def lanes(self) -> list[reports.Lane]:
        """Every lane and destination as an operator sees it, from the last look at the rows."""
        return [self._report(sender) for sender in self._senders.values()]

    def spool_bytes(self) -> int:
        """Bytes of the spool in use."""
        return self._figures.used

    def fsync_p99_s(self) -> float | None:
        """The 99th percentile of the last commits."""
        return self._spool.fsync_p99_s

    def grow_rate(self) -> float:
        """Bytes a second that both lanes put into the spool."""
        return sum(self._in_rate.values())

    def rates(self) -> dict[str, float | None]:
        """The slowest measured rate to each destination, bytes a second; None before the first chunk of some size."""
        found: dict[str, float | None] = dict.fromkeys(self._links)
        for (dest, _), sender in self._senders.items():
            rate, known = sender.core.rate, found[dest]
            found[dest] = rate if known is None else known if rate is None else min(rate, known)
        return found

    async def adopt(self) -> None:
        """An operator says that this hub is the one: go on above every incarnation that a stream has shown."""
        shown = max((sender.core.seen_inc for sender in self._senders.values()), default=0)
        await self._spool.write(lambda store: self._log.reincarnate(store, shown + 1))
        for sender in self._senders.values():
            sender.forget_ahead()
            sender.put(core.Adopted())

    async def remove_destination(self, dest: str) -> None:
        """A destination is not required any more; what only it lacked may go. Not while it is configured."""
        if dest in self._links:
            raise NotAllowed("destination", f"{dest} is still configured; take it out and restart the agent first")
        await self._spool.write(lambda store: store.drop_destination(dest))
        self._absent = {key: position for key, position in self._absent.items() if key[0] != dest}

    # Running

    async def run(self) -> None:
        """Until cancelled."""
        kept = {(row.dest, row.lane): row for row in await self._kept_cursors()}
        self._absent = {key: (row.inc, row.n) for key, row in kept.items() if key[0] not in self._links}
        for link in self._links.values():
            self._answer_fetches(link)
            for lane in subjects.LANES:
                self._senders[link.server, lane] = self._sender(link, lane, kept.get((link.server, lane)))
                self._lanes[link.server, lane] = _Lane()
        self._spool.on_commit(self._grew)
        async with asyncio.TaskGroup() as group:
            for sender in self._senders.values():
                group.create_task(sender.run())
            group.create_task(self._keep_house())
            group.create_task(self._serve_fetches())

    async def _kept_cursors(self) -> list[CursorRow]:
        """Without a store there is nothing to deliver; the recorder brings it back."""
        while True:
            with suppress(StoreFailed):
                return await self._spool.read(lambda store: store.cursors())
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    def _sender(self, link: Link, lane: str, kept: CursorRow | None) -> SenderLoop:
        return SenderLoop(
            link, lane, spool=self._spool, log=self._log, public=self._key.public, recorder=self._recorder,
            policy=self._sender_policy(), keep_s=self._policy.retention.keep_s, clock=self._clock, kept=kept,
            on_renumbered=self._renumbered,
        )  # fmt: skip

    def _renumbered(self, by: SenderLoop) -> None:
        for sender in self._senders.values():
            if sender is not by and sender.lane == by.lane:
                sender.renumbered()

    def _sender_policy(self) -> core.SenderPolicy:
        """Check reads are what releases go by, so they follow the retention's pace."""
        check_s = min(self._policy.sender.check_s, self._policy.retention.check_s)
        return replace(self._policy.sender, check_s=check_s)

    def _grew(self) -> None:
        """A commit: senders that wait look again. An idle sender costs one short read."""
        for lane in subjects.LANES:
            place = self._log.durable.get(lane, START)
            if place != self._places.get(lane):
                self._places[lane] = place
                for (_, one), sender in self._senders.items():
                    if one == lane:
                        sender.put(core.Grew())

    # The house

    async def _keep_house(self) -> None:
        while True:
            with suppress(StoreFailed):  # the recorder brings the store back
                self._take_look(await self._spool.read(self._look))
                await self._act(plan(self._figures, self._policy.retention, disk_is_full=self._spool.is_full))
                await self._release()
            self._follow_rates()
            self._tell_states()
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    def _look(self, store: Store) -> _Look:
        ends = {lane: store.newest(lane) for lane in subjects.LANES}
        kept = {lane: kept_bytes(store, lane, ends[lane], None) for lane in subjects.LANES}
        acked = {lane: kept_bytes(store, lane, ends[lane], self._slowest(lane)) for lane in subjects.LANES}
        owed, done, dropped = {}, {}, {}
        for key, sender in self._senders.items():
            position = sender.core.cursor.position
            owed[key] = owed_by(store, *key, position)
            row = store.until(key[1], *position)
            done[key] = row.cum_bytes if row else 0
            dropped[key] = store.gaps(*key, DROPPED_MAX)
        kept_and_acked = kept["evt"], kept["met"], acked["evt"], acked["met"]
        figures = Figures(store.used_bytes(), *kept_and_acked, store.file_bytes())
        return _Look(figures, ends, owed, done, dropped)

    def _take_look(self, look: _Look) -> None:
        now = self._clock.monotonic()
        seconds = None if self._looked_at is None else max(now - self._looked_at, 0.001)
        self._figures, self._looked_at = look.figures, now
        for lane, end in look.ends.items():
            total = end.cum_bytes if end else 0
            if seconds is not None:
                self._in_rate[lane] = _blend(self._in_rate.get(lane), (total - self._in_bytes[lane]) / seconds)
            self._in_bytes[lane] = total
        for key, one in self._lanes.items():
            end = look.ends[key[1]]
            one.owed, one.dropped, one.last_n = look.owed[key], look.dropped[key], end.n if end else 0
            if seconds is not None and one.acked_bytes is not None:
                one.out_rate = _blend(one.out_rate, max(look.acked[key] - one.acked_bytes, 0) / seconds)
            one.acked_bytes = look.acked[key]

    def _positions(self, lane: str) -> dict[str, Position]:
        """Every required destination's cursor."""
        configured = {dest: one.core.cursor.position for (dest, at), one in self._senders.items() if at == lane}
        return configured | {dest: position for (dest, at), position in self._absent.items() if at == lane}

    def _slowest(self, lane: str) -> Position:
        return min(self._positions(lane).values(), default=START)

    async def _act(self, what: Plan) -> None:
        """Make room: early release first, then shedding; tell the recorder what may still come in."""
        if what.refuse_events and not self._recorder.refuses_events:
            text = (
                "the events' share of the spool is used up: only commands are recorded until a hub server takes events"
            )
            self._recorder.event("buffer_state", "critical", text, data={"lane": "evt", "state": "FULL"})
        self._recorder.refuses_events, self._recorder.refuses_all = what.refuse_events, what.refuse_all
        for lane, size in (("met", what.release_met), ("evt", what.release_evt)):
            if size:
                limit = self._slowest(lane)
                await self._spool.write(Release(lane, size, limit), last=True)
        if what.shed_met:
            size = max(what.shed_met, SHED_BYTES_MIN)
            positions = self._positions("met")
            shed = await self._spool.write(Shed("met", size, positions, self._clock.wall()), last=True)
            for dest in shed:
                if (dest, "met") in self._lanes:
                    self._lanes[dest, "met"].shed_at = self._clock.monotonic()

    async def _release(self) -> None:
        """Delete what every required destination released; its cursor is durable before."""
        for lane in subjects.LANES:
            absent = [position for (_, at), position in self._absent.items() if at == lane]
            released = [one.keeping.released for (_, at), one in self._senders.items() if at == lane]
            limit = min([*absent, *released], default=START)
            if limit != self._released.get(lane, START):
                gone = await self._spool.write(ReleaseUntil(lane, limit), lazy=True)
                if gone == 0:
                    self._released[lane] = limit

    def _follow_rates(self) -> None:
        """Chunks become smaller for the slowest link, so that one takes about a second."""
        rates = [one.core.rate for one in self._senders.values() if one.core.rate is not None]
        size = self._policy.chunk.chunk_bytes
        slowest = min(rates, default=float(SLOW_BYTES_PER_S))
        if slowest < SLOW_BYTES_PER_S:
            size = max(min(int(slowest), size), CHUNK_BYTES_MIN)
        self._log.set_chunk_bytes(size)

    # What an operator sees

    def _state(self, key: tuple[str, str]) -> tuple[str, str]:
        sender, one, now = self._senders[key].core, self._lanes[key], self._clock.monotonic()
        if self._spool.failed is not None:
            return "BLOCKED", str(self._spool.failed)
        if sender.state == core.FENCED:
            return "FENCED", sender.why
        if sender.is_blocked:
            return "BLOCKED", sender.why or "the stream is full"
        if one.shed_at is not None and now - one.shed_at < SHEDDING_SECONDS:
            return "SHEDDING", "over budget: the oldest metrics are shed"
        if self._spool.has_no_room:
            return "BLOCKED", "the disk is full: nothing can be recorded"
        if key[1] == "evt" and self._recorder.refuses_events:
            return "BLOCKED", "the events' share of the spool is used up"
        if sender.state == core.OFFLINE or (sender.state == core.RESYNC and now - sender.since > RESYNC_SECONDS):
            return "BUFFERING", sender.why
        return ("LIVE", "") if one.owed.chunks <= 1 else ("DRAINING", "")

    def _report(self, sender: SenderLoop) -> reports.Lane:
        key = (sender.dest, sender.lane)
        one, rate = self._lanes[key], self._in_rate.get(sender.lane, 0.0)
        state, why = self._state(key)
        oldest = None if one.owed.oldest_t is None else max(self._clock.wall() - one.owed.oldest_t, 0.0)
        losing = state in {"BUFFERING", "BLOCKED", "FENCED", "SHEDDING", "DRAINING"} and sender.lane == "met"
        return reports.Lane(
            sender.dest, sender.lane, state, one.owed.chunks, one.owed.bytes, oldest,
            loss_s(self._figures, self._policy.retention, rate, one.out_rate) if losing else None, why,
            rate, one.out_rate, drain_s(one.owed.bytes, rate, one.out_rate), sender.core.cursor.n, one.last_n,
            [_dropped(gap) for gap in one.dropped],
        )  # fmt: skip

    def _tell_states(self) -> None:
        """A change of state is an event; a chunk more or less on a healthy link is none."""
        for key, one in self._lanes.items():
            state, why = self._state(key)
            if state == one.told or (state == "DRAINING" and one.told == "LIVE"):
                continue
            before, one.told = one.told, state
            severity = {"LIVE": "ok", "DRAINING": "ok", "BUFFERING": "warning"}.get(state, "critical")
            text = f"{key[0]} {key[1]}: {before or 'start'} → {state}" + (f" ({why})" if why else "")
            data = {"dest": key[0], "lane": key[1], "state": state, "before": before, "chunks": one.owed.chunks}
            self._recorder.event("buffer_state", severity, text, data=data)

    # fetch.<hub>

    def _answer_fetches(self, link: Link) -> None:
        def asked(message: Message) -> None:
            if message.reply and len(self._fetches) < FETCHES_MAX:
                self._fetches.append((link, message))
                self._fetch_asked.set()

        link.subscribe(subjects.fetch(self._log.hub), asked)

    async def _serve_fetches(self) -> None:
        while True:
            await self._fetch_asked.wait()
            self._fetch_asked.clear()
            while self._fetches:
                link, message = self._fetches.popleft()
                with suppress(LinkDown, NotAllowed, ValueError):
                    await link.publish(message.reply, encode(await self._fetched(message.payload)))

    async def _fetched(self, payload: bytes) -> FetchReply:
        try:
            asked = decode(payload, FetchRequest)
            return await self._spool.read(lambda store: fetch_chunks(store, asked))
        except (WireError, StoreFailed) as error:
            return FetchReply([], str(error))


def _blend(before: float | None, value: float) -> float:
    """A moving average over about five looks."""
    return value if before is None else before + 0.2 * (value - before)


def _dropped(gap: GapRow) -> dict[str, object]:
    return {"n": gap.n, "n_to": gap.n_to, "kind": gap.kind, "reason": gap.reason, "at": gap.at, "count": gap.records}
