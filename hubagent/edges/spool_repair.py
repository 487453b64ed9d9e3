"""A damaged spool file: kept aside, never deleted, and every chunk in it that still proves itself is saved."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from hubagent.edges.spool_store import _SELECT, EVERYWHERE, CursorRow, GapRow, OpenRow, Row, Store, readable_text
from hubagent.wire.chunk import LOST_RANGE
from hubagent.wire.signing import payload_hash
from hubagent.wire.subjects import LANES

# Damage shows as an error of SQLite, as a value of another type than the column's, or as a length beyond all memory.
UNREADABLE = (sqlite3.Error, ValueError, TypeError, OverflowError, MemoryError)

HIDDEN_MAX = 10_000  # a bad page hides a few hundred rows; a number that damage made up must not be counted up to
KEPT_ASIDE_MAX = 2  # damaged files count against the disk, too


@dataclass
class Saved:
    """What came of it: chunks saved, and (lane, inc, n) of those that were damaged."""

    chunks: int = 0
    damaged: list[tuple[str, int, int]] = field(default_factory=list)


def keep_aside(path: Path, folder: Path, stamp: int) -> Path:
    """Move the file and its WAL away, under a name that says when; the oldest of several goes."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("spool-*.db"), key=lambda one: one.stat().st_mtime)[: 1 - KEPT_ASIDE_MAX or None]:
        for suffix in ("", "-wal", "-shm"):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    target = folder / f"spool-{stamp}.db"
    number = 0
    while target.exists():
        number += 1
        target = folder / f"spool-{stamp}-{number}.db"
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
    return target


def salvage(old: Path, new: Store) -> Saved:
    """Copy every readable row and every body with the right hash; each row by itself, so that one bad page costs one."""
    saved = Saved()
    try:
        source = sqlite3.connect(old)
    except sqlite3.Error:
        return saved
    source.text_factory = readable_text
    new.begin()
    try:
        _copy_meta(source, new)
        for row_id in _ids(source):
            _copy_chunk(source, new, row_id, saved)
        _copy_rest(source, new)
    finally:
        source.close()
    new.commit()
    return saved


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is wrong, not what is around it."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def faults(store: Store) -> list[str]:
    """What is wrong with a file that opens: its pages, its rows, and bytes without their hash."""
    try:
        pages = [row[0] for row in store.db.execute("PRAGMA quick_check(20)") if row[0] != "ok"]
        return pages + [
            f"{lane} {inc}/{n}: its bytes have not the hash they were closed with" for lane, inc, n in check(store)
        ]
    except UNREADABLE as error:
        return [str(error)]


def check(store: Store) -> list[tuple[str, int, int]]:
    """Every kept chunk whose bytes no longer have their hash: (lane, inc, n)."""
    bad = []
    for (row_id,) in store.db.execute("SELECT id FROM body ORDER BY id").fetchall():
        row = store.by_id(row_id)
        if row is not None and payload_hash(store.body(row_id) or b"") != row.hash:
            bad.append((row.lane, row.inc, row.n))
    return bad


def _ids(source: sqlite3.Connection) -> Iterator[int]:
    """Ids of index rows, each once; where a bad page hides the next one, some that may be behind it are tried.

    A damaged page may name its ids in any order, so that the next one is one of before: those behind are tried as well.
    """
    row_id, missed, seen = 0, 0, set[int]()
    while missed <= HIDDEN_MAX:
        try:
            found = source.execute("SELECT min(id) FROM chunk WHERE id>?", (row_id,)).fetchone()[0]
            if not isinstance(found, int):
                return
        except UNREADABLE:
            found = row_id
        is_new = found != row_id and found not in seen
        row_id, missed = (found, 0) if is_new else (row_id + 1, missed + 1)
        if row_id not in seen:
            seen.add(row_id)
            yield row_id


def _copy_chunk(source: sqlite3.Connection, new: Store, row_id: int, saved: Saved) -> None:
    # A row that cannot be read shows as a hole between its neighbours, which the sender declares.
    with suppress(*UNREADABLE):
        found = source.execute(_SELECT + "id=?", (row_id,)).fetchone()
        if found is not None:
            _keep_chunk(source, new, Row(*found), saved)


def _keep_chunk(source: sqlite3.Connection, new: Store, row: Row, saved: Saved) -> None:
    numbers = all(isinstance(value, int) for value in (row.inc, row.n, row.records))
    if row.lane not in LANES or not numbers or not all(isinstance(value, float) for value in (row.t0, row.t1)):
        return
    payload = _body(source, row.id)
    new.add_chunk(row.lane, row.inc, row.n, row.prev, row.hash, row.sig, row.records, row.t0, row.t1, payload or b"")
    copied = new.newest(row.lane)
    assert copied is not None, "it was just added"
    if payload is None:
        return  # its bytes were released
    if payload_hash(payload) != row.hash:
        new.drop_body(copied.id)
        declare_damage(new, copied, 0.0)
        saved.damaged.append((row.lane, row.inc, row.n))
    else:
        saved.chunks += 1


def declare_damage(store: Store, row: Row, at: float) -> None:
    """Keep that nobody will get this chunk."""
    gap = GapRow(EVERYWHERE, row.lane, row.inc, row.n, row.n, LOST_RANGE, "damaged", at, row.records, row.t0, row.t1)
    store.add_gap(gap)


def _body(source: sqlite3.Connection, row_id: int) -> bytes | None:
    try:
        found = source.execute("SELECT payload FROM body WHERE id=?", (row_id,)).fetchone()
    except UNREADABLE:
        return b""  # a page of it is gone: the wrong hash declares it
    return (found[0] if isinstance(found[0], bytes) else b"") if found else None


def _copy_meta(source: sqlite3.Connection, new: Store) -> None:
    for key, value in _readable(source, "SELECT key, value FROM meta"):
        with suppress(*UNREADABLE):  # a fact without its key; what a fact says is judged by whoever reads it
            new.set_meta(key, value)


def _copy_rest(source: sqlite3.Connection, new: Store) -> None:
    gaps = "SELECT dest,lane,inc,n,n_to,kind,reason,at,count,t0,t1 FROM gap ORDER BY id"
    for row in _readable(source, "SELECT lane, boot, columns, t, raw FROM open_row ORDER BY id"):
        with suppress(*UNREADABLE):
            msgspec.json.decode(row[4])
            new.add_open(OpenRow(*row))
    for row in _readable(source, "SELECT * FROM cursor"):
        with suppress(*UNREADABLE):
            new.set_cursor(CursorRow(*row))
    for row in _readable(source, gaps):
        with suppress(*UNREADABLE):
            new.add_gap(GapRow(*row))


def _readable(source: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows until the first bad page; what the cursors lose by it comes back by RESYNC."""
    try:
        yield from source.execute(query)
    except UNREADABLE:
        return
