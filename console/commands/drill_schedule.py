"""`hubdeck drill GROUP --schedule …`: tells every member of the group when drills are due, or shows what each has kept."""

import argparse

import msgspec

from console.commands.orders import Order, group_of, is_heard
from console.commands.output import safe, write, write_json
from console.commands.session import HEAR_SECONDS, Session, session
from console.errors import DONE, NotAnswering, Usage
from hubagent.wire.drills import FORM, OFF, parse
from hubagent.wire.reports import DrillSchedule

SHOW = "show"


def check(at: str) -> None:
    """Refuse what cannot be meant, before anything is connected."""
    if at not in (OFF, SHOW) and parse(at) is None:
        raise Usage(f"drill: --schedule is {FORM}, 'off' or 'show', found {ascii(at)[:80]}")


def schedule_orders(options: argparse.Namespace, visit: Session) -> list[Order]:
    """One order a member, those that are heard first: whoever is active when the time has come runs the drill."""
    at, members = options.schedule, _members(options, visit)
    args: dict[str, object] = {"group": options.group, "at": at}
    if at != OFF:
        args["kind"] = options.kind
    effect = "no drill comes by itself any more"
    if at != OFF:
        effect = f"a drill {options.kind} {at} UTC, run by whichever hub is active then, if every gate passes"
    return [Order(options.group, member, "schedule", args, effect=effect) for member in members]


def _members(options: argparse.Namespace, visit: Session) -> list[str]:
    members = group_of(visit, options.group).members
    visit.wait_until(lambda: all(is_heard(visit, member) for member in members), HEAR_SECONDS)
    return sorted(members, key=lambda member: not is_heard(visit, member))


def show(options: argparse.Namespace) -> int:
    """What each member has kept; they should not differ."""
    with session(options) as visit:
        visit.connect()
        members = _members(options, visit)
        heard = [member for member in members if is_heard(visit, member)]
        if not heard:
            raise NotAnswering(f"of {options.group}")
        kept = {member: _kept(visit, member, options.group) for member in heard}
    if options.json:
        found = {member: msgspec.to_builtins(kept.get(member)) for member in members}
        write_json(
            {
                "v": 1,
                "group": options.group,
                "schedules": found,
                "not_heard": [one for one in members if one not in kept],
            }
        )
        return DONE
    for member in members:
        write(safe(f"{options.group} on {member}: {_words(kept[member]) if member in kept else 'not heard'}", 200))
    if len({(one.at, one.kind) if one else None for one in kept.values()}) > 1:
        write("the members differ: set it again")
    return DONE


def _kept(visit: Session, member: str, group: str) -> DrillSchedule | None:
    live = visit.fleet.hub(member).live
    return next((one.schedule for one in live.groups if one.group == group), None) if live else None


def _words(one: DrillSchedule | None) -> str:
    return f"drill {one.kind} {one.at} UTC, set by {one.by}" if one else "nothing is scheduled"
