"""The spool's writer thread: group commit, one fsync for everything that came together."""

import asyncio
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from hubagent.clock import Clock
from hubagent.edges.spool_repair import UNREADABLE, keep_aside, salvage
from hubagent.edges.spool_store import CursorRow, Store
from hubagent.errors import StoreFailed

T = TypeVar("T")
LAZY_SECONDS = 1.0  # samples and cursors wait at most so long for a commit
JOBS_MAX = 4096  # callers wait for their result, so more than this is a bug; refused
FSYNCS_MAX = 256
_DAMAGED = "damaged: "
_DAMAGE = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Participant(Protocol):
    """Who keeps state beside the rows, and must change only when the commit returned."""

    def opened(self, store: Store, why_new: str) -> None:
        """The file is open (first, or anew after a failure: then a new incarnation begins)."""
        ...

    def begin(self) -> None:
        """A transaction starts."""
        ...

    def before_commit(self, store: Store) -> None:
        """Everything of this group is in; add what belongs with it."""
        ...

    def committed(self) -> None:
        """It is durable (called on the writer thread)."""
        ...

    def rolled_back(self) -> None:
        """Nothing of it was kept."""
        ...


class _Job:
    __slots__ = ("future", "is_last", "loop", "op", "writes")

    def __init__(self, op: Callable[[Store], Any], writes: bool, is_last: bool = False) -> None:
        self.op, self.writes, self.is_last = op, writes, is_last
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()

    def done(self, result: Any, error: Exception | None) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)
            self.future.exception()  # a fire-and-forget caller is told by on_failed, not by a warning


class Spool:
    """The durable store of one hub; every method but `open` and `close` is for the agent's event loop."""

    def __init__(
        self, path: Path, participant: Participant, clock: Clock, *, quarantine: Path, ballast_bytes: int = 0,
        make: Callable[[Path], Store] = Store,
    ) -> None:  # fmt: skip
        self.path = path
        self.failed: StoreFailed | None = None
        self.is_full = False  # the reserve was given up
        self.has_no_room = False  # and that was not enough
        self._participant, self._clock, self._quarantine, self._make = participant, clock, quarantine, make
        self._ballast, self._ballast_bytes = path.with_suffix(".reserve"), ballast_bytes
        self._store: Store | None = None
        self._jobs: deque[_Job] = deque()
        self._cursors: dict[tuple[str, str], CursorRow] = {}
        self._wake = threading.Condition()
        self._due: float | None = None
        self._ending = False
        self._fsyncs: deque[float] = deque(maxlen=FSYNCS_MAX)
        self._listeners: list[tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = []
        self._is_damage = self._reopen_asked = False
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

    # For the composition root

    def open(self) -> None:
        """Open or make the file and start the thread; a damaged file is kept aside and what is good in it saved.

        A full or read-only disk is a failed store, which `reopen` may bring back; a file of a newer agent is refused.
        """
        try:
            self._open_store("")
        except StoreFailed as failure:
            if isinstance(failure.__cause__, sqlite3.NotSupportedError):
                raise
            self.failed = failure
        self._thread.start()

    def close(self) -> None:
        """Commit what waits, and end."""
        with self._wake:
            self._ending = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        if self._store is not None:
            self._store.close()

    # For the loops

    @property
    def fsync_p99_s(self) -> float | None:
        """The 99th percentile of the last commits."""
        ordered = sorted(self._fsyncs)
        return ordered[int(0.99 * (len(ordered) - 1))] if ordered else None

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call back on this event loop after each commit and each failure."""
        self._listeners.append((asyncio.get_running_loop(), callback))

    def write(self, op: Callable[[Store], T], *, lazy: bool = False, last: bool = False) -> "asyncio.Future[T]":
        """Do it in the next group commit (at once, or within a second); the future is done after the fsync.

        The op may run twice: after a full disk once more from the reserve. The future raises StoreFailed. `last`: it
        may use what is left of a full disk (it makes room, or must be on record).
        """
        return self._put(_Job(op, writes=True, is_last=last), LAZY_SECONDS if lazy else 0.0)

    def read(self, op: Callable[[Store], T]) -> "asyncio.Future[T]":
        """Do it between two commits."""
        return self._put(_Job(op, writes=False), 0.0)

    def set_cursor(self, cursor: CursorRow) -> None:
        """Keep a cursor with the next commit, within a second: RESYNC would find it again, so no fsync of its own."""
        with self._wake:
            self._cursors[cursor.dest, cursor.lane] = cursor
            self._schedule(LAZY_SECONDS)

    def reopen(self) -> "asyncio.Future[None]":
        """After a failure: check, save what is good into a new file where it was damage, and go on."""
        self._reopen_asked = True
        return self._put(_Job(lambda _store: None, writes=False), 0.0, anyway=True)

    def _put(self, job: _Job, delay_s: float, *, anyway: bool = False) -> "asyncio.Future[Any]":
        with self._wake:
            if self.failed is not None and not anyway:
                job.done(None, self.failed)
            elif len(self._jobs) >= JOBS_MAX or self._ending:
                job.done(
                    None, StoreFailed(str(self.path), "too many jobs wait" if not self._ending else "it was closed")
                )
            else:
                self._jobs.append(job)
                self._schedule(delay_s)
        return job.future

    def _schedule(self, delay_s: float) -> None:
        due = self._clock.monotonic() + delay_s
        if self._due is None or due < self._due:
            self._due = due
            self._wake.notify()

    # The writer thread

    def _run(self) -> None:
        try:
            while self._wait():
                if self._reopen_asked:
                    self._recover()
                self._work(*self._take())
        finally:
            with self._wake:
                self._ending = True
                for job in self._jobs:
                    job.done(None, StoreFailed(str(self.path), "its thread has ended"))

    def _wait(self) -> bool:
        """True when there is work that is due; False at the end, when nothing is left."""
        with self._wake:
            while not self._ending:
                left = None if self._due is None else self._due - self._clock.monotonic()
                if left is not None and left <= 0:
                    return True
                self._wake.wait(left)
            return bool(self._jobs or self._cursors) and self.failed is None

    def _take(self) -> tuple[list[_Job], list[_Job], list[CursorRow]]:
        with self._wake:
            jobs, cursors = list(self._jobs), list(self._cursors.values())
            self._jobs.clear()
            self._cursors.clear()
            self._due = None
        return [job for job in jobs if not job.writes], [job for job in jobs if job.writes], cursors

    def _work(self, reads: list[_Job], writes: list[_Job], cursors: list[CursorRow]) -> None:
        for job in reads:
            self._read(job)
        if self._store is None:
            for job in writes:
                job.done(None, self.failed)
        else:
            writes = self._affordable(writes)
            if writes or cursors:
                self._commit(writes, cursors)
            self._tell()

    def _affordable(self, writes: list[_Job]) -> list[_Job]:
        """On a full disk the second half of the reserve is for what makes room: without it nothing could be shed."""
        if not self.is_full or all(job.is_last for job in writes) or self._has_room():
            return writes
        self.has_no_room = True
        for job in writes:
            if not job.is_last:
                job.done(None, StoreFailed(str(self.path), "the disk is full"))
        return [job for job in writes if job.is_last]

    def _has_room(self) -> bool:
        """Either way a group commit finds its pages: on the disk, or free ones in the file."""
        assert self._store is not None, "a failed store takes no work"
        half, disk = self._ballast_bytes // 2, os.statvfs(self.path.parent)
        return disk.f_bavail * disk.f_frsize >= half or self._store.free_bytes() >= half

    def _read(self, job: _Job) -> None:
        if self._store is None:
            job.done(None, self.failed)
            return
        try:
            result = job.op(self._store)
        except UNREADABLE as error:
            job.done(None, self._fail(error))
        else:
            job.done(result, None)

    def _commit(self, writes: list[_Job], cursors: list[CursorRow]) -> None:
        results: list[Any] | None
        try:
            results = self._transaction(writes, cursors)
        except UNREADABLE as error:
            results = self._after_error(error, writes, cursors)
        except BaseException:  # a bug in an op: the thread ends, and nobody may wait for it
            for job in writes:
                job.done(None, StoreFailed(str(self.path), "its thread has ended"))
            raise
        if results is not None:
            for job, result in zip(writes, results, strict=True):
                job.done(result, None)

    def _transaction(self, writes: list[_Job], cursors: list[CursorRow]) -> list[Any]:
        assert self._store is not None, "a failed store takes no work"
        self._participant.begin()
        try:
            self._store.begin()
            for cursor in cursors:  # first: an op may go by them
                self._store.set_cursor(cursor)
            results = [job.op(self._store) for job in writes]
            self._participant.before_commit(self._store)
            before = self._clock.monotonic()
            self._store.commit()
        except BaseException:
            self._participant.rolled_back()
            raise
        self._fsyncs.append(self._clock.monotonic() - before)
        self._participant.committed()
        self.is_full = self.is_full and not self._ballast.exists()
        self.has_no_room = self.has_no_room and all(job.is_last for job in writes)
        return results

    def _after_error(self, error: Exception, writes: list[_Job], cursors: list[CursorRow]) -> list[Any] | None:
        """A full disk gets one more try from the reserve; everything else closes the store."""
        if _code(error) == sqlite3.SQLITE_FULL and self._store is not None:
            self._store.rollback()
            self.is_full = True
            try:
                if self._give_ballast():
                    return self._transaction(writes, cursors)
                failure = StoreFailed(str(self.path), "the disk is full")
            except UNREADABLE as again:
                if _code(again) == sqlite3.SQLITE_FULL:
                    self._store.rollback()
                    failure = StoreFailed(str(self.path), "the disk is full")
                else:
                    failure = self._fail(again)
        else:
            failure = self._fail(error)
        self.has_no_room = self.failed is None
        for job in writes:
            job.done(None, failure)
        return None

    def _fail(self, error: Exception) -> StoreFailed:
        """Close the store: an error of writing or syncing is final, whatever a second try would say."""
        failure = StoreFailed(str(self.path), str(error))
        self._is_damage = _code(error) in _DAMAGE
        with self._wake:
            self.failed = failure
        store, self._store = self._store, None
        if store is not None:
            with suppress(sqlite3.Error):  # it is closed for us either way
                store.close()
        self._tell()
        return failure

    def _recover(self) -> None:
        """Only when asked: a disk that fails again and again must not be copied again and again."""
        self._reopen_asked = False
        if self.failed is None:
            return
        try:
            self._open_store("store failed" if self._is_damage else "", damaged=self._is_damage)
        except StoreFailed as failure:
            with self._wake:
                self.failed = failure

    def _open_store(self, why_new: str, *, damaged: bool = False) -> None:
        try:
            store = self._begun(*(self._fresh(why_new) if damaged else self._checked(why_new)))
        except (*UNREADABLE, OSError) as error:
            raise StoreFailed(str(self.path), str(error)) from error
        with self._wake:
            self._store, self.failed = store, None
        self._take_ballast()

    def _begun(self, store: Store, why_new: str) -> Store:
        """Have the log go on in it; damage may show only where its rows are read."""
        try:
            self._participant.opened(store, why_new)
        except UNREADABLE as error:
            store.close()
            if _code(error) not in _DAMAGE or why_new.startswith(_DAMAGED):
                raise
            return self._begun(*self._fresh(f"{_DAMAGED}{error}"))
        return store

    def _checked(self, why_new: str) -> tuple[Store, str]:
        try:
            return self._make(self.path), why_new
        except sqlite3.NotSupportedError:
            raise
        except UNREADABLE as error:
            if _code(error) not in _DAMAGE:
                raise
            return self._fresh(f"{_DAMAGED}{error}")

    def _fresh(self, why_new: str) -> tuple[Store, str]:
        """A new file with what could be read of the old one, which is kept aside."""
        old = keep_aside(self.path, self._quarantine, int(self._clock.wall()))
        store = self._make(self.path)
        salvage(old, store)
        return store, why_new

    # The reserve: a file of its own that is given up when the disk is full

    def _take_ballast(self) -> None:
        if self._ballast_bytes and not self._ballast.exists():
            try:
                with self._ballast.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, self._ballast_bytes)
            except OSError:
                self._ballast.unlink(missing_ok=True)

    def _give_ballast(self) -> bool:
        had = self._ballast.exists()
        self._ballast.unlink(missing_ok=True)
        return had

    def retake_reserve(self) -> "asyncio.Future[None]":
        """Try to take the reserve again, when the disk may have space."""
        return self.read(lambda _store: self._retake())

    def _retake(self) -> None:
        self._take_ballast()
        self.is_full = self.is_full and not self._ballast.exists()

    def _tell(self) -> None:
        for loop, callback in self._listeners:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback)


def _code(error: Exception) -> int:
    """The primary result code; a value of another type than its column's is damage too."""
    if not isinstance(error, sqlite3.Error):
        return sqlite3.SQLITE_CORRUPT
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
