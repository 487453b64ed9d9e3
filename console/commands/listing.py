"""What the roster says, as a table or as JSON."""

import argparse
from collections.abc import Callable, Sequence

from console.commands.output import write_json, write_table
from console.commands.session import Session, session
from console.errors import DONE
from hubagent.wire.roster import Roster


def show(
    options: argparse.Namespace, name: str, head: Sequence[str], rows: Callable[[Roster], list[list[object]]],
    listen: Callable[[Session], None] = lambda _: None,
) -> int:  # fmt: skip
    """One list of the roster in force."""
    with session(options) as visit:
        visit.connect()
        listen(visit)
        roster = visit.fleet.roster
        assert roster is not None, "connect waits for a roster"
        found = rows(roster)
    if options.json:
        keys = [title.lower().replace(" ", "_") for title in head]
        write_json({"v": 1, "roster_v": roster.version, name: [dict(zip(keys, row, strict=True)) for row in found]})
    else:
        write_table(head, found, is_plain=options.plain)
    return DONE
