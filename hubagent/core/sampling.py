"""Two readings of the machine's counters become one sample: measured values, rates already computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from hubagent.counters import Counters, CpuTimes, DiskCounters, NicCounters


@dataclass(frozen=True, slots=True)
class DiskSample:
    """One mounted disk: bytes, bytes a second, and the used ratio as `df` gives it."""

    mount: str
    total: int | None = None
    used: int | None = None
    available: int | None = None
    ratio: float | None = None
    read_rate: float | None = None
    write_rate: float | None = None


@dataclass(frozen=True, slots=True)
class NicSample:
    """One interface: bytes a second, and errors since the machine's start."""

    name: str
    rx_rate: float | None = None
    tx_rate: float | None = None
    errors: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The machine at one moment. Ratios 0–1, bytes, bytes a second; what could not be measured is None."""

    at: float  # monotonic seconds
    cpu: float | None = None
    cores: tuple[tuple[int, float | None], ...] = ()
    load: tuple[float | None, float | None, float | None] = (None, None, None)
    mem_total: int | None = None
    mem_used: int | None = None
    mem_ratio: float | None = None
    swap_total: int | None = None
    swap_used: int | None = None
    disks: tuple[DiskSample, ...] = ()
    nics: tuple[NicSample, ...] = ()
    pressure_cpu: float | None = None
    pressure_memory: float | None = None
    pressure_io: float | None = None
    processes: int | None = None
    boot_time: float | None = None
    own_cpu: float | None = None  # ratio of one core
    own_rss: int | None = None


class Sampler:
    """Remembers one reading; the first sample has levels and no rates."""

    def __init__(self) -> None:
        self._before = Counters(at=0.0)

    def observe(self, counters: Counters) -> Sample:
        """The sample between the reading before and this one."""
        before, self._before = self._before, counters
        return sample_between(before, counters)


def sample_between(old: Counters, new: Counters) -> Sample:
    """Levels of the newer reading, rates between both; a counter that fell (wrapped, or began anew) gives None."""
    seconds = new.at - old.at
    return Sample(
        at=new.at,
        cpu=_busy(old.cpu, new.cpu),
        cores=_cores(old.cores, new.cores),
        load=new.load or (None, None, None),
        mem_total=new.mem_total,
        mem_used=_less(new.mem_total, new.mem_available),
        mem_ratio=_ratio(_less(new.mem_total, new.mem_available), new.mem_total),
        swap_total=new.swap_total,
        swap_used=_less(new.swap_total, new.swap_free),
        disks=_disks(old.disks, new.disks, seconds),
        nics=_nics(old.nics, new.nics, seconds),
        pressure_cpu=_share(old.pressure_cpu_s, new.pressure_cpu_s, seconds),
        pressure_memory=_share(old.pressure_memory_s, new.pressure_memory_s, seconds),
        pressure_io=_share(old.pressure_io_s, new.pressure_io_s, seconds),
        processes=new.processes,
        boot_time=new.boot_time,
        own_cpu=rate(old.own_cpu_s, new.own_cpu_s, seconds),
        own_rss=new.own_rss,
    )


def rate(old: float | None, new: float | None, seconds: float) -> float | None:
    """Growth per second, or None where either is missing, no time passed, or the counter fell."""
    if old is None or new is None or seconds <= 0 or new < old:
        return None
    return (new - old) / seconds


def _share(old: float | None, new: float | None, seconds: float) -> float | None:
    found = rate(old, new, seconds)
    return None if found is None else min(found, 1.0)


def _busy(old: CpuTimes | None, new: CpuTimes | None) -> float | None:
    """Busy share of the ticks between; idle ticks may fall a little (iowait does), so the share is held in 0–1."""
    if old is None or new is None or new.total <= old.total or new.busy < old.busy:
        return None
    return min((new.busy - old.busy) / (new.total - old.total), 1.0)


def _cores(old: Sequence[CpuTimes], new: Sequence[CpuTimes]) -> tuple[tuple[int, float | None], ...]:
    before = {times.core: times for times in old}
    return tuple((times.core, _busy(before.get(times.core), times)) for times in new if times.core is not None)


def _less(total: int | None, free: int | None) -> int | None:
    return None if total is None or free is None else max(total - free, 0)


def _ratio(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else part / whole


def _disks(old: Sequence[DiskCounters], new: Sequence[DiskCounters], seconds: float) -> tuple[DiskSample, ...]:
    before = {disk.mount: disk for disk in old}
    return tuple(_disk(before.get(disk.mount), disk, seconds) for disk in new)


def _disk(old: DiskCounters | None, new: DiskCounters, seconds: float) -> DiskSample:
    # Space kept for root is neither used nor available: the ratio is of what can be had, as `df` shows it.
    reachable = None if new.used is None or new.available is None else new.used + new.available
    return DiskSample(
        mount=new.mount,
        total=new.total,
        used=new.used,
        available=new.available,
        ratio=_ratio(new.used, reachable),
        read_rate=rate(old.read_bytes if old else None, new.read_bytes, seconds),
        write_rate=rate(old.written_bytes if old else None, new.written_bytes, seconds),
    )


def _nics(old: Sequence[NicCounters], new: Sequence[NicCounters], seconds: float) -> tuple[NicSample, ...]:
    before = {nic.name: nic for nic in old}
    return tuple(_nic(before.get(nic.name), nic, seconds) for nic in new)


def _nic(old: NicCounters | None, new: NicCounters, seconds: float) -> NicSample:
    if old is None:
        return NicSample(new.name, errors=new.errors)
    rx = rate(old.rx_bytes, new.rx_bytes, seconds)
    return NicSample(new.name, rx, rate(old.tx_bytes, new.tx_bytes, seconds), new.errors)
