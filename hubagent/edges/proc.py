"""The texts of Linux' /proc, read into counters; a text that is not understood is None, never 0."""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TypeVar

from hubagent.counters import CpuTimes, NicCounters
from hubagent.wire.sanitise import clean_line

SECTOR_BYTES = 512  # of /proc/diskstats, whatever the device's own sector is
CORES_MAX = 512  # more are counted in the total only
NICS_MAX = 64  # a container host has hundreds; the first ones in the kernel's order are kept
MOUNTS_MAX = 64
LABEL_CHARS_MAX = 96
# No disks of this machine, or always full by nature.
_NO_DISKS = frozenset({"squashfs", "iso9660", "erofs", "cramfs", "udf", "romfs"})
# Real disks of kinds that the kernel calls `nodev`.
_DISKS_ANYWAY = frozenset({"btrfs", "zfs", "bcachefs", "xfs", "ext4", "f2fs", "virtiofs"})

_MEMORY = re.compile(rb"^(MemTotal|MemAvailable|SwapTotal|SwapFree):\s+(\d+) kB", re.MULTILINE)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted disk: where it is, how it is called on screen, and the number its counters stand under."""

    path: str
    label: str
    device: str  # major:minor
    source: str


def sensor(parse: Callable[[bytes], T], raw: bytes | None) -> T | None:
    """What a text says, or None where it is missing or not understood."""
    if raw is None:
        return None
    try:
        return parse(raw)
    except (ValueError, IndexError, KeyError):
        return None


def cpu_times(raw: bytes) -> tuple[CpuTimes, ...]:
    """The cpu lines of /proc/stat: all cores together first."""
    found = []
    for line in raw.split(b"\n", CORES_MAX + 1):
        if not line.startswith(b"cpu"):
            break
        name, *fields = line.split(None, 9)
        # user nice system idle iowait irq softirq steal; guest time is in user already
        ticks = [int(field) for field in fields[:8]]
        total = sum(ticks)
        found.append(CpuTimes(int(name[3:]) if len(name) > 3 else None, total - ticks[3] - ticks[4], total))
    return tuple(found)


def boot_time(raw: bytes) -> float:
    """Unix seconds of the machine's start, from /proc/stat."""
    return float(raw.partition(b"\nbtime ")[2].split(None, 1)[0])


def load(raw: bytes) -> tuple[float, float, float]:
    """The three load averages of /proc/loadavg."""
    one, five, fifteen = raw.split(None, 3)[:3]
    return float(one), float(five), float(fifteen)


def memory(raw: bytes) -> dict[bytes, int]:
    """Bytes of the four figures that are wanted, from /proc/meminfo."""
    return {name: int(kib) * 1024 for name, kib in _MEMORY.findall(raw)}


def pressure(raw: bytes) -> float:
    """Seconds in which some task waited, from one file of /proc/pressure."""
    some = raw.partition(b"\n")[0]
    if not some.startswith(b"some "):
        raise ValueError("no `some` line")
    return int(some.rpartition(b"total=")[2]) / 1e6


def nics(raw: bytes) -> tuple[NicCounters, ...]:
    """The interfaces of /proc/net/dev that ever carried a byte, without loopback and the host ends of containers."""
    found = []
    for line in raw.splitlines()[2:]:
        name, _, fields = line.partition(b":")
        label = clean_line(name.strip().decode("utf-8", "replace"), LABEL_CHARS_MAX)
        numbers = [int(field) for field in fields.split()]
        if label == "lo" or label.startswith("veth") or not (numbers[0] or numbers[8]):
            continue
        found.append(NicCounters(label, numbers[0], numbers[8], numbers[2] + numbers[10]))
    return tuple(found[:NICS_MAX])


def disk_bytes(raw: bytes, wanted: Container[str]) -> dict[str, tuple[int, int]]:
    """Bytes read and written by device number, from /proc/diskstats."""
    found = {}
    for line in raw.splitlines():
        fields = line.split(None, 11)
        device = f"{int(fields[0])}:{int(fields[1])}"
        if device in wanted:
            found[device] = int(fields[5]) * SECTOR_BYTES, int(fields[9]) * SECTOR_BYTES
    return found


def nodev_kinds(raw: bytes) -> frozenset[str]:
    """Kinds of file systems that have no disk below them, from /proc/filesystems."""
    lines = raw.decode("utf-8", "replace").splitlines()
    return frozenset(line.split()[-1] for line in lines if line.startswith("nodev\t"))


def mounts(raw: bytes, nodev: frozenset[str]) -> tuple[Mount, ...]:
    """The disks of /proc/self/mountinfo, each device once under its shortest path; `/` always."""
    chosen: dict[str, Mount] = {}
    for line in raw.splitlines():
        fields = line.split()
        kind, source = (field.decode("utf-8", "replace") for field in fields[fields.index(b"-") + 1 :][:2])
        path, device = _unescape(fields[4]), fields[2].decode()
        if path != "/" and (kind in _NO_DISKS or (kind in nodev and kind not in _DISKS_ANYWAY)):
            continue
        known = chosen.get(device)
        if known is None or len(path) < len(known.path):
            chosen[device] = Mount(path, clean_line(path, LABEL_CHARS_MAX), device, source)
    return tuple(sorted(chosen.values(), key=lambda mount: mount.path)[:MOUNTS_MAX])


def _unescape(field: bytes) -> str:
    """A path as the kernel writes it: blanks and line ends are octal; odd bytes survive for statvfs."""
    parts = field.split(b"\\")
    plain = b"".join([parts[0], *(bytes([int(part[:3], 8)]) + part[3:] for part in parts[1:])])
    return plain.decode("utf-8", "surrogateescape")
