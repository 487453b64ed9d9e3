"""Raw counters through psutil, for systems without Linux' /proc."""

import contextlib
import os
import resource
from collections.abc import Callable
from typing import TypeVar

import psutil

from hubagent.counters import Counters, CpuTimes, DiskCounters, NicCounters
from hubagent.wire.sanitise import clean_line

SLOW_ROUND_S = 10.0
T = TypeVar("T")


class PsutilHost:
    """Any system that psutil knows; costs several times what the Linux one does. No pressure, no IO of single disks."""

    def __init__(self) -> None:
        self._slow_due = float("-inf")
        self._disks: tuple[DiskCounters, ...] = ()
        self._processes: int | None = None
        self._own = psutil.Process()

    def read(self, now: float) -> Counters:
        """All counters at the monotonic moment `now`."""
        if now >= self._slow_due:
            self._slow_due = now + SLOW_ROUND_S
            self._disks = _sensor(_disks) or ()
            self._processes = _sensor(lambda: len(psutil.pids()))
        memory, swap = _sensor(psutil.virtual_memory), _sensor(psutil.swap_memory)
        own = resource.getrusage(resource.RUSAGE_SELF)
        return Counters(
            at=now,
            cpu=_sensor(lambda: _times(None, psutil.cpu_times())),
            cores=_sensor(_cores) or (),
            load=_sensor(os.getloadavg),
            mem_total=memory.total if memory else None,
            mem_available=memory.available if memory else None,
            swap_total=swap.total if swap else None,
            swap_free=swap.free if swap else None,
            disks=self._disks,
            nics=_sensor(_nics) or (),
            processes=self._processes,
            boot_time=_sensor(psutil.boot_time),
            own_cpu_s=own.ru_utime + own.ru_stime,
            own_rss=_sensor(lambda: int(self._own.memory_info().rss)),
        )


def _sensor(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (psutil.Error, OSError, RuntimeError, AttributeError, NotImplementedError):
        return None


def _times(core: int | None, times: tuple[float, ...]) -> CpuTimes:
    fields = dict(zip(times._fields, times, strict=True))  # type: ignore[attr-defined]
    total = sum(spent for name, spent in fields.items() if not name.startswith("guest"))
    return CpuTimes(core, total - fields["idle"] - fields.get("iowait", 0.0), total)


def _cores() -> tuple[CpuTimes, ...]:
    return tuple(_times(number, times) for number, times in enumerate(psutil.cpu_times(percpu=True)))


def _disks() -> tuple[DiskCounters, ...]:
    found = []
    for part in psutil.disk_partitions(all=False):
        with contextlib.suppress(OSError):
            usage = psutil.disk_usage(part.mountpoint)
            found.append(DiskCounters(clean_line(part.mountpoint, 96), usage.total, usage.used, usage.free))
    return tuple(found[:64])


def _nics() -> tuple[NicCounters, ...]:
    counters = psutil.net_io_counters(pernic=True)
    return tuple(
        NicCounters(clean_line(name, 96), nic.bytes_recv, nic.bytes_sent, nic.errin + nic.errout)
        for name, nic in list(counters.items())[:64]
        if not name.startswith("lo") and (nic.bytes_recv or nic.bytes_sent)
    )
