"""`hubdeck operator add|revoke|list`."""

import argparse

from console import founding
from console.commands.changing import Change
from console.commands.changing import run as change
from console.commands.listing import show
from console.errors import Usage
from console.trust.changes import add_operator, revoke_operator
from console.trust.files import FleetDir, write_operator_folder
from hubagent.wire.roster import Operator, Roster
from hubagent.wire.signing import is_public_key, parse_keys


def run(options: argparse.Namespace) -> int:
    """Carry out one of them."""
    if options.what == "list":
        return show(options, "operators", ("OPERATOR", "ROLE", "HUBS", "SIGNING KEY"), _rows)
    name = options.name
    if options.what == "revoke":
        return change(options, f"operator revoke {name}", lambda roster, _: Change(revoke_operator(roster, name)))
    return change(options, f"operator add {name}", lambda roster, _: _added(roster, options))


def _rows(roster: Roster) -> list[list[object]]:
    return [[one.name, one.role, one.selector, one.signing] for one in roster.operators]


def _added(roster: Roster, options: argparse.Namespace) -> Change:
    if bool(options.login) != bool(options.signing):
        raise Usage("operator add: --login and --signing, or neither")
    if options.login:
        for key in (options.login, options.signing):
            if not is_public_key(key):
                raise Usage(f"operator add: {ascii(key)[:60]} is no public nkey (U…)")
        new = Operator(options.name, options.login, options.signing, options.role, options.selector)
        return Change(add_operator(roster, new))
    text = f"{founding.new_seed()}\n{founding.new_seed()}\n"
    keys = parse_keys(text)
    new = Operator(options.name, keys.login_public, keys.signer.public, options.role, options.selector)

    def after(fleet: FleetDir, changed: Roster) -> list[str]:
        folder = write_operator_folder(fleet, changed, options.name, text)
        return [
            f"{folder}: keys and console of {options.name}; hand it over on a safe way",
            f"next: hubdeck -c {folder}/console.yaml",
        ]

    return Change(add_operator(roster, new), after=after)
