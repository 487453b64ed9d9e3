"""One supervised service as the agent keeps it, and how it is judged, measured and shown."""

from typing import NamedTuple, Protocol

from hubagent.core.health import Health
from hubagent.core.outcome import Outcome
from hubagent.core.service_policy import ServicePolicy
from hubagent.core.supervision import BACKOFF, EXITED, FATAL, RUNNING, STARTING, STOPPED, STOPPING, Supervision
from hubagent.edges.outputs import read_usage
from hubagent.loops.hands import Hands, Token
from hubagent.wire import reports

USAGE_S_MIN = 0.9  # a watched detail comes at 1 Hz
BUSY_S = 10.0  # for a machine that is busy, beyond what the service's own settings allow
BADNESS = {FATAL: 6, BACKOFF: 5, EXITED: 2, STOPPING: 1, STARTING: 1}


class Measured(NamedTuple):
    """When a process's CPU time was read last, and what came of it."""

    pid: int
    at: float
    cpu_s: float
    cpu: float | None
    rss: int


class Supervised:
    """One service: its decisions, its health, its hands, and what was measured of its process."""

    def __init__(self, policy: ServicePolicy, hands: Hands) -> None:
        self.policy, self.hands = policy, hands
        self.core = Supervision(policy)
        self.health = Health(policy.probes)
        self.token: Token | None = None  # under which an active one was started
        self.release = ""
        self.measured: Measured | None = None


class Judge(Protocol):
    """Decides from a service's state whether what was asked for has come about, or cannot any more."""

    def __call__(self, one: Supervision) -> Outcome | None:
        """None: not yet."""
        ...


def is_up(one: Supervision) -> Outcome | None:
    """RUNNING is well (it includes readiness); any state without a process is not."""
    if one.state == RUNNING:
        return Outcome(True)
    return None if one.state in (STARTING, STOPPING) else Outcome(False, _words(one), "running")


def is_down(one: Supervision) -> Outcome | None:
    """STOPPED is what was asked for; somebody else may have wanted it again."""
    if one.state == STOPPED:
        return Outcome(True)
    return Outcome(False, _words(one), "stopped") if one.wanted else None


def _words(one: Supervision) -> str:
    return f"{one.policy.name} is {one.state}" + (f": {one.why}" if one.why else "")


def patience_s(policy: ServicePolicy, busy_s: float) -> float:
    """How long a change of this service may take before it is reported as not done."""
    probes = [probe.grace_s + probe.for_n * (probe.interval_s + probe.timeout_s) for probe in policy.probes]
    return policy.grace_s + policy.start_s + max(probes, default=0.0) + busy_s


def measure(service: Supervised, now: float) -> None:
    """Read the process's usage, at most once a second."""
    pid, before = service.core.pid, service.measured
    if pid is None:
        service.measured = None
        return
    if before is not None and before.pid == pid and now < before.at + USAGE_S_MIN:
        return
    usage = read_usage(pid)
    if usage is None:
        service.measured = None
        return
    is_next = before is not None and before.pid == pid and now > before.at
    cpu = max(0.0, usage.cpu_s - before.cpu_s) / (now - before.at) if before is not None and is_next else None
    service.measured = Measured(pid, now, usage.cpu_s, cpu, usage.rss)


def shown(service: Supervised, now: float, *, with_usage: bool) -> reports.Service:
    """The service as the wire carries it."""
    one, policy = service.core, service.policy
    measured = service.measured if with_usage else None
    return reports.Service(
        name=policy.name,
        state=one.state,
        run=policy.run,
        group=policy.group,
        release=service.release,
        pid=one.pid,
        up_s=None if one.started_at is None else round(now - one.started_at, 1),
        restarts=one.restarts,
        healthy=service.health.healthy,
        cpu=None if measured is None else measured.cpu,
        rss=None if measured is None else measured.rss,
        why=(service.health.why or one.why) if one.state in (STARTING, RUNNING) else one.why,
        exits=list(one.exits),
    )


def totals(services: list[Supervised]) -> reports.ServiceTotals:
    """How many run of those wanted, and the worst one."""
    cores = [service.core for service in services]
    worst = max(cores, key=_badness, default=None)
    wanted = [one for one in cores if one.wanted]
    running = sum(one.state == RUNNING and one.healthy is not False for one in wanted)
    return reports.ServiceTotals(running, len(wanted), _word(worst) if worst is not None and _badness(worst) else "")


def _badness(one: Supervision) -> int:
    if one.state == RUNNING:
        return 4 if one.healthy is False else 0
    return BADNESS.get(one.state, 0)


def _word(one: Supervision) -> str:
    return f"{one.policy.name} {'unhealthy' if one.state == RUNNING else one.state}"
