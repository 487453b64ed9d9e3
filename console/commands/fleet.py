"""`hubdeck fleet new` and `fleet publish`."""

import argparse
from pathlib import Path

from console.clock import SystemClock
from console.commands.changing import fleet_dir
from console.commands.output import safe, write, write_json
from console.commands.session import session
from console.errors import DONE, REFUSED, ConsoleError, Refused
from console.trust import new
from console.trust.publishing import TAKEN, Handed, publish

DAY_SECONDS = 86_400.0


def run(options: argparse.Namespace) -> int:
    """Carry out `fleet new` or `fleet publish`."""
    return _new(options) if options.what == "new" else _publish(options)


def _new(options: argparse.Namespace) -> int:
    root = Path(options.dir).expanduser().absolute()
    name = options.name or root.name.lower()
    wanted = new.plan(
        name, options.server, options.witness, options.group, options.admin,
        tls=options.tls, life_s=options.certificate_days * DAY_SECONDS,
    )  # fmt: skip
    try:
        lines = new.make(wanted, root, SystemClock().wall())
    except OSError as error:
        raise CannotWrite(f"{error.filename or root}: {error.strerror}") from error
    if options.json:
        write_json({"v": 1, "command": "fleet new", "dir": str(root), "said": lines})
    for line in [] if options.json else lines:
        write(line)
    return DONE


class CannotWrite(ConsoleError):
    """The directory cannot be written."""


def _publish(options: argparse.Namespace) -> int:
    fleet = fleet_dir(options)
    roster = fleet.roster()
    if roster is None:
        raise Refused("fleet publish", "roster", f"there is none in {fleet.root}")
    with session(options) as visit:
        visit.connect()
        known = visit.fleet.roster
        if known is not None and known.version > roster.version:
            raise Refused(
                "fleet publish", "version", f"the servers have version {known.version}, this is {roster.version}"
            )
        handed = Handed(roster.version, publish(visit, fleet.sealed()))
    if options.json:
        write_json({"v": 1, "command": "fleet publish", **handed.as_json()})
    else:
        for name, word in handed.servers.items():
            write(safe(f"server {name}: {word}"))
    return DONE if TAKEN in handed.servers.values() else REFUSED
