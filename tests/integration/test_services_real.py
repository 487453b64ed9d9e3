"""Promises of the services' loop with a real guard, real processes and real probes."""

import asyncio
import sys
from contextlib import asynccontextmanager, suppress

import pytest

from hubagent.clock import SystemClock
from hubagent.core.health import ProbePolicy
from hubagent.core.service_policy import ServicePolicy
from hubagent.edges.children import GuardClient
from hubagent.edges.probes import Prober
from hubagent.loops.services import Services
from tests.fakes.recorder import FakeRecorder
from tests.support.guards import boottime, guarding, is_alive
from tests.support.nats import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.real
SERVE = "import http.server, sys; http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"


def web(port: int) -> ServicePolicy:
    probe = ProbePolicy("http", (f"http://127.0.0.1:{port}/",), interval_s=0.2)
    argv = (sys.executable, "-u", "-c", SERVE, str(port))
    return ServicePolicy("web", argv, probes=(probe,), start_s=0.1, grace_s=2.0, backoff_min_s=0.1)


SCHEDULER = ServicePolicy("scheduler", ("sleep", "1000"), run="active", group="core", start_s=0.0, backoff_min_s=0.05)


@asynccontextmanager
async def supervising(state_dir, *policies):
    """An agent's services for the length of a block; cancelled, as an agent that ends."""
    guard = GuardClient(state_dir / "guard.sock")
    recorder = FakeRecorder()
    services = Services(
        policies, guard, Prober(), recorder, SystemClock(), hub="alpha", output_dir=state_dir / "output"
    )
    task = asyncio.create_task(services.run())
    try:
        yield services, recorder
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def guard(tmp_path):
    """A guard, and the certainty that nothing is left."""
    async with guarding(tmp_path) as running:
        yield running


def shown(services, name):
    return next(one for one in services.snapshot(True) if one.name == name)


async def runs(services, name) -> int:
    await until(lambda: shown(services, name).state == "RUNNING")
    return shown(services, name).pid


async def test_a_web_service_starts_is_well_and_is_restarted(guard, tmp_path):
    """RUNNING and healthy, seen by its own probe; usage is measured where somebody watches."""
    async with supervising(tmp_path, web(free_port())) as (services, _):
        before = await runs(services, "web")
        assert shown(services, "web").healthy is True
        outcome = await services.restart("web", cause="test")
        assert outcome.ok
        assert outcome.took_s < 5.0
        after = shown(services, "web")
        assert after.pid != before
        assert not is_alive(before)
        assert after.rss > 1 << 20
        assert "GET / HTTP/1.0" in "".join(services.tail("web", 50))


async def test_an_agent_that_comes_back_finds_its_services(guard, tmp_path):
    """P9: Never doubled, and what ended meanwhile is known with its code."""
    go = tmp_path / "go"
    policies = (
        web(free_port()),
        ServicePolicy(
            "job", ("sh", "-c", f"while ! test -e {go}; do sleep 0.02; done; exit 9"), run="manual", start_s=0.0
        ),
    )
    async with supervising(tmp_path, *policies) as (services, _):
        pid = await runs(services, "web")
        assert (await services.start("job")).ok
    await guard.hello()
    await guard.hello()  # asked after the agent's connection was closed: that is seen
    go.touch()
    await guard.ended("job")
    async with supervising(tmp_path, *policies) as (services, recorder):
        assert await runs(services, "web") == pid
        assert any(event.text.startswith("job ended while no agent ran: exit 9") for event in recorder.events)
        assert shown(services, "job").exits[-1].startswith("exit 9 after ")


async def test_when_the_guard_is_killed_a_new_one_takes_over(guard, tmp_path):
    """The web service keeps its process; the active one died and runs again under the same live deadline rules."""
    async with supervising(tmp_path, web(free_port()), SCHEDULER) as (services, _):
        pid = await runs(services, "web")
        await guard.lease(1, 60.0)
        services.activate("core", 1, "alpha")
        active = await runs(services, "scheduler")
        await guard.kill()
        await until(lambda: not is_alive(active), 2.0)
        await until(lambda: not guard.client.is_connected)
        await until(lambda: shown(services, "scheduler").pid is None)
        await guard.begin()
        assert (await guard.lease(1, 60.0))["ok"]
        await until(lambda: shown(services, "scheduler").pid not in (None, active))
        assert shown(services, "web").pid == pid


async def test_promotion_reaches_the_process_in_milliseconds(guard, tmp_path):
    """From the call to a living process."""
    async with supervising(tmp_path, SCHEDULER) as (services, _):
        took = []
        for epoch in (1, 2, 3):
            await guard.lease(epoch, 60.0)
            began = boottime()
            services.activate("core", epoch, "alpha")
            await until(lambda: shown(services, "scheduler").pid is not None)
            took.append(boottime() - began)
            services.deactivate("core", "test")
            await until(lambda: shown(services, "scheduler").pid is None)
        assert min(took) < 0.5  # another program may have the machine for one of them


async def test_a_crash_loop_ends_in_fatal_and_not_in_a_fork_bomb(guard, tmp_path):
    """P7: Five starts, five exit codes, then nothing."""
    policy = ServicePolicy("bad", ("sh", "-c", "exit 3"), backoff_min_s=0.02, backoff_max_s=0.05)
    async with supervising(tmp_path, policy) as (services, recorder):
        await until(lambda: shown(services, "bad").state == "FATAL")
        await asyncio.sleep(0.3)
        assert [words.split(" after ")[0] for words in shown(services, "bad").exits] == ["exit 3"] * 5
        assert [event.severity for event in recorder.events].count("critical") == 1


async def test_shutdown_leaves_no_process(guard, tmp_path):
    """Services first, then their guard."""
    async with supervising(tmp_path, web(free_port())) as (services, _):
        pid = await runs(services, "web")
        await services.shutdown()
        await until(lambda: not is_alive(pid) and not is_alive(guard.pid), 5.0)
