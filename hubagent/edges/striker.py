"""Strikes this hub's own agent in a drill, and undoes it: a small process of its own, since the struck can do nothing.

Run as `python -m hubagent.edges.striker SPEC`. SIGTERM before the strike: nothing happens; after it: undone at once.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

import msgspec

from hubagent.clock import SystemClock

KILL, FREEZE = "kill-agent", "freeze"
KINDS = (KILL, FREEZE)


class Spec(msgspec.Struct, frozen=True):
    """Whom to strike, when (boottime), for how long; `restart` is the command line of an agent that nobody restarts."""

    kind: Literal["kill-agent", "freeze"]
    pid: int
    at: float
    hold_s: float
    lock: str
    restart: list[str]


def begin(kind: str, at: float, hold_s: float, state_dir: Path, environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start the striker of this very process."""
    # Under systemd the unit is restarted by systemd, as after any crash.
    restart = [] if "INVOCATION_ID" in environ else [sys.executable, *sys.orig_argv[1:]]
    spec = {
        "kind": kind, "pid": os.getpid(), "at": at, "hold_s": hold_s, "lock": str(state_dir / "agent.lock"),
        "restart": restart,
    }  # fmt: skip
    argv = [sys.executable, "-m", "hubagent.edges.striker", msgspec.json.encode(spec).decode()]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, env=environ)


def main(raw: str) -> int:
    """Wait, strike, hold, undo."""
    spec, clock, called_off = msgspec.json.decode(raw, type=Spec), SystemClock(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: called_off.set())
    pidfd = os.pidfd_open(spec.pid)
    if os.getppid() != spec.pid or called_off.wait(max(0.0, spec.at - clock.boottime())):
        return 0  # the agent ended by itself, or it was called off
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGSTOP if spec.kind == FREEZE else signal.SIGKILL)
    except ProcessLookupError:
        return 0  # it ended by itself meanwhile: nothing was done, so nothing is undone
    try:
        called_off.wait(spec.hold_s)
    finally:
        _undo(spec, pidfd)
    return 0


def _undo(spec: Spec, pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)  # nothing to one that is dead
    if spec.kind == KILL and spec.restart and _is_free(spec.lock):
        subprocess.Popen(spec.restart, stdin=subprocess.DEVNULL, start_new_session=True)


def _is_free(path: str) -> bool:
    """Tell whether nobody has restarted the agent meanwhile."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)  # which lets it go again
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
