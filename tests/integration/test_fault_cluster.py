"""Faults of a replicated hub server: leaders killed, servers restarted in turn, quorum lost, lame duck.

One cluster of three serves all of these tests; each has a hub of its own.
"""

import asyncio
import os
import signal

import pytest

from tests.integration.test_delivery_real import holds, holds_events
from tests.support import ledger
from tests.support.cluster import Cluster
from tests.support.hub import HubParts
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]
SECONDS = 60.0  # elections take 4 to 9 s each, on a machine that others use as well


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    one = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        one.start()
        asyncio.run(one.make_streams())
        yield one
    finally:
        one.end()


@pytest.fixture
async def whole(cluster):
    """The cluster with every server up and every replica current."""
    cluster.start()
    for stream in ("MET", "EVT"):
        await cluster.until_whole(stream)
    ledger.turn()
    return cluster


async def settled(hub: HubParts, cluster: Cluster, count: int) -> None:
    """Everything arrived, once and in order, in both lanes."""
    for lane in ("met", "evt"):
        await hub.delivered("central", lane, SECONDS)
    await holds(hub, cluster.urls.split(",")[0], count)
    await holds_events(hub, cluster.urls.split(",")[0])


async def record(hub: HubParts, values: range, pause_s: float = 0.05) -> None:
    """A chunk and an event each time."""
    for value in values:
        await hub.chunk(value)
        await hub.event(value)
        await asyncio.sleep(pause_s)


async def test_v6_the_leader_of_the_data_stream_is_killed(whole, tmp_path):
    """V6: kill -9 of the leader of MET; publishers wait for the election, it is said, and nothing is lost."""
    async with HubParts(tmp_path / "hub", {"central": whole.urls}, hub="v6").running() as hub:
        await record(hub, range(10))
        await hub.delivered("central", seconds=SECONDS)
        leader = await whole.leader("MET")
        leader.kill()
        await record(hub, range(10, 40))
        await until(lambda: hub.lane("central").state in {"BUFFERING", "DRAINING", "LIVE"})
        said = hub.lane("central")
        print(f"after the leader's death: {said.state} {said.why}")
        await hub.delivered("central", seconds=SECONDS)
        leader.start()
        await settled(hub, whole, 40)


async def test_v9_all_servers_are_restarted_in_rolling_order(whole, tmp_path):
    """V9: each of the three stopped and started while records come."""
    async with HubParts(tmp_path / "hub", {"central": whole.urls}, hub="v9").running() as hub:
        recording = asyncio.create_task(record(hub, range(120), 0.1))
        for server in whole.servers:
            server.restart()
            for stream in ("MET", "EVT"):
                await whole.until_whole(stream)
        await recording
        await settled(hub, whole, 120)


async def test_v10_without_a_quorum_the_hub_buffers_and_does_not_die(whole, tmp_path):
    """V10: two of three killed, so JetStream answers 503 or nothing; buffered, and drained when they are back."""
    async with HubParts(tmp_path / "hub", {"central": whole.urls}, hub="v10").running() as hub:
        await record(hub, range(5))
        await hub.delivered("central", seconds=SECONDS)
        for server in whole.servers[1:]:
            server.kill()
        await record(hub, range(5, 30))
        await until(lambda: hub.lane("central").state == "BUFFERING", 20)
        whole.start()
        await settled(hub, whole, 30)


async def test_v11_a_lame_duck_is_left_without_loss(whole, tmp_path):
    """V11: SIGUSR2 to the server that the hub is linked to; the link moves on to another, nothing is lost."""
    async with HubParts(tmp_path / "hub", {"central": whole.urls}, hub="v11").running() as hub:
        await record(hub, range(5))
        await hub.delivered("central", seconds=SECONDS)
        connection = hub.links["central"]._connection
        duck = next(one for one in whole.servers if str(one.port) in connection.connected_url.netloc)
        ledger.inject("server SIGUSR2 (lame duck)")
        os.kill(duck.pid, signal.SIGUSR2)
        await until(
            lambda: hub.links["central"].is_connected and hub.links["central"]._connection is not connection, 20
        )
        await record(hub, range(5, 25))
        await asyncio.to_thread(duck.process.wait, 40)
        duck.stop()
        duck.start()
        await settled(hub, whole, 25)
