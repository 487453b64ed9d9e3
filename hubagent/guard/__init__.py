"""The small process that owns the services' processes and outlives the agent; standard library only, few imports."""

import contextlib
import fcntl
import os
import signal
import sys

from hubagent.guard.desk import listen
from hubagent.guard.house import House
from hubagent.guard.keep import Keep
from hubagent.guard.kernel import boottime
from hubagent.guard.registry import Registry, Watch


class Refused(Exception):
    """The guard cannot begin, and why."""


def main(state_dir: str, leash: str = "", *, detach: bool = False) -> int:
    """Guard the services of one state directory until told to end; `detach` returns once it answers."""
    try:
        state_dir = os.path.abspath(state_dir)
        lock = _lock(state_dir)
        leash_fd = _open_leash(leash) if leash else -1
        listener = listen(state_dir)
    except (Refused, OSError) as error:
        print(f"guard: {error}", file=sys.stderr)
        return 1
    if detach and os.fork():  # the socket is bound: a client that connects now waits for the child
        return 0
    _own_session()
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    watch = Watch()
    registry = Registry(Keep(state_dir), watch)
    wakeup = _catch_signals()
    _log("began", *registry.recover(boottime()))
    House(listener, registry, watch, wakeup, leash_fd).serve()
    os.unlink("guard.sock")
    _log("ended")
    return 0


def _lock(state_dir: str) -> int:
    path = f"{state_dir}/guard.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        raise Refused(f"another guard (pid {pid}) already guards {state_dir}") from None
    return lock


def _open_leash(path: str) -> int:
    leash = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        is_held = bool(os.read(leash, 4096))
    except BlockingIOError:  # a writer holds it and says nothing: as it should be
        is_held = True
    if not is_held:
        raise Refused(f"nobody holds the writing end of the leash {path}")
    return leash


def _own_session() -> None:
    with contextlib.suppress(PermissionError):  # leads its session already
        os.setsid()


def _catch_signals() -> int:
    """SIGTERM comes as a byte on the returned descriptor; SIGHUP and SIGINT are for terminals."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _noted)
    wakeup, write = os.pipe()
    os.set_blocking(wakeup, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return wakeup


def _noted(number: int, frame: object) -> None:
    """The byte on the wakeup descriptor says it all; without a handler there would be none."""


def _log(*lines: str) -> None:
    for line in lines:
        print(f"guard {os.getpid()}: {line}", file=sys.stderr, flush=True)
