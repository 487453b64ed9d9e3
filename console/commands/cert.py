"""`hubdeck cert status|renew|authority`: the servers' certificates as a client sees them; renewing one ahead of time."""

import argparse
from pathlib import Path

from console import config
from console.clock import SystemClock, utc
from console.commands import authority
from console.commands.asking import must_be_answerable, must_confirm
from console.commands.output import note, safe, write, write_json, write_table
from console.commands.session import session
from console.errors import DONE, REFUSED, NotThere, OutcomeUnknown, Refused
from console.present.units import age
from console.trust.probe import Shown, look
from hubagent.wire.addresses import parse_address
from hubagent.wire.roster import Roster, Server

FOLLOW_SECONDS = 30.0


def run(options: argparse.Namespace) -> int:
    """Carry out one of them."""
    if options.what == "authority":
        return authority.run(options)
    return _status(options) if options.what == "status" else _renew(options)


def _status(options: argparse.Namespace) -> int:
    """By plain connections, one a server: it works where no login does, and for the witness too."""
    settings = config.load(Path(options.config) if options.config else config.default_path())
    ca_files = {one.name: one.ca_file for one in settings.servers if one.ca_file}
    fleets = next(iter(ca_files.values()), "")  # of a server that the config does not name, as the witness
    with session(options) as visit:
        visit.wait_until(lambda: visit.fleet.roster is not None, 2.0)
        roster = visit.fleet.roster
    servers = roster.servers if roster else [Server(one.name, one.urls, "hub-server") for one in settings.servers]
    rows = [_row(one, url, ca_files.get(one.name, fleets)) for one in servers for url in one.urls]
    if options.json:
        keys = ("server", "url", "state", "ends", "left_s", "why")
        write_json({"v": 1, "certificates": [dict(zip(keys, row, strict=True)) for row in rows]})
    else:
        shown = [[name, url, state, ends or "-", age(left), why] for name, url, state, ends, left, why in rows]
        write_table(("SERVER", "URL", "STATE", "ENDS (UTC)", "LEFT", "WHY"), shown, is_plain=options.plain)
    return REFUSED if any(row[2] == "refused" for row in rows) else DONE


Row = tuple[str, str, str, str, float | None, str]


def _row(server: Server, url: str, ca_file: str) -> Row:
    if not url.startswith("tls://"):
        return server.name, url, "plain", "", None, "loopback only"
    shown: Shown = look(parse_address(url), ca_file)
    if shown.held is None:
        return server.name, url, "refused", "", None, shown.fault
    ends = utc(shown.held.ends, "%Y-%m-%d %H:%M:%S")
    left = shown.held.ends - SystemClock().wall()
    return server.name, url, "refused" if shown.fault else "trusted", ends, left, shown.fault


def _renew(options: argparse.Namespace) -> int:
    """A signed command to the hub of that server; its private key never leaves it."""
    must_be_answerable(options, "cert renew")
    with session(options) as visit:
        visit.connect()
        hub = _hub_of(visit.fleet.roster, options.hub)
        if options.dry_run:
            note(f"cert renew: would have hub {hub} renew its server's certificate")
            return DONE
        must_confirm(options, "cert renew", f"renew the certificate of the server on {hub}?")
        reply = visit.get(visit.link.send(hub, "renew", {}, options.reason))
        if reply.state == "refused":
            raise Refused(f"renew on {hub}", reply.gate, reply.why)
        result = visit.get(visit.link.outcome(hub, reply.cmd_id, FOLLOW_SECONDS))
    if result is None:
        raise OutcomeUnknown(f"renew on {hub}", reply.cmd_id, FOLLOW_SECONDS)
    if result.state != "done":
        raise Refused(f"renew on {hub}", result.gate, result.why)
    if options.json:
        write_json({"v": 1, "command": "cert renew", "hub": hub, "state": result.state, "why": result.why})
    else:
        write(safe(f"renew on {hub}: done" + (f": {result.why}" if result.why else "")))
    return DONE


def _hub_of(roster: Roster | None, name: str) -> str:
    """The hub of this name that runs a server, or the hub of the server of this name."""
    servers = roster.servers if roster else []
    found = next((one.hub for one in servers if name in (one.hub, one.name)), None)
    if not found:
        raise NotThere("server", name, ", ".join(one.name for one in servers))
    return found
