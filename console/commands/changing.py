"""One change of the roster on the command line: show the difference, ask, sign, hand out, say who has it."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from console import config
from console.commands.asking import must_be_answerable, must_confirm
from console.commands.output import note, safe, write, write_json
from console.commands.session import Session, session
from console.errors import DONE, ConfigError
from console.trust.changes import difference
from console.trust.files import FleetDir, write_console_configs
from console.trust.publishing import Handed, hand_out, newest
from hubagent.wire.roster import Roster

SHAPE = 1


@dataclass(slots=True)
class Change:
    """A proposed roster, and what the admin's own directory gets once it is accepted."""

    roster: Roster
    write: Callable[[FleetDir, Roster], list[str]] = lambda _fleet, _roster: []
    after: Callable[[FleetDir, Roster], list[str]] = lambda _fleet, _roster: []
    absent: str = ""  # a hub that is not there to take it


def fleet_dir(options: argparse.Namespace) -> FleetDir:
    """The directory with the fleet key, as the console's config names it; raises ConfigError."""
    path = Path(options.config) if options.config else config.default_path()
    settings = config.load(path)
    if not settings.fleet_dir:
        raise ConfigError(
            str(path), 0, "fleet_dir", "the directory of `hubdeck fleet new`: rosters are signed there", "nothing"
        )
    fleet = FleetDir(Path(settings.fleet_dir))
    fleet.signer()
    return fleet


def run(options: argparse.Namespace, name: str, propose: Callable[[Roster, FleetDir], Change]) -> int:
    """Carry out one change; 0 done, 1 refused."""
    must_be_answerable(options, name)
    fleet = fleet_dir(options)
    with session(options) as visit:
        visit.connect()
        base = newest(visit, fleet)
        change = propose(base, fleet)
        lines = difference(base, change.roster)
        if not options.json:
            for line in lines:
                write(safe(line, 400))
        if options.dry_run:
            return _end(options, name, lines, None, [])
        must_confirm(options, name, "sign and hand out this roster?")
        said, handed = apply(visit, fleet, base, change)
    return _end(options, name, lines, handed, said)


def apply(visit: Session, fleet: FleetDir, base: Roster, change: Change) -> tuple[list[str], Handed]:
    """Write the new keys, hand the roster out, bring the files made here up to date; what was written, and who has it."""
    said = change.write(fleet, change.roster)
    handed = hand_out(visit, fleet, base, change.roster, absent=change.absent)
    said += change.after(fleet, change.roster)
    said += [f"{path}: servers brought up to date" for path in write_console_configs(fleet, change.roster)]
    return said, handed


def _end(options: argparse.Namespace, name: str, lines: list[str], handed: Handed | None, said: list[str]) -> int:
    if options.json:
        document = {
            "v": SHAPE,
            "command": name,
            "dry_run": options.dry_run,
            "diff": lines,
            "said": said,
        }
        write_json({**document, **(handed.as_json() if handed else {})})
        return DONE
    for line in said:
        write(safe(line, 400))
    if handed is None:
        note(f"{name}: dry run, nothing was changed")
        return DONE
    say_handed(name, handed)
    return DONE


def say_handed(name: str, handed: Handed) -> None:
    """Who has the new roster, and who has not."""
    for server, word in handed.servers.items():
        write(safe(f"server {server}: {word}"))
    write(f"{name}: roster version {handed.version} taken by {len(handed.taken)} hubs in {handed.took_s:.1f} s")
    if handed.waiting:
        write(safe(f"not yet taken by: {', '.join(handed.waiting)} (they take it when they are back)", 2000))
