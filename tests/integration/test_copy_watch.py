"""The console's slow check of the servers' copies, against real servers."""

import asyncio
import time

import pytest

from console import config
from console.clock import SystemClock
from console.copy_watch import CopyWatch
from console.link import Link
from console.reading import hub_of
from tests.support.fake_hub import FakeFleet, FakeHub

pytestmark = pytest.mark.real


async def test_the_check_reads_on_where_it_stopped_and_says_what_differs(tmp_path):
    """Equal, equal with more, then a number under which edge has other bytes."""
    with FakeFleet(tmp_path) as fleet:
        async with FakeHub(fleet, "alpha", "central") as here, FakeHub(fleet, "alpha", "edge") as there:
            for hub in (here, there):
                await hub.make_streams()
            link = Link(config.load(fleet.config()), SystemClock())
            link.start()
            reports = []
            watch = None

            async def check(side):
                nonlocal watch
                watch = watch or CopyWatch(side.lines, lambda: side.roster, reports.append, time.time)
                await watch.check(hub_of(side, "alpha"), "met")

            async def checked() -> str:
                await asyncio.wrap_future(link.call(check))
                return reports[-1].text

            try:
                await _connected(link)
                for value in range(3):
                    for hub in (here, there):
                        await hub.store("met", [[float(value)]], t0=value, t1=value)
                assert await checked() == "copies equal, 3 chunks"
                for hub in (here, there):
                    await hub.store("met", [[9.0]], t0=9.0, t1=9.0)
                assert await checked() == "copies equal, 4 chunks"
                await here.store("met", [[1.0]], t0=10.0, t1=10.0)
                await there.store("met", [[2.0]], t0=10.0, t1=10.0)
                assert "other bytes (than on central)" in await checked()
                assert reports[-1].state == "different"
            finally:
                link.stop()


async def _connected(link):
    async def up(side):
        while not all(line.is_connected for line in side.lines) or side.roster is None:
            await asyncio.sleep(0.02)

    await asyncio.wait_for(asyncio.wrap_future(link.call(up)), 10)
