"""A guard whose disk takes 0.6 s for each fsync keeps its deadlines, hears its clients, and obeys nothing too early."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.guards import TestGuard, boottime, is_alive
from tests.support.waiting import until

pytestmark = pytest.mark.real
FSYNC_S = 0.6  # two for each write
SLEEP = ("sleep", "1000")
ACTIVE = {"mode": "active", "group": "core", "epoch": 3, "holder": "alpha"}
PROGRAM = f"""
import os, sys, time
fsync = os.fsync
def slow(fd):
    while os.path.exists("slow") and slow.left > 0:
        time.sleep(0.01)
        slow.left -= 0.01
    slow.left = {FSYNC_S}
    fsync(fd)
slow.left = {FSYNC_S}
os.fsync = slow
from hubagent.guard import main
sys.exit(main(sys.argv[1]))
"""


class SlowGuard(TestGuard):
    """Its disk is slow from `slow` on, until `quick`."""

    __test__ = False

    def slow(self) -> None:
        """From now on each fsync takes FSYNC_S."""
        (self.state_dir / "slow").touch()

    def quick(self) -> None:
        """The disk is itself again, at once."""
        (self.state_dir / "slow").unlink(missing_ok=True)

    def tokens(self) -> dict:
        """The highest tokens that are on disk."""
        return json.loads((self.state_dir / "guard.json").read_text())["tokens"]


@pytest.fixture
async def guard(tmp_path):
    """A guard with an active service, whose disk then becomes slow."""
    argv = [sys.executable, "-S", "-c", PROGRAM, str(tmp_path)]
    env = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]}
    process = subprocess.Popen(argv, env=env)
    running = SlowGuard(tmp_path)
    try:
        await until((tmp_path / "guard.sock").exists)
        await running.begin()
        assert running.pid == process.pid
        await running.lease(3, 60.0)
        await running.start("scheduler", *SLEEP, **ACTIVE)
        await running.start("web", *SLEEP)
        running.slow()
        yield running
    finally:
        running.quick()
        ending = asyncio.create_task(asyncio.to_thread(process.wait, 20.0))
        await running.end()
        await ending


async def pid_of(guard, name) -> int:
    return next(one["pid"] for one in (await guard.hello())["services"] if one["name"] == name)


@pytest.mark.parametrize("work", ["start", "exit", "token"])
async def test_the_deadline_kills_while_the_guard_writes(guard, work):
    """An agent is frozen while another service starts or ends, or another group is given a token: nobody lives too long."""
    scheduler, web = [await pid_of(guard, name) for name in ("scheduler", "web")]
    deadline = boottime() + 0.4
    await guard.lease(3, 0.4)
    working = None
    if work == "start":
        working = asyncio.create_task(guard.start("other", *SLEEP))
    elif work == "token":
        working = asyncio.create_task(guard.lease(7, 60.0, group="edge"))
    else:
        os.kill(web, signal.SIGKILL)
    await until(lambda: not is_alive(scheduler))
    assert boottime() < deadline + FSYNC_S
    if working is None:
        assert (await guard.exit_of("web"))["signal"] == signal.SIGKILL
    else:
        assert not working.done()
        assert (await working)["ok"]


async def test_a_service_whose_lease_ends_while_it_is_written_down_never_runs(guard):
    """It was allowed when it was asked for, and is so no more when it could begin."""
    await guard.lease(3, FSYNC_S)
    started = await guard.start("second", "sh", "-c", "echo ran; sleep 1000", **ACTIVE)
    ended = await guard.exit_of("second")
    assert (ended["pid"], ended["asked"]) == (started["pid"], True)
    assert not is_alive(started["pid"])
    assert guard.output("second") == ""


async def test_renewals_are_heard_while_the_guard_writes(guard):
    """A slow disk ends no service whose lease is renewed in time."""
    scheduler = await pid_of(guard, "scheduler")
    starting = asyncio.create_task(guard.start("other", *SLEEP))
    renewed = 0
    while not starting.done():
        assert (await guard.lease(3, 0.5))["ok"]
        renewed += 1
        await asyncio.sleep(0.05)
    assert (await starting)["ok"]
    assert renewed > FSYNC_S / 0.1
    assert is_alive(scheduler)
    assert not [event for event in guard.events if event.get("event") == "lapsed"]


async def test_a_higher_token_is_on_disk_before_it_is_acknowledged(guard):
    """Meanwhile nothing starts under it, the lower one can no longer be renewed, and its deadline is kept."""
    scheduler = await pid_of(guard, "scheduler")
    await guard.lease(3, FSYNC_S)
    raising = asyncio.create_task(guard.lease(4, 60.0))
    starting = asyncio.create_task(guard.start("second", *SLEEP, **(ACTIVE | {"epoch": 4})))
    await until((guard.state_dir / "guard.json.new").exists)  # it writes
    refused = await guard.lease(3, 60.0)
    assert "below (4, alpha)" in refused["why"]
    assert not raising.done()
    assert guard.tokens() == {"core": [3, "alpha"]}
    await until(lambda: not is_alive(scheduler))
    assert not starting.done()
    assert (await raising)["ok"]
    assert guard.tokens() == {"core": [4, "alpha"]}
    assert (await starting)["ok"]


async def test_what_a_client_asks_is_done_in_its_order(guard):
    """Two starts and a stop, asked at once: the stop is for the service that was asked for before."""
    asked = [guard.start("one", *SLEEP), guard.start("two", *SLEEP), guard.client.request("stop", name="two")]
    first, second, stopped = await asyncio.gather(*asked)
    assert first["ok"]
    assert second["ok"]
    assert stopped["pid"] == second["pid"]
    assert (await guard.exit_of("two"))["asked"] is True
    assert is_alive(first["pid"])


async def test_a_stop_between_fork_and_exec_is_obeyed(guard):
    """The child waits until it is written down; the stop must neither be lost nor wait for its grace."""
    starting = asyncio.create_task(guard.start("other", *SLEEP))
    await until((guard.state_dir / "guard.json.new").exists)
    stopped = await guard.client.request("stop", name="other", grace_s=60.0)
    assert not starting.done()
    assert (await starting)["pid"] == stopped["pid"]
    ended = await guard.exit_of("other")
    assert (ended["signal"], ended["asked"]) == (signal.SIGTERM, True)


async def test_a_client_that_asks_and_hangs_up_is_served(guard):
    """What was asked before the end of a connection counts."""
    _, writer = await asyncio.open_unix_connection(str(guard.state_dir / "guard.sock"))
    for name in ("one", "two"):
        request = {"op": "start", "name": name, "argv": list(SLEEP), "output": str(guard.state_dir / f"{name}.log")}
        writer.write(json.dumps(request).encode() + b"\n")
    await writer.drain()
    writer.close()

    async def run() -> set[str]:
        return {one["name"] for one in (await guard.hello())["services"] if one["pid"]}

    async with asyncio.timeout(10 * FSYNC_S):
        while await run() != {"scheduler", "web", "one", "two"}:
            await asyncio.sleep(0.05)
