"""The spool's writer thread over a real file: group commit, a full disk, a failed fsync, damage, restarts."""

import asyncio
import sqlite3

import msgspec
import pytest

from hubagent.clock import SystemClock
from hubagent.core.chunking import ChunkPolicy
from hubagent.edges.spool import Spool
from hubagent.edges.spool_store import CursorRow, Store
from hubagent.errors import NotAllowed, StoreFailed
from hubagent.loops.chunk_log import ChunkLog
from hubagent.loops.recorder import RecorderPolicy, SpoolRecorder
from hubagent.wire.chunk import LOST_RANGE
from hubagent.wire.signing import seed_from, signer
from tests.support.waiting import until

KEY = signer(seed_from(b"k" * 32))


class FaultyStore(Store):
    """A store whose next commit fails, as a disk's would."""

    fail = False
    commits = 0

    def commit(self):
        """COMMIT, or EIO."""
        if type(self).fail:
            type(self).fail = False
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        type(self).commits += 1
        super().commit()


def parts(folder, *, boot="boot", make=Store, ballast=0, chunk_s=60.0):
    folder.mkdir(exist_ok=True)
    log = ChunkLog("alpha", boot, KEY, ChunkPolicy(chunk_s), SystemClock())
    spool = Spool(
        folder / "spool.db", log, SystemClock(), quarantine=folder / "quarantine", ballast_bytes=ballast, make=make
    )
    return spool, log, SpoolRecorder(spool, log, SystemClock(), RecorderPolicy())


async def all_chunks(spool, lane):
    """Every kept chunk of a lane."""

    def read(store):
        rows = store.db.execute("SELECT payload FROM body WHERE lane=? ORDER BY id", (lane,)).fetchall()
        return [msgspec.json.decode(row[0]) for row in rows]

    return await spool.read(read)


async def test_event_durable_returns_after_its_fsync_and_is_a_chunk(tmp_path):
    """evt closes at each group commit."""
    spool, _, recorder = parts(tmp_path)
    spool.open()
    await recorder.event_durable("note", "ok", "hello", actor="ann")
    (chunk,) = await all_chunks(spool, "evt")
    assert (chunk["n"], chunk["recs"][0]["text"], chunk["recs"][0]["actor"]) == (1, "hello", "ann")
    spool.close()


async def test_events_that_come_together_share_one_commit(tmp_path):
    """Group commit."""
    FaultyStore.commits = 0
    spool, _, recorder = parts(tmp_path, make=FaultyStore)
    spool.open()
    before = FaultyStore.commits
    await asyncio.gather(*(recorder.event_durable("note", "ok", str(n)) for n in range(100)))
    assert FaultyStore.commits - before < 20
    assert sum(len(chunk["recs"]) for chunk in await all_chunks(spool, "evt")) == 100
    spool.close()


async def test_sample_is_durable_within_a_second_and_closed_by_a_restart(tmp_path):
    """What a crash cannot take: the open chunk's records."""
    spool, _, recorder = parts(tmp_path)
    spool.open()
    async with asyncio.timeout(5):  # a second, and what the disk takes; test_spool_thread.py holds the second itself
        recorder.sample(("x",), [1])
        await spool.write(lambda _store: None, lazy=True)
    spool.close()
    second, log, _ = parts(tmp_path, boot="second")
    second.open()
    (chunk,) = await all_chunks(second, "met")
    assert (chunk["cols"], chunk["recs"][0][2], chunk["boot"]) == (["t", "mono", "x"], 1, "boot")
    assert log.opened_log.why_new == ""
    assert log.opened_log.last_t == chunk["t1"]
    second.close()


async def test_changed_columns_close_the_chunk(tmp_path):
    """One set of columns a chunk."""
    spool, log, recorder = parts(tmp_path)
    spool.open()
    recorder.sample(("x",), [1])
    recorder.sample(("x", "y"), [1, 2])
    await spool.write(log.close_all)
    assert [chunk["cols"][2:] for chunk in await all_chunks(spool, "met")] == [["x"], ["x", "y"]]
    spool.close()


async def test_failed_fsync_is_final_and_the_log_goes_on_in_a_new_incarnation(tmp_path):
    """K4: nothing that the failed commit held is believed, and what was durable before is saved."""
    spool, log, recorder = parts(tmp_path, make=FaultyStore)
    spool.open()
    await recorder.event_durable("note", "ok", "before")
    first_inc = log.inc
    FaultyStore.fail = True
    with pytest.raises(StoreFailed):
        await recorder.event_durable("note", "ok", "in the failed commit")
    assert spool.failed is not None
    with pytest.raises(StoreFailed):
        await recorder.event_durable("note", "ok", "while it is closed")
    await spool.reopen()
    assert spool.failed is None
    assert log.inc > first_inc
    await recorder.event_durable("note", "ok", "after")
    chunks = await all_chunks(spool, "evt")
    assert [(chunk["inc"], chunk["n"], chunk["recs"][0]["text"]) for chunk in chunks] == [
        (first_inc, 1, "before"),
        (log.inc, 1, "after"),
    ]
    assert chunks[1]["prev"] == (await spool.read(lambda store: store.row("evt", first_inc, 1))).hash
    assert list((tmp_path / "quarantine").glob("spool-*.db"))
    spool.close()


async def test_recorder_brings_a_failed_store_back_and_says_so(tmp_path):
    """Events wait in a bounded list meanwhile, and none is told as accepted."""
    spool, log, recorder = parts(tmp_path, make=FaultyStore)
    spool.open()
    task = asyncio.create_task(recorder.run())
    await until(lambda: log.durable.get("evt", (0, 0))[1] >= 1)
    FaultyStore.fail = True
    recorder.event("note", "ok", "waits")
    await until(lambda: spool.failed is not None)
    await until(lambda: spool.failed is None, 10)

    async def texts():
        return [record["text"] for chunk in await all_chunks(spool, "evt") for record in chunk["recs"]]

    async with asyncio.timeout(10):
        while "waits" not in await texts():
            await asyncio.sleep(0.05)
    kinds = [record["kind"] for chunk in await all_chunks(spool, "evt") for record in chunk["recs"]]
    assert kinds.count("agent_start") == 2
    assert kinds.count("incarnation_change") == 2  # a new log, and the failed store
    task.cancel()
    spool.close()


async def test_full_disk_uses_the_reserve_then_refuses_and_resumes_without_restart(tmp_path):
    """K1, K2: space comes back, and no restart is needed."""
    spool, _, recorder = parts(tmp_path, ballast=1 << 20)
    spool.open()
    assert (tmp_path / "spool.reserve").stat().st_size == 1 << 20

    def limit(store, pages=None):
        pages = pages or store.db.execute("PRAGMA page_count").fetchone()[0]
        store.db.execute(f"PRAGMA max_page_count={pages}")

    await spool.read(limit)

    async def fill():
        for _ in range(50):
            await recorder.event_durable("note", "ok", "x" * 1500)

    with pytest.raises(StoreFailed, match="full"):
        await fill()
    assert not (tmp_path / "spool.reserve").exists()
    assert spool.is_full
    assert spool.failed is None
    await spool.read(lambda store: limit(store, 1 << 20))
    await recorder.event_durable("note", "ok", "after")
    await spool.retake_reserve()
    await recorder.event_durable("note", "ok", "again")
    numbers = [chunk["n"] for chunk in await all_chunks(spool, "evt")]
    assert numbers == list(range(1, len(numbers) + 1))
    spool.close()


async def test_bit_flip_costs_one_chunk_and_is_declared(tmp_path):
    """K7: the hash finds it; a lost_range takes its place; the rest is delivered."""
    spool, log, recorder = parts(tmp_path)
    spool.open()
    for n in range(3):
        await recorder.event_durable("note", "ok", str(n))
    spool.close()
    path = tmp_path / "spool.db"
    raw = bytearray(path.read_bytes())
    at = raw.index(b'"text":"1"')
    raw[at + 8] ^= 1
    path.write_bytes(raw)
    spool, log, _ = parts(tmp_path)
    spool.open()
    items, position = [], (0, 0)
    while item := await spool.read(lambda store: log.next_item(store, "central", "evt", position, "")):  # noqa: B023
        items.append(item)
        position = (item.inc, item.n_to)
    assert [(item.n, item.kind, item.reason) for item in items] == [
        (1, "data", ""),
        (2, LOST_RANGE, "damaged"),
        (3, "data", ""),
    ]
    spool.close()


@pytest.mark.parametrize("content", [b"this is no database, but long enough to be taken for one" * 50, b""])
async def test_file_that_is_no_database_is_kept_aside_and_a_new_incarnation_begins(tmp_path, content):
    """K8: the agent runs on."""
    tmp_path.joinpath("spool.db").write_bytes(content)
    spool, log, recorder = parts(tmp_path)
    spool.open()
    assert log.opened_log.why_new
    await recorder.event_durable("note", "ok", "x")
    assert bool(list(tmp_path.glob("quarantine/*"))) == bool(content)
    spool.close()


async def test_spool_of_a_newer_version_is_refused_with_the_reason(tmp_path):
    """Its data is not ours to guess at."""
    db = sqlite3.connect(tmp_path / "spool.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    spool, _, _ = parts(tmp_path)
    with pytest.raises(StoreFailed, match="newer"):
        spool.open()


async def test_folder_that_cannot_be_used_is_a_failed_store_that_comes_back(tmp_path):
    """K6: the agent runs on without it, says where and what, and takes it when it is there."""
    spool, _, _ = parts(tmp_path)
    spool.path = tmp_path / "missing" / "spool.db"
    spool.open()
    assert "missing" in str(spool.failed)
    with pytest.raises(StoreFailed, match="missing"):
        await spool.read(lambda store: store.cursors())
    spool.path.parent.mkdir()
    await spool.reopen()
    assert (spool.failed, await spool.read(lambda store: store.cursors())) == (None, [])
    spool.close()


async def test_cursor_is_durable_within_a_second_without_a_commit_of_its_own(tmp_path):
    """RESYNC would find it again."""
    spool, _, _ = parts(tmp_path)
    spool.open()
    spool.set_cursor(CursorRow("central", "met", 7, 5, 50, "MET/a"))
    async with asyncio.timeout(2.5):
        while not await spool.read(lambda store: store.cursors()):
            await asyncio.sleep(0.05)
    spool.close()


async def test_too_many_events_in_a_second_are_counted_as_suppressed(tmp_path):
    """At most 20 a second and hub."""
    spool, _, recorder = parts(tmp_path)
    spool.open()
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    for n in range(50):
        recorder.event("health", "warning", str(n))

    async def suppressed():
        return sum(
            record["data"]["count"]
            for chunk in await all_chunks(spool, "evt")
            for record in chunk["recs"]
            if record["kind"] == "suppressed"
        )

    async with asyncio.timeout(5):
        while await suppressed() < 30:
            await asyncio.sleep(0.05)
    task.cancel()
    spool.close()


async def test_events_share_used_up_leaves_room_for_commands_only(tmp_path):
    """The audit of stop, restart and rollback uses what is left last."""
    spool, _, recorder = parts(tmp_path)
    spool.open()
    recorder.refuses_events = True
    with pytest.raises(NotAllowed):
        await recorder.event_durable("note", "ok", "x")
    await recorder.event_durable("command_intent", "ok", "restart web")
    recorder.refuses_all = True
    with pytest.raises(NotAllowed):
        await recorder.event_durable("command_intent", "ok", "restart web")
    spool.close()
