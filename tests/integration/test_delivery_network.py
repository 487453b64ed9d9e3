"""Delivery through a broken wire (faults N1 to N12): nothing lost, nothing stored twice, no storm of reconnects."""

import asyncio

import pytest

from hubagent.core.pacing import SLOW_BYTES_PER_S
from tests.integration.test_delivery_real import holds
from tests.support.fault_proxy import HEALTHY, FaultProxy, Faults
from tests.support.hub import HubParts, make_streams
from tests.support.nats import NatsServer

pytestmark = pytest.mark.real
STORM_SECONDS = 2.5
RECORDS = 50


@pytest.fixture
def server(tmp_path):
    with NatsServer(tmp_path / "nats") as one:
        yield one


@pytest.mark.parametrize(
    "faults",
    [
        Faults(stall_up=True, stall_down=True),
        Faults(stall_down=True),
        Faults(stall_up=True),
        Faults(latency_s=0.1, jitter_s=0.05),
        Faults(slice_bytes=1),
        Faults(reset_after=5),
        Faults(cut_after_bytes=1500),
        Faults(refuse=True),
    ],
    ids=["N2 silent", "N3 acks lost", "N4 frames lost", "N9 latency", "N11 slices", "N12 resets", "cuts", "N1 refused"],
)
async def test_broken_wire_loses_and_repeats_nothing(server, tmp_path, faults):
    """Records go on while the wire is broken; after it heals the stream holds each once, in order."""
    await make_streams(server.url)
    async with (
        FaultProxy(server.port) as proxy,
        HubParts(tmp_path / "hub", {"central": proxy.url}).running() as hub,
    ):
        await hub.chunk(0)
        await hub.delivered("central")
        proxy.set(faults)
        for value in range(1, RECORDS):
            await hub.chunk(value)
            await asyncio.sleep(STORM_SECONDS / RECORDS)
        proxy.set(HEALTHY)
        await hub.delivered("central")
        await holds(hub, server.url, RECORDS)


async def test_n8_flapping_wire_makes_no_storm_of_reconnects(server, tmp_path):
    """N8: 200 ms up, 200 ms down; the rate of connections stays bounded."""
    await make_streams(server.url)
    async with (
        FaultProxy(server.port) as proxy,
        HubParts(tmp_path / "hub", {"central": proxy.url}).running() as hub,
    ):
        before = proxy.accepted
        for value in range(10):
            proxy.set(Faults(refuse=True))
            await hub.chunk(value)
            await asyncio.sleep(0.2)
            proxy.set(HEALTHY)
            await asyncio.sleep(0.2)
        assert proxy.accepted - before <= 80  # the shortest pause is 50 ms here, half of it by jitter
        await hub.delivered("central")
        await holds(hub, server.url, 10)


async def test_n10_slow_link_gets_its_chunks_through(server, tmp_path):
    """N10: 64 kbit/s, and chunks that take longer than the shortest timeout."""
    await make_streams(server.url)
    async with (
        FaultProxy(server.port) as proxy,
        HubParts(tmp_path / "hub", {"central": proxy.url}).running() as hub,
    ):
        await hub.chunk(0)
        await hub.delivered("central")
        proxy.set(Faults(bytes_per_s=8_000))
        for value in (1, 2):
            hub.recorder.sample(("x.value", "x.text"), [value, "y" * 20_000])
            await hub.spool.write(hub.log.close_all)
            hub.accepted.append(value)
        await hub.delivered("central", seconds=40)
        assert hub.delivery.rates()["central"] < SLOW_BYTES_PER_S  # so that live slows down too
        await holds(hub, server.url, 3)
