"""How bad a hub is, and the first thing an operator should read about it."""

from collections.abc import Iterator, Sequence

from hubagent.wire.reports import CRITICAL, OK, WARNING, Alert, GroupState, Lane, Service

# Under this time to the first loss a buffering hub is critical by itself; above, the dead server is the story.
LOSS_CRITICAL_SECONDS = 3600.0


def worst(
    services: Sequence[Service], lanes: Sequence[Lane], groups: Sequence[GroupState], alerts: Sequence[Alert]
) -> tuple[str, str]:
    """(severity, why) of a hub: the worst finding; the first of equals."""
    found = [*_services(services), *_lanes(lanes), *_groups(groups), *_alerts(alerts)]
    for severity in (CRITICAL, WARNING):
        words = [why for level, why in found if level == severity]
        if words:
            more = f" (+{len(words) - 1})" if len(words) > 1 else ""
            return severity, words[0] + more
    return OK, ""


def _services(services: Sequence[Service]) -> Iterator[tuple[str, str]]:
    for service in services:
        if service.state == "FATAL":
            yield CRITICAL, f"{service.name} FATAL {service.why}".rstrip()
        elif service.state == "BACKOFF" or service.healthy is False:
            word = "BACKOFF" if service.state == "BACKOFF" else "unhealthy"
            yield WARNING, f"{service.name} {word} {service.why}".rstrip()


def _lanes(lanes: Sequence[Lane]) -> Iterator[tuple[str, str]]:
    for lane in lanes:
        if lane.state in {"FENCED", "BLOCKED", "SHEDDING"}:
            yield CRITICAL, f"{lane.lane} to {lane.dest} {lane.state} {lane.why}".rstrip()
        elif lane.loss_s is not None and lane.state == "BUFFERING" and lane.loss_s < LOSS_CRITICAL_SECONDS:
            yield CRITICAL, f"{lane.lane} to {lane.dest} loses in {lane.loss_s:.0f} s"
    owed = sorted({lane.dest for lane in lanes if lane.state == "BUFFERING"})
    if owed:
        yield WARNING, f"buffering for {', '.join(owed)}"


def _groups(groups: Sequence[GroupState]) -> Iterator[tuple[str, str]]:
    for group in groups:
        if group.role == "NO AUTHORITY":
            yield CRITICAL, f"{group.group}: no authority {group.why}".rstrip()
        elif group.why and group.role != "STANDBY":
            yield WARNING, f"{group.group}: {group.why}"


def _alerts(alerts: Sequence[Alert]) -> Iterator[tuple[str, str]]:
    for alert in alerts:
        yield alert.severity, alert.text
