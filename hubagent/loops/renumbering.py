"""A log whose numbers a stream has under other bytes (it was restored): new numbers, and no record twice for anybody.

Which records a destination has already is judged by their very bytes, for each destination by itself: what one of them
has, another may never have got.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from hubagent.core.chunking import Closed, record_marks, renumbered
from hubagent.core.retention import Position
from hubagent.edges.spool_store import GapRow, Row, Store
from hubagent.loops.chunk_log import SPARED, ChunkLog, number_of, spared_place, spared_reason
from hubagent.wire.chunk import TOMBSTONE
from hubagent.wire.signing import payload_hash

MOVES_MAX = 100  # restored logs are rare; the oldest are forgotten
Held = Mapping[bytes, Position]  # marks of the records that a stream has from the parting on, and in which chunk


class Move(NamedTuple):
    """Chunks from (inc, n) on, up to the end of until_inc, are new_inc/n0…n1 by now."""

    id: int
    inc: int
    n: int
    until_inc: int
    new_inc: int
    n0: int
    n1: int

    @property
    def first(self) -> Position:
        """The lowest number that is no more."""
        return self.inc, self.n


@dataclass(slots=True)
class Settlement:
    """What came of it; `compared`: the latest renumbering that the stream was compared with."""

    inc: int
    renumbered: int = 0
    spared: int = 0
    has_begun: bool = False
    compared: int = 0


def last_of(store: Store, lane: str, inc: int) -> int | None:
    """The last number of an incarnation here; None where it is older than everything that is known.

    0 where it should be known and is not: only another life of this log can have used it.
    """
    row = store.newest_of(lane, inc)
    if row is not None:
        return row.n
    known, first = moves(store, lane), store.after(lane, 0, 0)
    ends = [move.n - 1 if move.inc == inc else 0 for move in known if move.inc <= inc <= move.until_inc]
    oldest = min([(number_of(store.meta("inc")) or 0) if first is None else first.inc, *(move.inc for move in known)])
    return min(ends, default=None if inc < oldest else 0)


def is_ours(store: Store, lane: str, position: Position, digest: str) -> bool:
    """Whether a stream's chunk is one of this log; index rows that are gone are believed."""
    row, last = store.row(lane, *position), last_of(store, lane, position[0])
    if row is not None:
        return digest in {row.hash, ""}
    return last is None or position[1] <= last


def needs_settling(store: Store, dest: str, lane: str, cursor: Position, inc: int) -> bool:
    """Whether a stream whose last chunk, of incarnation `inc`, looks like ours must be compared all the same.

    Chunks were renumbered since it was compared, or chunks behind the cursor are older than that incarnation: a log that
    was restored may have forgotten that it gave them new numbers.
    """
    row = store.after(lane, *cursor)
    return (row is not None and row.inc < inc) or bool(uncompared(store, dest, lane))


def ends_between(store: Store, lane: str, cursor: Position, inc: int) -> list[Position]:
    """The last chunk of each incarnation that has some behind the cursor and is older than `inc`."""
    found = list[Position]()
    while (row := store.after(lane, *cursor)) is not None and row.inc < inc:
        last = store.newest_of(lane, row.inc) or row
        cursor = last.inc, last.n
        found.append(cursor)
    return found


def uncompared(store: Store, dest: str, lane: str) -> list[Move]:
    """The renumberings after which a destination's stream was not compared yet."""
    compared = number_of(store.meta(f"compared {lane} {dest}")) or 0
    return [move for move in moves(store, lane) if move.id > compared]


def moves(store: Store, lane: str) -> list[Move]:
    """Every renumbering of a lane that is remembered; a damaged memory is none."""
    with suppress(ValueError):
        return msgspec.json.decode(store.meta(f"moves {lane}") or "[]", type=list[Move])
    return []


def settle(
    log: ChunkLog, store: Store, dest: str, lane: str, after: Position | None, until_inc: int, held: Held
) -> Settlement:
    """Give what lies behind `after`, up to `until_inc`, new numbers, and spare the destination the records it holds."""
    work = _Settling(log, store, dest, lane, held, after)
    if after is not None:
        work.renumber(after, until_inc)
    while (mixed := work.first_mixed()) is not None:
        # Some of its records are held, some not, and its bytes are fixed: it is cut under numbers of its own.
        work.renumber((mixed.inc, mixed.n - 1), mixed.inc)
    work.spare_held()
    work.done.inc = log.inc
    return work.done


def confirm(store: Store, dest: str, lane: str, compared: int) -> None:
    """The stream took a chunk behind what was compared: it had nothing more, and need not be compared again."""
    store.set_meta(f"compared {lane} {dest}", str(compared))


def unspare(store: Store, dest: str, lane: str, inc: int, n: int) -> None:
    """The stream has lost what chunk n was spared for: it is sent after all."""
    store.leave_out(dest, lane, inc, n, SPARED)


class _Settling:
    """One settlement, inside one transaction."""

    def __init__(
        self, log: ChunkLog, store: Store, dest: str, lane: str, held: Held, after: Position | None
    ) -> None:  # fmt: skip
        self.done = Settlement(log.inc)
        self._log, self._store, self._dest, self._lane, self._held = log, store, dest, lane, held
        self._after = after
        self._cursors = [one for one in store.cursors() if one.lane == lane]

    def renumber(self, after: Position, until_inc: int) -> None:
        """New numbers at the end of the log; those of an older incarnation need no new one."""
        if until_inc >= self._log.inc:
            self._log.reincarnate(self._store, until_inc + 1)
            self.done.has_begun = True
        lane = self._log.close_open(self._store, self._lane)
        first, start = self._store.after(self._lane, *after), lane.last_n
        while (row := self._store.after(self._lane, *after)) is not None and row.inc <= until_inc:
            self._move(row)
            self.done.renumbered += 1
        if first is not None and lane.last_n > start:
            known = moves(self._store, self._lane)
            number = known[-1].id + 1 if known else 1
            move = Move(number, first.inc, first.n, until_inc, lane.inc, start + 1, lane.last_n)
            self._store.set_meta(f"moves {self._lane}", msgspec.json.encode([*known, move][-MOVES_MAX:]).decode())

    def first_mixed(self) -> Row | None:
        """The first renumbered chunk of which the destination holds a part."""
        for row, places in self._moved():
            if None in places and any(places):
                return row
        return None

    def spare_held(self) -> None:
        """The destination gets a substitute for each renumbered chunk whose records it holds."""
        for row, places in self._moved():
            held = [place for place in places if place is not None]
            if held and len(held) == len(places):
                unspare(self._store, self._dest, self._lane, row.inc, row.n)  # a hint that is worse
                self.done.spared += self._spare(self._dest, row, max(held))
        self.done.compared = max((move.id for move in moves(self._store, self._lane)), default=0)

    def _moved(self) -> Iterator[tuple[Row, list[Position | None]]]:
        news = {move.id for move in uncompared(self._store, self._dest, self._lane)}
        for move in moves(self._store, self._lane) if self._held else []:
            # Where the stream differs, what was compared before may have been compared with less.
            if move.id not in news and (self._after is None or move.until_inc < self._after[0]):
                continue
            for row in list(self._store.rows(self._lane, move.new_inc, move.n0, move.n1)):
                payload = self._store.body(row.id)
                if payload is not None and payload_hash(payload) == row.hash:
                    yield row, [self._held.get(mark) for mark in record_marks(payload)]

    def _move(self, row: Row) -> None:
        lane, payload = self._log.lane(self._lane), self._store.body(row.id)
        inc, n, prev = lane.place
        if payload is None or payload_hash(payload) != row.hash:
            # Its records are gone: an empty place under the new number makes a substitute of them.
            empty = Closed(self._lane, inc, n + 1, prev, row.hash, b"", "", row.records, row.t0, row.t1)
            self._log.follow(self._store, empty)
            self._spare_known(row, empty)
            self._carry_causes(row, empty)
        else:
            for closed in renumbered(payload, inc, n + 1, prev, self._log.sign, self._held.keys()):
                self._log.follow(self._store, closed)
                self._spare_known(row, closed)
        self._store.drop_chunk(row.id)

    def _carry_causes(self, old: Row, new: Closed) -> None:
        """What is gone here keeps the reason why."""
        for dest in {self._dest, *(one.dest for one in self._cursors)}:
            gap = self._store.gap_at(dest, self._lane, old.inc, old.n)
            if gap is not None and self._store.gap_at(dest, self._lane, new.inc, new.n) is None:
                moved = gap._replace(
                    dest=dest, inc=new.inc, n=new.n, n_to=new.n, records=new.count, t0=new.t0, t1=new.t1
                )
                self._store.add_gap(moved)

    def _spare_known(self, old: Row, new: Closed) -> None:
        """Who has the chunk under its old number, or was spared it there, gets a substitute under the new one.

        It is a hint: before the substitute is sent, the stream is looked at.
        """
        for cursor in self._cursors:
            gap = self._store.gap_at(cursor.dest, self._lane, old.inc, old.n)
            if gap is not None and gap.reason.startswith(SPARED):
                self._spare(cursor.dest, new, spared_place(gap.reason, old.n))
            elif (cursor.inc, cursor.n) >= (old.inc, old.n) and cursor.dest != self._dest:
                self._spare(cursor.dest, new, (old.inc, old.n))

    def _spare(self, dest: str, new: Closed | Row, place: Position) -> bool:
        if self._store.gap_at(dest, self._lane, new.inc, new.n) is not None:
            return False
        why = spared_reason(place, new.n)
        gap = GapRow(dest, self._lane, new.inc, new.n, new.n, TOMBSTONE, why, self._log.wall(), 0, new.t0, new.t1)
        self._store.add_gap(gap)
        return True
