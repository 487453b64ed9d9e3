"""`hubdeck drill GROUP`: a scored, deliberate failover; ctrl-c calls it off, or has it undone at once."""

import argparse

from console.actions import action
from console.commands import act
from console.commands.drill_schedule import SHOW, check, show
from console.commands.orders import group_order
from console.commands.output import note
from console.commands.session import session
from console.errors import REFUSED, ConsoleError


def run(options: argparse.Namespace) -> int:
    """As every changing command; an interrupt sends `abort` before it ends."""
    if options.schedule:
        check(options.schedule)
        return show(options) if options.schedule == SHOW else act.run(options)
    try:
        return act.run(options)
    except KeyboardInterrupt:
        return _abort(options)


def _abort(options: argparse.Namespace) -> int:
    what = action("drill")
    assert what is not None, "the drill is an action"
    try:
        with session(options) as visit:
            visit.connect()
            order = group_order(what, options, visit)
            reply = visit.get(visit.link.send(order.hub, "abort", {"group": options.group}, "interrupted"))
            result = visit.get(visit.link.outcome(order.hub, reply.cmd_id, 5.0))
    except ConsoleError as error:
        note(
            f"drill {options.group}: not called off: {error}; what is struck is undone by itself, a cut after 6 s, the rest after 3 s"
        )
        return REFUSED
    told = (
        "called off" if result is not None and result.state == "done" else (result.why if result else "no word of it")
    )
    note(f"drill {options.group}: {told}")
    return REFUSED
