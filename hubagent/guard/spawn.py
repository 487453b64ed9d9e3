"""Fork and exec of one service: own session, given environment, limits, output pipe."""

import contextlib
import json
import os
import resource
import signal

ENVIRONMENT_KEPT = ("PATH", "HOME", "LANG")  # everything else comes from the request
RESET = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ)


class Spawned:
    """A child that waits for `go`, and the pipe on which it says why it could not exec."""

    __slots__ = ("_go", "pid", "pidfd", "report")

    def __init__(self, pid: int, pidfd: int, go: int, report: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self._go = go
        self.report = report

    def go(self) -> None:
        """Let it exec: called once the child is written down, so that a dead guard leaves nobody unknown."""
        with contextlib.suppress(BrokenPipeError):  # it died already; its end is reported like any other
            os.write(self._go, b"1")
        os.close(self._go)

    def close(self) -> None:
        """It shall not exec, and nobody waits for its report."""
        os.close(self._go)
        os.close(self.report)


def spawn(request: dict[str, object], pipe_path: str, run: str) -> Spawned:
    """Fork a child for a checked start request; it does nothing before `go`."""
    go_read, go_write = os.pipe()
    try:
        report_read, report_write = os.pipe()
    except OSError:
        os.close(go_read)
        os.close(go_write)
        raise
    guard = os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, RESET)  # until the child no longer has the guard's handlers
    try:
        pid = os.fork()
        if pid == 0:
            os.close(go_write)  # or it would wait for itself
            _child(request, pipe_path, run, go_read, report_write, guard, mask)
    except OSError:
        for end in (go_read, go_write, report_read, report_write):
            os.close(end)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(go_read)
    os.close(report_write)
    os.set_blocking(report_read, False)
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # no descriptor is left: without its go the child ends
        os.close(go_write)
        os.close(report_read)
        os.waitpid(pid, 0)
        raise
    return Spawned(pid, pidfd, go_write, report_read)


def environment(request: dict[str, object], run: str) -> dict[str, str]:
    """What the service sees: three names of the guard's own, what was given, and the mark of this run."""
    kept = {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}
    given = request["env"]
    assert isinstance(given, dict)
    return kept | given | {"HUB_RUN": run}


def _child(
    request: dict[str, object],
    pipe_path: str,
    run: str,
    go: int,
    report: int,
    guard: int,
    mask: set[int | signal.Signals],
) -> None:
    """Never returns: execs, or writes the reason and ends."""
    try:
        _reset_signals(mask)
        os.setsid()
        if request["mode"] == "active":
            _die_with(guard)
        env = environment(request, run)
        _redirect(pipe_path)
        _limit(request)
        os.chdir(str(request["cwd"] or "/"))
        if not os.read(go, 1):
            os._exit(127)  # the guard died before it wrote this child down
        argv = request["argv"]
        assert isinstance(argv, list)
        os.execvpe(argv[0], argv, env)  # noqa: S606 - an argv list, never a shell
    except OSError as error:
        os.write(report, json.dumps(f"{error.strerror}: {_blamed(error, request)}").encode())
    except (ValueError, AssertionError) as error:
        os.write(report, json.dumps(str(error)).encode())
    finally:
        os._exit(127)


def _blamed(error: OSError, request: dict[str, object]) -> object:
    """The folder or program that was asked for, not the last place where exec looked for it."""
    argv = request["argv"]
    assert isinstance(argv, list)
    return request["cwd"] if error.filename == request["cwd"] else argv[0]


def _redirect(pipe_path: str) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(pipe_path, os.O_RDWR)  # both ways: the service keeps a reader alive when the guard dies
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _reset_signals(mask: set[int | signal.Signals]) -> None:
    """A signal for this child must neither be lost nor be written into the guard's own wakeup pipe."""
    signal.set_wakeup_fd(-1)
    for number in RESET:
        signal.signal(number, signal.SIG_DFL)  # an ignored signal stays ignored across exec
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _limit(request: dict[str, object]) -> None:
    os.umask(0o022)
    nofile = int(str(request["nofile"]))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    nofile = nofile if hard == resource.RLIM_INFINITY else min(nofile, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))


def _die_with(guard: int) -> None:
    """SIGKILL from the kernel when the guard dies; checked once more, for a guard that died just before."""
    import ctypes  # in the child only: it would cost the guard a megabyte

    if ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != guard:
        os._exit(127)
