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
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # gone, or not ours to see
        return b""


def process(pid: int) -> Process | None:
    """The living process with this pid; a zombie is no living process."""
    _, _, rest = _read(f"/proc/{pid}/stat").rpartition(b")")
    fields = rest.split()
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


def carries(pid: int, run: str) -> bool:
    """Tell whether the process inherited the mark of this run (`HUB_RUN` in its first environment)."""
    return f"HUB_RUN={run}".encode() in _read(f"/proc/{pid}/environ").split(b"\0")


def members(leader: int, start: int, run: str) -> list[Process]:
    """The living processes of a run: the leader's session, and whoever left it but carries the mark.

    A recycled leader pid (another start time) takes the session out of account: then only the mark counts.
    """
    now = start_of(leader)
    is_ours = now in (0, start)
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or (one := process(int(entry))) is None or one[0] == os.getpid():
            continue
        if (is_ours and now and one[1] == leader) or (one[2] >= start and carries(one[0], run)):
            found.append(one)
    return found


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
