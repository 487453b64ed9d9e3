"""The roster: the signed list of hubs, operators, servers and groups; JSON, so that no YAML comes from the wire."""

import msgspec

from hubagent.wire.codec import WireError, decode
from hubagent.wire.signing import ROSTER, KeyRefused, is_public_key, open_sealed
from hubagent.wire.subjects import NameRefused, name

ROSTER_BYTES_MAX = 4 << 20


class RosterRefused(ValueError):
    """A roster that cannot be used; the text names what and where."""


class Hub(msgspec.Struct, frozen=True, omit_defaults=True):
    """One hub: its two public keys and labels."""

    id: str
    login: str
    signing: str
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class Operator(msgspec.Struct, frozen=True, omit_defaults=True):
    """One person or program: role viewer, operator or admin; `selector` limits the hubs (`*`, `id,id`, `label=value`)."""

    name: str
    login: str
    signing: str
    role: str
    selector: str = "*"


class Server(msgspec.Struct, frozen=True, omit_defaults=True):
    """One NATS server. `role`: hub-server | witness; `hub`: the hub whose agent looks after it."""

    name: str
    urls: list[str]
    role: str
    hub: str = ""


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """Hubs that back each other up. `profile`: rapid | fast | normal | wan; `auto`: off | shadow | armed.

    The order of `members` is their priority.
    """

    name: str
    members: list[str]
    profile: str = "normal"
    auto: str = "shadow"


class Invitation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hub that may join: a one-time login that may ask to be enrolled under this name, and nothing else.

    `id` names its private inbox, `until` is when it ends (Unix seconds).
    """

    id: str
    hub: str
    login: str
    until: float


class Roster(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who is who and who may what. `version` never falls."""

    v: int
    fleet: str
    version: int
    hubs: list[Hub]
    operators: list[Operator]
    servers: list[Server]
    groups: list[Group] = msgspec.field(default_factory=list)
    revoked: list[str] = msgspec.field(default_factory=list)  # public keys
    joining: list[Invitation] = msgspec.field(default_factory=list)

    def hub(self, hub_id: str) -> Hub | None:
        """The hub of this id, unless one of its keys is revoked."""
        return next((hub for hub in self.hubs if hub.id == hub_id and not self._is_revoked(hub)), None)

    def operator(self, operator_name: str) -> Operator | None:
        """The operator of this name, unless one of their keys is revoked."""
        found = (one for one in self.operators if one.name == operator_name and not self._is_revoked(one))
        return next(found, None)

    def group(self, group_name: str) -> Group | None:
        """The group of this name."""
        return next((group for group in self.groups if group.name == group_name), None)

    def _is_revoked(self, one: Hub | Operator) -> bool:
        return one.login in self.revoked or one.signing in self.revoked


def selects(selector: str, hub: Hub) -> bool:
    """Tell whether `*`, `id,id` or `label=value` names this hub."""
    if selector == "*":
        return True
    key, equals, value = selector.partition("=")
    if equals:
        return hub.labels.get(key) == value
    return hub.id in selector.split(",")


def _check(roster: Roster) -> None:
    """Raise RosterRefused for anything that would make two identities one, or one identity weak."""
    seen: dict[str, str] = {}
    for kind, one, label in [("hub", hub, hub.id) for hub in roster.hubs] + [
        ("operator", operator, operator.name) for operator in roster.operators
    ]:
        name(label, kind)
        if one.login == one.signing:
            raise RosterRefused(f"{kind} {label}: login and signing key are equal; make two keys")
        for key in (one.login, one.signing):
            if not is_public_key(key):
                raise RosterRefused(f"{kind} {label}: {ascii(key)[:60]} is no public nkey")
            if key in seen:
                raise RosterRefused(f"{kind} {label} and {seen[key]} have one key; each needs its own")
            seen[key] = f"{kind} {label}"
    for invited in roster.joining:
        _check_invitation(invited, seen)
    _check_unique("hub or operator", [hub.id for hub in roster.hubs] + [one.name for one in roster.operators])
    _check_unique("group", [group.name for group in roster.groups])
    _check_unique("server", [server.name for server in roster.servers])
    known = {hub.id for hub in roster.hubs}
    for server in roster.servers:
        name(server.name, "server")
        if server.hub and server.hub not in known:
            raise RosterRefused(f"server {server.name}: unknown hub {ascii(server.hub)[:60]}; add the hub first")
    for group in roster.groups:
        name(group.name, "group")
        _check_unique(f"in group {group.name} a member", group.members)
        missing = [member for member in group.members if member not in known]
        if missing:
            raise RosterRefused(f"group {group.name}: unknown hub {ascii(missing[0])[:60]}; add the hub first")


def _check_invitation(invited: Invitation, seen: dict[str, str]) -> None:
    name(invited.hub, "hub")
    name(invited.id, "invitation")
    if not is_public_key(invited.login) or invited.login in seen:
        raise RosterRefused(f"invitation of {invited.hub}: its login is no key of its own")
    seen[invited.login] = f"invitation of {invited.hub}"


def _check_unique(kind: str, labels: list[str]) -> None:
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            raise RosterRefused(f"{kind} {ascii(label)[:60]} is listed twice")
        seen.add(label)


def parse_roster(body: bytes) -> Roster:
    """A roster from its JSON body, checked, or RosterRefused."""
    try:
        roster = decode(body, Roster, ROSTER_BYTES_MAX)
        _check(roster)
    except (WireError, NameRefused) as error:
        raise RosterRefused(str(error)) from error
    return roster


def open_roster(fleet_key: str, sealed: bytes) -> Roster:
    """A roster from its signed form (signature line, then JSON), or RosterRefused."""
    try:
        return parse_roster(open_sealed(fleet_key, ROSTER, sealed))
    except KeyRefused as error:
        raise RosterRefused(f"roster: {error}; ask the fleet's admin for the current one") from error
