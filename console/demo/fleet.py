"""Starts the demo's processes, and ends all of them whatever happens to the demo itself."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from console.demo.layout import SERVERS, Layout
from console.demo.sweeper import KEEP, guard_services

STOP_SECONDS = 30.0  # the sweeper's own bound is shorter; this one only keeps a bug from hanging the terminal


class DemoFailed(Exception):
    """The demo could not do what it promised; the text says what and where to look."""


class Fleet:
    """The running demo. Its leash is a FIFO: the kernel closes it with this process, and everything ends."""

    def __init__(self, layout: Layout, *, is_temporary: bool = False) -> None:
        self.layout = layout
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        os.mkfifo(layout.leash, 0o600)
        self._leash = os.open(layout.leash, os.O_RDWR | os.O_CLOEXEC)
        self._sweeper = subprocess.Popen(
            [sys.executable, "-m", "console.demo.sweeper", str(layout.root), *(["--remove"] if is_temporary else [])],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=_environment(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every hub agent, those with servers first; each starts its own guard and server."""
        for hub in self.layout.hubs:
            self.agents[hub] = start_agent(self.layout, hub)

    def stop(self) -> None:
        """Let go of the leash and wait until everything has ended."""
        with contextlib.suppress(OSError):
            os.close(self._leash)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._sweeper.wait(STOP_SECONDS)
        for agent in self.agents.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                agent.wait(1)

    def keep(self) -> None:
        """Leave a temporary directory there when the demo ends."""
        (self.layout.root / KEEP).touch()

    def died(self) -> Iterator[str]:
        """The hubs whose agent has ended."""
        return (hub for hub, agent in self.agents.items() if agent.poll() is not None)

    def ready(self) -> dict[str, Any]:
        """What `--headless` prints: where everything is and who runs it."""
        layout = self.layout
        return {
            "ready": True,
            "dir": str(layout.root),
            "servers": {name: {"url": layout.url(name), "pid": server_pid(layout, name)} for name in SERVERS},
            "agents": {
                hub: {
                    "pid": agent.pid,
                    "config": str(layout.config(hub)),
                    "state_dir": str(layout.state(hub)),
                }
                for hub, agent in self.agents.items()
            },
            "console_config": str(layout.console_config),
            "keys": {role: str(layout.key(role)) for role in ("viewer", "operator", "admin")},
        }


def start_agent(layout: Layout, hub: str) -> subprocess.Popen[bytes]:
    """Start one hub agent, as `hubagent run -c CONFIG` does; its words go to `agent.log` beside its config."""
    with (layout.state(hub) / "agent.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "hubagent", "run", "-c", str(layout.config(hub))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=layout.state(hub),
            env=_environment(),
        )


def _environment() -> dict[str, str]:
    """This process' environment, with the packages found where this one found them."""
    roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots))}


def server_pid(layout: Layout, name: str) -> int | None:
    """The process id of a server, as its guard wrote it down."""
    return next((pid for service, pid in guard_services(layout.state(name)) if service == "nats-server"), None)


def wait_until(what: str, test: Callable[[], bool], seconds: float, every: float = 0.05) -> float:
    """Poll a condition of the outside world; seconds it took, or DemoFailed."""
    began = time.monotonic()
    while not test():
        if time.monotonic() - began > seconds:
            raise DemoFailed(f"{what} did not happen within {seconds:g} s")
        time.sleep(every)
    return time.monotonic() - began


def end(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal one process of the demo; nothing happens where it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
