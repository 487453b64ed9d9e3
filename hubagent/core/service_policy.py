"""How one service is run: what, where, when, and how it may fail."""

from dataclasses import dataclass

from hubagent.core.health import ProbePolicy

RUNS = ("always", "active", "manual")


@dataclass(frozen=True, slots=True)
class ServicePolicy:
    """One service's settings, checked when built. With `release_root`, argv[0] and cwd may be relative to the release."""

    name: str
    argv: tuple[str, ...] = ()
    run: str = "always"
    group: str = ""
    unit: str = ""
    cwd: str = ""
    env: tuple[tuple[str, str], ...] = ()
    release_root: str = ""
    probes: tuple[ProbePolicy, ...] = ()
    start_s: float = 1.0
    grace_s: float = 10.0
    demote_grace_s: float = 0.1
    backoff_min_s: float = 0.5
    backoff_max_s: float = 30.0
    crash_exits: int = 5
    crash_window_s: float = 60.0
    output_bytes: int = 4 << 20
    nofile: int = 1024

    def __post_init__(self) -> None:
        if bool(self.argv) == bool(self.unit):
            raise ValueError(f"service {self.name}: exactly one of argv and unit")
        if self.run not in RUNS or (self.run == "active" and not self.group):
            raise ValueError(f"service {self.name}: run is always, manual, or active with a group")
        if self.unit and self.run == "active":
            # Only the guard can end a process at a deadline while the agent hangs; systemd knows no lease.
            raise ValueError(f"service {self.name}: a systemd unit cannot be run: active, use argv")
        if not 0 < self.backoff_min_s <= self.backoff_max_s:
            raise ValueError(f"service {self.name}: backoff_max_s >= backoff_min_s > 0")
        if self.crash_exits < 1 or self.crash_window_s <= 0 or self.start_s < 0 or self.grace_s <= 0:
            raise ValueError(f"service {self.name}: crash_exits >= 1, crash_window_s > 0, start_s >= 0, grace_s > 0")
