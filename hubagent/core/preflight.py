"""The named gates of each action: plain facts in, passed or not and why, in an operator's words."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hubagent.wire.commands import Gate
from hubagent.wire.reports import GroupState, Service

# Nothing good comes of passing over these: there would be nothing to act on, or two actions at once.
NEVER_FORCED = frozenset(
    {
        "verb",
        "role",
        "service-known",
        "group-known",
        "release-present",
        "release-differs",
        "no-other-action",
        "auto-known",
    }
)

PEER_FRESH_SECONDS = 3.0
DISK_SECONDS_MIN = 600.0
SKEW_SECONDS_MAX = 2.0
HOLD_SECONDS_MIN = 30.0  # a group stays where it is this long (4-failover)
CHANGES_MAX, CHANGES_SECONDS = 3, 300.0
DRILL_SECONDS_MAX = 30 * 86_400.0
STOPPED_STATES = frozenset({"STOPPED", "EXITED", "FATAL"})


def gate(name: str, passed: bool, value: str, limit: str = "", why: str = "") -> Gate:
    """One gate; `why` is kept only where it failed."""
    return Gate(name=name, passed=passed, value=value, limit=limit, why="" if passed else why)


def refusal(gates: Sequence[Gate], force: frozenset[str] = frozenset()) -> Gate | None:
    """The first gate that failed and is not forced; None when the action may go on."""
    return next((one for one in gates if not one.passed and (one.name not in force or one.name in NEVER_FORCED)), None)


def no_other_action(other: str) -> Gate:
    """`other`: what runs on the target now, as `restart web by ana`; empty when nothing does."""
    return gate("no-other-action", not other, other or "none", "none", f"another action is running: {other}")


def role_allows(role: str, needed: str, allowed: bool) -> Gate:
    """The operator's role against the verb's."""
    return gate("role", allowed, role, needed, f"needs the role {needed}; this operator is {role}")


def service_known(name: str, service: Service | None) -> Gate:
    """This hub supervises a service of that name."""
    value = service.state if service else "unknown"
    return gate("service-known", service is not None, value, "supervised here", f"this hub has no service {name}")


def active_here(service: Service, groups: Sequence[GroupState]) -> list[Gate]:
    """A service that runs in one place only is touched only where its group is active."""
    if service.run != "active":
        return []
    role = next((one.role for one in groups if one.group == service.group), "UNKNOWN")
    why = f"{service.name} runs only on the active hub of {service.group}; here the role is {role}"
    return [gate("lease-held", role.startswith("ACTIVE"), role, "ACTIVE", why)]


def last_instance(others_healthy: int | None) -> list[Gate]:
    """At least one other healthy instance goes on; no gate where this hub cannot know (None)."""
    if others_healthy is None:
        return []
    why = "this is the last healthy instance; nobody serves while it is down"
    return [gate("last-healthy-instance", others_healthy > 0, f"{others_healthy} others healthy", "at least 1", why)]


def disk_room(seconds_to_full: float | None) -> Gate:
    """The disk does not fill during the action; None: nothing says that it ever will."""
    passed = seconds_to_full is None or seconds_to_full >= DISK_SECONDS_MIN
    value = "not in sight" if seconds_to_full is None else f"full in {seconds_to_full:.0f} s"
    return gate("disk-forecast", passed, value, f"at least {DISK_SECONDS_MIN:.0f} s", f"the disk is {value}")


def clocks_sane(skew_s: float | None) -> Gate:
    """The wall clocks of both sides agree, so that the records read in order afterwards."""
    passed = skew_s is None or abs(skew_s) <= SKEW_SECONDS_MAX
    value = "not measured" if skew_s is None else f"{skew_s:+.1f} s"
    return gate("clocks-sane", passed, value, f"within {SKEW_SECONDS_MAX:g} s", f"the clocks are {value} apart")


def restart(
    name: str, service: Service | None, groups: Sequence[GroupState] = (), others_healthy: int | None = None
) -> list[Gate]:
    """Restart a service."""
    if service is None:
        return [service_known(name, None)]
    return [service_known(name, service), *active_here(service, groups), *last_instance(others_healthy)]


def start(name: str, service: Service | None, groups: Sequence[GroupState] = ()) -> list[Gate]:
    """Start a stopped service."""
    if service is None:
        return [service_known(name, None)]
    stopped = service.state in STOPPED_STATES or service.state == "BACKOFF"
    return [
        service_known(name, service),
        gate("not-running", stopped, service.state, "stopped", f"{name} is {service.state} already"),
        *active_here(service, groups),
    ]


def stop(name: str, service: Service | None, others_healthy: int | None = None) -> list[Gate]:
    """Stop a service and keep it stopped."""
    if service is None:
        return [service_known(name, None)]
    running = service.state not in STOPPED_STATES or service.state == "FATAL"
    return [
        service_known(name, service),
        gate("running", running, service.state, "running", f"{name} is {service.state} already"),
        *last_instance(others_healthy),
    ]


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """What a service's releases are: `target` is what a rollback would go to, empty where there is nothing."""

    current: str
    target: str
    installed: Sequence[str]
    pinned: str = ""


def rollback(name: str, service: Service | None, releases: ReleaseFacts | None, *, named: bool) -> list[Gate]:
    """Go back to a release; `named`: the operator said which, which also lifts a pin."""
    if service is None:
        return [service_known(name, None)]
    if releases is None:
        missing = f"{name} has no releases; its config names no release root"
        return [service_known(name, service), gate("release-present", False, "none", "a release root", missing)]
    present = releases.target in releases.installed
    absent = f"release {releases.target} is not installed" if releases.target else "there is no earlier good release"
    other = f"{releases.target} is the current release already"
    return [
        service_known(name, service),
        gate("release-present", present, releases.target or "none", "installed", absent),
        gate("release-differs", releases.target != releases.current, releases.current, "another release", other),
        gate("not-pinned", named or not releases.pinned, releases.pinned or "no", "no", f"pinned: {releases.pinned}"),
    ]


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """What a hub knows of a group before it is moved; ages and times in seconds, None: not known."""

    group: str
    hub: str
    members: Sequence[str]
    state: GroupState | None
    peer_age_s: float | None = None
    handed_over: bool | None = None
    owed_chunks: int = 0
    disk_full_s: float | None = None
    skew_s: float | None = None
    held_s: float | None = None
    changes: int = 0
    last_drill_s: float | None = None
    maintained: Sequence[str] = field(default_factory=tuple)  # hubs in maintenance
    not_fenced: Sequence[str] = field(default_factory=tuple)
    is_drained: bool = True


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """The member that would take over: its role, and why it could not (empty where it could)."""

    role: str = "UNKNOWN"
    why: str = "no other member is heard"


def _group_known(facts: GroupFacts) -> Gate:
    member = facts.state is not None and facts.hub in facts.members
    why = f"{facts.hub} is no member of {facts.group}"
    return gate("group-known", member, ", ".join(facts.members) or "unknown", "a member", why)


def _lease_held(facts: GroupFacts) -> Gate:
    role = facts.state.role if facts.state else "UNKNOWN"
    holder = facts.state.holder if facts.state else ""
    why = f"{facts.hub} is {role}" + (f"; ask the active hub, {holder}" if holder else "")
    return gate("lease-held", role.startswith("ACTIVE"), role, "ACTIVE", why)


def failover(facts: GroupFacts, to: str) -> list[Gate]:
    """Planned switchover, asked of the active hub."""
    known = _group_known(facts)
    if not known.passed:
        return [known]
    targets = [member for member in facts.members if member != facts.hub]
    fits = to in targets or (not to and bool(targets))
    age = facts.peer_age_s
    return [
        known,
        _lease_held(facts),
        gate("target-is-member", fits, to or "any", ", ".join(targets),
             f"{to or 'no other hub'} is no other member of {facts.group}"),
        gate("peer-fresh", age is not None and age <= PEER_FRESH_SECONDS, "never heard" if age is None
             else f"{age:.1f} s ago", f"at most {PEER_FRESH_SECONDS:g} s", "the hub that shall take over is not heard"),
        gate("target-not-in-maintenance", not _is_away(facts, targets, to), ", ".join(facts.maintained) or "none", "not",
             f"{to or 'the next hub'} is in maintenance"),
        _handed_over(facts),
        disk_room(facts.disk_full_s),
        clocks_sane(facts.skew_s),
        *_calm(facts),
        _no_maintenance(facts),
    ]  # fmt: skip


def _is_away(facts: GroupFacts, targets: Sequence[str], to: str) -> bool:
    """The target, or whichever is next, is in maintenance and would not take over."""
    return (to or next(iter(targets), "")) in facts.maintained


def _handed_over(facts: GroupFacts) -> Gate:
    passed = facts.handed_over is not False
    why = f"{facts.owed_chunks} chunks are on this hub only; no hub server has them yet"
    return gate("spool-handed-over", passed, f"{facts.owed_chunks} chunks owed", "on one hub server at least", why)


def _calm(facts: GroupFacts) -> list[Gate]:
    held = facts.held_s
    long_enough = held is None or held >= HOLD_SECONDS_MIN
    return [
        gate("minimum-hold", long_enough, "unknown" if held is None else f"{held:.0f} s", f"{HOLD_SECONDS_MIN:.0f} s",
             f"{facts.group} moved only {held or 0:.0f} s ago"),
        gate("few-changes", facts.changes < CHANGES_MAX, f"{facts.changes} in {CHANGES_SECONDS / 60:.0f} min",
             f"below {CHANGES_MAX}", f"{facts.group} moves too often; find out why first"),
    ]  # fmt: skip


def _no_maintenance(facts: GroupFacts) -> Gate:
    on = facts.state is not None and facts.state.maintenance
    return gate("no-maintenance", not on, "on" if on else "off", "off", f"{facts.group} is in maintenance")


def promote(facts: GroupFacts) -> list[Gate]:
    """Forced promotion, asked of the hub that shall become active."""
    known = _group_known(facts)
    if not known.passed or facts.state is None:
        return [known]
    active = facts.state.role.startswith("ACTIVE")
    age = facts.peer_age_s
    heard = age is not None and age <= PEER_FRESH_SECONDS
    holder = facts.state.holder or "the active hub"
    return [
        known,
        gate("not-active-yet", not active, facts.state.role, "not ACTIVE", f"{facts.hub} is the active hub already"),
        gate("holder-silent", not heard, "never heard" if age is None else f"{age:.1f} s ago", "not heard",
             f"{holder} is alive; use failover on it, which loses nothing"),
        clocks_sane(facts.skew_s),
    ]  # fmt: skip


def maintenance(facts: GroupFacts) -> list[Gate]:
    """Switch automatic failover of a group off, or on again."""
    known = _group_known(facts)
    return [known, _lease_held(facts)] if known.passed else [known]


def arm(facts: GroupFacts, auto: str) -> list[Gate]:
    """Set automatic failover: `armed` needs a passed drill; `off` and `shadow` do not."""
    gates = maintenance(facts)
    valid = auto in {"armed", "shadow", "off"}
    gates.append(gate("auto-known", valid, auto, "armed, shadow or off", "say armed, shadow or off"))
    if auto == "armed" and gates[0].passed:
        age = facts.last_drill_s
        proven = age is not None and age <= DRILL_SECONDS_MAX
        value = "never" if age is None else f"{age / 86_400:.0f} days ago"
        gates.append(gate("drill-passed", proven, value, "within 30 days", "no failover of this group was proven yet"))
    return gates


def drill(facts: GroupFacts, peer: PeerFacts, impossible: str, busy: str) -> list[Gate]:
    """A deliberate failover: `impossible` says why this kind cannot be done here, `busy` what drill is under way."""
    known = _group_known(facts)
    if not known.passed or facts.state is None:
        return [known]
    state, unfenced = facts.state, ", ".join(facts.state.not_fenced)
    return [
        known,
        _lease_held(facts),
        gate("drill-possible", not impossible, "no" if impossible else "yes", "possible here", impossible),
        gate("no-drill", not busy, busy or "none", "none", f"a drill is under way: {busy}"),
        gate("armed", state.auto == "armed", state.auto, "armed",
             f"{facts.group} is {state.auto}; forced, it is armed for this drill alone"),
        gate("witness-ok", state.witness == "ok", state.witness or "none", "ok", "without it nobody takes over"),
        gate("all-fenced", not unfenced, unfenced or "all", "all", f"not fenced yet: {unfenced}"),
        gate("peer-ready", not peer.why, peer.why or peer.role, "STANDBY, heard and drained", peer.why),
        _handed_over(facts),
        gate("drained", facts.is_drained, "yes" if facts.is_drained else "no", "every lane LIVE",
             "this hub still owes records to a hub server"),
        disk_room(facts.disk_full_s),
        clocks_sane(facts.skew_s),
        *_calm(facts),
        _no_maintenance(facts),
    ]  # fmt: skip


def schedule(facts: GroupFacts, impossible: str) -> list[Gate]:
    """Keep when drills are due: any member may; what stands against a drill is asked when its time has come."""
    possible = gate("drill-possible", not impossible, "no" if impossible else "yes", "possible here", impossible)
    return [_group_known(facts), possible]


def demote(facts: GroupFacts) -> list[Gate]:
    """Give up a lease, from the machine itself."""
    return maintenance(facts)
