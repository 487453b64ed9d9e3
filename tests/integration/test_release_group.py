"""What the guard does when its agent dies, and what it does not do; and the lock that keeps an agent from beginning."""

import asyncio
import fcntl
import os
import signal
import threading

import pytest

from hubagent.edges import state_dir
from hubagent.edges.children import GuardClient
from hubagent.errors import GuardGone
from tests.support.guards import guarding, is_alive
from tests.support.waiting import until

pytestmark = pytest.mark.real
ACTIVE = {"mode": "active", "group": "core", "epoch": 3, "holder": "alpha"}


@pytest.fixture
async def guard(tmp_path):
    """A guard in a directory of its own."""
    async with guarding(tmp_path) as running:
        yield running


async def agent_of(guard, folder):
    """An agent's connection that has told what to run when it dies."""
    client = GuardClient(guard.state_dir / "guard.sock")
    await client.connect()
    argv = ["sh", "-c", f"echo gone >> {folder / 'released'}"]
    await client.request("hello", agent=True, on_agent_gone={"core": argv})
    return client


async def test_the_active_services_end_at_once_and_the_others_stay(guard, tmp_path):
    """Long before the deadline; the release is begun once."""
    await guard.lease(3, 60.0, term=0.2)
    client = await agent_of(guard, tmp_path)
    active = (await guard.start("scheduler", "sleep", "1000", **ACTIVE))["pid"]
    always = (await guard.start("web", "sleep", "1000"))["pid"]
    client.close()
    await guard.exit_of("scheduler", 2.0)
    assert not is_alive(active)
    assert is_alive(always)
    released = tmp_path / "released"
    await until(lambda: released.exists() and released.read_text() == "gone\n", 5.0)
    refused = await guard.start("scheduler", "sleep", "1000", **ACTIVE)
    assert "lease" in refused["why"]


async def test_an_agent_that_dies_with_a_request_under_way_has_died_all_the_same(guard, tmp_path):
    """The answer that nobody takes must not hide the end of its connection."""
    await guard.lease(3, 60.0)
    client = await agent_of(guard, tmp_path)
    active = (await guard.start("scheduler", "sleep", "1000", **ACTIVE))["pid"]
    os.kill(guard.pid, signal.SIGSTOP)
    asking = asyncio.create_task(client.request("hello"))
    await asyncio.sleep(0)  # it is sent
    client.close()
    with pytest.raises(GuardGone):
        await asking
    os.kill(guard.pid, signal.SIGCONT)
    await until((tmp_path / "released").exists, 5.0)
    await until(lambda: not is_alive(active), 5.0)


async def test_an_agent_that_said_bye_or_is_there_twice_is_not_gone(guard, tmp_path):
    """Nothing is stopped, nothing is run."""
    await guard.lease(3, 60.0)
    first, second = await agent_of(guard, tmp_path), await agent_of(guard, tmp_path)
    active = (await guard.start("scheduler", "sleep", "1000", **ACTIVE))["pid"]
    first.close()
    await guard.hello()
    await second.request("bye")
    second.close()
    await guard.hello()
    assert is_alive(active)
    assert not (tmp_path / "released").exists()


async def test_without_a_live_deadline_there_is_nothing_to_release(guard, tmp_path):
    """A standby's agent died."""
    client = await agent_of(guard, tmp_path)
    client.close()
    await guard.hello()
    assert not (tmp_path / "released").exists()


async def test_a_malformed_word_of_what_to_run_is_refused(guard):
    """And the agent's other requests still work."""
    reply = await guard.hello(agent=True, on_agent_gone={"core": "rm -rf"})
    assert "on_agent_gone" in reply["why"]
    assert (await guard.hello(agent=True))["ok"]


def test_an_agent_waits_for_a_release_and_for_nobody_else(tmp_path):
    """The lock says what it is held for."""
    held = state_dir.lock(tmp_path, state_dir.RELEASING)
    threading.Timer(0.2, os.close, (held,)).start()
    again = state_dir.lock(tmp_path)
    with pytest.raises(state_dir.StateRefused):
        state_dir.lock(tmp_path)
    fcntl.flock(again, fcntl.LOCK_UN)
    os.close(again)
