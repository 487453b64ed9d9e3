"""A real guard for a test, and what a test wants to know of processes; nothing outlives the test."""

import asyncio
import json
import os
import signal
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from hubagent.edges.children import GuardClient
from hubagent.errors import GuardGone
from tests.support.waiting import until


def state_of(process: Path) -> str:
    """The kernel's letter for a process or thread, by its folder in /proc; X where it is gone."""
    try:
        return (process / "stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except (OSError, IndexError):
        return "X"


def is_alive(pid: int) -> bool:
    """A process that runs, or is stopped; a zombie that nobody reaps does not."""
    return state_of(Path(f"/proc/{pid}")) not in "ZX"


def boottime() -> float:
    """The clock of leases."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class TestGuard:
    """One state directory, its guard, and a client of it."""

    __test__ = False

    def __init__(self, state_dir: Path, leash: str = "") -> None:
        self.state_dir = state_dir
        self.client = GuardClient(state_dir / "guard.sock", leash)
        self.events: list[dict] = []
        self.pids: set[int] = set()  # of every guard that ran
        self.pid = 0
        self.client.on_event(self.events.append)

    async def begin(self) -> None:
        """Have a guard, and be connected."""
        await self.client.revive()
        self.pid = (await self.hello())["pid"]
        self.pids.add(self.pid)

    async def hello(self, **fields) -> dict:
        """What it runs."""
        return await self.client.request("hello", **fields)

    async def ended(self, name: str, seconds: float = 10.0) -> None:
        """Return once the guard knows that a service is over; asked as one that is no agent, so nothing counts as told."""
        async with asyncio.timeout(seconds):
            while any(one["name"] == name and one["pid"] for one in (await self.hello())["services"]):
                await asyncio.sleep(0.01)

    async def start(self, name: str, /, *argv: str, **fields) -> dict:
        """One start request with an output of its own."""
        output = str(self.state_dir / f"{name}.log")
        return await self.client.request("start", **({"name": name, "argv": list(argv), "output": output} | fields))

    async def lease(self, epoch: int, seconds: float, *, term: float = 0.1, group: str = "core") -> dict:
        """A deadline so many seconds from now, TERM so many before it."""
        deadline = boottime() + seconds
        fields = {"group": group, "epoch": epoch, "holder": "alpha", "term_at": deadline - term, "deadline": deadline}
        return await self.client.request("lease", **fields)

    async def exit_of(self, name: str, seconds: float = 10.0) -> dict:
        """The last exit told of a service, waited for."""
        await until(lambda: any(event.get("name") == name for event in self.events), seconds)
        return [event for event in self.events if event.get("name") == name][-1]

    def output(self, name: str) -> str:
        """What a service wrote."""
        path = self.state_dir / f"{name}.log"
        return path.read_text() if path.exists() else ""

    async def kill(self) -> None:
        """End the guard without a word (kill -9)."""
        os.kill(self.pid, signal.SIGKILL)
        await until(lambda: not is_alive(self.pid))

    async def end(self) -> None:
        """Leave nothing behind: stop what runs, then make sure of it by pid and start time."""
        kept = _kept(self.state_dir)
        with suppress(GuardGone):
            if not self.client.is_connected:
                await self.client.connect()
            self.pids.add((await self.hello())["pid"])
            for one in (await self.hello())["services"]:
                await self.client.request("stop", name=one["name"], grace_s=0.0)
            await self.client.request("shutdown")
        with suppress(TimeoutError):
            await until(lambda: not any(map(is_alive, self.pids)), 8.0)
        self.client.close()
        for pid in [pid for pid in self.pids if is_alive(pid)]:
            os.kill(pid, signal.SIGKILL)
        for pid, start in kept:
            if is_alive(pid) and _start_of(pid) == start:
                os.killpg(pid, signal.SIGKILL)


def _kept(state_dir: Path) -> list[tuple[int, int]]:
    path = state_dir / "guard.json"
    services = json.loads(path.read_text()).get("services", []) if path.exists() else []
    return [(one["pid"], one["start"]) for one in services]


def _start_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@asynccontextmanager
async def guarding(state_dir: Path, leash: str = ""):
    """A guard for the length of a block."""
    guard = TestGuard(state_dir, leash)
    try:
        await guard.begin()
        yield guard
    finally:
        await guard.end()
