"""Probe results of one service become healthy or unhealthy, with hysteresis both ways."""

from dataclasses import dataclass

# Until the first verdict a probe is asked this often, so that a start costs no whole interval.
START_INTERVAL_S_MAX = 0.25
KINDS = ("http", "tcp", "command", "nats", "process")


@dataclass(frozen=True, slots=True)
class ProbePolicy:
    """What is asked, how often, and how many answers in a row change the verdict."""

    kind: str
    target: tuple[str, ...]  # one URL, address or subject; the argv of a command
    interval_s: float = 2.0
    timeout_s: float = 1.0
    for_n: int = 2
    grace_s: float = 5.0  # failures do not count for so long after a start

    def __post_init__(self) -> None:
        if self.kind not in KINDS or (not self.target and self.kind != "process"):
            raise ValueError(f"a probe needs one of {', '.join(KINDS)} and a target")
        if self.interval_s <= 0 or self.timeout_s <= 0 or self.for_n < 1 or self.grace_s < 0:
            raise ValueError("a probe needs interval_s > 0, timeout_s > 0, for_n >= 1, grace_s >= 0")


@dataclass(frozen=True, slots=True)
class Begun:
    """A process was started, or adopted after `up_s` seconds of life."""

    up_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """The process is gone; answers still on their way mean nothing."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One probe's result; `run` and `probe` as in its Check."""

    run: int
    probe: int
    ok: bool | None  # None: it could not be asked, which says nothing of the service
    why: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Effect: ask this probe now."""

    run: int
    probe: int


@dataclass(frozen=True, slots=True)
class Turned:
    """Effect: the verdict changed; None when there is no process to judge."""

    healthy: bool | None
    why: str = ""


Event = Begun | Ended | Answered
Effect = Check | Turned


class _Probe:
    """One probe's streak and verdict."""

    def __init__(self, policy: ProbePolicy) -> None:
        self.policy = policy
        self.verdict: bool | None = None
        self.streak = 0  # answers in a row that contradict the verdict
        self.why = ""
        self.due: float | None = None  # None while asked

    def take(self, event: Answered, now: float, *, in_grace: bool) -> None:
        self.why = event.why if not event.ok else ""
        if event.ok is None:
            pass
        elif event.ok == self.verdict or (not event.ok and in_grace and self.verdict is None):
            self.streak = 0
        else:
            self.streak += 1
        # The first good answer after a start is a verdict: there is nothing yet to hold against it.
        if event.ok is not None and self.streak >= (1 if event.ok and self.verdict is None else self.policy.for_n):
            self.verdict, self.streak = event.ok, 0
        interval = self.policy.interval_s
        self.due = now + (min(interval, START_INTERVAL_S_MAX) if self.verdict is None else interval)


class Health:
    """All probes of one service: healthy when each says so, unhealthy when one says otherwise."""

    def __init__(self, policies: tuple[ProbePolicy, ...]) -> None:
        self.healthy: bool | None = None
        self.why = ""
        self._policies = policies
        self._probes: list[_Probe] = []
        self._run = 0
        self._begun_at = 0.0

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; what to ask and what has turned."""
        match event:
            case Begun(up_s):
                self._run += 1
                self._begun_at = now - up_s
                self._probes = [_Probe(policy) for policy in self._policies]
                for probe in self._probes:
                    probe.due = now
                return self._judge() + self.tick(now)
            case Ended():
                self._run += 1
                self._probes = []
                return self._judge()
            case Answered(run, number) if run == self._run and number < len(self._probes):
                probe = self._probes[number]
                probe.take(event, now, in_grace=now < self._begun_at + probe.policy.grace_s)
                return self._judge()
        return []

    def _judge(self) -> list[Effect]:
        verdicts = [probe.verdict for probe in self._probes]
        healthy = False if False in verdicts else None if None in verdicts or not verdicts else True
        self.why = "; ".join(f"{probe.policy.kind}: {probe.why}" for probe in self._probes if probe.why)
        if healthy == self.healthy:
            return []
        self.healthy = healthy
        return [Turned(healthy, self.why)]

    def tick(self, now: float) -> list[Effect]:
        """The probes that are due; each is asked again only after its answer."""
        due: list[Effect] = []
        for number, probe in enumerate(self._probes):
            if probe.due is not None and now >= probe.due:
                probe.due = None
                due.append(Check(self._run, number))
        return due

    def deadline(self) -> float | None:
        """When the next probe is due."""
        return min((probe.due for probe in self._probes if probe.due is not None), default=None)
