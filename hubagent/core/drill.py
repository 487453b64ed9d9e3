"""A scored, deliberate failover as the drilled hub plays it: countdown, strike, takeover, way back, score."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

MOVING = frozenset({"kill-agent", "freeze", "cut"})  # the group moves; after the others it must stay where it is
BUDGET_S = 5.0  # no takeover may take longer (invariant 6 of the failover)


@dataclass(frozen=True, slots=True)
class DrillPolicy:
    """Times of one drill in seconds."""

    countdown_s: float = 3.0  # in which it may be called off without any effect
    hold_s: float = 3.0  # from the strike until it is undone
    cut_s: float = 6.0  # the same for a cut, which nobody sees but by the lease: the takeover's budget and a second
    limit_s: float = 90.0  # from the strike until everything must be as before

    def __post_init__(self) -> None:
        assert self.countdown_s > 0, "countdown_s must be positive"
        assert 0 < self.hold_s < self.limit_s, "hold_s must be below limit_s"
        assert BUDGET_S < self.cut_s < self.limit_s, f"cut_s must lie between {BUDGET_S:g} and limit_s"

    def undone_after_s(self, kind: str) -> float:
        """How long after the strike it is undone."""
        return self.cut_s if kind == "cut" else self.hold_s


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """What is struck, when (boottime seconds), and what was so before."""

    group: str
    kind: str
    by: str
    epoch: int
    strike_at: float
    lost_before: int = 0
    back_to: str = ""  # the group is armed for this drill alone, and set back to this afterwards

    @property
    def moves(self) -> bool:
        """Tell whether another hub must take over."""
        return self.kind in MOVING


@dataclass(frozen=True, slots=True)
class Score:
    """What a drill showed; seconds from the strike, None where it did not come to that."""

    passed: bool
    why: str
    took_s: float | None = None
    detection_s: float | None = None
    decision_s: float | None = None
    takeover_s: float | None = None
    catch_up_s: float | None = None
    way_back_s: float | None = None
    lost: int = 0

    @property
    def text(self) -> str:
        """In one line."""
        phases = [
            f"{word} {value:.2f} s"
            for word, value in (
                ("failover", self.took_s), ("detection", self.detection_s), ("decision", self.decision_s),
                ("takeover", self.takeover_s), ("catch-up", self.catch_up_s), ("way back", self.way_back_s),
            )
            if value is not None
        ]  # fmt: skip
        return "; ".join([*([self.why] if self.why else []), *phases, f"records lost {self.lost}"])

    def data(self) -> dict[str, Any]:
        """As a record carries it."""
        return asdict(self)


class Stage(StrEnum):
    """How far a drill is."""

    COUNTDOWN = "countdown"
    STRUCK = "struck"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Abort:
    """An operator called it off."""

    by: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What this hub sees now. `phases`: the successor's own measures for an epoch, empty while there are none."""

    role: str
    epoch: int
    is_drained: bool
    lost: int
    phases: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Strike:
    """Do it now; what is done is undone after `hold_s` by whoever does it."""

    kind: str


@dataclass(frozen=True, slots=True)
class Undo:
    """Undo it now."""


@dataclass(frozen=True, slots=True)
class Scored:
    """It is over."""

    score: Score


Event = Abort | Looked
Effect = Strike | Undo | Scored
MOVES = {
    (Stage.COUNTDOWN, "strike"): Stage.STRUCK,
    (Stage.COUNTDOWN, "abort"): Stage.OVER,
    (Stage.STRUCK, "score"): Stage.OVER,
}


class Drill:
    """Feed what is seen; all times are boottime seconds, which go on over a restart of the agent."""

    def __init__(self, plan: DrillPlan, policy: DrillPolicy, *, is_struck: bool = False) -> None:
        self.plan, self.policy = plan, policy
        self.stage = Stage.STRUCK if is_struck else Stage.COUNTDOWN
        self._aborted_by = ""
        self._drained_at: float | None = None
        self._phases: Mapping[str, float] = {}

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one event."""
        if self.stage is Stage.OVER:
            return []
        if isinstance(event, Abort):
            return self._abort(event)
        return [*self.tick(now), *(self._look(event, now) if self.stage is Stage.STRUCK else [])]

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        if self.stage is Stage.COUNTDOWN and now >= self.plan.strike_at:
            self._move("strike")
            return [Strike(self.plan.kind)]
        if self.stage is Stage.STRUCK and now >= self.plan.strike_at + self.policy.limit_s:
            return self._score(f"not everything was as before within {self.policy.limit_s:g} s", None, 0)
        return []

    def deadline(self) -> float | None:
        """When something is due next."""
        due = {
            Stage.COUNTDOWN: self.plan.strike_at,
            Stage.STRUCK: self.plan.strike_at + self.policy.limit_s,
            Stage.OVER: None,
        }
        return due[self.stage]

    def _move(self, word: str) -> None:
        self.stage = MOVES[self.stage, word]

    def _abort(self, event: Abort) -> list[Effect]:
        if self.stage is Stage.COUNTDOWN:
            self._move("abort")
            return [Scored(Score(False, f"called off by {event.by} before anything was done"))]
        self._aborted_by = event.by
        return [Undo()]

    def _look(self, seen: Looked, now: float) -> list[Effect]:
        since = now - self.plan.strike_at
        if seen.phases.get("epoch", 0) > self.plan.epoch:
            self._phases = seen.phases
        if seen.is_drained and self._drained_at is None and since > self._quiet_s():
            self._drained_at = now
        elif not seen.is_drained:
            self._drained_at = None
        if self._drained_at is None or since < self._quiet_s():
            return []
        fault = self._fault(seen)
        return [] if fault is None else self._score(fault, since, seen.lost - self.plan.lost_before)

    def _quiet_s(self) -> float:
        """Before it is undone nothing is as before, whatever it looks like."""
        return self.policy.undone_after_s(self.plan.kind)

    def _fault(self, seen: Looked) -> str | None:
        """Empty when it ended well, words when it did not, None while it may still."""
        stays = seen.role.startswith("ACTIVE")
        if not self.plan.moves:
            if seen.epoch != self.plan.epoch:
                return "the group moved, though only the server was struck"
            return "" if stays else None
        if stays and seen.epoch > self.plan.epoch:
            return "no other hub took over"
        if seen.role != "STANDBY" and not seen.role.startswith("STANDBY"):
            return None
        return "" if self._phases else None

    def _score(self, why: str, way_back_s: float | None, lost: int) -> list[Effect]:
        self._move("score")
        took_s = self._phases.get("took_s")
        if not why and self._aborted_by:
            why = f"called off by {self._aborted_by}"
        if not why and took_s is not None and took_s > BUDGET_S:
            why = f"the takeover took {took_s:.1f} s, at most {BUDGET_S:g} s"
        if not why and lost > 0:
            why = f"{lost} records were lost"
        caught_up = None if self._drained_at is None else round(self._drained_at - self.plan.strike_at, 3)
        score = Score(
            not why,
            why,
            took_s,
            self._phases.get("detection_s"),
            self._phases.get("decision_s"),
            self._phases.get("takeover_s"),
            caught_up,
            None if way_back_s is None else round(way_back_s, 3),
            max(lost, 0),
        )
        return [Scored(score)]


def phases(epoch: int, strike_at: float, claimed_at: float, promoted_at: float, served_at: float) -> dict[str, float]:
    """The successor's measures, all on its own clock: seconds from one step to the next, never below zero."""
    detected, decided = max(claimed_at, strike_at), max(promoted_at, claimed_at, strike_at)
    return {
        "epoch": epoch,
        "detection_s": round(detected - strike_at, 3),
        "decision_s": round(decided - detected, 3),
        "takeover_s": round(max(served_at - decided, 0.0), 3),
        "took_s": round(max(served_at - strike_at, 0.0), 3),
    }
