"""What a changing command line asks for: targets, arguments, and which hub each order goes to."""

import argparse
from dataclasses import dataclass, field

from console.actions import Action, drill_effect
from console.commands.session import HEAR_SECONDS, Session
from console.errors import NotAnswering, NotThere, Usage
from hubagent.wire.roster import Group
from hubagent.wire.subjects import is_name, is_version

HEARD_SECONDS = 3.0  # a hub silent this long does not answer


@dataclass(frozen=True, slots=True)
class Order:
    """One command to one hub; `note` says what is special about it."""

    target: str
    hub: str
    verb: str
    args: dict[str, object] = field(default_factory=dict)
    note: str = ""
    effect: str = ""


def service_order(action: Action, target: str, options: argparse.Namespace) -> Order:
    """An order for `SERVICE@HUB`; raises Usage."""
    service, at, hub = target.partition("@")
    if not (at and is_name(service) and is_name(hub)):
        raise Usage(f"{action.name}: a target is SERVICE@HUB, such as web@alpha, found {ascii(target)[:80]}")
    args: dict[str, object] = {"service": service}
    to = getattr(options, "to", "")
    if to:
        if not is_version(to):
            raise Usage(f"{action.name}: --to is a release version, found {ascii(to)[:80]}")
        args["to"] = to
    return Order(
        target,
        hub,
        action.verb,
        _forced(args, options),
        effect=_EFFECTS[action.name].format(to=to or "the last good release"),
    )


def group_order(action: Action, options: argparse.Namespace, visit: Session) -> Order:
    """An order for a group: to its active hub; a failover goes to the successor where the active hub is silent."""
    if action.name == "maintenance" and bool(options.group) == bool(options.hub):
        raise Usage("maintenance: exactly one of GROUP and --hub HUB")
    if getattr(options, "hub", ""):
        return _hub_order(action, options)
    group = group_of(visit, options.group)
    active = _find_active(visit, group)
    if action.name == "failover":
        return failover_order(visit, group, active, options)
    if active is None:
        raise NotAnswering(f"of {group.name} that is active")
    args, effect = _setting(action, options, active)
    return Order(group.name, active, action.verb, _forced({"group": group.name, **args}, options), effect=effect)


def _setting(action: Action, options: argparse.Namespace, active: str) -> tuple[dict[str, object], str]:
    """What is asked of the active hub of a group, and what that does."""
    if action.name == "maintenance":
        return {"on": not options.off}, _EFFECTS["maintenance"]
    if action.name == "drill":
        return {"kind": options.kind}, f"{options.kind} on {active}: {drill_effect(options.kind)}"
    return {"auto": options.auto}, _EFFECTS["arm"].format(auto=options.auto)


def _hub_order(action: Action, options: argparse.Namespace) -> Order:
    """Maintenance of one hub: told to that hub."""
    if not is_name(options.hub):
        raise Usage(f"{action.name}: a hub is a name such as alpha, found {ascii(options.hub)[:80]}")
    effect = f"{options.hub} becomes active in no group by itself; what it holds it keeps"
    args: dict[str, object] = {"on": not options.off}
    return Order(options.hub, options.hub, action.verb, _forced(args, options), effect=effect)


def group_of(visit: Session, name: str) -> Group:
    """The group of this name in the roster; raises Usage or NotThere."""
    if not is_name(name):
        raise Usage(f"a group is a name such as core, found {ascii(name)[:80]}")
    roster = visit.fleet.roster
    group = roster.group(name) if roster else None
    if group is None:
        raise NotThere("group", name, ", ".join(one.name for one in roster.groups) if roster else "")
    return group


def _find_active(visit: Session, group: Group) -> str | None:
    """Wait until the active hub is heard, or every member is and none of them is active."""

    def known() -> bool:
        return active_hub(visit, group) is not None or all(is_heard(visit, member) for member in group.members)

    visit.wait_until(known, HEAR_SECONDS)
    return active_hub(visit, group)


def is_heard(visit: Session, hub: str) -> bool:
    """Tell whether this hub has spoken just now."""
    age = visit.fleet.hub(hub).age(visit.clock.monotonic())
    return age is not None and age <= HEARD_SECONDS


def active_hub(visit: Session, group: Group) -> str | None:
    """The member that says it is active, if it is heard."""
    return next((member for member in group.members if _is_active(visit, member, group.name)), None)


def _is_active(visit: Session, hub: str, group: str) -> bool:
    live = visit.fleet.hub(hub).live
    groups = live.groups if live and is_heard(visit, hub) else []
    return any(one.group == group and one.role.startswith("ACTIVE") for one in groups)


def failover_order(visit: Session, group: Group, active: str | None, options: argparse.Namespace) -> Order:
    """Planned through the active hub; forced at the successor where there is none that answers."""
    if options.to and options.to not in group.members:
        raise NotThere(f"member of {group.name}", options.to, ", ".join(group.members))
    if active is not None:
        if options.to == active:
            raise Usage(f"failover: {active} is the active hub of {group.name} already")
        args: dict[str, object] = {"group": group.name, **({"to": options.to} if options.to else {})}
        effect = f"{active} stops the active services of {group.name}, {options.to or 'its successor'} starts them"
        return Order(group.name, active, "failover", _forced(args, options), effect=effect)
    return promote_order(visit, group, options)


def promote_order(visit: Session, group: Group, options: argparse.Namespace) -> Order:
    """The forced way: the successor takes over with a higher epoch."""
    visit.wait_until(lambda: any(is_heard(visit, member) for member in group.members), HEAR_SECONDS)
    heard = [member for member in group.members if is_heard(visit, member)]
    target = options.to or next(iter(heard), "")
    if not target or target not in heard:
        raise NotAnswering(target or f"of {group.name}")
    note = f"no active hub of {group.name} answers: forced takeover, sent to {target} as `promote`"
    effect = f"{target} takes {group.name} over with a higher epoch and starts its active services; I cannot know whether the old one is dead"
    return Order(group.name, target, "promote", _forced({"group": group.name}, options), note, effect)


def _forced(args: dict[str, object], options: argparse.Namespace) -> dict[str, object]:
    return {**args, "force": options.force} if options.force else args


_EFFECTS = {
    "restart": "the service stops with its grace and starts again",
    "start": "the service starts",
    "stop": "the service stops with its grace and stays stopped",
    "rollback": "the service stops, switches to {to} and starts, or goes back where its gate fails",
    "maintenance": "no automatic failover of the group while it is on",
    "arm": "automatic failover of the group becomes {auto}",
}
