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
LONG_S = 4.0  # for what must not wait for it
SLEEP = ("sleep", "1000")
ACTIVE = {"mode": "active", "group": "core", "epoch": 3, "holder": "alpha"}
PROGRAM = """
import os, sys, time
fsync = os.fsync
def slow(fd):
    began = time.monotonic()
    while os.path.exists("slow") and time.monotonic() < began + float(open("slow").read() or 0):
        time.sleep(0.01)
    if os.path.exists("broken"):
        raise OSError(5, "Input/output error")
    fsync(fd)
os.fsync = slow
from hubagent.guard import kernel, main
look = kernel.Sight._look
def slow_look(sight):
    time.sleep(1.0 if os.path.exists("many") else 0.0)
    return look(sight)
kernel.Sight._look = slow_look
sys.exit(main(sys.argv[1]))
"""


class SlowGuard(TestGuard):
    """Its disk is slow from `slow` on, until `quick`."""

    __test__ = False

    def slow(self, seconds: float = FSYNC_S) -> None:
        """From now on each fsync takes so long."""
        fresh = self.state_dir / "slow.new"
        fresh.write_text(f"{seconds}")
        fresh.replace(self.state_dir / "slow")

    def broken(self) -> None:
        """From now on each fsync fails at its end."""
        (self.state_dir / "broken").touch()

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
    guard.slow(LONG_S)
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
    assert boottime() < deadline + LONG_S / 4
    guard.quick()
    if working is None:
        assert (await guard.exit_of("web"))["signal"] == signal.SIGKILL
    else:
        assert (await working)["ok"]


async def test_nobody_is_searched_for_before_every_group_that_is_due_is_struck(guard):
    """Where many processes run a search takes long; two groups end with one deadline."""
    guard.quick()
    scheduler = await pid_of(guard, "scheduler")
    await guard.lease(3, 60.0, group="edge")
    other = (await guard.start("other", *SLEEP, **(ACTIVE | {"group": "edge"})))["pid"]
    deadline = boottime() + 0.4
    await asyncio.gather(guard.lease(3, 0.4, term=0.0), guard.lease(3, 0.4, term=0.0, group="edge"))
    (guard.state_dir / "many").touch()
    await until(lambda: not is_alive(scheduler) and not is_alive(other))
    assert boottime() < deadline + 0.9
    (guard.state_dir / "many").unlink()


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


async def asks(guard, *requests) -> asyncio.StreamWriter:
    """Another client that asks all this at once; it may hang up."""
    _, writer = await asyncio.open_unix_connection(str(guard.state_dir / "guard.sock"))
    for request in requests:
        writer.write(json.dumps(request).encode() + b"\n")
    await writer.drain()
    return writer


def start_of(guard, name, *argv) -> dict:
    return {"op": "start", "name": name, "argv": list(argv), "output": str(guard.state_dir / f"{name}.log")}


async def test_what_a_client_asked_before_it_hung_up_counts_but_no_start_that_nobody_would_hear_of(guard):
    """An agent that comes next looks at what runs and decides by that: nothing begins behind its back."""
    stop = {"op": "stop", "name": "web"}
    writer = await asks(guard, start_of(guard, "one", *SLEEP), start_of(guard, "two", *SLEEP), stop)
    await until((guard.state_dir / "guard.json.new").exists)
    writer.close()
    assert (await guard.exit_of("web"))["asked"] is True
    assert (await guard.start("three", *SLEEP))["ok"]
    assert {one["name"] for one in (await guard.hello())["services"] if one["pid"]} == {"scheduler", "one", "three"}


@pytest.mark.parametrize("argv", [SLEEP, ("/no/such/program",)], ids=["not written", "not run"])
async def test_a_service_that_was_seen_and_then_fails_is_told_of_where_its_client_is_gone(guard, argv):
    """Who saw it in `hello` would believe for ever that it runs."""
    writer = await asks(guard, start_of(guard, "other", *argv))
    await until((guard.state_dir / "guard.json.new").exists)
    writer.close()
    pid = await pid_of(guard, "other")
    if argv == SLEEP:
        guard.broken()
    guard.quick()
    assert (await guard.exit_of("other"))["pid"] == pid


def open_files(guard) -> int:
    return len(list(Path(f"/proc/{guard.pid}/fd").iterdir()))


async def test_an_active_service_that_cannot_be_written_down_is_not_started(guard):
    """What it began would live on unknown to the next guard, beside the service of the next holder."""
    guard.broken()
    guard.quick()
    open_before = open_files(guard)
    for _ in range(3):
        refused = await guard.start("second", "sh", "-c", "echo ran; sleep 1000", **ACTIVE)
        assert refused["why"] == "guard.json: Input/output error"
        await guard.ended("second")
    assert guard.output("second") == ""
    await until(lambda: open_files(guard) == open_before)  # while it writes there is one more


async def test_authority_given_up_does_not_come_back_by_a_renewal_that_waited(guard):
    """Raise, renewal, and the end of it, all before the token is on disk: the end is what counts."""
    raising = asyncio.create_task(guard.lease(4, 60.0))
    starting = asyncio.create_task(guard.start("second", "sh", "-c", "echo ran; sleep 1000", **(ACTIVE | {"epoch": 4})))
    await until((guard.state_dir / "guard.json.new").exists)
    renewing = asyncio.create_task(guard.lease(4, 90.0))
    await asyncio.sleep(0)
    ending = asyncio.create_task(guard.lease(4, 0.0))
    assert [one["ok"] for one in await asyncio.gather(raising, renewing, ending)] == [True] * 3
    assert (await starting)["why"] == "lease: no live deadline for this group"
    assert guard.output("second") == ""


async def test_renewals_while_a_token_is_written_count_and_are_answered_with_it(guard):
    """A group whose raise took longer than its first deadline is held all the same."""
    raising = asyncio.create_task(guard.lease(4, FSYNC_S))
    await until((guard.state_dir / "guard.json.new").exists)
    renewed = []
    while not raising.done():
        renewed.append(asyncio.create_task(guard.lease(4, 5.0)))
        await asyncio.sleep(0.1)
    assert all([(await one)["ok"] for one in renewed])
    assert (await guard.start("second", *SLEEP, **(ACTIVE | {"epoch": 4})))["ok"]
    assert not [event for event in guard.events if event.get("epoch") == 4]
