"""Raw cumulative values read from the machine: what `edges/host.py` gives and `core/sampling.py` takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Time of one core, or of all (`core` is None); any unit, as only shares are taken of it."""

    core: int | None
    busy: float
    total: float


@dataclass(frozen=True, slots=True)
class DiskCounters:
    """One mounted disk, in bytes; `available` is what an unprivileged writer may still take."""

    mount: str
    total: int | None = None
    used: int | None = None
    available: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class NicCounters:
    """One network interface: bytes, and errors of both directions."""

    name: str
    rx_bytes: int
    tx_bytes: int
    errors: int


@dataclass(frozen=True, slots=True)
class Counters:
    """One reading of the machine; a sensor that is missing is None, never 0."""

    at: float  # monotonic seconds of the reading
    cpu: CpuTimes | None = None
    cores: tuple[CpuTimes, ...] = ()
    load: tuple[float, float, float] | None = None
    mem_total: int | None = None
    mem_available: int | None = None
    swap_total: int | None = None
    swap_free: int | None = None
    disks: tuple[DiskCounters, ...] = ()
    nics: tuple[NicCounters, ...] = ()
    pressure_cpu_s: float | None = None  # seconds in which some task waited, since the machine's start
    pressure_memory_s: float | None = None
    pressure_io_s: float | None = None
    processes: int | None = None
    boot_time: float | None = None  # Unix seconds
    own_cpu_s: float | None = None  # of this process, all threads
    own_rss: int | None = None
