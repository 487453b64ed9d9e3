"""One service: when it is started, stopped, restarted later, or given up."""

from collections import deque
from dataclasses import dataclass

from hubagent.core.service_policy import ServicePolicy
from hubagent.wire.reports import CRITICAL, OK, WARNING

STOPPED, STARTING, RUNNING, BACKOFF = "STOPPED", "STARTING", "RUNNING", "BACKOFF"
STOPPING, EXITED, FATAL = "STOPPING", "EXITED", "FATAL"

MOVES: dict[str, frozenset[str]] = {
    STOPPED: frozenset({STARTING}),
    STARTING: frozenset({RUNNING, STOPPING, BACKOFF, EXITED, FATAL, STOPPED}),
    RUNNING: frozenset({STOPPING, BACKOFF, EXITED, FATAL, STOPPED}),
    BACKOFF: frozenset({STARTING, STOPPED}),
    STOPPING: frozenset({STOPPED, STARTING}),  # STARTING: wanted again while it stopped
    EXITED: frozenset({STARTING, STOPPED}),
    FATAL: frozenset({STARTING, STOPPED}),
}
SEVERITY = {BACKOFF: WARNING, FATAL: CRITICAL}
EXITS_KEPT = 10
JITTER_RATIO = 0.25  # a delay is shortened by up to this, so that many hubs do not start in step


@dataclass(frozen=True, slots=True)
class Wanted:
    """It shall run; also the way out of FATAL."""

    cause: str = ""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """It shall not run; `grace_s` None means the service's own."""

    cause: str = ""
    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The guard spawned it."""

    pid: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """The guard already ran it; `up_s` seconds since its start."""

    pid: int
    up_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The guard could not spawn it; `jitter` 0–1 at random."""

    why: str
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Exited:
    """It ended; `asked`: the guard was told to end it. `jitter` 0–1 at random. `pid` 0: whichever ran."""

    pid: int = 0
    code: int | None = None
    signal: int | None = None
    up_s: float = 0.0
    asked: bool = False
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class NothingToStop:
    """The guard was told to stop it and runs none of that name."""


@dataclass(frozen=True, slots=True)
class HealthTurned:
    """Its probes came to another verdict; None: no verdict yet."""

    healthy: bool | None


@dataclass(frozen=True, slots=True)
class Spawn:
    """Effect: have the guard start it; the outcome comes back as Started, Adopted or SpawnFailed."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Effect: have the guard stop it; the outcome comes back as Exited or NothingToStop."""

    grace_s: float


@dataclass(frozen=True, slots=True)
class Changed:
    """Effect: record this change of state."""

    before: str
    after: str
    why: str
    severity: str = OK


Event = Wanted | Unwanted | Started | Adopted | SpawnFailed | Exited | NothingToStop | HealthTurned
Effect = Spawn | Stop | Changed


def exit_text(event: Exited) -> str:
    """How it ended, in words that fit a cell."""
    if event.signal is not None:
        how = f"signal {event.signal}"
    else:
        how = "exit code unknown" if event.code is None else f"exit {event.code}"
    return f"{how} after {event.up_s:.1f} s"


class Supervision:
    """The state of one service; never more than one Spawn is open, and none while a process lives."""

    def __init__(self, policy: ServicePolicy) -> None:
        self.policy = policy
        self.state = STOPPED
        self.wanted = False
        self.why = ""
        self.pid: int | None = None
        self.started_at: float | None = None
        self.restarts = 0
        self.exits: deque[str] = deque(maxlen=EXITS_KEPT)
        self.healthy: bool | None = None
        self._failures = 0  # in a row, until proven health
        self._crashes: deque[float] = deque()  # times within the window
        self._due: float | None = None  # end of the back-off
        self._running_since = 0.0
        self._ended_unseen: set[int] = set()  # its end was told before its start: that Started means nothing

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; what is to be done."""
        match event:
            case Wanted():
                return self._want(event, now)
            case Unwanted():
                return self._unwant(event, now)
            case Started() | Adopted():
                return self._found(event, now)
            case SpawnFailed(why, jitter):
                return self._spawn_failed(why, jitter, now)
            case Exited():
                return self._exited(event, now)
            case NothingToStop():
                return self._ended_as_asked("nothing was running", now) if self.state == STOPPING else []
            case HealthTurned(healthy):
                self.healthy = healthy
                return self.tick(now)

    def tick(self, now: float) -> list[Effect]:
        """What the passing of time alone does."""
        if self.state == STARTING and self._is_started(now):
            self._running_since = now
            return self._become(RUNNING, "it stayed up and is ready" if self.policy.probes else "it stayed up")
        if self.state == BACKOFF and self._due is not None and now >= self._due:
            self.restarts += 1
            return self._start(self.why, now)
        if self.state == RUNNING and self._failures and self._is_proven(now):
            self._failures = 0
        return []

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self.state == BACKOFF:
            return self._due
        if self.state == STARTING and self.started_at is not None and (self.healthy or not self.policy.probes):
            return self.started_at + self.policy.start_s
        if self.state == RUNNING and self._failures and self.healthy is not False:
            return self._running_since + self.policy.crash_window_s
        return None

    def _is_started(self, now: float) -> bool:
        is_ready = self.healthy is True or not self.policy.probes
        return is_ready and self.started_at is not None and now >= self.started_at + self.policy.start_s

    def _is_proven(self, now: float) -> bool:
        return self.healthy is not False and now >= self._running_since + self.policy.crash_window_s

    # Each of these handles one kind of event.

    def _want(self, event: Wanted, now: float) -> list[Effect]:
        self.wanted = True
        if self.state in (STARTING, RUNNING, STOPPING):
            return []
        if self.state == FATAL:  # somebody looked at it: the budget begins anew
            self._crashes.clear()
            self._failures = 0
        return self._start(event.cause, now)

    def _unwant(self, event: Unwanted, now: float) -> list[Effect]:
        self.wanted = False
        grace_s = self.policy.grace_s if event.grace_s is None else event.grace_s
        if self.state in (STARTING, RUNNING):
            return [*self._become(STOPPING, event.cause), Stop(grace_s)]
        if self.state == STOPPING:
            return [Stop(grace_s)]  # a shorter grace counts, a longer one does not
        return [] if self.state == STOPPED else self._become(STOPPED, event.cause)

    def _found(self, event: Started | Adopted, now: float) -> list[Effect]:
        is_late = isinstance(event, Started) and (self.state not in (STARTING, STOPPING) or self.pid is not None)
        if event.pid in self._ended_unseen:
            self._ended_unseen.discard(event.pid)
            return []
        if is_late or event.pid == self.pid:
            return []
        self.pid = event.pid
        self.started_at = now - (event.up_s if isinstance(event, Adopted) else 0.0)
        if self.state in (STARTING, RUNNING, STOPPING):
            return self.tick(now)
        self.wanted = True  # it runs, so somebody wanted it; who does not want it any more says so next
        self._due = None
        return self._become(STARTING, "found running") + self.tick(now)

    def _spawn_failed(self, why: str, jitter: float, now: float) -> list[Effect]:
        if self.pid is not None:
            return []
        if self.state == STOPPING:
            return self._ended_as_asked(why, now)
        return self._crashed(f"cannot start: {why}", jitter, now) if self.state == STARTING else []

    def _exited(self, event: Exited, now: float) -> list[Effect]:
        if self.state not in (STARTING, RUNNING, STOPPING) or (event.pid and self.pid not in (None, event.pid)):
            return []
        if self.pid is None and event.pid:
            self._ended_unseen = {event.pid}
        self.pid = self.started_at = None
        text = exit_text(event)
        self.exits.append(text)
        if self.state == STOPPING:
            return self._ended_as_asked(text, now)
        if event.asked and self.policy.run == "active":  # its lease lapsed; who holds it again wants it again
            self.wanted = False
            return self._become(STOPPED, text)
        if self.policy.run == "manual" and event.code == 0:
            self.wanted = False
            return self._become(EXITED, text)
        return self._crashed(text, event.jitter, now)

    def _ended_as_asked(self, text: str, now: float) -> list[Effect]:
        self.pid = self.started_at = None
        return self._start(text, now) if self.wanted else self._become(STOPPED, text)

    def _crashed(self, why: str, jitter: float, now: float) -> list[Effect]:
        self._failures += 1
        self._crashes.append(now)
        while self._crashes[0] <= now - self.policy.crash_window_s:
            self._crashes.popleft()
        if len(self._crashes) >= self.policy.crash_exits:
            count, window_s = len(self._crashes), self.policy.crash_window_s
            return self._become(FATAL, f"crash loop, {count} ends within {window_s:g} s: {why}")
        delay = min(self.policy.backoff_max_s, self.policy.backoff_min_s * 2.0 ** min(self._failures - 1, 30))
        delay *= 1.0 - JITTER_RATIO * jitter
        self._due = now + delay
        return self._become(BACKOFF, f"{why}; again in {delay:.1f} s")

    def _start(self, why: str, now: float) -> list[Effect]:
        self._due = None
        self.pid = self.started_at = None
        return [*self._become(STARTING, why), Spawn()]

    def _become(self, state: str, why: str) -> list[Effect]:
        assert state in MOVES[self.state], f"{self.policy.name}: {self.state} to {state}"
        before, self.state, self.why = self.state, state, why
        return [Changed(before, state, why, SEVERITY.get(state, OK))]
