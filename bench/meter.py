"""What other programs of `bench/` measure processes with: CPU time and memory from /proc, spread of several runs."""

import os
import statistics
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all threads: in nanoseconds from the scheduler, else in ticks of 10 ms.

    Time of threads that have ended is in the ticks only; they count where they say clearly more.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    in_ticks = (int(fields[11]) + int(fields[12])) / TICKS
    try:
        tasks = [int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except OSError:
        return in_ticks
    precise = sum(tasks) / 1e9
    return precise if in_ticks - precise < 3 / TICKS else in_ticks


def memory(pid: int) -> dict[str, int]:
    """Bytes: peak resident (`peak`), resident now (`rss`), and the anonymous part of it (`anon`)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    wanted = {"peak": "VmHWM", "rss": "VmRSS", "anon": "RssAnon"}
    return {name: int(values[field][0]) * 1024 for name, field in wanted.items()}


def words_of(pid: int) -> list[str]:
    """The command line of a process; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def find(test) -> list[int]:
    """Every process whose command line passes the test."""
    pids = (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
    return [pid for pid in pids if test(words_of(pid))]


def spread(name: str, values: Iterable[float], unit: str) -> dict[str, float]:
    """`NAME_UNIT` (the median), `NAME_min_UNIT` and `NAME_max_UNIT`."""
    runs = sorted(values)
    return {
        f"{name}_{unit}": round(statistics.median(runs), 5),
        f"{name}_min_{unit}": round(runs[0], 5),
        f"{name}_max_{unit}": round(runs[-1], 5),
    }


if __name__ == "__main__":  # `make bench` runs every file here; this one only serves the others
    print("meter.py: measures nothing by itself")
