"""The spool's SQLite file: what is asked of it, in plain SQL; one connection, used by one thread."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SCHEMA = 1
PAGE_CACHE_KIB = 1024
HASH_ROWS_MAX = 100_000  # index rows kept after their bytes are gone, for each lane: about a week of chunks
GAP_ROWS_MAX = 10_000  # older ranges are declared as older than retention
EVERYWHERE = "*"  # a gap for all destinations

_TABLES = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS open_row(id INTEGER PRIMARY KEY, lane TEXT NOT NULL, boot TEXT NOT NULL,
  columns TEXT NOT NULL, t REAL NOT NULL, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS chunk(id INTEGER PRIMARY KEY, lane TEXT NOT NULL, inc INTEGER NOT NULL, n INTEGER NOT NULL,
  prev TEXT NOT NULL, hash TEXT NOT NULL, sig TEXT NOT NULL, size INTEGER NOT NULL, count INTEGER NOT NULL,
  t0 REAL NOT NULL, t1 REAL NOT NULL, cum_bytes INTEGER NOT NULL, cum_count INTEGER NOT NULL,
  cum_chunks INTEGER NOT NULL, UNIQUE(lane, inc, n));
CREATE TABLE IF NOT EXISTS body(id INTEGER PRIMARY KEY, lane TEXT NOT NULL, payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS body_lane ON body(lane);
CREATE TABLE IF NOT EXISTS gap(id INTEGER PRIMARY KEY, dest TEXT NOT NULL, lane TEXT NOT NULL, inc INTEGER NOT NULL,
  n INTEGER NOT NULL, n_to INTEGER NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL,
  count INTEGER NOT NULL, t0 REAL NOT NULL, t1 REAL NOT NULL);
CREATE TABLE IF NOT EXISTS cursor(dest TEXT NOT NULL, lane TEXT NOT NULL, inc INTEGER NOT NULL, n INTEGER NOT NULL,
  seq INTEGER NOT NULL, lineage TEXT NOT NULL, released_inc INTEGER NOT NULL, released_n INTEGER NOT NULL,
  PRIMARY KEY(dest, lane)) WITHOUT ROWID;
"""
_ROW = "id, lane, inc, n, prev, hash, sig, size, count, t0, t1, cum_bytes, cum_count, cum_chunks"
_SELECT = "SELECT " + _ROW + " FROM chunk WHERE "  # noqa: S608  # constant text; values are always bound


class Row(NamedTuple):
    """The index row of one chunk; `cum_*` count everything in the lane up to and with it."""

    id: int
    lane: str
    inc: int
    n: int
    prev: str
    hash: str
    sig: str
    size: int
    records: int
    t0: float
    t1: float
    cum_bytes: int
    cum_count: int
    cum_chunks: int


class OpenRow(NamedTuple):
    """One record of the open chunk."""

    lane: str
    boot: str
    columns: str
    t: float
    raw: bytes


class GapRow(NamedTuple):
    """Chunks that a destination (or `*`) will not get."""

    dest: str
    lane: str
    inc: int
    n: int
    n_to: int
    kind: str
    reason: str
    at: float
    records: int
    t0: float
    t1: float


class CursorRow(NamedTuple):
    """What a destination has acknowledged and released."""

    dest: str
    lane: str
    inc: int
    n: int
    seq: int
    lineage: str
    released_inc: int = 0
    released_n: int = 0


@dataclass(frozen=True, slots=True)
class Owed:
    """What lies behind a position, as a difference of two rows."""

    chunks: int = 0
    bytes: int = 0
    oldest_t: float | None = None


def readable_text(raw: bytes) -> str:
    """Text of a column; damaged bytes must not become an exception where a hash will find them anyway."""
    return raw.decode("utf-8", "replace")


def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
    # check_same_thread is off because the file is opened where it is checked, and used on the writer thread after.
    return sqlite3.connect(name, uri=uri, isolation_level=None, check_same_thread=False, cached_statements=64)


def _read_only(path: Path) -> sqlite3.Connection:
    """Where not even the WAL's index can be written, the file is taken as it is."""
    uri = path.absolute().as_uri()
    database = _connect(f"{uri}?mode=ro", uri=True)
    try:
        database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        database.close()
        return _connect(f"{uri}?mode=ro&immutable=1", uri=True)
    except sqlite3.Error:
        pass  # what is wrong with it shows where it is used
    return database


class Store:
    """One open spool file."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.db = _read_only(path) if read_only else _connect(str(path))
        try:
            self._prepare(read_only=read_only)
        except sqlite3.Error:
            self.db.close()
            raise

    def _prepare(self, *, read_only: bool) -> None:
        self.db.text_factory = readable_text
        if not read_only:
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=FULL")
            # Where SQLite is built to overwrite what is deleted, shedding would need as much disk as it frees.
            self.db.execute("PRAGMA secure_delete=FAST")
        self.db.execute(f"PRAGMA cache_size=-{PAGE_CACHE_KIB}")
        self.db.execute("PRAGMA mmap_size=0")
        self.db.execute("PRAGMA journal_size_limit=8388608")
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise sqlite3.NotSupportedError(f"schema {version} is newer than this agent's {SCHEMA}")
        if version < SCHEMA and read_only:
            raise sqlite3.DatabaseError("it is no spool: its tables are missing")
        if version < SCHEMA:
            self.db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def begin(self) -> None:
        """Start a transaction."""
        self.db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make it durable; returns after the fsync."""
        self.db.execute("COMMIT")

    def rollback(self) -> None:
        """Undo it."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")

    # Figures and facts

    def meta(self, key: str) -> str | None:
        """One kept fact."""
        found = self.db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return found[0] if found else None

    def set_meta(self, key: str, value: str) -> None:
        """Keep one fact."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", (key, value))

    def used_bytes(self) -> int:
        """Bytes of the file in use."""
        pages = (
            self.db.execute("PRAGMA page_count").fetchone()[0] - self.db.execute("PRAGMA freelist_count").fetchone()[0]
        )
        return int(pages * self.db.execute("PRAGMA page_size").fetchone()[0])

    def file_bytes(self) -> int:
        """Bytes of the file, with its free pages."""
        return int(
            self.db.execute("PRAGMA page_count").fetchone()[0] * self.db.execute("PRAGMA page_size").fetchone()[0]
        )

    def free_bytes(self) -> int:
        """Bytes of the file that are free."""
        return self.file_bytes() - self.used_bytes()

    # Open records

    def add_open(self, row: OpenRow) -> None:
        """Add a record of the open chunk."""
        self.db.execute("INSERT INTO open_row(lane, boot, columns, t, raw) VALUES(?,?,?,?,?)", row)

    def open_rows(self, lane: str) -> list[OpenRow]:
        """The open chunk's records in order."""
        rows = self.db.execute("SELECT lane, boot, columns, t, raw FROM open_row WHERE lane=? ORDER BY id", (lane,))
        return [OpenRow(*row) for row in rows]

    def clear_open(self, lane: str) -> None:
        """The open chunk was closed."""
        self.db.execute("DELETE FROM open_row WHERE lane=?", (lane,))

    # Chunks

    def add_chunk(
        self, lane: str, inc: int, n: int, prev: str, digest: str, sig: str, count: int, t0: float, t1: float,
        payload: bytes,
    ) -> None:  # fmt: skip
        """Add a closed chunk (without bytes: the place of a loss); cumulative figures follow from the row before it."""
        last = self.newest(lane)
        bytes_before, count_before, chunks_before = last[-3:] if last else (0, 0, 0)
        size = len(payload)
        added = self.db.execute(
            "INSERT INTO chunk(lane,inc,n,prev,hash,sig,size,count,t0,t1,cum_bytes,cum_count,cum_chunks)"
            " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (lane, inc, n, prev, digest, sig, size, count, t0, t1, bytes_before + size, count_before + count, chunks_before + 1),
        )  # fmt: skip
        if payload:
            self.db.execute("INSERT INTO body VALUES(?,?,?)", (added.lastrowid, lane, payload))

    def newest(self, lane: str) -> Row | None:
        """The last chunk of a lane."""
        return self._one("lane=? ORDER BY inc DESC, n DESC LIMIT 1", lane)

    def newest_of(self, lane: str, inc: int) -> Row | None:
        """The last chunk of one incarnation."""
        return self._one("lane=? AND inc=? ORDER BY n DESC LIMIT 1", lane, inc)

    def row(self, lane: str, inc: int, n: int) -> Row | None:
        """One chunk's index row."""
        return self._one("lane=? AND inc=? AND n=?", lane, inc, n)

    def after(self, lane: str, inc: int, n: int) -> Row | None:
        """The first row behind a position."""
        return self._one("lane=? AND (inc, n) > (?, ?) ORDER BY inc, n LIMIT 1", lane, inc, n)

    def until(self, lane: str, inc: int, n: int) -> Row | None:
        """The last row at or before a position."""
        return self._one("lane=? AND (inc, n) <= (?, ?) ORDER BY inc DESC, n DESC LIMIT 1", lane, inc, n)

    def behind_bytes(self, lane: str, cum_bytes: int) -> Row | None:
        """The first row of a lane whose cumulative bytes reach a figure."""
        return self._one("lane=? AND cum_bytes>=? ORDER BY inc, n LIMIT 1", lane, cum_bytes)

    def rows(self, lane: str, inc: int, n0: int, n1: int) -> Iterator[Row]:
        """Index rows n0…n1 of an incarnation."""
        found = self.db.execute(_SELECT + "lane=? AND inc=? AND n BETWEEN ? AND ? ORDER BY n", (lane, inc, n0, n1))
        return (Row(*row) for row in found)

    def body(self, row_id: int) -> bytes | None:
        """A chunk's bytes, where they are still kept."""
        found = self.db.execute("SELECT payload FROM body WHERE id=?", (row_id,)).fetchone()
        return found[0] if found else None

    def drop_body(self, row_id: int) -> None:
        """Forget a chunk's bytes; its index row stays."""
        self.db.execute("DELETE FROM body WHERE id=?", (row_id,))

    def drop_chunk(self, row_id: int) -> None:
        """Forget a chunk altogether: it was never sent under this number."""
        self.drop_body(row_id)
        self.db.execute("DELETE FROM chunk WHERE id=?", (row_id,))

    def oldest_kept(self, lane: str) -> Row | None:
        """The first chunk whose bytes are still there."""
        return self._kept_from(lane, 0)

    def next_kept(self, lane: str, inc: int, n: int) -> Row | None:
        """The first chunk at or behind n of an incarnation whose bytes are still there."""
        first = self.after(lane, inc, n - 1)
        found = self._kept_from(lane, first.id) if first else None
        return found if found and found.inc == inc else None

    def _kept_from(self, lane: str, row_id: int) -> Row | None:
        # Ids of a lane rise in the order of the log, so this needs no join over rows whose bytes are gone.
        found = self.db.execute("SELECT min(id) FROM body WHERE lane=? AND id>=?", (lane, row_id)).fetchone()[0]
        return self._one("id=?", found) if found is not None else None

    def totals(self, lane: str, inc: int, n0: int, n1: int) -> tuple[int, float, float]:
        """Records and times of a range, as far as rows are left."""
        count, t0, t1 = self.db.execute(
            "SELECT sum(count), min(t0), max(t1) FROM chunk WHERE lane=? AND inc=? AND n BETWEEN ? AND ?",
            (lane, inc, n0, n1),
        ).fetchone()
        return count or 0, t0 or 0.0, t1 or 0.0

    def owed(self, lane: str, inc: int, n: int) -> Owed:
        """Depth, bytes and age behind a position: a difference of two rows, never a counter."""
        last, first = self.newest(lane), self.after(lane, inc, n)
        if last is None or first is None:
            return Owed()
        return Owed(
            last.cum_chunks - first.cum_chunks + 1, last.cum_bytes - first.cum_bytes + first.size, first.t0
        )  # fmt: skip

    def release(self, lane: str, inc: int, n: int, rows_max: int = 500) -> int:
        """Forget the bytes of chunks up to a position; at most so many at once, oldest first."""
        last = self.until(lane, inc, n)
        if last is None:
            return 0
        gone = self.db.execute(
            "DELETE FROM body WHERE id IN (SELECT id FROM body WHERE lane=? AND id<=? ORDER BY id LIMIT ?)",
            (lane, last.id, rows_max),
        )
        return gone.rowcount

    def trim_index(self, lane: str) -> None:
        """Bound the index rows that outlive their bytes, and the gaps that lie before all of them."""
        last, kept = self.newest(lane), self.oldest_kept(lane)
        if last is None:
            return
        floor = (
            last.cum_chunks - HASH_ROWS_MAX if kept is None else min(kept.cum_chunks, last.cum_chunks - HASH_ROWS_MAX)
        )
        self.db.execute(
            "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE lane=? AND cum_chunks<? ORDER BY inc, n LIMIT 500)",
            (lane, floor),
        )  # fmt: skip

    # Gaps and cursors

    def add_gap(self, gap: GapRow) -> None:
        """Keep that a destination will not get a range; it grows the gap just before it, so shedding stays one row."""
        grown = self.db.execute(
            "UPDATE gap SET n_to=?, at=?, count=count+?, t1=max(t1,?) WHERE dest=? AND lane=? AND inc=? AND n_to=? AND kind=?"
            " AND reason=?",
            (gap.n_to, gap.at, gap.records, gap.t1, gap.dest, gap.lane, gap.inc, gap.n - 1, gap.kind, gap.reason),
        )  # fmt: skip
        if grown.rowcount == 0:
            self.db.execute(
                "INSERT INTO gap(dest,lane,inc,n,n_to,kind,reason,at,count,t0,t1) VALUES(?,?,?,?,?,?,?,?,?,?,?)", gap
            )
            self.db.execute("DELETE FROM gap WHERE id<=(SELECT max(id) FROM gap)-?", (GAP_ROWS_MAX,))

    def gap_at(self, dest: str, lane: str, inc: int, n: int) -> GapRow | None:
        """The widest gap that covers a chunk for a destination."""
        found = self.db.execute(
            "SELECT dest,lane,inc,n,n_to,kind,reason,at,count,t0,t1 FROM gap WHERE dest IN (?,?) AND lane=? AND inc=?"
            " AND n<=? AND n_to>=? ORDER BY n_to DESC LIMIT 1",
            (dest, EVERYWHERE, lane, inc, n, n),
        ).fetchone()
        return GapRow(*found) if found else None

    def next_gap(self, dest: str, lane: str, inc: int, n: int) -> int | None:
        """Where the first gap behind a number begins."""
        found = self.db.execute(
            "SELECT min(n) FROM gap WHERE dest IN (?,?) AND lane=? AND inc=? AND n>?", (dest, EVERYWHERE, lane, inc, n)
        ).fetchone()
        return found[0] if found else None

    def gaps(self, dest: str, lane: str, rows_max: int = 20) -> list[GapRow]:
        """The latest gaps of a destination, newest first."""
        found = self.db.execute(
            "SELECT dest,lane,inc,n,n_to,kind,reason,at,count,t0,t1 FROM gap WHERE dest IN (?,?) AND lane=?"
            " ORDER BY id DESC LIMIT ?",
            (dest, EVERYWHERE, lane, rows_max),
        )
        return [GapRow(*row) for row in found]

    def leave_out(self, dest: str, lane: str, inc: int, n: int, why: str) -> None:
        """Take one number out of a destination's gap whose reason begins so."""
        found = self.db.execute(
            "SELECT id,dest,lane,inc,n,n_to,kind,reason,at,count,t0,t1 FROM gap WHERE dest=? AND lane=? AND inc=?"
            " AND n<=? AND n_to>=? AND substr(reason,1,?)=?",
            (dest, lane, inc, n, n, len(why), why),
        )
        for gap_id, gap in [(row[0], GapRow(*row[1:])) for row in found.fetchall()]:
            self.db.execute("DELETE FROM gap WHERE id=?", (gap_id,))
            if gap.n < n:
                self.add_gap(gap._replace(n_to=n - 1))
            if gap.n_to > n:
                self.add_gap(gap._replace(n=n + 1))

    def cursors(self) -> list[CursorRow]:
        """Every destination's cursors."""
        return [CursorRow(*row) for row in self.db.execute("SELECT * FROM cursor")]

    def set_cursor(self, cursor: CursorRow) -> None:
        """Keep a cursor."""
        self.db.execute("INSERT OR REPLACE INTO cursor VALUES(?,?,?,?,?,?,?,?)", cursor)

    def drop_destination(self, dest: str) -> None:
        """Forget a destination: it is not required any more."""
        self.db.execute("DELETE FROM cursor WHERE dest=?", (dest,))
        self.db.execute("DELETE FROM gap WHERE dest=?", (dest,))

    def by_id(self, row_id: int) -> Row | None:
        """One index row by its id."""
        return self._one("id=?", row_id)

    def _one(self, where: str, *values: object) -> Row | None:
        found = self.db.execute(_SELECT + where, values).fetchone()
        return Row(*found) if found else None
