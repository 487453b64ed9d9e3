"""Lease keepers as processes over real servers: started, hurt, and judged by what they write down themselves."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from hubagent.clock import SystemClock
from hubagent.edges.jetstream import create_stream
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.wire.signing import seed_from
from hubagent.wire.streams import LEASE
from tests.support.fault_proxy import FaultProxy
from tests.support.nats import NatsServer
from tests.support.waiting import until

GAP_S = 0.1  # a hub that acts writes every 2 ms; a longer silence between two lines of one hub is a pause of it


class Fleet:
    """A witness, a hub server, and agents that are processes."""

    def __init__(self, folder: Path, *, profile: str = "fast", auto: str = "armed", has_witness: bool = True):
        self.folder, self.profile, self.auto = folder, profile, auto
        self.witness = NatsServer(folder / "witness", name="witness")
        self.central = NatsServer(folder / "central", name="central", jetstream=False)
        self.has_witness = has_witness
        self.seeds = {hub: seed_from(bytes([index + 1]) * 32) for index, hub in enumerate(("a", "b"))}
        self.processes: dict[str, subprocess.Popen] = {}
        self._read: dict[str, int] = {}  # bytes of each log that are known
        self._known: dict[str, list[list]] = {}
        self.clock = SystemClock()
        self.proxies: dict[tuple[str, str], FaultProxy] = {}  # (hub, server): the wire between them
        self.more: dict[str, dict] = {}  # what else the spec of a hub says
        self.wires = contextlib.AsyncExitStack()

    async def put_proxies(self):
        """Every wire of every hub passes a proxy, from the next start on."""
        for hub in self.seeds:
            for server in (self.central, self.witness):
                proxy = await self.wires.enter_async_context(FaultProxy(server.port))
                self.proxies[hub, server.name] = proxy

    def url(self, hub: str, server: str) -> str:
        """Where a hub finds a server."""
        proxy = self.proxies.get((hub, server))
        return proxy.url if proxy else {"central": self.central, "witness": self.witness}[server].url

    def cut(self, *wires: tuple[str, str]):
        """Silence on these wires, both ways; no connection ends."""
        for wire in wires:
            self.proxies[wire].set(stall_up=True, stall_down=True)

    def heal(self):
        """Every wire works again."""
        for proxy in self.proxies.values():
            proxy.heal()

    async def __aenter__(self):
        self.central.start()
        if self.has_witness:
            self.witness.start()
            await self.make_stream()
        return self

    async def __aexit__(self, *_):
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(10)
        await self.wires.aclose()
        self.witness.kill()
        self.central.kill()

    async def make_stream(self):
        """The stream of leases, as the witness's own agent makes it."""
        link = Link(
            "witness", [self.witness.url], identity="test", login_seed="", policy=LinkPolicy(), clock=self.clock
        )
        running = asyncio.create_task(link.run())
        await until(lambda: link.is_connected)
        await create_stream(link, LEASE.config(1 << 20, "life-1"))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def start(self, hub: str):
        """Start an agent."""
        spec = {
            "hub": hub,
            "members": ["a", "b"],
            "profile": self.profile,
            "auto": self.auto,
            "witness": self.url(hub, "witness") if self.has_witness else "",
            "hub_servers": {"central": self.url(hub, "central")},
            "seeds": self.seeds,
            "folder": str(self.folder / hub),
            "log": str(self.folder / f"{hub}.log"),
            **self.more.get(hub, {}),
        }
        path = self.folder / f"{hub}.json"
        path.write_text(json.dumps(spec))
        argv = [sys.executable, "-m", "tests.support.lease_agent", str(path)]
        with (self.folder / f"{hub}.err").open("ab") as errors:
            self.processes[hub] = subprocess.Popen(argv, stderr=errors, cwd=Path(__file__).parents[2])

    def send(self, hub: str, number: int) -> float:
        """Send a signal; the moment just before."""
        began = self.clock.boottime()
        os.kill(self.processes[hub].pid, number)
        return began

    def lines(self, hub: str) -> list[list]:
        """What a hub wrote down: time, hub, word, rest."""
        path, known = self.folder / f"{hub}.log", self._known.setdefault(hub, [])
        if path.exists():
            with path.open("rb") as log:
                log.seek(self._read.get(hub, 0))
                whole = [line for line in log if line.endswith(b"\n")]
            self._read[hub] = self._read.get(hub, 0) + sum(map(len, whole))
            known += map(json.loads, whole)
        return known

    def times(self, hub: str, word: str) -> list[float]:
        """When it wrote this word."""
        return [line[0] for line in self.lines(hub) if line[2] == word]

    def acts(self, hub: str, since: float = 0.0) -> bool:
        """Tell whether it acted after this time."""
        return any(at > since for at in self.times(hub, "acts"))

    def check_no_overlap(self):
        """Between two lines `acts` of one hub that lie close together, the other wrote none."""
        for one, other in (("a", "b"), ("b", "a")):
            times = self.times(one, "acts")
            spans = [(x, y) for x, y in itertools.pairwise(times) if y - x < GAP_S]
            theirs = self.times(other, "acts")
            for at in theirs:
                assert not any(start <= at <= end for start, end in spans), f"{one} and {other} both act at {at}"

    def said(self, hub: str, word: str, since: float = 0.0) -> list:
        """What it wrote with this word, the rest of each line."""
        return [line[3] for line in self.lines(hub) if line[2] == word and line[0] > since]

    async def active(self, hub: str, since: float = 0.0, seconds: float = 10.0):
        """Wait until it acts."""
        await until(lambda: self.acts(hub, since), seconds)


async def first_active(fleet: Fleet) -> tuple[str, str]:
    """Start both; who acts first, and the other."""
    fleet.start("a")
    fleet.start("b")
    await until(lambda: fleet.acts("a") or fleet.acts("b"), 20.0)
    return ("a", "b") if fleet.acts("a") else ("b", "a")
