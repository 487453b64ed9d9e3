"""Thresholds on metric columns, with hysteresis and hold time: what is raised, and what is cleared."""

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hubagent.wire.columns import BYTES, BYTES_PER_S, RATIO, SECONDS, describe, key_of, pattern_of
from hubagent.wire.reports import CRITICAL, WARNING, Alert

MISSING_S = 60.0  # a column that is gone this long (a disk unmounted) takes its alert with it
WATCHES_MAX = 512  # (policy, column) pairs; more columns are measured but not watched
HYSTERESIS = 0.05  # of the threshold, where `clear` is not given


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """One threshold. `metric` is a column; `*` in its brackets stands for every key. Exactly one of above and below.

    It is raised when the value is past the threshold for `for_s`, and cleared when it is not past `clear` for
    `clear_s` (as long as `for_s` where that is None).
    """

    name: str
    metric: str
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    for_s: float = 30.0
    severity: str = WARNING
    clear_s: float | None = None

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError("exactly one of above and below")
        if not math.isfinite(self.threshold) or self.for_s < 0:
            raise ValueError("a finite threshold and a hold time of at least 0 s")
        if describe(self.metric) is None:
            raise ValueError("a metric column, as cpu.total or disk[/].ratio")
        if self.is_past(self.clear_at, self.threshold) and self.clear_at != self.threshold:
            raise ValueError("clear on the quiet side of the threshold")

    @property
    def threshold(self) -> float:
        """The value that raises it."""
        return self.above if self.above is not None else self.below  # type: ignore[return-value]

    @property
    def clear_at(self) -> float:
        """The value that must not be passed any more before it clears."""
        if self.clear is not None:
            return self.clear
        margin = abs(self.threshold) * HYSTERESIS
        return self.threshold - margin if self.above is not None else self.threshold + margin

    @property
    def clear_hold_s(self) -> float:
        """How long it must be quiet before it clears."""
        return self.for_s if self.clear_s is None else self.clear_s

    def is_past(self, value: float, limit: float) -> bool:
        """Tell whether a value is on the bad side of a limit."""
        return value > limit if self.above is not None else value < limit


# What every hub watches unless its config has an alert of the same name.
DEFAULTS = (
    AlertPolicy("disk-filling", "disk[*].ratio", above=0.90, clear=0.88, for_s=30.0, severity=WARNING),
    AlertPolicy("disk-full", "disk[*].ratio", above=0.97, clear=0.95, for_s=10.0, severity=CRITICAL),
    AlertPolicy("loop-lag", "agent.loop_lag_max", above=0.2, clear=0.1, for_s=0.0, clear_s=10.0, severity=WARNING),
)


def with_defaults(policies: Iterable[AlertPolicy]) -> tuple[AlertPolicy, ...]:
    """The given policies and those defaults whose names they do not take."""
    given = tuple(policies)
    names = {policy.name for policy in given}
    return given + tuple(policy for policy in DEFAULTS if policy.name not in names)


class Phase(enum.Enum):
    """Where one threshold on one column stands."""

    CLEAR = "clear"
    PENDING = "pending"  # past the threshold, not yet for long enough
    RAISED = "raised"
    EASING = "easing"  # raised, and quiet again, not yet for long enough


# (phase, what was seen) → the next phase; any other pair stays where it is.
MOVES: dict[tuple[Phase, str], Phase] = {
    (Phase.CLEAR, "past"): Phase.PENDING,
    (Phase.PENDING, "between"): Phase.CLEAR,
    (Phase.PENDING, "quiet"): Phase.CLEAR,
    (Phase.PENDING, "held"): Phase.RAISED,
    (Phase.RAISED, "quiet"): Phase.EASING,
    (Phase.EASING, "between"): Phase.RAISED,
    (Phase.EASING, "past"): Phase.RAISED,
    (Phase.EASING, "held"): Phase.CLEAR,
    (Phase.PENDING, "gone"): Phase.CLEAR,
    (Phase.RAISED, "gone"): Phase.CLEAR,
    (Phase.EASING, "gone"): Phase.CLEAR,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of metrics; `t` is its Unix time, for people."""

    values: Mapping[str, float | None]
    t: float


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An operator has seen an alert."""

    name: str
    actor: str


@dataclass(frozen=True, slots=True)
class PoliciesChanged:
    """The config was read again."""

    policies: tuple[AlertPolicy, ...]


@dataclass(frozen=True, slots=True)
class AlertRaised:
    """To be recorded as `alert_raised`."""

    name: str
    severity: str
    text: str
    column: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class AlertCleared:
    """To be recorded as `alert_cleared`."""

    name: str
    text: str
    column: str = ""
    value: float | None = None


@dataclass(slots=True)
class _Watch:
    policy: AlertPolicy
    column: str
    name: str
    phase: Phase = Phase.CLEAR
    phase_at: float = 0.0
    seen_at: float = 0.0
    shown: Alert | None = None


Effect = AlertRaised | AlertCleared


@dataclass(slots=True)
class Alerts:
    """All thresholds of a hub; fed with each row, so it needs no deadline of its own."""

    policies: Sequence[AlertPolicy]
    _columns: tuple[str, ...] = ()
    _watches: dict[tuple[str, str], _Watch] = field(default_factory=dict)

    def handle(self, event: Measured | Acknowledged | PoliciesChanged, now: float) -> list[Effect]:
        """Take a row of metrics or a person's word; give what is to be recorded."""
        if isinstance(event, Acknowledged):
            return self._acknowledge(event)
        if isinstance(event, PoliciesChanged):
            return self._change(event)
        columns = tuple(event.values)
        if columns != self._columns:
            self._columns = columns
            self._watch(columns, now)
        effects: list[Effect] = []
        for key, watch in list(self._watches.items()):
            effects += _look(watch, event, now)
            if now - watch.seen_at > MISSING_S:
                del self._watches[key]
        return effects

    def tick(self, now: float) -> list[Effect]:
        """Nothing: time passes with the rows."""
        return []

    def deadline(self) -> float | None:
        """None: time passes with the rows."""
        return None

    def raised(self) -> list[Alert]:
        """What is raised now, worst first, then oldest first."""
        found = [watch.shown for watch in self._watches.values() if watch.shown]
        return sorted(found, key=lambda alert: (alert.severity != CRITICAL, alert.since, alert.name))

    def _watch(self, columns: Iterable[str], now: float) -> None:
        for column in columns:
            for policy in self.policies:
                key = policy.name, column
                is_meant = policy.metric in (column, pattern_of(column))
                if is_meant and key not in self._watches and len(self._watches) < WATCHES_MAX:
                    self._watches[key] = _Watch(policy, column, _name(policy, column), seen_at=now)

    def _change(self, event: PoliciesChanged) -> list[Effect]:
        """Unchanged policies keep what they know; the others begin anew with the next row."""
        self.policies, self._columns = event.policies, ()
        left = [key for key, watch in self._watches.items() if watch.policy not in event.policies]
        dropped = [self._watches.pop(key) for key in left]
        return [AlertCleared(one.name, f"{one.column} no longer watched", one.column) for one in dropped if one.shown]

    def _acknowledge(self, event: Acknowledged) -> list[Effect]:
        for watch in self._watches.values():
            if watch.shown and watch.name == event.name:
                shown = watch.shown
                watch.shown = Alert(shown.name, shown.severity, shown.text, shown.since, event.actor)
        return []


def _look(watch: _Watch, event: Measured, now: float) -> list[Effect]:
    """One watch and one row: at most a move for what was seen, and one for what has been held long enough."""
    value = event.values.get(watch.column)
    if value is not None:
        watch.seen_at = now
        _move(watch, _seen(watch.policy, value), now)
    elif watch.phase is Phase.PENDING or now - watch.seen_at > MISSING_S:
        return _changed(watch, "gone", event, now)
    hold = {Phase.PENDING: watch.policy.for_s, Phase.EASING: watch.policy.clear_hold_s}.get(watch.phase)
    if value is None or hold is None or now - watch.phase_at < hold:
        return []
    return _changed(watch, "held", event, now)


def _seen(policy: AlertPolicy, value: float) -> str:
    if policy.is_past(value, policy.threshold):
        return "past"
    return "between" if policy.is_past(value, policy.clear_at) else "quiet"


def _move(watch: _Watch, seen: str, now: float) -> None:
    after = MOVES.get((watch.phase, seen), watch.phase)
    if after is not watch.phase:
        watch.phase, watch.phase_at = after, now


def _changed(watch: _Watch, seen: str, event: Measured, now: float) -> list[Effect]:
    """The moves that are told: into RAISED, and out of it for good."""
    _move(watch, seen, now)
    policy, value = watch.policy, event.values.get(watch.column)
    if watch.phase is Phase.RAISED and watch.shown is None:
        text = _text(policy, watch.column, value)
        watch.shown = Alert(watch.name, policy.severity, text, event.t)
        return [AlertRaised(watch.name, policy.severity, text, watch.column, value)]
    if watch.phase is Phase.CLEAR and watch.shown is not None:
        watch.shown = None
        now_is = "no longer measured" if value is None else f"now {say(value, policy.metric)}"
        return [AlertCleared(watch.name, f"{watch.column} {now_is}", watch.column, value)]
    return []


def _name(policy: AlertPolicy, column: str) -> str:
    """A policy on many columns names each alert by its key as well: an operator acknowledges one disk, not all."""
    return policy.name if policy.metric == column else f"{policy.name} {key_of(column)}"


def _text(policy: AlertPolicy, column: str, value: float | None) -> str:
    side = "above" if policy.above is not None else "below"
    held = f" for {policy.for_s:g} s" if policy.for_s else ""
    shown = "?" if value is None else say(value, column)
    return f"{column} {shown}, {side} {say(policy.threshold, column)}{held}"


def say(value: float, column: str) -> str:
    """A value in its column's unit, for the text of a record."""
    kind = describe(column)
    unit = kind.unit if kind else ""
    if unit == RATIO:
        return f"{value * 100:.3g} %"
    if unit in (BYTES, BYTES_PER_S):
        return size(value) + ("/s" if unit == BYTES_PER_S else "")
    if unit == SECONDS:
        return f"{value:.3g} s"
    return f"{value:g}"


def size(value: float) -> str:
    """Bytes in the largest unit that leaves a number of at least 1."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
