"""A demo fleet for `failover.py`: its pair watched from outside, hurt in named ways, and brought to rest again."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from console import config
from console.clock import SystemClock
from console.demo.fleet import Fleet, start_agent
from console.demo.layout import lay_out
from console.demo.sweeper import guard_services
from console.fleet import Fleet as Model
from console.link import Link
from tests.support.nats import free_port
from tests.support.observer import Observer

PAIR = ("central", "edge")
REACHED = {"central": ("edge", "witness"), "edge": ("central", "witness")}
CALM_S_MAX = 60.0
TAKEOVER_S_MAX = 15.0
STILL_S = 3.0  # a fault that must change nothing lasts this long


class NotMeasured(Exception):
    """Something did not happen in time; the text says what."""


def wait(what: str, test, seconds: float, every: float = 0.02) -> None:
    """Poll until it holds, or NotMeasured."""
    deadline = time.monotonic() + seconds
    while not test():
        if time.monotonic() > deadline:
            raise NotMeasured(f"{what} did not happen within {seconds:g} s")
        time.sleep(every)


class Pair:
    """The running fleet. `with_proxies`: every link of the pair to another machine passes a process that can stop."""

    def __init__(self, root: Path, profile: str, *, with_proxies: bool = False) -> None:
        self.layout = lay_out(root, 1, profile)
        self.proxies: dict[tuple[str, str], subprocess.Popen] = {}
        if with_proxies:
            self._divert()
        self.fleet = Fleet(self.layout)
        self.observer = Observer(root / "scheduler.py")
        self._clock = SystemClock()
        self._model = Model(self._clock.monotonic())
        self._link = Link(config.load(self.layout.console_config))

    def __enter__(self) -> Self:
        self.fleet.__enter__()
        self.fleet.start()
        self._link.start()
        self.observer.__enter__()
        try:
            wait("a calm pair", self.is_calm, CALM_S_MAX)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for proxy in self.proxies.values():
            proxy.send_signal(signal.SIGCONT)
        self.observer.__exit__()
        self._link.stop()
        self.fleet.stop()
        for proxy in self.proxies.values():
            proxy.kill()
            proxy.wait()

    def _divert(self) -> None:
        for hub, servers in REACHED.items():
            ports = {server: free_port() for server in servers}
            for server, port in ports.items():
                argv = [sys.executable, "-m", "tests.support.fault_proxy", str(port), str(self.layout.ports[server])]
                root = Path(__file__).parents[1]
                self.proxies[hub, server] = subprocess.Popen(argv, cwd=root, stdout=subprocess.DEVNULL)
            path = self.layout.config(hub)
            settings = yaml.safe_load(path.read_text())
            for one in settings["destinations"]:
                if one["name"] in ports:
                    one["urls"] = [f"nats://127.0.0.1:{ports[one['name']]}"]
            settings["witness"]["urls"] = [f"nats://127.0.0.1:{ports['witness']}"]
            path.write_text(yaml.safe_dump(settings))

    # --- looking

    def is_calm(self) -> bool:
        """Both hubs fresh with nothing owed, one active, one standby, and the service runs on the active one."""
        now = self._clock.monotonic()
        for report in self._link.drain():
            self._model.apply(report, now)
        roles = {}
        for name in PAIR:
            hub = self._model.hub(name)
            age = hub.age(now) if hub and hub.live else None
            if hub is None or hub.live is None or age is None or age > 1.5:
                return False
            if {lane.state for lane in hub.live.lanes} != {"LIVE"}:
                return False
            roles[name] = [group.role for group in hub.live.groups]
        active = [name for name, role in roles.items() if role == ["ACTIVE"]]
        return sorted(map(tuple, roles.values())) == [("ACTIVE",), ("STANDBY",)] and self.observer.hubs_now() == set(
            active
        )

    @property
    def active(self) -> str:
        """The hub whose service runs."""
        (hub,) = self.observer.hubs_now()
        return hub

    def pids(self, hub: str, *what: str) -> list[int]:
        """The agent, guard, server or a service of a hub."""
        return [self._pid(hub, one) for one in what]

    def _pid(self, hub: str, what: str) -> int:
        if what == "agent":
            return self.fleet.agents[hub].pid
        if what == "guard":
            return _guard_of(self.layout.state(hub))
        wanted = "nats-server" if what == "server" else what
        return next(pid for name, pid in guard_services(self.layout.state(hub)) if name == wanted)

    # --- hurting

    def kill(self) -> float:
        """kill -9 of agent, guard and server at once; seconds until the service runs on the other hub."""
        active = self.active
        pids = self.pids(active, "agent", "guard", "server")
        took = self._takeover(active, lambda: [os.kill(pid, signal.SIGKILL) for pid in pids])
        self.fleet.agents[active].wait()
        self.fleet.agents[active] = start_agent(self.layout, active)
        return took

    def freeze_agent(self) -> float:
        """SIGSTOP of the agent, and SIGCONT once the other hub has taken over."""
        active = self.active
        (pid,) = self.pids(active, "agent")
        try:
            return self._takeover(active, lambda: os.kill(pid, signal.SIGSTOP))
        finally:
            os.kill(pid, signal.SIGCONT)

    def thaw(self) -> float:
        """SIGSTOP of agent, guard and service, and SIGCONT once the other hub has taken over; seconds that both ran."""
        active = self.active
        agent, guard, service = pids = self.pids(active, "agent", "guard", "scheduler")
        try:
            self._takeover(active, lambda: [os.kill(pid, signal.SIGSTOP) for pid in pids])
        finally:
            thawed = time.monotonic()
            for pid in (service, guard, agent):
                os.kill(pid, signal.SIGCONT)
        wait("the end of the thawed service", lambda: active not in self.observer.hubs_now(), TAKEOVER_S_MAX)
        return max(self.observer.intervals[service].last - thawed, 0.0)

    def freeze_server(self) -> float:
        """SIGSTOP of the active hub's server, which must change nothing: 1.0 where it did, else 0.0."""
        active = self.active
        (pid,) = self.pids(active, "server")
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(STILL_S)
            return float(self.observer.hubs_now() != {active})
        finally:
            os.kill(pid, signal.SIGCONT)

    def cut(self) -> float:
        """All links between the active hub and other machines fall silent (no connection ends), then heal."""
        active = self.active
        other = PAIR[1 - PAIR.index(active)]
        links = [self.proxies[active, server] for server in REACHED[active]] + [self.proxies[other, active]]
        try:
            return self._takeover(active, lambda: [link.send_signal(signal.SIGSTOP) for link in links])
        finally:
            for link in links:
                link.send_signal(signal.SIGCONT)

    def switch(self) -> float:
        """A planned switchover by command; seconds in which the service ran nowhere, beside its own stop."""
        active = self.active
        other = PAIR[1 - PAIR.index(active)]
        began = time.monotonic()
        command = [
            sys.executable, "-m", "console", "failover", "core", "--to", other, "--yes", "--reason", "bench",
            "--force", "minimum-hold", "--force", "few-changes", "--force", "peer-fresh", "--force", "spool-drained",
            "-c", str(self.layout.console_config),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise NotMeasured(f"a switchover: {done.stdout[-300:]} {done.stderr[-300:]}")
        wait("the switchover", lambda: self.observer.first_after(other, began) is not None, TAKEOVER_S_MAX)
        seen = [one for one in list(self.observer.intervals.values()) if one.last >= began]
        first = min(one.first for one in seen if one.hub == other)
        last = max(one.last for one in seen if one.hub == active)
        return max(first - last, 0.0)

    def _takeover(self, active: str, fault) -> float:
        other = PAIR[1 - PAIR.index(active)]
        began = time.monotonic()
        fault()
        wait(
            f"a service on {other}", lambda: self.observer.first_after(other, began) is not None, TAKEOVER_S_MAX, 0.005
        )
        took = self.observer.first_after(other, began)
        assert took is not None
        return took


def _guard_of(state: Path) -> int:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
                if b"hubagent.guard" in words and str(state).encode() in b" ".join(words):
                    return int(entry.name)
    raise NotMeasured(f"no guard of {state.name}")


if __name__ == "__main__":  # `make bench` runs every file here; this one only serves the others
    print("pair.py: measures nothing by itself")
