"""What is wrong, or costs something, in how this hub's groups are set up: said before anything runs."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from hubagent import policies
from hubagent.config import Settings
from hubagent.edges import hooks
from hubagent.edges.tokens import Tokens
from hubagent.errors import HubagentError
from hubagent.wire.roster import Group, Roster, Server

WITNESS = "witness"


def faults(settings: Settings, roster: Roster) -> list[str]:
    """What would stop a group from working, in words; empty where nothing would."""
    return [*_timings(settings, roster), *_hooks(settings, roster), *_services(settings, roster), *_tokens(settings)]


def warnings(settings: Settings, roster: Roster) -> list[str]:
    """What is accepted and costs something."""
    return [
        f"group {group.name}: the witness runs on {hub}, which is a member: when that machine dies nobody takes over by"
        f" itself, and {_rest(group, hub)}, if active, has to stop as well; a witness belongs on a third machine"
        for group in _own_groups(settings, roster)
        if settings.witness is not None
        for hub in sorted(_witness_hubs(settings, roster) & set(group.members))
    ]


def _own_groups(settings: Settings, roster: Roster) -> list[Group]:
    return [group for group in roster.groups if settings.hub.id in group.members]


def _rest(group: Group, hub: str) -> str:
    return ", ".join(member for member in group.members if member != hub) or "nobody else"


def _witness_hubs(settings: Settings, roster: Roster) -> set[str]:
    """The hubs on whose machine the witness is: by its own row in the roster, or by an address of another server."""
    own = {_address(url) for url in (settings.witness.urls if settings.witness else [])}

    def is_witness(server: Server) -> bool:
        return WITNESS in (server.name, server.role) or bool(own & {_address(url) for url in server.urls})

    return {server.hub for server in roster.servers if server.hub and is_witness(server)}


def _address(url: str) -> str:
    return urlsplit(url).netloc or url


def _timings(settings: Settings, roster: Roster) -> Iterator[str]:
    try:
        policies.lease_policies(settings, roster)
    except HubagentError as error:
        yield str(error)


def _hooks(settings: Settings, roster: Roster) -> Iterator[str]:
    groups = {group.name for group in _own_groups(settings, roster)}
    for hook in settings.hooks:
        if hook.group not in groups:
            yield f"hooks: {settings.hub.id} is no member of a group {hook.group}; the hooks would never run"
        for argv in filter(None, (hook.on_promote, hook.on_demote)):
            try:
                hooks.check(argv[0])
            except HubagentError as error:
                yield str(error)


def _services(settings: Settings, roster: Roster) -> Iterator[str]:
    groups = {group.name for group in _own_groups(settings, roster)}
    for service in settings.services:
        if service.run == "active" and service.group not in groups:
            yield f"service {service.name}: {settings.hub.id} is no member of a group {service.group}; it would never run"


def _tokens(settings: Settings) -> Iterator[str]:
    try:
        Tokens(settings.state_dir / "tokens.json").load("")
    except HubagentError as error:
        yield str(error)
