"""Settings to policies: what the cores and edges are built with; a combination that cannot work is a ConfigError."""

from collections.abc import Callable
from typing import TypeVar

from hubagent.config import ProbeSettings, ServiceSettings, Settings
from hubagent.core.alerts import AlertPolicy
from hubagent.core.chunking import ChunkPolicy
from hubagent.core.health import ProbePolicy
from hubagent.core.lease_policy import DEMOTE_GRACE_S, PROFILES, LeasePolicy
from hubagent.core.retention import RetentionPolicy
from hubagent.core.service_policy import ServicePolicy
from hubagent.edges.nats_link import LinkPolicy
from hubagent.errors import ConfigError
from hubagent.loops.groups import HookPolicy
from hubagent.wire.roster import Group, Roster

SERVER_SERVICE = "nats-server"
T = TypeVar("T")


def built(file: str, key: str, build: Callable[[], T]) -> T:
    """What `build` gives; a policy that refuses itself becomes an error that names the config's key."""
    try:
        return build()
    except (ValueError, AssertionError) as error:
        raise ConfigError(file, 0, key, str(error), "values that do not fit") from error


def link_policy(settings: Settings) -> LinkPolicy:
    """How links to servers behave."""
    link = settings.link
    return LinkPolicy(link.ping_s, link.timeout_s, link.reconnect_min_s, link.reconnect_max_s)


def chunk_policy(settings: Settings) -> ChunkPolicy:
    """When chunks close."""
    return ChunkPolicy(settings.spool.chunk_s, int(settings.spool.chunk_bytes))


def retention_policy(settings: Settings) -> RetentionPolicy:
    """What the spool keeps."""
    return RetentionPolicy(int(settings.spool.budget), int(settings.spool.reserve), settings.spool.keep_s)


def alert_policies(settings: Settings) -> list[AlertPolicy]:
    """The thresholds."""
    return [
        AlertPolicy(one.name, one.metric, one.above, one.below, one.clear, one.for_s, one.severity)
        for one in settings.alerts
    ]


def _probe(probe: ProbeSettings) -> ProbePolicy:
    kind = next(kind for kind in ("http", "tcp", "command", "nats") if getattr(probe, kind))
    target = getattr(probe, kind)
    return ProbePolicy(
        kind=kind,
        target=(target,) if isinstance(target, str) else tuple(target),
        interval_s=probe.interval_s,
        timeout_s=probe.timeout_s,
        for_n=probe.for_n,
        grace_s=probe.grace_s,
    )


def _service(service: ServiceSettings) -> ServicePolicy:
    return ServicePolicy(
        name=service.name,
        argv=tuple(service.argv),
        run=service.run,
        group=service.group,
        unit=service.unit,
        cwd=service.cwd,
        env=tuple(service.env.items()),
        release_root=service.release.root if service.release else "",
        probes=tuple(_probe(probe) for probe in service.probes),
        start_s=service.start_s,
        grace_s=service.grace_s,
        demote_grace_s=service.demote_grace_s,
        backoff_min_s=service.backoff_min_s,
        backoff_max_s=service.backoff_max_s,
        crash_exits=service.crash_exits,
        crash_window_s=service.crash_window_s,
        output_bytes=int(service.output_bytes),
        nofile=service.nofile,
    )


def service_policies(settings: Settings) -> list[ServicePolicy]:
    """The supervised services."""
    return [_service(service) for service in settings.services]


def server_policy(binary: str, config: str) -> ServicePolicy:
    """The embedded server: a service of the guard like any other, given time to write its last messages."""
    return ServicePolicy(
        name=SERVER_SERVICE, argv=(binary, "-c", config), start_s=0.5, grace_s=20.0, backoff_max_s=5.0,
        crash_exits=10, nofile=65_536,
    )  # fmt: skip


def hook_policies(settings: Settings) -> dict[str, HookPolicy]:
    """What each group's promotion and demotion run."""
    return {one.group: HookPolicy(tuple(one.on_promote), tuple(one.on_demote), one.timeout_s) for one in settings.hooks}


def lease_policies(settings: Settings, roster: Roster) -> list[LeasePolicy]:
    """One for each group that this hub is a member of."""
    groups = [group for group in roster.groups if settings.hub.id in group.members]
    return [_lease_policy(settings, group) for group in groups]


def _lease_policy(settings: Settings, group: Group) -> LeasePolicy:
    if group.profile not in PROFILES:
        found = ascii(group.profile)[:40]
        raise ConfigError("roster", 0, f"group {group.name}: profile", f"one of {', '.join(PROFILES)}", found)
    graces = [one.demote_grace_s for one in settings.services if one.run == "active" and one.group == group.name]
    return built(
        "roster and config",
        f"group {group.name}",
        lambda: LeasePolicy(
            group.name,
            settings.hub.id,
            tuple(group.members),
            PROFILES[group.profile],
            auto=group.auto,
            has_witness=settings.witness is not None,
            demote_grace_s=max(graces, default=DEMOTE_GRACE_S),
        ),
    )
