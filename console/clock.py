"""The only file of the console that reads a clock."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the console asks the time."""

    def monotonic(self) -> float:
        """Seconds for ages and deadlines."""
        ...

    def wall(self) -> float:
        """Unix seconds, for people only."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Seconds for ages and deadlines."""
        return time.monotonic()

    def wall(self) -> float:
        """Unix seconds."""
        return time.time()


def utc(seconds: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A moment in UTC for people; a word where the number is no moment at all."""
    try:
        return time.strftime(form, time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "(no time)"
