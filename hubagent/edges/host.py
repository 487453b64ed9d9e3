"""Raw counters of this machine: on Linux straight from /proc, elsewhere through psutil."""

import os
import resource
import sys
import threading
from pathlib import Path
from typing import NamedTuple, Protocol

from hubagent.counters import Counters, CpuTimes, DiskCounters
from hubagent.edges import proc

SLOW_ROUND_S = 10.0  # disk usage and mounts change slowly, and statvfs may touch a disk
USAGE_STALE_S = 60.0  # a usage older than this (a disk that hangs) is no figure any more
FIRST_ROUND_WAIT_S = 0.05  # the first sample waits this long for disk usage
PROCESSES_EACH_TIME_MAX = 500  # above it a listing costs too much for each second
READ_BYTES_MAX = 1 << 16  # below the size from which an allocation costs page faults each time


class Host(Protocol):
    """What the sampling loop asks of a machine; a fake stands in `tests/fakes/host.py`."""

    def read(self, now: float) -> Counters:
        """All counters at the monotonic moment `now`."""
        ...


def open_host() -> Host:
    """The host of this platform."""
    if sys.platform == "linux":
        return LinuxHost()
    from hubagent.edges.host_psutil import PsutilHost

    return PsutilHost()


class Usage(NamedTuple):
    """One mounted disk and its bytes at the last slow round."""

    mount: proc.Mount
    total: int | None
    used: int | None
    available: int | None


class LinuxHost:
    """Linux: files of /proc stay open and are read again from their start, so a sample costs some 0.2 ms.

    Nothing here can hang: what may touch a disk runs on a daemon thread of its own, one at a time.
    """

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root
        self._files = {
            name: _Kept(root / name)
            for name in (
                "stat", "loadavg", "meminfo", "diskstats", "net/dev", "self/statm",
                "pressure/cpu", "pressure/memory", "pressure/io",
            )
        }  # fmt: skip
        self._boot_time = proc.sensor(proc.boot_time, self._text("stat"))
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._usage: tuple[float, tuple[Usage, ...]] = (0.0, ())
        self._slow_due: float | None = None
        self._round: threading.Thread | None = None
        self._processes: int | None = None

    def read(self, now: float) -> Counters:
        """All counters at the monotonic moment `now`."""
        slow = self._slow_due is None or now >= self._slow_due
        if slow:
            self._start_slow_round(now)
        if slow or (self._processes or 0) < PROCESSES_EACH_TIME_MAX:
            self._processes = self._count_processes()
        cpu, cores = _split(proc.sensor(proc.cpu_times, self._text("stat")) or ())
        memory = proc.sensor(proc.memory, self._text("meminfo")) or {}
        own = resource.getrusage(resource.RUSAGE_SELF)
        return Counters(
            at=now,
            cpu=cpu,
            cores=cores,
            load=proc.sensor(proc.load, self._text("loadavg")),
            mem_total=memory.get(b"MemTotal"),
            mem_available=memory.get(b"MemAvailable"),
            swap_total=memory.get(b"SwapTotal"),
            swap_free=memory.get(b"SwapFree"),
            disks=self._disks(now),
            nics=proc.sensor(proc.nics, self._text("net/dev")) or (),
            pressure_cpu_s=proc.sensor(proc.pressure, self._text("pressure/cpu")),
            pressure_memory_s=proc.sensor(proc.pressure, self._text("pressure/memory")),
            pressure_io_s=proc.sensor(proc.pressure, self._text("pressure/io")),
            processes=self._processes,
            boot_time=self._boot_time,
            own_cpu_s=own.ru_utime + own.ru_stime,
            own_rss=proc.sensor(self._resident, self._text("self/statm")),
        )

    def close(self) -> None:
        """Give the open files back."""
        for file in self._files.values():
            file.close()

    def _text(self, name: str) -> bytes | None:
        return self._files[name].read()

    def _resident(self, raw: bytes) -> int:
        return int(raw.split(None, 2)[1]) * self._page_bytes

    def _count_processes(self) -> int | None:
        try:
            return sum(name.isdigit() for name in os.listdir(self._root))  # noqa: PTH208  paths would cost ten times as much
        except OSError:
            return None

    def _disks(self, now: float) -> tuple[DiskCounters, ...]:
        measured_at, usages = self._usage
        wanted = {usage.mount.device for usage in usages}
        raw = self._text("diskstats")
        moved = proc.sensor(lambda text: proc.disk_bytes(text, wanted), raw) or {}
        fresh = now - measured_at <= USAGE_STALE_S
        return tuple(_disk(usage, moved.get(usage.mount.device), fresh=fresh) for usage in usages)

    def _start_slow_round(self, now: float) -> None:
        first = self._slow_due is None
        self._slow_due = now + SLOW_ROUND_S
        if self._round is not None and self._round.is_alive():
            return  # a disk hangs: no second thread behind it
        self._round = threading.Thread(target=self._measure_disks, args=(now,), name="disk-usage", daemon=True)
        self._round.start()
        if first:
            self._round.join(FIRST_ROUND_WAIT_S)

    def _measure_disks(self, now: float) -> None:
        nodev = proc.sensor(proc.nodev_kinds, _slurp(self._root / "filesystems")) or frozenset()
        mounts = proc.sensor(lambda raw: proc.mounts(raw, nodev), _slurp(self._root / "self/mountinfo")) or ()
        self._usage = now, tuple(_usage(mount) for mount in mounts)


class _Kept:
    """A file of /proc that stays open, so that reading it needs neither a path walk nor a free descriptor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def read(self) -> bytes | None:
        try:
            if self._fd is None:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._fd, READ_BYTES_MAX, 0)
        except OSError:
            self.close()
            return None

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _split(times: tuple[CpuTimes, ...]) -> tuple[CpuTimes | None, tuple[CpuTimes, ...]]:
    if times and times[0].core is None:
        return times[0], times[1:]
    return None, times


def _slurp(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _usage(mount: proc.Mount) -> Usage:
    try:
        stat = os.statvfs(mount.path)
        device = _block_device(mount)
    except OSError:
        return Usage(mount, None, None, None)
    if not stat.f_blocks:
        return Usage(mount, None, None, None)
    unit = stat.f_frsize
    used = (stat.f_blocks - stat.f_bfree) * unit
    placed = proc.Mount(mount.path, mount.label, device, mount.source)
    return Usage(placed, stat.f_blocks * unit, used, stat.f_bavail * unit)


def _block_device(mount: proc.Mount) -> str:
    """The number its IO counters stand under: btrfs and its like mount under an anonymous one (major 0)."""
    if not mount.device.startswith("0:") or not mount.source.startswith("/dev/"):
        return mount.device
    number = os.stat(mount.source).st_rdev  # noqa: PTH116  a device number, not a path
    return f"{os.major(number)}:{os.minor(number)}"


def _disk(usage: Usage, moved: tuple[int, int] | None, *, fresh: bool) -> DiskCounters:
    read, written = moved or (None, None)
    if not fresh:
        return DiskCounters(usage.mount.label, read_bytes=read, written_bytes=written)
    return DiskCounters(usage.mount.label, usage.total, usage.used, usage.available, read, written)
