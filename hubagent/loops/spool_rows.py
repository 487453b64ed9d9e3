"""What the house does with the spool's rows: release, shed, refill; each one an operation of one transaction."""

from dataclasses import dataclass

from hubagent.core.retention import Position
from hubagent.edges.spool_store import GapRow, Owed, Row, Store
from hubagent.wire.chunk import TOMBSTONE
from hubagent.wire.commands import FetchedChunk, FetchReply, FetchRequest

FETCH_BYTES_MAX = 600 << 10  # base64 and the envelope must fit one message of 1 MiB


@dataclass(frozen=True, slots=True)
class Release:
    """Forget the bytes of so many of the oldest chunks that every destination has."""

    lane: str
    size: int
    limit: Position

    def __call__(self, store: Store) -> int:
        """Do it; gives how many went."""
        target = _oldest_until(store, self.lane, self.size)
        if target is None:
            return 0
        inc, n = min((target.inc, target.n), self.limit)
        return store.release(self.lane, inc, n)


@dataclass(frozen=True, slots=True)
class ReleaseUntil:
    """Forget the bytes up to a position, a bounded number at a time."""

    lane: str
    limit: Position

    def __call__(self, store: Store) -> int:
        """Do it; gives how many went, 0 when nothing is left to do."""
        gone = store.release(self.lane, *self.limit)
        store.trim_index(self.lane)
        return gone


@dataclass(frozen=True, slots=True)
class Shed:
    """Drop the oldest chunks for every destination that lacks them, and keep that they were dropped."""

    lane: str
    size: int
    positions: dict[str, Position]
    at: float

    def __call__(self, store: Store) -> set[str]:
        """Do it; gives the destinations that lose by it."""
        target = _oldest_until(store, self.lane, self.size)
        if target is None:
            return set()
        losers = {dest for dest, position in self.positions.items() if position < (target.inc, target.n)}
        for dest in losers:
            self._declare(store, dest, target)
        store.release(self.lane, target.inc, target.n, rows_max=100_000)
        return losers

    def _declare(self, store: Store, dest: str, target: Row) -> None:
        inc, n = self.positions[dest]
        while (row := store.after(self.lane, inc, n)) is not None and (row.inc, row.n) <= (target.inc, target.n):
            last = target.n if row.inc == target.inc else (store.newest_of(self.lane, row.inc) or row).n
            covered = store.gap_at(dest, self.lane, row.inc, row.n)
            if covered is None:
                stated = store.next_gap(dest, self.lane, row.inc, row.n)
                end = last if stated is None else min(last, stated - 1)
                count, t0, t1 = store.totals(self.lane, row.inc, row.n, end)
                gap = GapRow(dest, self.lane, row.inc, row.n, end, TOMBSTONE, "over budget", self.at, count, t0, t1)
                store.add_gap(gap)
            inc, n = row.inc, covered.n_to if covered else end


def _oldest_until(store: Store, lane: str, size: int) -> Row | None:
    """The chunk with which so many bytes of the oldest kept ones are reached."""
    oldest = store.oldest_kept(lane)
    if oldest is None:
        return None
    return store.behind_bytes(lane, oldest.cum_bytes - oldest.size + size) or store.newest(lane)


def kept_bytes(store: Store, lane: str, newest: Row | None, until: Position | None) -> int:
    """Bytes of a lane's kept chunks, all or up to a position, as a difference of two rows."""
    oldest = store.oldest_kept(lane)
    last = newest if until is None else store.until(lane, *until)
    if oldest is None or last is None:
        return 0
    return max(last.cum_bytes - oldest.cum_bytes + oldest.size, 0)


def owed_by(store: Store, dest: str, lane: str, position: Position) -> Owed:
    """What a destination still gets: behind its cursor, and behind what was shed for it."""
    row = store.after(lane, *position)
    gap = store.gap_at(dest, lane, row.inc, row.n) if row else None
    if row is None or gap is None:
        return store.owed(lane, *position)
    rest = store.owed(lane, row.inc, gap.n_to)
    return Owed(rest.chunks + 1, rest.bytes, rest.oldest_t)


def fetch_chunks(store: Store, asked: FetchRequest) -> FetchReply:
    """The kept chunks of a range, byte for byte, as many as fit one message."""
    chunks: list[FetchedChunk] = []
    size = 0
    for row in store.rows(asked.lane, asked.inc, asked.n0, asked.n1):
        payload = store.body(row.id)
        if payload is None:
            continue
        size += len(payload)
        if chunks and size > FETCH_BYTES_MAX:
            break
        chunks.append(FetchedChunk(row.n, payload, row.sig))
    return FetchReply(chunks, "" if chunks else "nothing of that range is kept here")
