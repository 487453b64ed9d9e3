"""Faults of the network that take longer than a stall: outages against clocks of the stream, backlogs, crowds."""

import asyncio
from contextlib import suppress

import pytest

from hubagent.clock import SystemClock
from hubagent.edges import jetstream
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.errors import LinkDown
from hubagent.wire.codec import decode, encode
from hubagent.wire.commands import FetchReply, FetchRequest
from hubagent.wire.signing import payload_hash
from hubagent.wire.subjects import ops
from tests.integration.test_delivery_real import holds, kinds_of
from tests.support import ledger
from tests.support.cluster import linked
from tests.support.fault_proxy import HEALTHY, FaultProxy, Faults
from tests.support.history import Stored, check
from tests.support.hub import HubParts, make_streams, stored
from tests.support.nats import NatsServer
from tests.support.waiting import until

pytestmark = pytest.mark.real
SECOND_NS = 1_000_000_000
CROWD = 120
CROWD_POLICY = LinkPolicy(ping_s=2.0, timeout_s=2.0, reconnect_min_s=0.6, reconnect_max_s=2.0)


@pytest.fixture
def server(tmp_path):
    """Nothing here takes the machine away from it, so it need not wait for its disk at each message."""
    with NatsServer(tmp_path / "nats", sync="2m") as one:
        yield one


async def test_n1_clean_disconnect_is_mended_within_a_second_of_the_heal(server, tmp_path):
    """N1: every connection ends and none is let in for 2 s (for 5); the link is back within a second of the heal."""
    await make_streams(server.url)
    async with FaultProxy(server.port) as proxy, HubParts(tmp_path / "hub", {"central": proxy.url}).running() as hub:
        await hub.chunk(0)
        await hub.delivered("central")
        proxy.set(Faults(refuse=True))
        for value in range(1, 20):
            await hub.chunk(value)
            await asyncio.sleep(0.1)
        assert not hub.links["central"].is_connected
        proxy.heal()
        await until(lambda: hub.links["central"].is_connected, 1.0)
        await hub.delivered("central")
        await holds(hub, server.url, 20)


async def test_n2_silent_drop_is_noticed_within_the_budget_of_the_pings(server, tmp_path):
    """N2: nothing passes and no connection ends; noticed within 3 s, nothing lost (stalled 4 s, for 10)."""
    await make_streams(server.url)
    async with FaultProxy(server.port) as proxy, HubParts(tmp_path / "hub", {"central": proxy.url}).running() as hub:
        await hub.chunk(0)
        await hub.delivered("central")
        proxy.set(Faults(stall_up=True, stall_down=True))
        await hub.chunk(1)
        await until(lambda: not hub.links["central"].is_connected, 3.0)
        for value in range(2, 12):
            await hub.chunk(value)
            await asyncio.sleep(0.1)
        proxy.heal()
        await hub.delivered("central")
        await holds(hub, server.url, 12)


async def test_n5_outage_longer_than_the_dedupe_window_repeats_nothing(server, tmp_path):
    """N5: acks lost for 2 s against a dedupe window of 0.2 s (scaled from 5 s and 1 s), three times."""
    await make_streams(server.url, duplicate_window=SECOND_NS // 5)
    async with FaultProxy(server.port) as proxy, HubParts(tmp_path / "hub", {"central": proxy.url}).running() as hub:
        for turn in range(3):
            await hub.chunk(turn * 10)
            await hub.delivered("central")
            proxy.set(Faults(stall_down=True))
            for value in range(1, 6):
                await hub.chunk(turn * 10 + value)
            await asyncio.sleep(2.0)
            proxy.heal()
            await hub.delivered("central")
        await holds(hub, server.url, 18)


async def test_n6_outage_longer_than_the_age_limit_of_the_stream_is_no_loss(server, tmp_path):
    """N6: everything expired on the server meanwhile (4 s); no false alarm, and it goes on expecting 0."""
    await make_streams(server.url, max_age=4 * SECOND_NS, duplicate_window=SECOND_NS // 5)
    async with FaultProxy(server.port) as proxy, HubParts(tmp_path / "hub", {"central": proxy.url}).running() as hub:
        for value in range(5):
            await hub.chunk(value)
        await hub.delivered("central")
        before = await stored(server.url, "met")
        proxy.set(Faults(refuse=True))
        async with asyncio.timeout(20):
            while await stored(server.url, "met"):
                await asyncio.sleep(0.1)
        for value in range(5, 10):
            await hub.chunk(value)
        proxy.heal()
        await hub.delivered("central")
        after = await stored(server.url, "met")
        found = check(after, hub.accepted, public=hub.key.public, subject=ops("met", "alpha"), expired=before)
        assert found.is_clean, found
        assert found.received == 10, found
        assert not {"tail_loss", "lost_range", "lineage_change"} & set(await kinds_of(hub))


async def test_n7_an_hour_of_backlog_drains_fast_and_the_live_plane_does_not_wait(server, tmp_path):
    """N7: 3,600 samples in chunks of 5 made at once (60 times real time); drained 5 times faster than made, live in time."""
    await make_streams(server.url)
    loop = asyncio.get_running_loop()
    async with FaultProxy(server.port) as proxy, HubParts(tmp_path / "hub", {"central": proxy.url}).running() as hub:
        proxy.set(Faults(refuse=True))
        for value in range(0, 3600, 5):
            for one in range(value, value + 5):
                hub.recorder.sample(("x.value",), [one])
                hub.accepted.append(one)
            await hub.spool.write(hub.log.close_all)
        heard: list[float] = []
        async with linked(server.url) as watcher:
            watcher.subscribe("live.alpha", lambda message: heard.append(loop.time() - float(message.payload)))
            proxy.heal()
            began = loop.time()
            await until(lambda: hub.links["central"].is_connected)
            stalls: list[float] = []
            speaking = asyncio.create_task(_speak(hub, loop, stalls))
            await hub.delivered("central", seconds=60)
            took = loop.time() - began
            await until(lambda: bool(heard))
            speaking.cancel()
        assert took < 60 / 5, took
        assert max(heard) - max(stalls) < 0.5, (max(heard), max(stalls))
        await holds(hub, server.url, 3600)


async def _speak(hub, loop, stalls):
    """The live plane; how late this loop is by itself, on a machine that others use."""
    while True:
        with suppress(LinkDown):  # a stall of this machine may cost the link for a moment
            await hub.links["central"].publish("live.alpha", f"{loop.time()}".encode())
        due = loop.time() + 0.05
        await asyncio.sleep(0.05)
        stalls.append(loop.time() - due)


async def test_n8_flapping_leaves_no_consumers_behind(server, tmp_path):
    """N8: 200 ms up and down, 8 times; no consumer is ever made, so none can leak."""
    await make_streams(server.url)
    async with FaultProxy(server.port) as proxy, HubParts(tmp_path / "hub", {"central": proxy.url}).running() as hub:
        for value in range(8):
            proxy.set(Faults(refuse=True))
            await hub.chunk(value)
            await asyncio.sleep(0.2)
            proxy.set(HEALTHY)
            await asyncio.sleep(0.2)
        await hub.delivered("central")
        await holds(hub, server.url, 8)
        answer = await hub.links["central"].request("$JS.API.STREAM.INFO.MET", b"", timeout_s=2)
        assert jetstream.decode_any(answer.payload)["state"]["consumer_count"] == 0


async def test_v5_hole_in_the_middle_of_a_stream_is_refilled_byte_for_byte(server, tmp_path):
    """V5: an admin deletes messages; delivery goes on, and what the hub keeps fills the hole, once and in order."""
    await make_streams(server.url)
    async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
        for value in range(8):
            await hub.chunk(value)
        await hub.delivered("central")
        link = hub.links["central"]
        held = await stored(server.url, "met")
        for message in held[2:5]:
            ledger.inject("message deleted")
            await link.request("$JS.API.STREAM.MSG.DELETE.MET", b'{"seq":%d}' % message.seq, timeout_s=2)
        await hub.chunk(8)
        await hub.delivered("central")
        left = await stored(server.url, "met")
        broken = check(left, hub.accepted, public=hub.key.public, subject=ops("met", "alpha"))
        assert len(broken.silent) == 3
        assert broken.broken  # the hole is seen
        ledger.turn()
        ledger.inject("message deleted ×3")
        answer = await link.request("fetch.alpha", encode(FetchRequest("met", hub.log.inc, 3, 5)), timeout_s=3)
        refill = [Stored(one.payload, one.sig, one.n) for one in decode(answer.payload, FetchReply).chunks]
        assert [payload_hash(one.payload) for one in refill] == [payload_hash(one.payload) for one in held[2:5]]
        whole = [*left[:2], *refill, *left[2:]]
        found = check(whole, hub.accepted, public=hub.key.public, subject=ops("met", "alpha"))
        assert found.is_clean, found
        assert found.received == 9


async def test_l3_a_crowd_that_lost_its_server_comes_back_spread_out(server):
    """L3: 120 links (for 500) cut at once; no instant has them all, and all are back within 6 s."""
    loop = asyncio.get_running_loop()
    async with FaultProxy(server.port) as proxy:
        links = [
            Link(f"h{n}", [proxy.url], identity=f"h{n}", login_seed="", policy=CROWD_POLICY, clock=SystemClock())
            for n in range(CROWD)
        ]
        tasks = [asyncio.create_task(link.run()) for link in links]
        try:
            await until(lambda: all(link.is_connected for link in links), 20)
            proxy.set(Faults(refuse=True))
            await asyncio.sleep(1.0)
            proxy.heal()
            began, before, counts, rates = loop.time(), proxy.accepted, [], []
            lapse = 0.0
            while not all(link.is_connected for link in links):
                assert loop.time() - began < 6.0
                looked = loop.time()
                await asyncio.sleep(0.05)
                counts.append(proxy.accepted - before)
                took_s = loop.time() - looked
                rates.append(counts[-1] * 0.05 / (took_s + lapse))  # what a stall held back comes in the look after it
                before, lapse = proxy.accepted, took_s - 0.05
            assert sum(counts) <= CROWD * 1.5, counts
            assert max(rates) <= CROWD / 2, rates
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
