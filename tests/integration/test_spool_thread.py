"""The spool's writer thread: order, refusals, a full disk's last pages, and what a caller is told."""

import asyncio
import gc
import sqlite3
import threading
from types import SimpleNamespace

import pytest

from hubagent.core.chunking import ChunkPolicy
from hubagent.edges import spool as spool_module
from hubagent.edges.spool import LAZY_SECONDS, Spool
from hubagent.edges.spool_store import CursorRow, Store
from hubagent.errors import StoreFailed
from hubagent.loops.chunk_log import ChunkLog
from hubagent.wire.signing import seed_from, signer
from tests.support.disks import IO_WRITE, Trouble
from tests.support.waiting import until

FULL, BUSY = sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY


class SlowClock:
    """The real clock is not needed: time stands still, so that lazy work waits until something else is due."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Now."""
        return self.now

    def wall(self) -> float:
        """Now."""
        return 1_000_000.0

    def boottime(self) -> float:
        """Now."""
        return self.now


def made(folder, trouble=None, **options):
    """A spool, not open yet, over a clock that stands still."""
    clock = SlowClock()
    log = ChunkLog("alpha", "boot", signer(seed_from(b"k" * 32)), ChunkPolicy(), clock)
    make = trouble.store if trouble else Store
    return Spool(folder / "spool.db", log, clock, quarantine=folder / "quarantine", make=make, **options)


@pytest.fixture
def spool(tmp_path):
    """An open one."""
    one = made(tmp_path)
    one.open()
    yield one
    one.close()


def meta(key, value="1"):
    """A write that shows."""
    return lambda store: store.set_meta(key, value)


async def test_results_come_back_in_order_and_reads_see_what_was_committed(spool):
    """Each caller gets its own."""
    assert (spool.is_full, spool.has_no_room, spool.failed) == (False, False, None)
    futures = [spool.write(lambda store, n=n: n) for n in range(5)]
    assert await asyncio.gather(*futures) == [0, 1, 2, 3, 4]
    await spool.write(meta("a"))
    assert await spool.read(lambda store: store.meta("a")) == "1"


async def test_lazy_work_waits_for_the_next_commit(spool):
    """And goes with it."""
    lazy = spool.write(meta("lazy"), lazy=True)
    spool.set_cursor(CursorRow("central", "met", 7, 5, 50, "MET/a"))
    assert await spool.read(lambda store: store.meta("x")) is None  # a read commits nothing…
    await spool.write(meta("now"))
    await lazy
    assert await spool.read(lambda store: [row.n for row in store.cursors()]) == [5]


@pytest.mark.parametrize("what", ["cursor", "lazy write"])
async def test_lazy_work_is_committed_after_a_second_by_itself(spool, what):
    """Not at once, and not only when something else is due."""
    committed = asyncio.Event()
    spool.on_commit(committed.set)
    if what == "cursor":
        spool.set_cursor(CursorRow("central", "met", 7, 5, 50, "MET/a"))
    else:
        spool.write(meta("lazy"), lazy=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await committed.wait()
    spool._clock.now += LAZY_SECONDS
    async with asyncio.timeout(5):
        await committed.wait()


async def test_cursors_are_set_before_the_work_that_goes_by_them(spool):
    """In one transaction."""
    spool.set_cursor(CursorRow("central", "met", 7, 5, 50, "MET/a"))
    assert await spool.write(lambda store: [row.n for row in store.cursors()]) == [5]


async def test_failed_operation_of_a_group_fails_the_whole_group_and_keeps_nothing(tmp_path):
    """Nobody is told that something was kept which was not."""
    trouble = Trouble()
    spool = made(tmp_path, trouble)
    spool.open()
    trouble.once("commit", IO_WRITE)
    futures = [spool.write(meta("a")), spool.write(meta("b"))]
    for future in futures:
        with pytest.raises(StoreFailed, match="spool"):
            await future
    with pytest.raises(StoreFailed):
        await spool.read(lambda store: store.meta("a"))
    with pytest.raises(StoreFailed):
        await spool.write(meta("c"))
    await spool.reopen()
    assert spool.failed is None
    assert await spool.read(lambda store: (store.meta("a"), store.meta("b"))) == (None, None)
    assert spool.fsync_p99_s is None
    spool.close()


async def test_busy_file_is_no_damage(tmp_path):
    """It is opened again as it is: no new incarnation, nothing set aside."""
    trouble = Trouble()
    spool = made(tmp_path, trouble)
    spool.open()
    inc = await spool.read(lambda store: store.meta("inc"))
    trouble.once("begin", BUSY)
    with pytest.raises(StoreFailed):
        await spool.write(meta("a"))
    await spool.reopen()
    assert await spool.read(lambda store: store.meta("inc")) == inc
    assert not (tmp_path / "quarantine").exists()
    spool.close()


async def test_reopening_a_good_store_changes_nothing(spool):
    """Only a failed one is opened anew."""
    before = spool._store
    await spool.reopen()
    assert spool._store is before


async def test_unreadable_row_closes_the_store(tmp_path):
    """A value of another type than its column's is damage too."""
    spool = made(tmp_path)
    spool.open()
    heard = asyncio.Event()
    spool.on_commit(heard.set)
    with pytest.raises(StoreFailed, match="not a number"):
        await spool.read(not_a_number)
    assert spool.failed is not None
    async with asyncio.timeout(5):
        await heard.wait()
    await spool.reopen()
    assert len(list((tmp_path / "quarantine").glob("*.db"))) == 1
    spool.close()


class Held:
    """The writer thread, kept busy so that what is asked meanwhile is taken together."""

    def __init__(self, spool: Spool) -> None:
        self._go = threading.Event()
        self.job = spool.read(lambda store: self._go.wait(5))

    async def let_go(self, *futures: asyncio.Future) -> list:
        """Go on; what came of each."""
        self._go.set()
        async with asyncio.timeout(5):
            return await asyncio.gather(self.job, *futures, return_exceptions=True)


def not_a_number(store):
    raise ValueError("not a number")


async def test_what_waits_behind_a_failed_read_is_told(spool):
    """Reads and writes of the same take: nobody waits for a store that is closed."""
    held = Held(spool)
    waiting = [spool.read(not_a_number), spool.read(lambda store: 1), spool.write(meta("a"))]
    _, *told = await held.let_go(*waiting)
    assert [str(error) for error in told] == [str(spool.failed)] * 3


async def test_what_comes_while_a_bug_ends_the_thread_is_told(tmp_path, monkeypatch):
    """It was not in the group that failed, and nobody takes it any more."""
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    spool = made(tmp_path)
    spool.open()
    has_begun, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def bug(store):
        loop.call_soon_threadsafe(has_begun.set)
        go.wait(5)
        raise RuntimeError("bug")

    first = spool.write(bug)
    await has_begun.wait()
    second = spool.write(meta("a"))
    go.set()
    for future in (first, second):
        with pytest.raises(StoreFailed, match="ended"):
            async with asyncio.timeout(5):
                await future
    spool.close()


async def test_a_spool_at_rest_does_nothing(spool):
    """Its thread sleeps until something is due."""
    rounds = []
    spool.on_commit(lambda: rounds.append(1))
    await spool.write(meta("a"))
    await asyncio.sleep(0.1)
    assert len(rounds) <= 2


async def test_a_caller_that_does_not_look_is_no_warning(tmp_path):
    """The failure is told by on_failed."""
    trouble, warned = Trouble(), []
    spool = made(tmp_path, trouble)
    spool.open()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: warned.append(context))
    trouble.once("commit", IO_WRITE)
    spool.write(meta("a"))
    await until(lambda: spool.failed is not None)
    await asyncio.sleep(0)
    gc.collect()
    assert warned == []
    spool.close()


async def test_a_store_that_was_brought_back_once_is_not_brought_back_unasked(spool, monkeypatch):
    """A disk that fails again and again must not be copied again and again."""
    monkeypatch.setattr(spool_module, "LAZY_SECONDS", 0.0)
    await spool.reopen()
    with pytest.raises(StoreFailed):
        await spool.read(not_a_number)
    spool.set_cursor(CursorRow("central", "met", 7, 5, 50, "MET/a"))
    await until(lambda: spool._due is None)
    assert spool.failed is not None


async def test_a_store_that_cannot_be_opened_says_the_latest_reason(tmp_path):
    """And what is no damage of the file leaves it where it is."""
    codes = [sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY]

    def make(path):
        if codes:
            error = sqlite3.OperationalError(f"trouble {codes[0]}")
            error.sqlite_errorcode = codes.pop(0)
            raise error
        return Store(path)

    spool = made(tmp_path, SimpleNamespace(store=make))
    spool.open()
    assert "trouble 14" in str(spool.failed)
    with pytest.raises(StoreFailed, match="trouble 8"):
        await spool.reopen()
    assert "trouble 8" in str(spool.failed)
    await spool.reopen()
    assert spool.failed is None
    assert not (tmp_path / "quarantine").exists()
    spool.close()


@pytest.mark.parametrize(("error", "quarantined"), [(BUSY, 0), (None, 1)], ids=["busy", "damaged again and again"])
async def test_a_log_that_cannot_go_on_is_not_copied_for_ever(tmp_path, monkeypatch, error, quarantined):
    """Trouble around the file sets nothing aside; damage does it once."""
    stores = []

    def cannot(_log, store, _why):
        stores.append(store)
        if error is None:
            raise ValueError("not a number")
        trouble = sqlite3.OperationalError("busy")
        trouble.sqlite_errorcode = error
        raise trouble

    monkeypatch.setattr(ChunkLog, "opened", cannot)
    spool = made(tmp_path)
    spool.open()
    assert spool.failed is not None
    assert len(list((tmp_path / "quarantine").glob("*.db"))) == quarantined
    for store in stores:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            store.meta("a")
    spool.close()


async def test_a_cursor_that_waits_alone_is_kept_at_a_clean_stop(tmp_path):
    """No other work has to come with it."""
    spool = made(tmp_path)
    spool.open()
    await spool.read(lambda store: None)
    spool.set_cursor(CursorRow("central", "met", 7, 5, 50, "MET/a"))
    spool.close()
    store = Store(tmp_path / "spool.db")
    assert [row.n for row in store.cursors()] == [5]
    store.close()


async def test_closed_spool_takes_no_more_work_and_keeps_what_waited(tmp_path):
    """A clean stop commits the lazy work and the cursors."""
    spool = made(tmp_path)
    spool.open()
    lazy = spool.write(meta("lazy"), lazy=True)
    spool.set_cursor(CursorRow("central", "met", 7, 5, 50, "MET/a"))
    spool.close()
    await lazy
    with pytest.raises(StoreFailed, match="closed"):
        await spool.write(meta("late"))
    store = Store(tmp_path / "spool.db")
    assert (store.meta("lazy"), [row.n for row in store.cursors()]) == ("1", [5])
    store.close()


async def test_more_work_than_anybody_waits_for_is_refused(spool, monkeypatch):
    """A bug must not fill the memory."""
    monkeypatch.setattr(spool_module, "JOBS_MAX", 3)
    lazy = [spool.write(meta(str(n)), lazy=True) for n in range(3)]
    with pytest.raises(StoreFailed, match="too many jobs"):
        await spool.write(meta("more"))
    for future in lazy:
        future.cancel()  # a caller that has gone is nobody's trouble


async def test_listeners_hear_of_commits_and_failures(tmp_path):
    """The senders look again; the recorder brings the store back."""
    trouble, heard = Trouble(), asyncio.Event()
    spool = made(tmp_path, trouble)
    spool.open()
    spool.on_commit(heard.set)
    await spool.write(meta("a"))
    await asyncio.wait_for(heard.wait(), 5)
    heard.clear()
    trouble.once("commit", IO_WRITE)
    with pytest.raises(StoreFailed):
        await spool.write(meta("b"))
    await asyncio.wait_for(heard.wait(), 5)
    spool.close()


async def test_slowest_commits_are_measured(spool):
    """The 99th percentile of the last ones."""
    await spool.write(meta("a"))
    assert spool.fsync_p99_s == 0.0  # this clock stands still
    spool._fsyncs.extend([0.001] * 98 + [0.5])
    assert spool.fsync_p99_s == 0.001
    spool._fsyncs.append(0.5)
    assert spool.fsync_p99_s == 0.5  # the place that is named exactly


async def test_full_disk_takes_the_reserve_once_and_then_refuses(tmp_path):
    """The first time the work is done from the reserve, without a word to its caller."""
    trouble = Trouble()
    spool = made(tmp_path, trouble, ballast_bytes=1 << 16)
    spool.open()
    reserve = tmp_path / "spool.reserve"
    assert reserve.stat().st_size == 1 << 16
    trouble.once("commit", FULL)
    await spool.write(meta("a"))
    assert (spool.is_full, spool.has_no_room, reserve.exists()) == (True, False, False)
    trouble.once("commit", FULL)
    with pytest.raises(StoreFailed, match="full"):
        await spool.write(meta("b"))
    assert (spool.is_full, spool.has_no_room, spool.failed) == (True, True, None)
    await spool.write(meta("c"))
    assert not spool.has_no_room
    await spool.retake_reserve()
    assert reserve.exists()
    assert not spool.is_full  # at once: nothing else may be written for long
    await spool.write(meta("d"))
    assert not spool.is_full
    assert await spool.read(lambda store: [store.meta(key) for key in "abcd"]) == ["1", None, "1", "1"]
    spool.close()


async def test_last_pages_of_a_full_disk_are_for_what_makes_room(tmp_path, monkeypatch):
    """Without them nothing could be shed any more."""
    trouble = Trouble()
    spool = made(tmp_path, trouble, ballast_bytes=1 << 16)
    spool.open()
    trouble.once("commit", FULL)
    await spool.write(meta("a"))
    monkeypatch.setattr(spool, "_has_room", lambda: False)
    lazy, now = spool.write(meta("b"), lazy=True), spool.write(meta("c"), last=True)
    await now
    with pytest.raises(StoreFailed, match="full"):
        await lazy
    assert spool.has_no_room
    await spool.write(meta("d"), last=True)
    assert spool.has_no_room  # making room is not yet room
    monkeypatch.setattr(spool, "_has_room", lambda: True)
    await spool.write(meta("e"))
    assert not spool.has_no_room
    spool.close()


async def test_room_is_on_the_disk_or_in_the_file(tmp_path, monkeypatch):
    """Half of the reserve, either way."""
    spool = made(tmp_path)
    spool.open()
    assert spool._has_room()
    spool._ballast_bytes = 1 << 60
    assert not spool._has_room()
    spool._store.free_bytes = lambda: (1 << 59) - 1
    assert not spool._has_room()
    spool._store.free_bytes = lambda: 1 << 59
    assert spool._has_room()
    spool._store.free_bytes = lambda: 0
    with monkeypatch.context() as patched:
        patched.setattr(spool_module.os, "statvfs", lambda _: SimpleNamespace(f_bavail=1 << 47, f_frsize=1 << 12))
        assert spool._has_room()
    spool.close()


async def test_error_after_the_reserve_was_given_is_final(tmp_path):
    """Another error than a full disk closes the store."""
    trouble = Trouble()
    spool = made(tmp_path, trouble, ballast_bytes=1 << 16)
    spool.open()
    troubled = spool._store

    def fails_again(store):
        if not (tmp_path / "spool.reserve").exists():
            trouble.once("commit", IO_WRITE)

    trouble.once("commit", FULL)
    with pytest.raises(StoreFailed):
        await spool.write(fails_again)
    assert spool.failed is not None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        troubled.meta("a")
    spool.close()


async def test_full_disk_that_is_full_again_from_the_reserve_fails_the_work_and_not_the_store(tmp_path):
    """What was begun is rolled back: the next write finds the file in order."""
    trouble = Trouble()
    spool = made(tmp_path, trouble, ballast_bytes=1 << 16)
    spool.open()

    def is_full_again(store):
        if not (tmp_path / "spool.reserve").exists():
            trouble.once("commit", FULL)

    trouble.once("commit", FULL)
    with pytest.raises(StoreFailed, match="full"):
        await spool.write(is_full_again)
    assert (spool.failed, spool.has_no_room) == (None, True)
    await spool.write(meta("a"))
    assert await spool.read(lambda store: store.meta("a")) == "1"
    spool.close()


async def test_reserve_that_finds_no_room_leaves_nothing_behind(tmp_path, monkeypatch):
    """Half a reserve is none."""

    def no_room(*_):
        raise OSError(28, "no space")

    monkeypatch.setattr(spool_module.os, "posix_fallocate", no_room)
    spool = made(tmp_path, ballast_bytes=1 << 16)
    spool.open()
    assert spool.failed is None
    assert not (tmp_path / "spool.reserve").exists()
    spool.close()


async def test_a_bug_in_an_operation_ends_the_thread_and_leaves_nobody_waiting(tmp_path, monkeypatch):
    """It must show, not hang."""
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    spool = made(tmp_path)
    spool.open()

    def bug(store):
        raise RuntimeError("bug")

    with pytest.raises(StoreFailed, match="ended"):
        await spool.write(bug)
    spool._thread.join(5)
    with pytest.raises(StoreFailed):
        await spool.write(meta("a"))
    spool.close()


async def test_damage_found_while_the_log_is_opened_is_salvaged_once(tmp_path):
    """What a first look at the header cannot see."""
    spool = made(tmp_path)
    spool.open()
    await spool.write(lambda store: store.add_chunk("met", 7, 1, "p", "h", "s", 1, 1.0, 1.0, b"x"))
    spool.close()
    database = sqlite3.connect(tmp_path / "spool.db")
    with database:
        database.execute("UPDATE chunk SET t1=x'00'")  # of another type than its column's
    database.close()
    again = made(tmp_path)
    again.open()
    assert again.failed is None
    assert len(list((tmp_path / "quarantine").glob("*.db"))) == 1
    assert await again.read(lambda store: store.newest("met")) is None
    again.close()
