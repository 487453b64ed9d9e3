"""Waits for the demo's leash to break, then makes sure that nothing the demo started is left."""

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

ALONE_SECONDS = 10.0  # agents and guards hold the leash too and end by themselves within this
TERM_SECONDS = 2.0
KEEP = "keep"  # a temporary directory with a file of this name stays


def main(root: Path, *, removes: bool = False) -> None:
    """Outlive the demo, whatever kills it; end when its processes have ended and a temporary directory is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wait_for_leash(root / "leash")
    sweep(root)
    if removes and not (root / KEEP).exists() and not everything(root):
        shutil.rmtree(root, ignore_errors=True)


def sweep(root: Path) -> None:
    """End every process of the demo, the patient way first."""
    for victims, how, seconds in (
        (orphans, signal.SIGTERM, ALONE_SECONDS),
        (everything, signal.SIGTERM, TERM_SECONDS),
        (everything, signal.SIGKILL, TERM_SECONDS),
    ):
        for pid in victims(root):
            _signal(pid, how)
        if is_over(root, time.monotonic() + seconds):
            return


def is_over(root: Path, deadline: float) -> bool:
    """Wait until nothing runs any more; False when the time is up."""
    while everything(root):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def wait_for_leash(path: Path) -> None:
    """Return when no process holds the writing end any more."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    poll.poll()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_alive(pid: int, start: object = None) -> bool:
    """Tell whether this very process still runs; `start` is its start time in clock ticks, where known."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX" and (start is None or str(start) == fields[19])


def _guard_file(state_dir: Path) -> dict[str, object]:
    try:
        found = json.loads((state_dir / "guard.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def guard_services(state_dir: Path) -> list[tuple[str, int]]:
    """(name, pid) of the services that a guard wrote down and that still run."""
    listed = _guard_file(state_dir).get("services", [])
    assert isinstance(listed, list)
    return [(one["name"], one["pid"]) for one in listed if is_alive(one["pid"], one["start"])]


def daemons(state_dir: Path) -> list[int]:
    """The agent and the guard of one hub: the processes whose command line names its state directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"hubagent" in b" ".join(words[:4]) and any(_is_inside(word, state_dir) for word in words):
                    found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid() and is_alive(pid)]


def _is_inside(word: bytes, state_dir: Path) -> bool:
    text = os.fsdecode(word)
    return text == str(state_dir) or text.startswith(f"{state_dir}/")


def _hubs(root: Path) -> list[Path]:
    return [path.parent for path in root.glob("*/hubagent.yaml")]


def orphans(root: Path) -> list[int]:
    """Services whose guard is dead: nobody else would end them."""
    return [
        pid
        for state_dir in _hubs(root)
        if not daemons(state_dir)
        for _, pid in guard_services(state_dir)
    ]  # fmt: skip


def everything(root: Path) -> list[int]:
    """Every process of the demo that still runs."""
    return [
        pid
        for state_dir in _hubs(root)
        for pid in (*daemons(state_dir), *(pid for _, pid in guard_services(state_dir)))
    ]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


if __name__ == "__main__":
    main(Path(sys.argv[1]), removes="--remove" in sys.argv[2:])
