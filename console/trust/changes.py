"""Changes of the roster, each from the one in force to the next; pure, and refused in words where it makes no sense."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from console.errors import NotThere, Refused, Usage
from hubagent.wire.commands import ROLES
from hubagent.wire.roster import Group, Hub, Invitation, Operator, Roster, Server, selects
from hubagent.wire.subjects import is_name

PROFILES = ("rapid", "fast", "normal", "wan")
AUTO = ("off", "shadow", "armed")
REVOKED_MAX = 10_000  # public keys; a key is only dropped from here by founding a new fleet


def next_of(roster: Roster, **changed: Any) -> Roster:
    """The next version with these fields changed."""
    return msgspec.structs.replace(roster, version=roster.version + 1, **changed)


def _named(text: str, kind: str) -> str:
    if not is_name(text):
        raise Usage(f"{kind} {ascii(text)[:60]} is no name: a-z, 0-9 and -, at most 63")
    return text


def _hub(roster: Roster, hub: str) -> Hub:
    found = next((one for one in roster.hubs if one.id == hub), None)
    if found is None:
        raise NotThere("hub", hub, ", ".join(one.id for one in roster.hubs[:20]))
    return found


def _without_keys(roster: Roster, one: Hub | Operator) -> list[str]:
    """The revoked keys with these two."""
    return list(dict.fromkeys([*roster.revoked, one.login, one.signing]))[-REVOKED_MAX:]


# Operators


def add_operator(roster: Roster, operator: Operator) -> Roster:
    """One more operator; the selector must name somebody, and no revoked key comes back."""
    _named(operator.name, "operator")
    if operator.role not in ROLES:
        raise Usage(f"role {ascii(operator.role)[:40]} is none of {', '.join(ROLES)}")
    if any(one.name == operator.name for one in roster.operators):
        raise Refused(f"operator {operator.name}", "known", "the roster has one of this name; revoke that one first")
    if any(one.id == operator.name for one in roster.hubs):
        raise Refused(f"operator {operator.name}", "known", "a hub has this name")
    for key in (operator.login, operator.signing):
        if key in roster.revoked:
            raise Refused(f"operator {operator.name}", "revoked", "this key was revoked; make new keys")
    if not any(selects(operator.selector, hub) for hub in roster.hubs):
        why = f"selector {ascii(operator.selector)[:60]} names no hub; use *, id,id or label=value"
        raise Refused(f"operator {operator.name}", "selector", why)
    return next_of(roster, operators=[*roster.operators, operator])


def revoke_operator(roster: Roster, name: str) -> Roster:
    """Without this operator; both keys are revoked for good."""
    found = next((one for one in roster.operators if one.name == name), None)
    if found is None:
        raise NotThere("operator", name, ", ".join(one.name for one in roster.operators[:20]))
    left = [one for one in roster.operators if one.name != name]
    if not any(one.role == "admin" for one in left):
        raise Refused(f"operator {name}", "last-admin", "no admin would be left; add another one first")
    return next_of(roster, operators=left, revoked=_without_keys(roster, found))


# Hubs


def invite(roster: Roster, invitation: Invitation) -> Roster:
    """A machine may ask to join under this name; an earlier invitation of the name ends."""
    _named(invitation.hub, "hub")
    if any(one.name == invitation.hub for one in roster.operators):
        raise Refused(f"invite {invitation.hub}", "known", "an operator has this name")
    others = [one for one in roster.joining if one.hub != invitation.hub]
    return next_of(roster, joining=[*others, invitation])


def enrol(roster: Roster, hub: Hub) -> Roster:
    """This hub with these keys; a hub that was there before keeps its labels, and its old keys are revoked."""
    for key in (hub.login, hub.signing):
        if key in roster.revoked:
            raise Refused(f"hub {hub.id}", "revoked", "this key was revoked; join with new keys")
    before = next((one for one in roster.hubs if one.id == hub.id), None)
    if before is None:
        return next_of(roster, hubs=[*roster.hubs, hub])
    old = [key for key in (before.login, before.signing) if key not in (hub.login, hub.signing)]
    renewed = msgspec.structs.replace(hub, labels=before.labels | hub.labels)
    return next_of(
        roster,
        hubs=[renewed if one.id == hub.id else one for one in roster.hubs],
        revoked=list(dict.fromkeys([*roster.revoked, *old]))[-REVOKED_MAX:],
    )


def end_invitation(roster: Roster, invitation: str) -> Roster:
    """Without this invitation."""
    return next_of(roster, joining=[one for one in roster.joining if one.id != invitation])


def label_hub(roster: Roster, hub: str, labels: Mapping[str, str | None]) -> Roster:
    """The hub with these labels set, and those that are None taken away."""
    found = _hub(roster, hub)
    for key in labels:
        _named(key, "label")
    kept = {key: value for key, value in {**found.labels, **labels}.items() if value is not None}
    changed = msgspec.structs.replace(found, labels=kept)
    return next_of(roster, hubs=[changed if one.id == hub else one for one in roster.hubs])


def retire_hub(roster: Roster, hub: str) -> Roster:
    """Without this hub: out of every group, keys revoked; a hub with a server gives that up first."""
    found = _hub(roster, hub)
    running = [one.name for one in roster.servers if one.hub == hub]
    if running:
        why = f"it runs server {running[0]}; first: hubdeck server replace {running[0]}, or server remove {running[0]}"
        raise Refused(f"retire {hub}", "server", why)
    groups = [
        msgspec.structs.replace(group, members=[member for member in group.members if member != hub])
        for group in roster.groups
    ]
    return next_of(
        roster,
        hubs=[one for one in roster.hubs if one.id != hub],
        groups=[group for group in groups if group.members],
        revoked=_without_keys(roster, found),
        joining=[one for one in roster.joining if one.hub != hub],
    )


# Servers


def _server(roster: Roster, name: str) -> Server:
    found = next((one for one in roster.servers if one.name == name), None)
    if found is None:
        raise NotThere("server", name, ", ".join(one.name for one in roster.servers))
    return found


def replace_server(roster: Roster, name: str, hub: Hub, urls: Sequence[str]) -> Roster:
    """The server on a machine with new keys, at these addresses; the machine it was on is locked out."""
    found = _server(roster, name)
    enrolled = enrol(roster, hub)
    moved = msgspec.structs.replace(found, urls=list(urls), hub=hub.id)
    return msgspec.structs.replace(enrolled, servers=[moved if one.name == name else one for one in roster.servers])


def remove_server(roster: Roster, name: str) -> Roster:
    """Without this server; one hub server must stay."""
    found = _server(roster, name)
    left = [one for one in roster.servers if one.name != name]
    if found.role == "hub-server" and not any(one.role == "hub-server" for one in left):
        raise Refused(f"remove {name}", "last-server", "no hub server would be left")
    return next_of(roster, servers=left)


def add_server(roster: Roster, server: Server) -> Roster:
    """One more server on a hub."""
    _named(server.name, "server")
    if any(one.name == server.name for one in roster.servers):
        raise Refused(f"server {server.name}", "known", "there is one of this name; use: hubdeck server replace")
    return next_of(roster, servers=[*roster.servers, server])


# Groups


def add_group(roster: Roster, group: Group) -> Roster:
    """One more group."""
    _named(group.name, "group")
    if roster.group(group.name):
        raise Refused(f"group {group.name}", "known", "there is one of this name; use: hubdeck group set")
    _check_group(roster, group)
    return next_of(roster, groups=[*roster.groups, group])


def set_group(roster: Roster, name: str, members: Sequence[str], profile: str, auto: str) -> Roster:
    """The group with what is given changed."""
    found = roster.group(name)
    if found is None:
        raise NotThere("group", name, ", ".join(one.name for one in roster.groups))
    changed = msgspec.structs.replace(
        found, members=list(members) or found.members, profile=profile or found.profile, auto=auto or found.auto
    )
    _check_group(roster, changed)
    return next_of(roster, groups=[changed if one.name == name else one for one in roster.groups])


def _check_group(roster: Roster, group: Group) -> None:
    for member in group.members:
        _hub(roster, member)
    if not group.members or len(set(group.members)) != len(group.members):
        raise Usage(f"group {group.name}: each member once, and at least one")
    if group.profile not in PROFILES or group.auto not in AUTO:
        raise Usage(f"group {group.name}: profile is one of {', '.join(PROFILES)}, auto one of {', '.join(AUTO)}")


# What changed, for people


def difference(old: Roster, new: Roster) -> list[str]:
    """Every change as a line that begins with + or -; versions first."""
    lines = [f"roster version {old.version} -> {new.version}"]
    had, has = dict(_lines(old)), dict(_lines(new))
    for key in [*had, *(one for one in has if one not in had)]:
        before, after = had.get(key), has.get(key)
        if before != after:
            lines += [f"- {text}" for text in (before,) if text]
            lines += [f"+ {text}" for text in (after,) if text]
    return lines


def _lines(roster: Roster) -> Iterator[tuple[tuple[str, str], str]]:
    for hub in roster.hubs:
        labels = " ".join(f"{key}={value}" for key, value in sorted(hub.labels.items()))
        yield ("hub", hub.id), f"hub {hub.id} login {hub.login[:12]}… signing {hub.signing[:12]}… {labels}".rstrip()
    for one in roster.operators:
        yield ("operator", one.name), f"operator {one.name} {one.role} on {one.selector} signing {one.signing[:12]}…"
    for server in roster.servers:
        yield ("server", server.name), f"server {server.name} {server.role} on {server.hub} at {', '.join(server.urls)}"
    for group in roster.groups:
        text = f"group {group.name} {','.join(group.members)} profile {group.profile} auto {group.auto}"
        yield ("group", group.name), text
    for invited in roster.joining:
        yield ("invitation", invited.id), f"invitation of {invited.hub} login {invited.login[:12]}…"
    for key in roster.revoked:
        yield ("revoked", key), f"revoked key {key[:12]}…"
