"""A clock that stands still until a test moves it."""


class FakeClock:
    """All three clocks, moved together by `advance`, apart by setting an attribute."""

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_800_000_000.0) -> None:
        self.monotonic_s, self.boottime_s, self.wall_s = monotonic, monotonic, wall

    def monotonic(self) -> float:
        """Seconds for durations."""
        return self.monotonic_s

    def boottime(self) -> float:
        """Seconds for leases."""
        return self.boottime_s

    def wall(self) -> float:
        """Unix seconds."""
        return self.wall_s

    def advance(self, seconds: float) -> None:
        """Let time pass on all three."""
        self.monotonic_s += seconds
        self.boottime_s += seconds
        self.wall_s += seconds
