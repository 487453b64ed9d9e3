"""What happens around the sending: shedding, releasing, refilling, new and removed destinations, clones."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from hubagent.core.retention import RetentionPolicy
from hubagent.errors import NotAllowed
from hubagent.wire import subjects
from hubagent.wire.chunk import open_chunk
from hubagent.wire.codec import decode, encode
from hubagent.wire.commands import FetchReply, FetchRequest
from hubagent.wire.reports import Live
from tests.integration.test_delivery_real import holds, kinds_of, verdict
from tests.support import ledger
from tests.support.hub import HubParts, make_streams, quick_policy, stored
from tests.support.nats import NatsServer, free_port
from tests.support.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
def server(tmp_path):
    with NatsServer(tmp_path / "nats") as one:
        yield one


async def test_over_budget_the_oldest_metrics_are_shed_and_declared(server, tmp_path):
    """SHEDDING is visible, the tombstone is delivered, and accepted = received + declared."""
    await make_streams(server.url)
    policy = replace(quick_policy(), retention=RetentionPolicy(600_000, 60_000, 1800))
    dead = f"nats://127.0.0.1:{free_port()}"
    async with HubParts(tmp_path / "hub", {"central": dead}, policy=policy).running() as hub:
        for value in range(120):
            hub.recorder.sample(("x.value", "x.text"), [value, "y" * 8000])
            await hub.spool.write(hub.log.close_all)
            hub.accepted.append(value)
        await until(lambda: hub.lane("central").state == "SHEDDING")
        await until(
            lambda: hub.lane("central").dropped and hub.delivery.spool_bytes() <= 540_000
        )  # shed to nine tenths
        lane = hub.lane("central")
        assert lane.dropped[0]["kind"] == "tombstone"
        assert lane.chunks < 120
    async with HubParts(tmp_path / "hub", {"central": server.url}, policy=policy).running() as second:
        # The name is the same, the server answers now.
        second.accepted = hub.accepted
        await second.delivered("central")
        found = await verdict(second, server.url)
        assert found.is_clean, found
        assert len(found.lost) == found.declared > 20, found
        assert [one.kind for one in found.substitutes] == ["tombstone"]


async def test_acknowledged_chunks_are_deleted_after_keep_and_a_check_and_only_then(server, tmp_path):
    """Retention by age and check read."""
    await make_streams(server.url)
    policy = quick_policy(keep_s=0.5, check_s=0.3)
    async with HubParts(tmp_path / "hub", {"central": server.url}, policy=policy).running() as hub:
        for value in range(5):
            await hub.chunk(value)
        await hub.delivered("central")
        assert await hub.spool.read(lambda store: store.oldest_kept("met")) is not None

        async def is_empty():
            return await hub.spool.read(lambda store: store.oldest_kept("met")) is None

        async with asyncio.timeout(10):
            while not await is_empty():
                await asyncio.sleep(0.05)
        await hub.chunk(5)
        await hub.delivered("central")
        await holds(hub, server.url, 6)


async def test_v3_tail_lost_after_the_release_is_declared_as_a_lost_range(server, tmp_path):
    """V3: never silent."""
    await make_streams(server.url)
    server.stop()
    server.copy_store(tmp_path / "copy")
    server.start()
    policy = quick_policy(keep_s=0.5, check_s=0.3)
    async with HubParts(tmp_path / "hub", {"central": server.url}, policy=policy).running() as hub:
        for value in range(5):
            await hub.chunk(value)
        await hub.delivered("central")

        async def is_empty():
            return await hub.spool.read(lambda store: store.oldest_kept("met")) is None

        async with asyncio.timeout(10):
            while not await is_empty():
                await asyncio.sleep(0.05)
        server.kill()
        server.restore_store(tmp_path / "copy")
        server.start()
        await hub.chunk(5)
        await until(lambda: hub.lane("central").acked_n == 6)
        await hub.delivered("central")
        found = await verdict(hub, server.url)
        assert found.is_clean, found
        assert (found.received, found.declared) == (1, 5), found
        assert {"tail_loss", "lost_range"} <= set(await kinds_of(hub))


async def test_reader_refills_a_hole_from_the_hub_byte_for_byte(server, tmp_path):
    """fetch.<hub>: kept chunks with their signatures."""
    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        for value in range(4):
            await hub.chunk(value)
        await hub.delivered("central")
        link = hub.links["central"]
        asked = encode(FetchRequest("met", hub.log.inc, 2, 3))
        answer = await link.request(subjects.fetch("alpha"), asked, timeout_s=3)
        reply = decode(answer.payload, FetchReply)
        held = {message.payload: message.signature for message in await stored(server.url, "met")}
        assert [chunk.n for chunk in reply.chunks] == [2, 3]
        for chunk in reply.chunks:
            assert held[chunk.payload] == chunk.sig
            assert open_chunk(hub.key.public, subjects.ops("met", "alpha"), chunk.payload, chunk.sig).n == chunk.n
        bad = await link.request(subjects.fetch("alpha"), b"junk", timeout_s=3)
        assert decode(bad.payload, FetchReply).why


async def test_new_destination_starts_behind_a_lost_range_and_a_removed_one_is_no_longer_required(server, tmp_path):
    """lost_range{before_destination}; `hubagent destination remove`."""
    with NatsServer(tmp_path / "edge") as edge:
        await make_streams(server.url)
        await make_streams(edge.url)
        policy = quick_policy(keep_s=0.3, check_s=0.2)
        async with HubParts(tmp_path / "hub", {"central": server.url}, policy=policy).running() as hub:
            for value in range(3):
                await hub.chunk(value)
            await hub.delivered("central")

            async def is_empty():
                return await hub.spool.read(lambda store: store.oldest_kept("met")) is None

            async with asyncio.timeout(10):
                while not await is_empty():
                    await asyncio.sleep(0.05)
        both = {"central": server.url, "edge": edge.url}
        async with HubParts(tmp_path / "hub", both, policy=policy).running() as second:
            await second.chunk(3)
            second.accepted = hub.accepted + second.accepted
            await second.delivered("edge")
            found = await verdict(second, edge.url)
            assert (found.received, found.declared, found.silent) == (1, 3, []), found
            assert found.substitutes[0].reason == "before_destination"
            with pytest.raises(NotAllowed):
                await second.delivery.remove_destination("edge")
        async with HubParts(tmp_path / "hub", {"central": server.url}, policy=policy).running() as third:
            await third.chunk(4)
            await third.delivered("central")
            await asyncio.sleep(1.5)
            assert await third.spool.read(lambda store: store.oldest_kept("met")) is not None
            await third.delivery.remove_destination("edge")

            async def is_released():
                return await third.spool.read(lambda store: store.oldest_kept("met")) is None

            async with asyncio.timeout(10):
                while not await is_released():
                    await asyncio.sleep(0.05)


async def test_p11_second_machine_with_the_same_name_stops_itself(server, tmp_path):
    """P11: the clone is refused by the chain, hears the first one speak, and is FENCED; the first goes on."""
    await make_streams(server.url)
    first = HubParts(tmp_path / "first", {"central": server.url}, boot="first")
    async with first.running():
        await first.chunk(0)
        await first.delivered("central")

        def copy(store):
            target = tmp_path / "second" / "spool.db"
            target.parent.mkdir()
            store.db.execute("VACUUM INTO ?", (str(target),))

        ledger.inject("state copied to a second machine")
        await first.spool.read(copy)
        await first.chunk(1)
        await first.delivered("central")
        live = msgspec.json.encode(Live(1, "alpha", "first", 1, 0.0, "1", 1, "ok"))
        async with HubParts(tmp_path / "second", {"central": server.url}, boot="second").running() as second:
            await second.chunk(100)
            async with asyncio.timeout(10):
                while second.lane("central").state != "FENCED":
                    await first.links["central"].publish("live.alpha", live)
                    await asyncio.sleep(0.2)
            assert "another machine" in second.lane("central").why
        await first.chunk(2)
        await first.delivered("central")
        await holds(first, server.url, 3)
