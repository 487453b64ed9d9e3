"""A machine whose counters a test sets."""

from dataclasses import replace

from hubagent.counters import Counters, CpuTimes, DiskCounters, NicCounters

GIB = 1 << 30


def counters(at: float = 0.0, **changed) -> Counters:
    """A quiet machine of two cores and one disk; name what is to be different."""
    quiet = Counters(
        at=at,
        cpu=CpuTimes(None, 100.0, 1000.0),
        cores=(CpuTimes(0, 50.0, 500.0), CpuTimes(1, 50.0, 500.0)),
        load=(0.1, 0.2, 0.3),
        mem_total=8 * GIB,
        mem_available=6 * GIB,
        swap_total=2 * GIB,
        swap_free=2 * GIB,
        disks=(DiskCounters("/", 100 * GIB, 40 * GIB, 60 * GIB, 1000, 2000),),
        nics=(NicCounters("eth0", 10_000, 20_000, 0),),
        pressure_cpu_s=1.0,
        pressure_memory_s=0.0,
        pressure_io_s=2.0,
        processes=100,
        boot_time=1_700_000_000.0,
        own_cpu_s=0.5,
        own_rss=30 << 20,
    )
    return replace(quiet, **changed)


class FakeHost:
    """Gives the counters in `now_is`, with the time it is asked at; counts how often."""

    def __init__(self, now_is: Counters | None = None) -> None:
        self.now_is = now_is or counters()
        self.reads = 0

    def read(self, now: float) -> Counters:
        """All counters at the monotonic moment `now`."""
        self.reads += 1
        return replace(self.now_is, at=now)

    def set(self, **changed) -> None:
        """Change some counters."""
        self.now_is = replace(self.now_is, **changed)
