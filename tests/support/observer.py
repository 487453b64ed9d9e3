"""An outside observer: sees in the process table alone when each hub's `scheduler` really runs."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from tests.support.guards import is_alive

LOOK_S = 0.003


class Interval(NamedTuple):
    """One process of one hub: first and last look at which it ran (monotonic seconds)."""

    hub: str
    pid: int
    first: float
    last: float


class Observer:
    """Samples /proc from a thread; `overlaps` holds every pair of hubs seen running at one look."""

    def __init__(self, program: Path, hubs: tuple[str, ...] = ("central", "edge")) -> None:
        self._wanted = {hub: b"\0".join((str(program).encode(), b"--hub", hub.encode())) for hub in hubs}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="observer", daemon=True)
        self._known: dict[int, str] = {}  # pids whose command line was read once; "" for strangers
        self.intervals: dict[int, Interval] = {}
        self.overlaps: list[tuple[float, dict[int, str]]] = []
        self.looks = 0
        self.longest_gap_s = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(5)

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(LOOK_S):
            now = time.monotonic()
            self.longest_gap_s = max(self.longest_gap_s, now - before)
            before = now
            self._note(now, self._look())
            self.looks += 1

    def _look(self) -> dict[int, str]:
        """The schedulers that run now. A stranger's line is read again while it is young: exec comes after fork."""
        running = {}
        listed = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
        for pid in listed:
            hub = self._known.get(pid)
            if hub is None:
                hub = self._hub_of(pid)
                if hub is None:
                    continue
            if hub and is_alive(pid):
                running[pid] = hub
        for gone in self._known.keys() - set(listed):
            del self._known[gone]
        return running

    def _hub_of(self, pid: int) -> str | None:
        """The hub whose scheduler this is, "" for a stranger, None while it may still exec."""
        line = b""
        with suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        hub = next((hub for hub, wanted in self._wanted.items() if wanted in line), "")
        if hub or (line and not _is_guard_like(line)):
            self._known[pid] = hub
            return hub
        return None

    def _note(self, now: float, running: dict[int, str]) -> None:
        for pid, hub in running.items():
            known = self.intervals.get(pid)
            self.intervals[pid] = Interval(hub, pid, known.first if known else now, now)
        if len(set(running.values())) > 1:
            self.overlaps.append((now, running))

    def hubs_now(self) -> set[str]:
        """The hubs whose scheduler runs, from a look of its own."""
        found = set()
        for hub, wanted in self._wanted.items():
            for name in [entry.name for entry in os.scandir("/proc") if entry.name.isdigit()]:
                with suppress(OSError):
                    if wanted in Path(f"/proc/{name}/cmdline").read_bytes() and is_alive(int(name)):
                        found.add(hub)
        return found

    def first_after(self, hub: str, moment: float) -> float | None:
        """When a process of this hub was first seen after a moment, in seconds since it."""
        firsts = [one.first for one in list(self.intervals.values()) if one.hub == hub and one.first >= moment]
        return min(firsts) - moment if firsts else None

    def verdict(self) -> str:
        """Empty when no two hubs ever ran it at one look, and looks were close enough to see it."""
        if self.overlaps:
            return f"{len(self.overlaps)} looks saw two hubs: {self.overlaps[:3]}"
        return "" if self.looks > 100 else f"only {self.looks} looks"


def _is_guard_like(line: bytes) -> bool:
    """A child that the guard has forked shows the guard's own line until it execs."""
    return b"hubagent.guard" in line
