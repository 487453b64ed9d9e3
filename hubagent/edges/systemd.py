"""Speaks with systemd: tells it how the agent is, and drives units that it already has."""

import asyncio
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hubagent.clock import Clock
from hubagent.errors import HubagentError

COMMAND_S_MAX = 100.0  # a start or stop waits for the unit; systemd itself gives a unit 90 s
UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,200}\.service")


class Notifier:
    """`sd_notify` over NOTIFY_SOCKET; silent where there is none."""

    def __init__(self, clock: Clock, environ: Mapping[str, str] = os.environ) -> None:
        self._clock = clock
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
        # Half the time that systemd waits, as its manual asks; None: no watchdog, or another process's.
        self.watchdog_s = int(usec) / 2e6 if usec.isdigit() and int(usec) and pid == str(os.getpid()) else None

    def ready(self) -> None:
        """Everything runs."""
        self._send("READY=1")

    def watchdog(self) -> None:
        """Still alive."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """A reload began; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")

    def stopping(self) -> None:
        """The drain began."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("STATUS=" + text.replace("\n", " "))

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)  # a full socket must not hold the agent
            try:
                sock.sendto(state.encode(), self._address)
            except OSError:
                return  # systemd restarts: it will ask again through its watchdog


@dataclass
class SystemdRefused(HubagentError):
    """systemd is not here, or did not do what was asked."""

    unit: str
    cause: str

    def __str__(self) -> str:
        return f"unit {self.unit}: {self.cause}"


class UnitState(NamedTuple):
    """What systemd says of a unit: its ActiveState word, main process (0: none), and last exit status."""

    active: str
    pid: int
    code: int | None


def is_systemd_here(root: Path = Path("/")) -> bool:
    """Tell whether this machine was booted by systemd (the test that sd_booted makes)."""
    return (root / "run/systemd/system").is_dir()


def unit_fault(unit: str) -> str:
    """Why this unit cannot be supervised here; empty when it can."""
    if not UNIT.fullmatch(unit):
        return "expected the full name of a unit, as nginx.service"
    return "" if is_systemd_here() else "this machine was not booted by systemd: use argv instead of unit"


class Units:
    """Existing units, through systemctl: the one face of D-Bus that needs no library."""

    def __init__(self, systemctl: str = "systemctl") -> None:
        self._systemctl = systemctl

    async def start(self, unit: str) -> None:
        """Have it started; returns once it is."""
        await self._run(unit, "start")

    async def stop(self, unit: str) -> None:
        """Have it stopped, with its own grace; returns once it is."""
        await self._run(unit, "stop")

    async def show(self, unit: str) -> UnitState:
        """What it is doing now."""
        text = await self._run(unit, "show", "--property=ActiveState,MainPID,ExecMainStatus")
        facts = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        pid, code = facts.get("MainPID", "0"), facts.get("ExecMainStatus", "")
        return UnitState(
            facts.get("ActiveState", "unknown"), int(pid) if pid.isdigit() else 0, int(code) if code.isdigit() else None
        )

    async def _run(self, unit: str, verb: str, *options: str) -> str:
        if not UNIT.fullmatch(unit):
            raise SystemdRefused(unit, "expected the full name of a unit, as nginx.service")
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                self._systemctl, verb, *options, "--no-pager", "--", unit, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            raise SystemdRefused(unit, f"{self._systemctl}: {error.strerror}") from error
        try:
            async with asyncio.timeout(COMMAND_S_MAX):
                out, err = await process.communicate()
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise SystemdRefused(unit, f"systemctl {verb}: no answer within {COMMAND_S_MAX:g} s") from error
        if process.returncode != 0:
            raise SystemdRefused(unit, err.decode("utf-8", "replace").strip()[:200] or f"exit {process.returncode}")
        return out.decode("utf-8", "replace")
