"""The console in a real terminal when things go wrong around it: isolated, killed, closed, stopped, lied to."""

import asyncio
import os
import re
import signal
import sys
import time
from contextlib import asynccontextmanager

import pytest

from console.preflight import DEAF_SECONDS
from hubagent.wire.reports import Service
from tests.support.audited_hub import AuditedHub
from tests.support.fake_hub import FakeFleet, FakeHub, event
from tests.support.fault_proxy import FaultProxy
from tests.support.terminal import Terminal
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
ONCE = [("command_intent", ""), ("command_result", "done")]
LEFT, CURSOR = b"\x1b[?1049l", b"\x1b[?25h"


@pytest.fixture
def fleet(tmp_path):
    """One hub server, no hub yet."""
    with FakeFleet(tmp_path, servers=("central",)) as started:
        yield started


class Screen:
    """A console in a terminal, asked from a test's event loop."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    async def sees(self, *texts: str, seconds: float = 20.0) -> None:
        """Wait for each text."""
        for text in texts:
            await asyncio.to_thread(self.terminal.sees, text, seconds)

    async def press(self, *keys: str) -> None:
        """Type keys."""
        await asyncio.to_thread(self.terminal.press, *keys)

    async def order(self, text: str) -> None:
        """Type a command line and wait for its preflight with every gate green."""
        await self.press(":", *text, "enter")
        await self.sees("pass", "press y")
        await asyncio.sleep(DEAF_SECONDS)  # by design keys so soon after the opening are not heard

    async def never_sees(self, text: str, until_text: str, seconds: float = 20.0) -> None:
        """Watch the screen until one text comes; the other must not have been there."""
        end = time.monotonic() + seconds
        while until_text not in (now := self.terminal.text()):
            assert text not in now, now
            assert time.monotonic() < end, f"{until_text!r} did not appear:\n{now}"
            await asyncio.sleep(0.02)
        assert text not in now, now


@asynccontextmanager
async def console(fleet: FakeFleet, *, url: str = "", leader: tuple[str, ...] = (), **changes: object):
    """The console of an operator who may change things, over this address of the server, run by what has the terminal."""
    servers = [{"name": "central", "urls": [url or fleet.servers["central"].url]}]
    config = fleet.config(servers=servers, read_only=False, **changes)
    argv = [*leader, sys.executable, "-m", "console", "-c", str(config)]
    terminal = Terminal(argv, columns=120, rows=40, env={"LANG": "C.UTF-8"})
    with terminal:
        try:
            yield Screen(terminal)
        finally:
            if terminal.status is None:
                os.kill(terminal.pid, signal.SIGCONT)


async def test_n18_an_isolated_console_says_unknown_and_never_failed(fleet):
    """N18: answers are lost from the moment of `y`; it runs once, the screen says unknown, then what it hears at last."""
    async with (
        AuditedHub(fleet, "alpha").serving() as alpha,
        FaultProxy(fleet.ports["central"]) as proxy,
        console(fleet, url=proxy.url, ping_s=20.0) as mine,
    ):
        await mine.sees("alpha", "central ok")
        await mine.order("restart web@alpha")
        alpha.action.may_end.set()
        proxy.set(stall_down=True)
        await mine.press("y")
        await mine.never_sees("failed", "unknown")
        assert (alpha.action.ran, alpha.audit) == (1, ONCE)
        proxy.heal()
        await mine.never_sees("failed", "done")
        assert alpha.action.ran == 1


async def under_way(mine: Screen, alpha: AuditedHub) -> None:
    """A restart that has begun and goes on."""
    await mine.sees("alpha", "central ok")
    await mine.order("restart web@alpha")
    await mine.press("y")
    await mine.sees("under way")
    await until(lambda: alpha.action.ran == 1)


async def kept_by_the_hub(alpha: AuditedHub) -> None:
    """The command goes on without the console that sent it, is written down once, and whoever looks next is told."""
    alpha.action.may_end.set()
    await until(lambda: alpha.audit == ONCE)
    assert [result.state for result in alpha.plane.results()] == ["done"]
    assert alpha.action.ran == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
async def test_p12_a_console_that_dies_in_mid_command_leaves_it_to_the_hub(fleet, number):
    """P12: told to end it restores the terminal; killed it cannot; the command is the hub's in either case."""
    async with AuditedHub(fleet, "alpha").serving() as alpha, console(fleet) as mine:
        await under_way(mine, alpha)
        os.kill(mine.terminal.pid, number)
        status = await asyncio.to_thread(mine.terminal.ends)
        if number != signal.SIGKILL:
            assert LEFT in mine.terminal.raw
            assert CURSOR in mine.terminal.raw
            assert status == 128 + number
        await kept_by_the_hub(alpha)


@pytest.mark.parametrize("leader", [(), ("sh", "-c", 'trap : HUP; "$@"; exit $?', "sh")], ids=["alone", "like make"])
async def test_p12_a_closed_terminal_ends_the_console_and_not_the_command(fleet, leader):
    """P12: the window is gone; no console stays behind without one, nor where what started it keeps SIGHUP to itself."""
    async with AuditedHub(fleet, "alpha").serving() as alpha, console(fleet, leader=leader) as mine:
        await under_way(mine, alpha)
        mine.terminal.close()
        await asyncio.to_thread(mine.terminal.ends)
        await kept_by_the_hub(alpha)


async def test_p12_a_resize_in_mid_command_changes_nothing(fleet):
    """P12: smaller, then larger; the row goes on to done."""
    async with AuditedHub(fleet, "alpha").serving() as alpha, console(fleet) as mine:
        await under_way(mine, alpha)
        mine.terminal.resize(40, 10)
        mine.terminal.resize(100, 30)
        await kept_by_the_hub(alpha)
        await mine.sees("done")


async def test_l4_a_stopped_console_harms_nobody_and_reloads_when_it_goes_on(tmp_path):
    """L4: the server cuts it off, hub and other console feel nothing; continued it has every event, each once."""
    fleet = FakeFleet(tmp_path, servers=("central",))
    fleet.servers["central"].sync = "2m"  # what is timed is the sending, not this machine's disk
    fleet.servers["central"].extra += 'max_payload: 65536\nmax_pending: 262144\nwrite_deadline: "1s"\n'
    with fleet:
        async with FakeHub(fleet, "alpha", why="x" * 20_000) as alpha, FakeHub(fleet, "beta") as beta:
            await alpha.make_streams()
            async with console(fleet) as stopped, console(fleet) as other:
                for one in (stopped, other):
                    await one.sees("alpha", "central ok")
                os.kill(stopped.terminal.pid, signal.SIGSTOP)
                slowest = await flood(alpha)
                assert slowest < 1.0
                await until(lambda: "Slow Consumer" in fleet.servers["central"].log(), 20)
                assert not alpha.errors + beta.errors
                assert "DOWN" not in other.terminal.text()
                os.kill(stopped.terminal.pid, signal.SIGCONT)
                await stopped.press(
                    "4"
                )  # DOWN may be over before it is painted: a link is back in a quarter of a second
                await stopped.sees("the last of 30")
                await complete(stopped, 29)  # the hole in the middle is read from the stream
                assert len(re.findall(r"number \d+\b", stopped.terminal.text())) == 29


def numbers(screen: Screen) -> set[int]:
    """Of the events on the screen."""
    return set(map(int, re.findall(r"number (\d+)\b", screen.terminal.text())))


async def complete(screen: Screen, count: int) -> None:
    """Wait until events 0 to count-1 are on the screen; else fail with the screen."""
    try:
        await until(lambda: numbers(screen) >= set(range(count)), 20)
    except TimeoutError:
        pytest.fail(screen.terminal.text())


async def flood(alpha: FakeHub) -> float:
    """30 events, and summaries until the stopped one must have been cut off; the slowest write of the hub."""
    slowest = 0.0
    for number in range(30):
        began = time.monotonic()
        now = time.time()
        text = "the last of 30" if number == 29 else f"number {number}"
        await alpha.store(recs=[event(text, t=now)], t0=now, t1=now)
        for _ in range(30):  # 18 MB in all: more than the buffers of the kernel take
            await alpha.say()
        await alpha.client.flush()
        slowest = max(slowest, time.monotonic() - began)
    return slowest


HOSTILE = "red \x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07\x1b]8;;http://evil\x1b\\\x1bPowned\x1b\\\x9b31m\x9d0;x\x9c\u202e\x1b[2J[/bold][link=x]"
FOREIGN = [
    b"\x1b]0;",
    b"\x1b]52;",
    b"\x1b]8;;http",
    b"\x1bPowned",
    b"\x9b31m",
    b"\xc2\x9b",
    b"\xc2\x9d",
    "\u202e".encode(),
]


async def test_x7_hostile_text_never_reaches_the_terminal_as_a_command(fleet):
    """X7: in summary, services, events and output; the captured bytes of every view hold none of it, and all are painted."""
    async with FakeHub(fleet, "alpha", why=HOSTILE, severity="warning", output=[HOSTILE] * 3) as alpha:
        alpha.services = [Service("web", "RUNNING", why=HOSTILE)]
        await alpha.make_streams()
        await alpha.store(recs=[event(HOSTILE, t=time.time(), reason=HOSTILE)], t0=time.time(), t1=time.time())
        async with console(fleet) as mine:
            await mine.sees("alpha", "central ok", "red")
            for view in "234567":
                await mine.press(view)
            await mine.press("1", "/", *"alpha", "enter", "enter")
            await mine.sees("HUB alpha", "web")
            await mine.press("l")
            await mine.sees("following web@alpha", "red")
            await mine.press("1", "q", "q")  # the first one clears the filter
            await mine.sees("q again")
            await mine.press("q")
            assert await asyncio.to_thread(mine.terminal.ends) == 0
            assert [one for one in FOREIGN if one in mine.terminal.raw] == []
            assert b"MarkupError" not in mine.terminal.raw
