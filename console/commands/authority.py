"""`hubdeck cert authority renew|replace|finish`: the fleet's own authorities, each change shown before it is made."""

import argparse

from console.clock import SystemClock
from console.commands.asking import must_be_answerable, must_confirm
from console.commands.changing import fleet_dir
from console.commands.output import note, safe, write, write_json
from console.errors import DONE, Refused
from console.trust.authority import next_steps, plan


def run(options: argparse.Namespace) -> int:
    """Plan, show, ask, carry out; then say what has to be done on the machines."""
    name = f"cert authority {options.step}"
    must_be_answerable(options, name)
    fleet = fleet_dir(options)
    roster = fleet.roster()
    if roster is None:
        raise Refused(name, "roster", f"there is none in {fleet.root}")
    steps = plan(options.step, fleet, roster, SystemClock().wall())
    for one in [] if options.json else steps:
        write(safe(one.text, 400))
    if not options.dry_run:
        must_confirm(options, name, f"change these files in {fleet.root}?")
        for one in steps:
            one.do()
    following = next_steps(options.step, fleet, roster)
    if options.json:
        write_json({
            "v": 1, "command": name, "dry_run": options.dry_run, "diff": [one.text for one in steps], "next": following,
        })  # fmt: skip
        return DONE
    for line in following:
        write(safe(line, 400))
    if options.dry_run:
        note(f"{name}: dry run, nothing was changed")
    return DONE
