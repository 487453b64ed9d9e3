"""The hub's own log: puts records into chunks inside the spool's transactions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from hubagent.clock import Clock
from hubagent.core.chunking import (
    ChunkPolicy,
    Closed,
    Gap,
    LaneLog,
    columns_of,
    columns_text,
    substitute,
)  # fmt: skip
from hubagent.edges.spool_repair import declare_damage
from hubagent.edges.spool_store import GapRow, OpenRow, Row, Store
from hubagent.wire import subjects
from hubagent.wire.chunk import LOST_RANGE, sign_chunk_hash
from hubagent.wire.signing import ZERO_HASH, Signer, payload_hash

SPARED = "renumbered: delivered as "  # begins the reason of a tombstone that declares no loss
SPARED_MAX = 100  # each is looked for in the stream before the tombstone goes there
OLDER = "older than retention"


class Item(NamedTuple):
    """What a destination gets next: the bytes of one chunk, or of a substitute for n…n_to."""

    inc: int
    n: int
    n_to: int
    payload: bytes
    sig: str
    kind: str
    reason: str = ""
    records: int = 0


def spared_reason(place: tuple[int, int], n: int) -> str:
    """Why chunk n is not sent: its records are in the stream at another place. One text for a run of them."""
    return f"{SPARED}{place[0]}/n{place[1] - n:+d}"


def spared_place(reason: str, n: int) -> tuple[int, int]:
    """The place that such a reason names for chunk n."""
    inc, _, offset = reason.removeprefix(SPARED).partition("/n")
    return int(inc), n + int(offset)


@dataclass(frozen=True, slots=True)
class OpenedLog:
    """What was found at the start: when the last record before it was taken, and why the incarnation is new."""

    inc: int
    last_t: float | None
    why_new: str


class ChunkLog:
    """Both lanes of one hub; changes only inside the spool's transactions, on its thread."""

    def __init__(self, hub: str, boot: str, key: Signer, policy: ChunkPolicy, clock: Clock) -> None:
        self.hub, self.boot = hub, boot
        self.opened_log: OpenedLog | None = None
        self.durable: dict[str, tuple[int, int]] = {}  # incarnation and number of each lane's last committed chunk
        self.on_opened: Callable[[OpenedLog], None] = lambda _opened: None
        self._key, self._policy, self._clock = key, policy, clock
        self._lanes: dict[str, LaneLog] = {}
        self._checkpoints: dict[str, Any] = {}

    # The spool's participant

    def opened(self, store: Store, why_new: str) -> None:
        """Settle the incarnation, close what was open, and go on behind it."""
        store.begin()
        last_t = max((row.t for lane in subjects.LANES for row in store.open_rows(lane)), default=None)
        newest = [row for lane in subjects.LANES if (row := store.newest(lane))]
        ends = [float(row.t1) for row in newest] + ([last_t] if last_t is not None else [])  # damage shows here
        known, why_new = number_of(store.meta("inc")), why_new or store.meta("why_new") or ""
        store.set_meta("why_new", "")
        inc = self._settle_incarnation(store, known, why_new)
        for lane in subjects.LANES:
            self._lanes[lane] = self._lane_log(store, lane, known or inc)
            if inc > self._lanes[lane].inc:
                # Before what was open is closed: a damaged log may have forgotten that its next number is taken.
                self._lanes[lane].reincarnate(inc)
            self._close_left_open(store, lane)
        store.set_meta("boot", self.boot)
        store.commit()
        self.committed()
        self.opened_log = OpenedLog(inc, max(ends, default=None), why_new or ("" if known else "a new log"))
        self.on_opened(self.opened_log)

    def begin(self) -> None:
        """Remember where we are."""
        self._checkpoints = {lane: log.checkpoint() for lane, log in self._lanes.items()}

    def before_commit(self, store: Store) -> None:
        """Close events at each group commit, metrics when they are due."""
        if not self._lanes["evt"].is_empty:
            self._keep(store, self._lanes["evt"].close())
        if self._lanes["met"].is_due(self._clock.monotonic()):
            self._close_metrics(store)

    def committed(self) -> None:
        """The rows are the state; remember how far they reach."""
        self.durable = {lane: (log.inc, log.last_n) for lane, log in self._lanes.items()}

    def rolled_back(self) -> None:
        """Go back."""
        for lane, checkpoint in self._checkpoints.items():
            self._lanes[lane].restore(checkpoint)

    # Operations for the spool's transactions

    def add_event(self, store: Store, raw: bytes, t: float) -> None:
        """Add an encoded event to this group's chunk."""
        self._keep(store, self._lanes["evt"].add(raw, t, self._clock.monotonic()))

    def add_events(self, store: Store, raws: Sequence[bytes], times: Sequence[float]) -> None:
        """Add encoded events that come together to this group's chunk."""
        for closed in self._lanes["evt"].extend(raws, times, self._clock.monotonic()):
            self._keep(store, closed)

    def add_sample(self, store: Store, columns: tuple[str, ...], raw: bytes, t: float) -> None:
        """Add an encoded row of metrics to the open chunk."""
        lane = self._lanes["met"]
        closed = lane.add(raw, t, self._clock.monotonic(), columns)
        if closed is not None:
            store.clear_open("met")
            self._keep(store, closed)
        store.add_open(OpenRow("met", self.boot, columns_text(columns), t, raw))

    def close_all(self, store: Store) -> None:
        """Close the open chunk of metrics, whatever its age (a clean stop)."""
        self._close_metrics(store)

    def set_chunk_bytes(self, size: int) -> None:
        """Follow the slowest link's measured rate."""
        for lane in self._lanes.values():
            lane.bytes_max = size

    @property
    def metrics_due_at(self) -> float | None:
        """When the open chunk of metrics must be closed."""
        lane = self._lanes.get("met")
        return None if lane is None or lane.is_empty else lane.due_at()

    @property
    def inc(self) -> int:
        """The present incarnation."""
        return self._lanes["evt"].inc

    def reincarnate(self, store: Store, at_least: int = 0) -> int:
        """Begin a new incarnation in both lanes."""
        inc = max(self.inc + 1, int(self._clock.wall()), at_least)
        store.set_meta("inc", str(inc))
        for lane in self._lanes:
            self.close_open(store, lane).reincarnate(inc)
        return inc

    def lane(self, lane: str) -> LaneLog:
        """The open end of a lane."""
        return self._lanes[lane]

    def close_open(self, store: Store, lane: str) -> LaneLog:
        """Close what is open in a lane."""
        store.clear_open(lane)
        self._keep(store, self._lanes[lane].close())
        return self._lanes[lane]

    def follow(self, store: Store, closed: Closed) -> None:
        """Add a chunk that was made elsewhere at the end of its lane (one without bytes: the place of a loss)."""
        self._lanes[closed.lane].follow(closed)
        self._keep(store, closed)

    def sign(self, lane: str, digest: str) -> str:
        """The hub's signature of a chunk with this hash."""
        return sign_chunk_hash(self._key, subjects.ops(lane, self.hub), digest)

    def wall(self) -> float:
        """The time that is written beside what happens to the log."""
        return self._clock.wall()

    def next_item(self, store: Store, dest: str, lane: str, position: tuple[int, int], reason: str) -> Item | None:
        """What a destination gets behind a position: a chunk, a signed substitute, or nothing yet."""
        row = store.after(lane, *position)
        if row is None:
            return None
        n0 = position[1] + 1 if row.inc == position[0] else 1
        if n0 == row.n and store.gap_at(dest, lane, row.inc, n0) is None:
            payload = store.body(row.id)
            if payload is not None and payload_hash(payload) == row.hash:
                return Item(row.inc, row.n, row.n, payload, row.sig, "data", "", row.records)
            if payload is not None:
                self._quarantine(store, row, payload)
                reason = "damaged"
        return self._substitute(store, dest, row, n0, reason)

    # Inside

    def _settle_incarnation(self, store: Store, known: int | None, why_new: str) -> int:
        if known is not None and not why_new:
            return known
        inc = max((known or 0) + 1, int(self._clock.wall()))
        store.set_meta("inc", str(inc))
        return inc

    def _lane_log(self, store: Store, lane: str, inc: int) -> LaneLog:
        last = store.newest(lane)
        n = last.n if last and last.inc == inc else 0
        return LaneLog(
            self.hub, lane, self.boot, inc=inc, n=n, prev=last.hash if last else ZERO_HASH,
            sign=self.sign, policy=self._policy,
        )  # fmt: skip

    def _close_left_open(self, store: Store, lane: str) -> None:
        log = self._lanes[lane]
        for row in store.open_rows(lane):
            self._keep(store, log.add(row.raw, row.t, 0.0, columns_of(row.columns)))
        self._keep(store, log.close(store.meta("boot") or ""))
        store.clear_open(lane)

    def _close_metrics(self, store: Store) -> None:
        self._keep(store, self._lanes["met"].close())
        store.clear_open("met")

    def _keep(self, store: Store, closed: Closed | None) -> None:
        """Add the chunk; one without bytes is the place of a loss."""
        if closed is not None:
            one = closed
            store.add_chunk(
                one.lane, one.inc, one.n, one.prev, one.hash, one.sig, one.count, one.t0, one.t1, one.payload
            )  # fmt: skip

    def _quarantine(self, store: Store, row: Row, payload: bytes) -> None:
        """The bytes have not the hash they were closed with: they are nobody's any more."""
        declare_damage(store, row, self._clock.wall())
        store.drop_body(row.id)

    def _substitute(self, store: Store, dest: str, row: Row, n0: int, reason: str) -> Item:
        n1, gap = self._gap_end(store, dest, row, n0)
        if gap is not None and gap.reason.startswith(SPARED):
            n1 = min(n1, n0 + SPARED_MAX - 1)
        count, t0, t1 = store.totals(row.lane, row.inc, n0, n1)
        last, before = store.row(row.lane, row.inc, n1), store.until(row.lane, row.inc, n0 - 1)
        kind, why = (gap.kind, gap.reason) if gap is not None else (LOST_RANGE, reason or OLDER)
        count = 0 if why.startswith(SPARED) else max(count, gap.records if gap else 0)
        closed = substitute(
            self.hub, self.boot,
            Gap(row.lane, row.inc, n0, n1, kind, why, before.hash if before else ZERO_HASH,
                last.hash if last else "", count, t0, t1),
            self.sign,
        )  # fmt: skip
        return Item(row.inc, n0, n1, closed.payload, closed.sig, kind, why, count)

    def _gap_end(self, store: Store, dest: str, row: Row, n0: int) -> tuple[int, GapRow | None]:
        """How far the gap that begins at n0 reaches, and the stated cause where there is one."""
        cause = store.gap_at(dest, row.lane, row.inc, n0)
        end = cause.n_to if cause else n0 - 1
        last = store.newest_of(row.lane, row.inc)
        assert last is not None, "the row is one of this incarnation"
        while end < last.n:
            gap = store.gap_at(dest, row.lane, row.inc, end + 1)
            if gap is not None and cause is None:
                break  # another cause: a substitute of its own
            if gap is not None and cause is not None and (gap.kind, gap.reason) == (cause.kind, cause.reason):
                end = gap.n_to
                continue
            kept = store.next_kept(row.lane, row.inc, end + 1)
            limit = last.n if kept is None else kept.n - 1
            stated = store.next_gap(dest, row.lane, row.inc, end)
            limit = limit if stated is None else min(limit, stated - 1)
            if gap is not None or cause is not None or limit <= end:
                break
            end = limit
        return min(max(end, n0), last.n), cause


def number_of(text: str | None) -> int | None:
    """A fact that counts; None where it was never kept, or is damaged."""
    return int(text) if text is not None and text.isdecimal() else None


def encode_row(t: float, mono: float, row: list[float | int | None]) -> bytes:
    """One sample as it stands in a chunk."""
    return msgspec.json.encode([t, mono, *row])
