"""What the guard does when the agent dies: the active services stop, and one process for each group lets its lease go."""

import os
import signal
import sys

from hubagent.guard import kernel
from hubagent.guard.registry import Registry


def begin_release(registry: Registry, on_gone: dict[str, list[str]], now: float) -> list[int]:
    """Stop the services of every group whose lease is live here; a pidfd of each process that was begun.

    The process waits until this guard says that the services are gone, and refuses while an agent runs.
    """
    begun, sight = [], kernel.Sight()
    for group, argv in on_gone.items():
        grace_s = registry.leases.end(group, now)
        if grace_s is None:
            continue
        for child in registry.active_in(group):
            child.stop(grace_s, now, sight)
        pidfd = _begin(argv)
        if pidfd is not None:
            begun.append(pidfd)
    return begun


def _begin(argv: list[str]) -> int | None:
    files = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    defaults = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
    try:
        pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=files, setsid=True, setsigdef=defaults)
    except OSError as error:  # the services end anyway, and the lease by itself
        print(f"guard {os.getpid()}: {argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return None
    return os.pidfd_open(pid)


def end_release(pidfd: int) -> None:
    """Reap one of these processes; what it had to say stands in guard.log."""
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
