"""`hubdeck server list|replace|remove`."""

import argparse
from pathlib import Path

from console import founding
from console.clock import SystemClock
from console.commands.changing import Change
from console.commands.changing import run as change
from console.commands.listing import show
from console.errors import NotThere, Usage
from console.trust.changes import remove_server, replace_server
from console.trust.files import FleetDir, write_hub_folder
from console.trust.new import start_lines
from hubagent.wire.addresses import AddressRefused, parse_address, url, uses_tls
from hubagent.wire.certificates import LEAF_SECONDS
from hubagent.wire.roster import Hub, Roster, Server
from hubagent.wire.signing import parse_keys


def run(options: argparse.Namespace) -> int:
    """Carry out one of them."""
    if options.what == "list":
        return show(options, "servers", ("SERVER", "ROLE", "HUB", "URLS"), _rows)
    name = options.name
    if options.what == "remove":
        return change(options, f"server remove {name}", lambda roster, _: Change(remove_server(roster, name)))
    return change(options, f"server replace {name}", lambda roster, fleet: _replaced(roster, fleet, name, options.host))


def _rows(roster: Roster) -> list[list[object]]:
    return [[one.name, one.role, one.hub, ", ".join(one.urls)] for one in roster.servers]


def _replaced(roster: Roster, fleet: FleetDir, name: str, host: str) -> Change:
    """New keys for the server's hub, in a folder of its own; the old ones are revoked."""
    server = next((one for one in roster.servers if one.name == name), None)
    if server is None:
        raise NotThere("server", name, ", ".join(one.name for one in roster.servers))
    text = f"{founding.new_seed()}\n{founding.new_seed()}\n"
    keys = parse_keys(text)
    hub = Hub(server.hub, keys.login_public, keys.signer.public)
    changed = replace_server(roster, name, hub, _urls(server, host))
    folder = fleet.root / f"{server.hub}-{changed.version}"

    def write(fleet: FleetDir, _: Roster) -> list[str]:
        founding.write_private(folder / "hub.key", text)
        return []

    return Change(changed, write=write, after=lambda fleet, made: _folder(fleet, made, name, folder), absent=server.hub)


def _urls(server: Server, host: str) -> list[str]:
    if not host:
        return server.urls
    try:
        address = parse_address(host, parse_address(server.urls[0]).port)
    except AddressRefused as error:
        raise Usage(f"server replace: {error}") from error
    return [url(address, tls=True if uses_tls(server) else None)]


def _folder(fleet: FleetDir, roster: Roster, name: str, folder: Path) -> list[str]:
    server = next(one for one in roster.servers if one.name == name)
    said = write_hub_folder(fleet, roster, server.hub, folder, SystemClock().wall(), LEAF_SECONDS)
    return [*said, "next, with the old machine switched off:", *start_lines(server, folder)]
