"""`hubdeck group add|set|list`."""

import argparse

from console.commands.changing import Change
from console.commands.changing import run as change
from console.commands.listing import show
from console.trust.changes import add_group, set_group
from hubagent.wire.roster import Group, Roster


def run(options: argparse.Namespace) -> int:
    """Carry out one of them."""
    if options.what == "list":
        return show(options, "groups", ("GROUP", "MEMBERS", "PROFILE", "AUTO"), _rows)
    name, members = options.name, [one for one in options.members.split(",") if one]
    if options.what == "add":
        group = Group(name, members, options.profile or "normal", options.auto or "shadow")
        return change(options, f"group add {name}", lambda roster, _: Change(add_group(roster, group)))
    return change(
        options, f"group set {name}",
        lambda roster, _: Change(set_group(roster, name, members, options.profile, options.auto)),
    )  # fmt: skip


def _rows(roster: Roster) -> list[list[object]]:
    return [[one.name, ",".join(one.members), one.profile, one.auto] for one in roster.groups]
