"""Delivery against real nats-servers: killed, rolled back, emptied, filled; nothing lost, nothing twice."""

import asyncio
import json
import subprocess
import sys

import pytest

from hubagent.wire import subjects
from hubagent.wire.signing import seed_from, signer
from tests.support import ledger
from tests.support.history import check
from tests.support.hub import HubParts, make_streams, quick_policy, stored
from tests.support.nats import NatsServer
from tests.support.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
def server(tmp_path):
    with NatsServer(tmp_path / "nats") as one:
        yield one


async def verdict(hub: HubParts, url: str, lane: str = "met"):
    """The checker's word on one lane."""
    accepted = hub.accepted if lane == "met" else hub.accepted_events
    return check(
        await stored(url, lane, hub.hub),
        accepted,
        public=hub.key.public,
        subject=subjects.ops(lane, hub.hub),
    )


async def test_delivery_puts_both_lanes_into_both_servers_once_and_in_order(server, tmp_path):
    """The plain case."""
    with NatsServer(tmp_path / "edge") as edge:
        await make_streams(server.url)
        await make_streams(edge.url)
        async with HubParts(tmp_path / "hub", {"central": server.url, "edge": edge.url}).running() as hub:
            for value in range(30):
                await hub.chunk(value)
                await hub.event(value)
            for dest, url in (("central", server.url), ("edge", edge.url)):
                await hub.delivered(dest)
                await hub.delivered(dest, "evt")
                for lane in ("met", "evt"):
                    found = await verdict(hub, url, lane)
                    assert found.is_clean, found
                    assert not found.lost, found
            await until(lambda: {lane.state for lane in hub.delivery.lanes()} == {"LIVE"})


async def holds(hub: HubParts, url: str, count: int, lane: str = "met") -> None:
    """Everything accepted is there: missing 0, twice 0, in order."""
    found = await verdict(hub, url, lane)
    assert found.is_clean, found
    assert not found.lost, found
    assert found.received == count, found


async def test_v1_kill_of_the_server_in_mid_stream_loses_and_repeats_nothing(server, tmp_path):
    """V1: kill -9 and restart, several times, while records come."""
    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        for value in range(60):
            await hub.chunk(value)
            if value % 20 == 10:
                server.restart(kill=True)
        await hub.delivered("central")
        await holds(hub, server.url, 60)


async def test_n1_outage_is_seen_as_buffering_and_drained_after(server, tmp_path):
    """N1: a clean outage; the state says so, and becomes LIVE again."""
    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        await hub.chunk(0)
        await hub.delivered("central")
        server.stop()
        await until(lambda: not hub.links["central"].is_connected)
        for value in range(1, 20):
            await hub.chunk(value)
        await until(lambda: hub.lane("central").state == "BUFFERING" and hub.lane("central").chunks >= 19)
        assert hub.lane("central").bytes > 0
        server.start()
        await hub.delivered("central")
        await until(lambda: hub.lane("central").state == "LIVE")
        await holds(hub, server.url, 20)
        await hub.spool.write(lambda _store: None)  # the event of it is on disk
        await hub.delivered("central", "evt")
        kinds = [
            record["data"].get("state")
            for message in await stored(server.url, "evt")
            for record in _records(message)
            if record["kind"] == "buffer_state" and record["data"]["lane"] == "met"
        ]
        assert "BUFFERING" in kinds
        assert kinds[-1] == "LIVE"


def _records(message):
    import msgspec

    return msgspec.json.decode(message.payload).get("recs", [])


async def test_n2_n3_frozen_server_is_noticed_and_what_it_stored_late_is_not_sent_twice(server, tmp_path):
    """N2, N3: chunks in flight when the server froze are found by RESYNC."""
    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        await hub.chunk(0)
        await hub.delivered("central")
        server.freeze()
        for value in range(1, 10):
            await hub.chunk(value)
        await until(lambda: hub.lane("central").state == "BUFFERING")
        server.thaw()
        await hub.delivered("central")
        await holds(hub, server.url, 10)


async def test_v2_server_that_lost_its_tail_gets_it_again_from_the_spool(server, tmp_path):
    """V2: the store is an older copy; the loss is told, and made good."""
    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        for value in range(10):
            await hub.chunk(value)
        await hub.delivered("central")
        server.stop()
        server.copy_store(tmp_path / "copy")
        server.start()
        for value in range(10, 20):
            await hub.chunk(value)
        await hub.delivered("central")
        server.kill()
        server.restore_store(tmp_path / "copy")
        server.start()
        await hub.chunk(20)
        await until(lambda: hub.lane("central").acked_n == 21)
        await hub.delivered("central")
        await holds(hub, server.url, 21)
        assert "tail_loss" in await kinds_of(hub)


async def kinds_of(hub: HubParts) -> list[str]:
    """Kinds of every event in the spool."""
    import msgspec

    def bodies(store):
        rows = store.db.execute("SELECT payload FROM body WHERE lane='evt' ORDER BY id").fetchall()
        return [msgspec.json.decode(row[0]) for row in rows]

    return [record["kind"] for chunk in await hub.spool.read(bodies) for record in chunk["recs"]]


async def test_v4_stream_made_anew_gets_everything_that_is_kept(server, tmp_path):
    """V4: another lineage, nothing in it."""
    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        for value in range(5):
            await hub.chunk(value)
        await hub.delivered("central")
        server.stop()
        import shutil

        ledger.inject("store removed")
        shutil.rmtree(server.store)
        server.start()
        await make_streams(server.url, "two")
        await hub.chunk(5)
        await until(lambda: hub.lane("central").acked_n == 6)
        await holds(hub, server.url, 6)
        await hub.event(1)
        await hub.delivered("central", "evt")
        await holds_events(hub, server.url)
        assert "lineage_change" in await kinds_of(hub)


async def holds_events(hub: HubParts, url: str) -> None:
    """The same for the evt lane, which has the agent's own events as well."""
    found = await verdict(hub, url, "evt")
    assert found.is_clean, found
    assert not found.lost, found


async def test_v12_full_stream_blocks_and_goes_on_when_there_is_room(server, tmp_path):
    """V12: discard new, a small stream: nothing lost, and it is said."""
    await make_streams(server.url, discard="new", max_bytes=4000)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        for value in range(20):
            await hub.chunk(value)
        ledger.inject("stream of 4,000 bytes")
        await until(lambda: hub.lane("central").state == "BLOCKED")
        from hubagent.edges import jetstream
        from hubagent.wire import streams

        config = streams.MET.config(1 << 20, "one") | {"discard": "new"}
        await jetstream.update_stream(hub.links["central"], config)
        await hub.delivered("central")
        await holds(hub, server.url, 20)


async def test_x17_foreign_message_on_the_subject_is_reported_and_delivery_goes_on(server, tmp_path):
    """X17: something unsigned is stored on the hub's own subject."""
    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        await hub.chunk(0)
        await hub.delivered("central")
        ledger.inject("message of another ×2")
        await hub.links["central"].publish("ops.met.alpha", b'{"stream":"MET"}')
        await hub.links["central"].publish("ops.met.alpha", b"x")
        for value in range(1, 5):
            await hub.chunk(value)
        await hub.delivered("central")
        await holds(hub, server.url, 5)
        assert (await verdict(hub, server.url)).foreign == 2
        assert "foreign_message" in await kinds_of(hub)


async def test_p1_restart_of_the_agent_goes_on_behind_its_own_last_chunk(server, tmp_path):
    """P1: the open chunk is closed at the start, and nothing is sent twice."""
    await make_streams(server.url)
    accepted: list[int] = []
    for run in range(3):
        hub = HubParts(tmp_path / "hub", {"central": server.url}, policy=quick_policy(chunk_s=60))
        async with hub.running():
            for value in range(5):
                await hub.sample(run * 10 + value)
        accepted += hub.accepted
    hub = HubParts(tmp_path / "hub", {"central": server.url})
    async with hub.running():
        hub.accepted = accepted
        await hub.delivered("central")
        await holds(hub, server.url, 15)


async def test_k9_agent_whose_log_was_restored_goes_on_in_a_new_incarnation(server, tmp_path):
    """K9: the spool is an older copy; no number is used twice, and what came after the restore arrives."""
    import shutil

    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        for value in range(5):
            await hub.chunk(value)
        await hub.delivered("central")
    ledger.inject("spool restored")
    shutil.copytree(tmp_path / "hub", tmp_path / "copy")
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as second:
        for value in range(5, 10):
            await second.chunk(value)
        await second.delivered("central")
    async with HubParts(tmp_path / "copy", {"central": server.url}).running() as third:
        for value in range(10, 13):
            await third.chunk(value)
        await until(lambda: third.lane("central").chunks == 0 and third.lane("central").state == "LIVE", 20)
        await third.delivered("central")
        third.accepted = hub.accepted + second.accepted + third.accepted
        await holds(third, server.url, 13)
        assert "incarnation_change" in await kinds_of(third)


def history(*words: str) -> tuple[int, dict]:
    """`python -m tests.support.history … --json`."""
    command = [sys.executable, "-m", "tests.support.history", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, json.loads(done.stdout)


async def test_the_checker_has_a_command_line_that_finds_what_is_missing(server, tmp_path):
    """With a file of what was accepted it finds losses; without one order, chain and repetition."""
    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        for value in range(5):
            await hub.chunk(value)
        await hub.delivered("central")
    words = (server.url, "alpha", "--public", hub.key.public)
    status, found = await asyncio.to_thread(history, *words)
    assert (status, found["clean"], found["chunks"], found["received"]) == (0, True, 5, 5)
    accepted = tmp_path / "accepted"
    accepted.write_text("".join(f"{value}\n" for value in range(6)))
    status, found = await asyncio.to_thread(history, *words, "--accepted", str(accepted))
    assert (status, found["clean"], found["silent"], found["duplicate"]) == (1, False, 1, 0)
    status, found = await asyncio.to_thread(
        history, server.url, "alpha", "--public", signer(seed_from(b"o" * 32)).public
    )
    assert (status, found["foreign"]) == (1, 5)
