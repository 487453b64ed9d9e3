"""Faults of the agent's process and of its clock: killed before the ack, an hour off, ten times the load."""

import asyncio

import msgspec
import psutil
import pytest

from hubagent.clock import SystemClock
from tests.integration.test_delivery_agent_killed import run_and_kill
from tests.integration.test_delivery_real import holds, holds_events, verdict
from tests.support import ledger
from tests.support.fault_proxy import FaultProxy, Faults
from tests.support.hub import HubParts, make_streams, stored
from tests.support.nats import NatsServer

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(90)]
LOAD_SECONDS = 8.0
LOAD_EACH_S = 0.01  # a sample and a tenth of an event: 100 a second, a hundred times what a hub makes
STORED_S_MAX = 1.0  # event to stored on both, 99th percentile, on a machine that others use as well
GROWTH_BYTES_MAX = 16 << 20


@pytest.fixture
def server(tmp_path):
    with NatsServer(tmp_path / "nats") as one:
        yield one


async def test_p2_agent_killed_while_the_acks_are_held_repeats_nothing(server, tmp_path):
    """P2: frames arrive, acks are held, the process is killed -9; three times."""
    await make_streams(server.url)
    said: list[str] = []
    async with FaultProxy(server.port) as proxy:
        for life in range(3):
            proxy.heal()
            killing = asyncio.create_task(
                asyncio.to_thread(run_and_kill, tmp_path / "hub", life * 10_000, 120, {"central": proxy.url})
            )
            await asyncio.sleep(1.0)  # the agent of this life has sent some by now; from here on no ack comes back
            proxy.set(Faults(stall_down=True))
            said += await killing
        proxy.heal()
        async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
            for lane in ("met", "evt"):
                await hub.delivered("central", lane, 20)
                hub.accepted = hub.accepted_events = [int(one.split()[1]) for one in said if one.startswith(lane)]
                found = await verdict(hub, server.url, lane)
                assert len(found.phantom) <= 6, found  # durable when the kill came, and not said yet
                assert not found.lost + found.duplicate + found.reordered + found.broken, found


class SteppedClock(SystemClock):
    """A machine whose wall clock somebody sets."""

    def __init__(self) -> None:
        self.step_s = 0.0

    def wall(self) -> float:
        """Unix seconds, as wrong as they were set."""
        return super().wall() + self.step_s


async def test_t1_wall_clock_that_steps_an_hour_changes_no_order_and_loses_nothing(server, tmp_path):
    """T1: an hour forward, then two back, with restarts between; numbers order the records, both clocks are in them."""
    await make_streams(server.url)
    accepted: list[int] = []
    for life, step_s in enumerate((0.0, 3600.0, -3600.0)):
        clock = SteppedClock()
        async with HubParts(tmp_path / "hub", {"central": server.url}, clock=clock).running() as hub:
            for value in range(life * 10, life * 10 + 8):
                await hub.chunk(value)
                await hub.event(value)
                ledger.inject("wall clock set")
                clock.step_s = step_s
            accepted += hub.accepted
            hub.accepted = hub.accepted_events = accepted
            await hub.delivered("central")
            await hub.delivered("central", "evt")
            await holds(hub, server.url, len(accepted))
            await holds_events(hub, server.url)
    chunks = [msgspec.json.decode(one.payload) for one in await stored(server.url, "met")]
    times = [chunk["t0"] for chunk in chunks]
    monos = [chunk["recs"][0][1] for chunk in chunks]
    assert times != sorted(times)
    assert monos == sorted(monos)


async def test_l1_a_hundred_times_the_load_with_a_server_killed(server, tmp_path):
    """L1: 100 samples and 10 events a second for 8 s (for 10 min) to two servers, one killed; p99 and memory bounded."""
    with NatsServer(tmp_path / "edge", sync="2m") as edge:
        urls = {"central": server.url, "edge": edge.url}
        for url in urls.values():
            await make_streams(url)
        async with HubParts(tmp_path / "hub", urls).running() as hub:
            loop, waits, began = asyncio.get_running_loop(), [], asyncio.get_running_loop().time()
            base = 0
            async with asyncio.TaskGroup() as tasks:
                value = 0
                while loop.time() - began < LOAD_SECONDS:
                    hub.recorder.sample(("x.value",), [value])
                    hub.accepted.append(value)
                    if value % 10 == 0:
                        await hub.event(value)
                        tasks.create_task(_stored(hub, "edge", loop.time(), waits))
                    if value == 100:
                        base = psutil.Process().memory_info().rss
                    if value == 300:
                        tasks.create_task(asyncio.to_thread(server.restart, kill=True))
                    value += 1
                    await asyncio.sleep(max(0.0, began + value * LOAD_EACH_S - loop.time()))
            growth = psutil.Process().memory_info().rss - base
            for dest, url in urls.items():
                await hub.spool.write(hub.log.close_all)
                await hub.delivered(dest, seconds=20)
                await hub.delivered(dest, "evt", seconds=20)
                await holds(hub, url, len(hub.accepted))
                await holds_events(hub, url)
            p99 = sorted(waits)[int(0.99 * (len(waits) - 1))]
            print(f"event to stored, p99: {p99:.3f} s; memory grew by {growth >> 10} KiB")
            assert p99 < STORED_S_MAX
            assert growth < GROWTH_BYTES_MAX


async def _stored(hub, dest, began, waits):
    """How long until a destination that was never away has what is durable now."""
    sender, wanted = hub.delivery._senders[dest, "evt"], hub.log.durable["evt"]
    while sender.core.cursor.position < wanted:
        await asyncio.sleep(0.002)
    waits.append(asyncio.get_running_loop().time() - began)
