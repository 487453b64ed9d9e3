"""Delivery from disks that go wrong, to real nats-servers: nothing accepted is lost in silence, nothing comes twice."""

import shutil
import subprocess
import sys

import pytest

from hubagent.edges import jetstream
from hubagent.errors import StoreFailed
from hubagent.loops.recorder import RecorderPolicy
from hubagent.wire import subjects
from tests.support import disks
from tests.support.disks import IO_FSYNC, IO_WRITE, Trouble
from tests.support.history import check
from tests.support.hub import HubParts, linked, make_streams, quick_policy, stored
from tests.support.nats import NatsServer
from tests.support.waiting import until

pytestmark = pytest.mark.real

QUICK = RecorderPolicy(reopen_s=0.2, reserve_s=0.3)
PAD = "x" * 30_000  # a sample of this size fills a small disk in a moment


@pytest.fixture
def server(tmp_path):
    with NatsServer(tmp_path / "nats") as one:
        yield one


async def verdict(hub, url, accepted, *, lane="met", known=(), where=None):
    """The checker's word on one lane."""
    found = check(
        await stored(url, lane, hub.hub), accepted, public=hub.key.public, subject=subjects.ops(lane, hub.hub),
        known=known, where=where,
    )  # fmt: skip
    assert found.is_clean, found
    return found


async def try_sample(hub, value, pad=None):
    """Record one sample; True when it was accepted."""
    lost = hub.recorder.samples_lost
    hub.recorder.sample(("x.value", *(["x.pad"] if pad else [])), [value, *([pad] if pad else [])])
    try:
        await hub.spool.write(lambda _store: None)
    except StoreFailed:
        return False
    return hub.recorder.samples_lost == lost


async def fill(hub, values, stop):
    """Samples until something holds; what was accepted."""
    accepted = []
    for value in values:
        if await try_sample(hub, value, PAD):
            accepted.append(value)
        if stop():
            return accepted
    pytest.fail("it never came to it")


async def test_k1_k2_full_disk_sheds_metrics_keeps_commands_and_goes_on_when_there_is_space(server, tmp_path):
    """K1, K2: the reserve is given up, the oldest metrics go and are declared; space brings the reserve back."""
    await make_streams(server.url)
    server.stop()
    with disks.tmpfs(tmp_path / "disk", "24m") as folder:
        policy = quick_policy(budget=1 << 30)
        parts = HubParts(folder, {"central": server.url}, policy=policy, ballast=4 << 20, recording=QUICK)
        async with parts.running() as hub:
            await hub.event(1_000_000)
            accepted = await fill(hub, range(5000), lambda: hub.spool.has_no_room)
            assert hub.spool.is_full
            await until(lambda: hub.lane("central").state == "SHEDDING")
            await hub.recorder.event_durable("command_intent", "ok", "restart web", data={"id": 1_000_001})
            accepted += [value for value in range(5000, 5040) if await try_sample(hub, value, PAD)]
            assert accepted[-1] == 5039  # it goes on, the oldest give way
            disks.remount(folder, "size=64m")
            await until(lambda: not hub.spool.is_full, 5)
            assert not hub.spool.has_no_room
            accepted += [value for value in range(6000, 6010) if await try_sample(hub, value)]
            server.start()
            await hub.delivered("central")
            await hub.delivered("central", "evt")
            found = await verdict(hub, server.url, accepted)
            assert found.lost
            assert {one.kind for one in found.substitutes} == {"tombstone"}
            assert found.declared == len(found.lost)
            assert found.received >= 40
            events = await verdict(hub, server.url, [1_000_000, 1_000_001], lane="evt", known=[None])
            assert not events.lost


async def test_k1_disk_without_room_and_reserve_says_so_and_accepts_nothing(tmp_path):
    """K1: no false acceptance; the state is BLOCKED with the reason, and ends by itself when there is room."""
    with disks.tmpfs(tmp_path / "disk", "6m") as folder:
        parts = HubParts(folder, {"central": "nats://127.0.0.1:1"}, recording=QUICK)
        async with parts.running() as hub:
            other = folder / "other program"
            other.write_bytes(b"x" * (4 << 20))
            refused = [value for value in range(200) if not await try_sample(hub, value, PAD)]
            assert refused
            with pytest.raises(StoreFailed, match="full"):
                await hub.recorder.event_durable("note", "ok", "x", data={"text": PAD})
            await until(lambda: hub.lane("central").state == "BLOCKED")
            assert "full" in hub.lane("central").why
            other.unlink()
            await until(lambda: hub.lane("central").state == "BUFFERING", 10)
            assert await try_sample(hub, 500)


@pytest.mark.parametrize("done", [False, True], ids=["nothing written", "written all the same"])
@pytest.mark.parametrize(
    ("method", "code"), [("add_open", IO_WRITE), ("commit", IO_FSYNC)], ids=["K3 write", "K4 fsync"]
)
async def test_k3_k4_io_error_is_final_and_the_log_goes_on_in_a_new_incarnation(server, tmp_path, method, code, done):
    """K3, K4: what failed is not accepted, whatever the next try would say; the rest is there once."""
    await make_streams(server.url)
    trouble = Trouble()
    parts = HubParts(tmp_path / "hub", {"central": server.url}, make=trouble.store, recording=QUICK)
    async with parts.running() as hub:
        accepted = [value for value in range(5) if await try_sample(hub, value)]
        inc = hub.log.inc
        trouble.once(method, code, done=done)
        assert not await try_sample(hub, 100)
        assert hub.spool.failed is not None
        assert hub.lane("central").state == "BLOCKED"
        await until(lambda: hub.spool.failed is None, 5)
        assert hub.log.inc > inc
        accepted += [value for value in range(5, 10) if await try_sample(hub, value)]
        await hub.spool.write(hub.log.close_all)
        await hub.delivered("central")
        assert trouble.times == 1
        found = await verdict(hub, server.url, accepted, known=[100])
        assert (found.received, found.lost) == (10, [])


async def test_k6_read_only_disk_at_the_start_is_said_and_left_behind_when_it_is_writable(server, tmp_path):
    """K6: the agent runs without a spool, with the reason, and takes it when it can."""
    await make_streams(server.url)
    with disks.tmpfs(tmp_path / "disk", "16m") as folder:
        parts = HubParts(folder / "hub", {"central": server.url}, recording=QUICK)
        disks.remount(folder, "ro")
        parts.spool.open()
        assert "spool.db" in str(parts.spool.failed)
        parts.spool.close()
        disks.remount(folder, "rw")
        async with HubParts(folder / "hub", {"central": server.url}, recording=QUICK).running() as hub:
            await hub.chunk(1)
            await hub.delivered("central")
            await verdict(hub, server.url, [1])


async def test_k6_disk_that_becomes_read_only_stops_recording_until_it_is_writable(server, tmp_path):
    """K6: SQLite's word for it closes the store; nothing is accepted meanwhile, nothing is lost."""
    await make_streams(server.url)
    trouble = Trouble()
    parts = HubParts(tmp_path / "hub", {"central": server.url}, make=trouble.store, recording=QUICK)
    async with parts.running() as hub:
        await hub.chunk(1)
        trouble.once("begin", 8)
        assert not await try_sample(hub, 2)
        assert hub.lane("central").state == "BLOCKED"
        await until(lambda: hub.spool.failed is None, 5)
        await hub.chunk(3)
        await hub.delivered("central")
        await verdict(hub, server.url, [1, 3])


async def test_k7_bit_flips_in_rows_are_declared_and_the_rest_is_delivered(server, tmp_path):
    """K7: each damaged chunk is a lost range with its cause; a server that has it already keeps it."""
    await make_streams(server.url)
    parts = HubParts(tmp_path / "hub", {})
    parts.spool.open()
    for value in range(10):
        await parts.chunk(value)
    parts.spool.close()
    with disks.by_hand(tmp_path / "hub") as database:
        for row_id in (3, 4, 8):
            payload = database.execute("SELECT payload FROM body WHERE id=?", (row_id,)).fetchone()[0]
            middle = len(payload) // 2
            flipped = payload[:middle] + bytes([payload[middle] ^ 4]) + payload[middle + 1 :]
            database.execute("UPDATE body SET payload=? WHERE id=?", (flipped, row_id))
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        await hub.chunk(10)
        await hub.delivered("central")
        where = {value: [(parts.log.inc, value + 1)] for value in range(11)}
        found = await verdict(hub, server.url, range(11), where=where)
        assert found.lost == [2, 3, 7]
        assert {one.reason for one in found.substitutes} == {"damaged"}


@pytest.mark.parametrize("how", ["truncated", "half of it overwritten", "WAL missing"])
async def test_k8_spool_that_lost_a_part_of_itself_gives_no_number_twice(server, tmp_path, how):
    """K8: what can be proven is saved, what the server has is not sent again, new records arrive."""
    await make_streams(server.url)
    folder, copy = tmp_path / "hub", tmp_path / "copy"
    async with HubParts(folder, {"central": server.url}).running() as hub:
        for value in range(30):
            await hub.chunk(value)
        await hub.delivered("central")
        copy.mkdir()
        for name in ("spool.db", "spool.db-wal"):
            shutil.copy(folder / name, copy)
    if how == "WAL missing":
        (copy / "spool.db-wal").unlink()
    else:
        whole = (folder / "spool.db").read_bytes()  # closed well: everything is in it
        (copy / "spool.db-wal").unlink()
        rest = b"" if how == "truncated" else b"\xa5" * (len(whole) // 2)
        (copy / "spool.db").write_bytes(whole[: len(whole) // 2] + rest)
    async with HubParts(copy, {"central": server.url}).running() as hub:
        for value in range(30, 40):
            await hub.chunk(value)
        await until(lambda: hub.lane("central").state == "LIVE" and hub.lane("central").chunks == 0, 15)
        await hub.delivered("central")
        found = await verdict(hub, server.url, range(40))
        assert (found.received, found.lost) == (40, [])


async def test_k9_restored_log_gives_two_servers_everything_once_although_one_has_less(server, tmp_path):
    """K9: each server is judged by what it has itself; what only one of them got is not taken from the other."""
    with NatsServer(tmp_path / "edge") as edge:
        await make_streams(server.url)
        await make_streams(edge.url)
        both = {"central": server.url, "edge": edge.url}
        async with HubParts(tmp_path / "hub", both, policy=quick_policy(chunk_s=60.0)).running() as hub:
            await hub.chunk(0)
            await hub.sample(1)  # open when the copy is made
            await hub.delivered("edge")
            await hub.delivered("central")
            await hub.spool.read(lambda store: copy_of(store, tmp_path / "copy"))
            edge.stop()
            await hub.chunk(2)  # 1 and 2 are one chunk, and only central gets it
            await hub.chunk(3)
            await hub.delivered("central")
        edge.start()
        async with HubParts(tmp_path / "copy", both).running() as restored:
            for value in range(10, 15):
                await restored.chunk(value)
            for dest, url in both.items():
                await until(lambda dest=dest: settled(restored, dest), 20)
                accepted = [0, 1, *range(10, 15)] + ([2, 3] if dest == "central" else [])
                found = await verdict(restored, url, accepted)
                assert not found.lost, (dest, found)


async def test_k9_restored_cursor_is_not_believed_where_the_server_lost_what_it_speaks_of(server, tmp_path):
    """K9: the tail is lost, another life of the log goes on behind it, and then one is put back whose cursor is older."""
    await make_streams(server.url)
    servers = {"central": server.url}
    async with HubParts(tmp_path / "hub", servers).running() as hub:
        await hub.chunk(0)
        await hub.delivered("central")
        server.stop()
        server.copy_store(tmp_path / "store")
        server.start()
        for value in range(1, 5):
            await hub.chunk(value)
        await hub.delivered("central")
        server.stop()
        await hub.spool.write(hub.log.reincarnate)  # as what another server has under its numbers makes it do
        await hub.chunk(5)
        await hub.spool.read(lambda store: copy_of(store, tmp_path / "copy"))
        last = await hub.spool.read(lambda store: store.newest("met"))
        body = await hub.spool.read(lambda store: store.body(last.id))
    server.restore_store(tmp_path / "store")
    server.start()
    async with linked(server.url) as other_life:
        await jetstream.publish_expecting(other_life, "MET", subjects.ops("met", "alpha"), body, 1, last.sig, 5.0)
    async with HubParts(tmp_path / "copy", servers).running() as restored:
        await restored.chunk(10)
        await until(lambda: settled(restored, "central"), 20)
        found = await verdict(restored, server.url, [*range(6), 10])
        assert (found.received, found.lost) == (7, [])


def settled(hub, dest):
    """Whether a destination has all of it."""
    sender = hub.delivery._senders[dest, "met"]
    return sender.core.cursor.position == hub.log.durable.get("met") and hub.log.inc > 0 and not sender.core.in_flight


def copy_of(store, folder):
    """A backup, as a good tool makes it."""
    folder.mkdir()
    store.db.execute("VACUUM INTO ?", (str(folder / "spool.db"),))


CRASH = """
import asyncio, os, sys
from pathlib import Path
from hubagent.edges.spool_store import CursorRow, Store
from tests.support.hub import HubParts

class Crashes(Store):
    def release(self, *arguments):
        gone = super().release(*arguments)
        if sys.argv[2] == "before":
            os._exit(9)
        return gone

    def commit(self):
        super().commit()
        if sys.argv[2] == "after" and getattr(self, "released", False):
            os._exit(9)

async def main():
    parts = HubParts(Path(sys.argv[1]), {}, make=Crashes)
    parts.spool.open()
    for value in range(20):
        await parts.chunk(value)
    inc = parts.log.inc
    parts.spool.set_cursor(CursorRow("central", "met", inc, 10, 10, "MET/one", inc, 10))

    def release(store):
        store.released = True
        store.release("met", inc, 10)

    await parts.spool.write(release)

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_k10_crash_during_the_deletion_of_released_chunks_loses_none_that_is_owed(server, tmp_path, when):
    """K10: the cursor is durable with the deletion or before it, never after; the server gets what it has not."""
    crashed = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path / "hub"), when], check=False, timeout=30)
    assert crashed.returncode == 9
    parts = HubParts(tmp_path / "hub", {})
    parts.spool.open()
    rows = await parts.spool.read(
        lambda store: [n for (n,) in store.db.execute("SELECT n FROM chunk JOIN body USING(id)")]
    )
    cursors = await parts.spool.read(lambda store: store.cursors())
    parts.spool.close()
    assert rows == (list(range(1, 21)) if when == "before" else list(range(11, 21)))
    assert [row.n for row in cursors] == ([] if when == "before" else [10])
    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        await hub.delivered("central")
        where = {value: [(hub.log.inc, value + 1)] for value in range(20)}
        found = await verdict(hub, server.url, range(20), where=where)
        assert found.lost == ([] if when == "before" else list(range(10)))  # that server was made anew: declared


async def test_k11_without_descriptors_records_are_kept_and_delivery_comes_back(server, tmp_path):
    """K11: what is open stays open; a link that cannot be made waits, and nothing is lost."""
    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        await hub.chunk(0)
        await hub.delivered("central")
        with disks.no_descriptors():
            server.kill()
            await until(lambda: hub.lane("central").state == "BUFFERING", 10)
            for value in range(1, 6):
                await hub.chunk(value)
            assert hub.spool.failed is None
        server.start()
        await hub.chunk(6)
        await hub.delivered("central")
        found = await verdict(hub, server.url, range(7))
        assert (found.received, found.lost) == (7, [])
