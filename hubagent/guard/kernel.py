"""What the guard asks the kernel: clocks, processes by pid and start time, signals by pidfd."""

import os
import signal
import time

Process = tuple[int, int, int]  # pid, session, start (clock ticks since boot)


def boottime() -> float:
    """Seconds since boot, suspend included: the clock of leases."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """The kernel's random id of this boot: a pid and start time mean nothing in another one."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _read(path: str) -> bytes:
    try:
        return _read_now(path)
    except OSError:
        return b""


def _read_now(path: str) -> bytes:
    """Empty where it is gone, or not ours to see; OSError where we cannot look (no descriptor)."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def _process(pid: int) -> Process | None:
    """The living process with this pid; a zombie is no living process."""
    fields = _read_now(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return pid, int(fields[3]), int(fields[19])


def start_of(pid: int) -> int:
    """The start time of a process in clock ticks since boot, zombie or not; 0 where there is none."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[19]) if len(fields) >= 20 else 0


def executable(pid: int) -> str:
    """The path of a process's program, empty where it may not be read."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


class Sight:
    """What /proc shows, read once, when first asked: milliseconds, however many services are looked for in it."""

    def __init__(self) -> None:
        self.is_blind = False  # it cannot be read now: whoever is not seen may live
        self._seen: list[Process] | None = None
        self._marks: dict[int, str] = {}

    def members(self, leader: int, start: int, run: str) -> list[Process]:
        """The living processes of a run: the leader's session, and whoever left it but carries the mark.

        A recycled leader pid (another start time) takes the session out of account: then only the mark counts.
        """
        if self._seen is None:
            self._seen = self._look()
        is_ours = start_of(leader) == start
        return [
            one
            for one in self._seen
            if (is_ours and one[1] == leader) or (one[2] >= start and self.mark(one[0]) == run)
        ]

    def mark(self, pid: int) -> str:
        """The run that the process inherited (`HUB_RUN` in its first environment), empty where it did not."""
        if pid not in self._marks:
            lines = _read(f"/proc/{pid}/environ").split(b"\0")
            self._marks[pid] = next(
                (line[8:].decode("ascii", "replace") for line in lines if line.startswith(b"HUB_RUN=")), ""
            )
        return self._marks[pid]

    def _look(self) -> list[Process]:
        try:
            pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
            found = [one for pid in pids if (one := _process(pid)) is not None]
        except OSError:
            self.is_blind = True
            return []
        return [one for one in found if one[0] != os.getpid()]


def group_of(pid: int) -> int:
    """The process group of a process, 0 where it is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def open_pid(pid: int, start: int) -> int | None:
    """A pidfd of exactly this process, or None when it is gone (its number may have been given away)."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    if start_of(pid) != start:  # looked at after the pidfd holds the number
        os.close(pidfd)
        return None
    return pidfd


def send(pidfd: int, number: int) -> bool:
    """Signal through a pidfd; False when the process is gone."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def send_each(processes: list[Process], number: int) -> None:
    """Signal each process, each by a pidfd whose start time was checked: never a bare pid."""
    for pid, _, start in processes:
        pidfd = open_pid(pid, start)
        if pidfd is not None:
            send(pidfd, number)
            os.close(pidfd)
