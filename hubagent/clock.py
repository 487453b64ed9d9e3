"""The only file that reads a clock: three clocks, never mixed."""

import time
from typing import Protocol


class Clock(Protocol):
    """What loops and edges ask the time; a fake stands in `tests/fakes/clock.py`."""

    def monotonic(self) -> float:
        """Seconds for durations; stops while the machine sleeps."""
        ...

    def boottime(self) -> float:
        """Seconds for leases; goes on while the machine sleeps."""
        ...

    def wall(self) -> float:
        """Unix seconds, for records and people only."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Seconds for durations."""
        return time.monotonic()

    def boottime(self) -> float:
        """Seconds for leases; CLOCK_MONOTONIC where the kernel has no CLOCK_BOOTTIME (macOS console)."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def wall(self) -> float:
        """Unix seconds."""
        return time.time()
