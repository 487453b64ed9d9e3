"""Timing and membership of one group's lease, checked when built: a wrong inequality is shown, never tolerated."""

from dataclasses import dataclass
from typing import NamedTuple

from hubagent.wire.leases import LeaseRecord

DRIFT_RATIO = 0.01  # clocks may differ from true time by this much, either way
DEMOTE_GRACE_S = 0.1
AUTO_WORDS = ("off", "shadow", "armed")


class LeasePolicyRefused(ValueError):
    """Timings or members that could not keep the promise; the text shows the inequality."""


class Token(NamedTuple):
    """The fencing token; equal epochs are ordered by holder id."""

    epoch: int
    holder: str


NO_TOKEN = Token(0, "")


@dataclass(frozen=True, slots=True)
class Profile:
    """P, A and m of design 4 in seconds; the candidate's wait W follows from them."""

    name: str
    renew_s: float
    span_s: float
    margin_s: float

    def __post_init__(self) -> None:
        p, a, m = self.renew_s, self.span_s, self.margin_s
        if not 0 < p < a:
            raise LeasePolicyRefused(f"profile {self.name}: 0 < P < A does not hold: 0 < {p:g} s < {a:g} s")
        if a < 3 * p:
            raise LeasePolicyRefused(f"profile {self.name}: A >= 3 P does not hold: {a:g} s < 3 x {p:g} s")
        if m <= a * DRIFT_RATIO / (1 - DRIFT_RATIO):
            raise LeasePolicyRefused(
                f"profile {self.name}: m > A x {DRIFT_RATIO:g} / {1 - DRIFT_RATIO:g} does not hold for m = {m:g} s,"
                f" A = {a:g} s: clocks that drift {DRIFT_RATIO:.0%} would let two hubs act"
            )

    @property
    def wait_s(self) -> float:
        """W: what a candidate waits from the receipt of the first read that showed the sequence."""
        return (self.span_s + self.margin_s) * (1 + DRIFT_RATIO)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("rapid", 0.05, 0.2, 0.05),
        Profile("fast", 0.15, 0.6, 0.1),
        Profile("normal", 0.4, 1.6, 0.2),
        Profile("wan", 1.0, 3.0, 0.4),
    )
}
WAIT_S_MAX = max(profile.wait_s for profile in PROFILES.values())


def profile_of(record: LeaseRecord) -> Profile:
    """The timing that a record demands: its span counts, whatever a config says of the profile's name."""
    span_s = record.span_ms / 1000
    named = PROFILES.get(record.profile)
    if named and abs(named.span_s - span_s) < 0.0005:
        return named
    return Profile(record.profile, span_s / 4, span_s, span_s / 4)


def span_of(wait_s: float) -> float:
    """The span that a member counts by who speaks of this wait; the wait itself where no profile has it."""
    return next((one.span_s for one in PROFILES.values() if abs(one.wait_s - wait_s) < 0.001), wait_s)


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """What one hub knows of one group before it has read the record; the record's members and span win over it."""

    group: str
    hub: str
    members: tuple[str, ...]
    profile: Profile
    auto: str = "shadow"
    has_witness: bool = True
    demote_grace_s: float = DEMOTE_GRACE_S  # TERM comes this long before the deadline, KILL at it
    hold_min_s: float = 30.0  # planned switchovers wait this long after a change; a takeover never does
    changes_max: int = 3  # planned switchovers stop after so many changes ...
    changes_window_s: float = 300.0  # ... within this time
    handover_s: float = 10.0  # a released lease that its successor has not taken by then is a failed switchover

    def __post_init__(self) -> None:
        if self.hub not in self.members or len(set(self.members)) != len(self.members):
            raise LeasePolicyRefused(
                f"group {self.group}: members {', '.join(self.members)} must name {self.hub} and each hub once"
            )
        if self.auto not in AUTO_WORDS:
            raise LeasePolicyRefused(f"group {self.group}: auto is one of {', '.join(AUTO_WORDS)}, not {self.auto!a}")
        limit = self.profile.span_s - 2 * self.profile.renew_s
        if not 0 <= self.demote_grace_s <= limit:
            raise LeasePolicyRefused(
                f"group {self.group}: 0 <= demote_grace <= A - 2 P does not hold: {self.demote_grace_s:g} s, limit"
                f" {limit:g} s in profile {self.profile.name}; a healthy holder would be told to stop"
            )


@dataclass(frozen=True, slots=True)
class Memory:
    """What survives a restart: the own epoch counter, the highest token seen, the last span seen."""

    own_epoch: int = 0
    seen: Token = NO_TOKEN
    span_s: float = 0.0
