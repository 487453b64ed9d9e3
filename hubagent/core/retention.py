"""What may be released, what is shed, and when the first loss comes."""

from collections import deque
from dataclasses import dataclass

Position = tuple[int, int]  # (incarnation, number); compares in the order of the log
START: Position = (0, 0)
MARKS = 64  # release lags the rule by at most keep/64, and memory stays small whatever the backlog
CHECK_SECONDS_MIN = 5.0
EVENTS_SHARE = 0.10


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """The disk budget, what is kept back for commands, and how long acknowledged chunks stay."""

    budget_bytes: int = 2 << 30
    reserve_bytes: int = 64 << 20
    keep_s: float = 1800.0

    def __post_init__(self) -> None:
        assert self.reserve_bytes * 2 <= self.budget_bytes, "the reserve must be at most half of the budget"
        assert self.keep_s >= 0, "keep_s must not be negative"

    @property
    def check_s(self) -> float:
        """How often a healthy link is checked: a server that lost its tail must be noticed before chunks go."""
        return max(self.keep_s / 2, CHECK_SECONDS_MIN)


class Keeping:
    """When one destination's acknowledged chunks are safe and old enough."""

    def __init__(self, keep_s: float, acked: Position, released: Position, now: float) -> None:
        self.released = released
        self._keep_s = keep_s
        # A restart forgets when chunks were acknowledged: then they count as acknowledged now.
        self._marks: deque[tuple[float, float, Position]] = deque()
        if acked > released:
            self._marks.append((now, now, acked))

    def acked(self, position: Position, now: float) -> None:
        """Take note of an acknowledgement."""
        if self._marks and now - self._marks[-1][0] < self._keep_s / MARKS:
            self._marks[-1] = (self._marks[-1][0], now, position)
        else:
            self._marks.append((now, now, position))

    def checked(self, seen: Position, now: float) -> Position:
        """A check read saw this position in the same lineage: gives what is released by now."""
        while self._marks and self._marks[0][1] + self._keep_s <= now and self._marks[0][2] <= seen:
            self.released = max(self.released, self._marks.popleft()[2])
        return self.released

    def doubted(self, position: Position) -> None:
        """The stream has nothing behind this position: what was acknowledged before counts no more, kept it stays."""
        self._marks.clear()
        self.released = min(self.released, position)


@dataclass(frozen=True, slots=True)
class Figures:
    """Bytes in the spool, from its rows. `acked`: kept although every destination has it. `file`: with free pages."""

    used: int
    evt: int
    met: int
    evt_acked: int
    met_acked: int
    file: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about the budget: release early, shed, refuse."""

    release_evt: int = 0
    release_met: int = 0
    shed_met: int = 0
    refuse_events: bool = False  # all but commands' intents and results
    refuse_all: bool = False


def plan(figures: Figures, policy: RetentionPolicy, *, disk_is_full: bool = False) -> Plan:
    """Acknowledged chunks go first, then the oldest metrics; events are refused, never shed."""
    limit = policy.budget_bytes - policy.reserve_bytes
    if disk_is_full:  # not the budget is the limit: make room within the file
        limit = min(limit, figures.file - min(policy.reserve_bytes, figures.file // 2))
    share = int(policy.budget_bytes * EVENTS_SHARE)
    owed_evt = figures.evt - figures.evt_acked
    over = max(figures.used - limit, 0)
    release_met = min(over, figures.met_acked)
    release_evt = min(max(over - release_met, figures.evt - share, 0), figures.evt_acked)
    shed_met = min(max(over - release_met - release_evt, 0), figures.met - figures.met_acked)
    return Plan(release_evt, release_met, shed_met, owed_evt >= share, owed_evt >= share + policy.reserve_bytes)


def loss_s(figures: Figures, policy: RetentionPolicy, in_rate: float, out_rate: float) -> float | None:
    """Seconds to the first shed metric at the present rate, or None where the backlog does not grow."""
    growth = in_rate - out_rate
    if growth <= 0:
        return None
    room = policy.budget_bytes - policy.reserve_bytes - figures.used + figures.met_acked + figures.evt_acked
    return max(room, 0) / growth


def drain_s(owed_bytes: int, in_rate: float, out_rate: float) -> float | None:
    """Seconds until nothing is owed at the present rates, or None where that never comes."""
    if owed_bytes == 0:
        return 0.0
    return owed_bytes / (out_rate - in_rate) if out_rate > in_rate else None
