"""What can be typed about the fleet's trust: light, so that help is quick."""

import argparse
from collections.abc import Callable
from typing import Any

MODULES = ("fleet", "invite", "operator", "hub", "server", "group", "cert")


def add(commands: Any, common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the commands; `common` adds what every command has."""
    _Words(common).add_all(commands)


class _Words:
    """The commands, with what they share."""

    def __init__(self, common: Callable[[argparse.ArgumentParser], None]) -> None:
        self._common = common

    def add_all(self, commands: Any) -> None:
        """Every command of this kind."""
        self._fleet(commands)
        invite = self._change(commands, "invite", "let one machine join under this name: prints its token, then waits")
        invite.add_argument("hub", metavar="HUB")
        self._labels(invite)
        invite.add_argument("--server", default="", metavar="NAME=HOST[:PORT]", help="it also runs this new server")
        self._operator(commands)
        self._hub(commands)
        self._server(commands)
        self._group(commands)
        self._cert(commands)

    def _group_of(self, commands: Any, name: str, text: str) -> Any:
        one = commands.add_parser(name, help=text, description=text)
        return one.add_subparsers(dest="what", metavar="WHAT", required=True, parser_class=type(one))

    def _look(self, commands: Any, name: str, text: str) -> argparse.ArgumentParser:
        one: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
        self._common(one)
        one.add_argument("--json", action="store_true", help="print JSON")
        return one

    def _list(self, commands: Any, text: str) -> None:
        one = self._look(commands, "list", text)
        one.add_argument("--plain", action="store_true", help="ASCII, tab-separated, for screen readers and scripts")

    def _change(self, commands: Any, name: str, text: str) -> argparse.ArgumentParser:
        one = self._look(commands, name, text)
        one.add_argument("--dry-run", action="store_true", help="show what would change, change nothing")
        one.add_argument("--yes", action="store_true", help="do not ask")
        return one

    def _labels(self, one: argparse.ArgumentParser) -> None:
        one.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="may be repeated")

    def _fleet(self, commands: Any) -> None:
        fleet = self._group_of(commands, "fleet", "found a fleet; hand its roster out again")
        new = fleet.add_parser(
            "new", help="keys, certificates, roster and configs of a new fleet; what is there is kept"
        )
        new.add_argument("dir", metavar="DIR", help="the admin's directory, best on no server")
        new.add_argument("--name", default="", metavar="FLEET", help="its name (default: the directory's)")
        new.add_argument(
            "--server", action="append", default=[], metavar="NAME=HOST[:PORT]",
            help="a hub server (default: central and edge on loopback)",
        )  # fmt: skip
        new.add_argument(
            "--witness", default="", metavar="HOST[:PORT]", help="the third server, for automatic failover"
        )
        new.add_argument(
            "--group", action="append", default=[], metavar="NAME=HUB,HUB", help="hubs that back each other"
        )
        new.add_argument("--admin", default="admin", metavar="NAME", help="the first admin (default: admin)")
        new.add_argument("--tls", action="store_true", help="TLS on loopback too")
        new.add_argument(
            "--certificate-days",
            type=float,
            default=90.0,
            metavar="D",
            help="life of servers' certificates (default 90)",
        )
        new.add_argument("--json", action="store_true", help="print JSON")
        self._look(fleet, "publish", "hand the signed roster to every server again")

    def _operator(self, commands: Any) -> None:
        people = self._group_of(commands, "operator", "people and programs that use consoles")
        new = self._change(people, "add", "one more operator: makes keys and a console folder, or takes public keys")
        new.add_argument("name", metavar="NAME")
        new.add_argument("--role", default="operator", choices=("viewer", "operator", "admin"))
        new.add_argument("--selector", default="*", metavar="HUBS", help="*, id,id or label=value (default *)")
        new.add_argument("--login", default="", metavar="KEY", help="public login key (made elsewhere)")
        new.add_argument("--signing", default="", metavar="KEY", help="public signing key (made elsewhere)")
        revoke = self._change(people, "revoke", "lock an operator out everywhere, at once")
        revoke.add_argument("name", metavar="NAME")
        self._list(people, "every operator")

    def _hub(self, commands: Any) -> None:
        hubs = self._group_of(commands, "hub", "the hubs of the roster")
        label = self._change(hubs, "label", "set labels of a hub; KEY- takes one away")
        label.add_argument("hub", metavar="HUB")
        label.add_argument("labels", nargs="+", metavar="KEY=VALUE")
        retire = self._change(hubs, "retire", "take a hub out of the fleet for good: keys revoked, out of its groups")
        retire.add_argument("hub", metavar="HUB")
        self._list(hubs, "every hub, and which roster it has taken")

    def _server(self, commands: Any) -> None:
        servers = self._group_of(commands, "server", "the NATS servers of the fleet")
        replace = self._change(
            servers, "replace", "the server on a new machine: makes its folder, locks the old one out"
        )
        replace.add_argument("name", metavar="SERVER")
        replace.add_argument("--host", default="", metavar="HOST[:PORT]", help="its new address (default: the old one)")
        remove = self._change(servers, "remove", "a server that will not come back")
        remove.add_argument("name", metavar="SERVER")
        self._list(servers, "every server")

    def _group(self, commands: Any) -> None:
        groups = self._group_of(commands, "group", "hubs that back each other up")
        for name, text in (("add", "one more group"), ("set", "change a group")):
            one = self._change(groups, name, text + "; a hub that joins or leaves one restarts its agent")
            one.add_argument("name", metavar="GROUP")
            one.add_argument(
                "--members", default="", required=name == "add", metavar="HUB,HUB", help="in order of priority"
            )
            one.add_argument("--profile", default="", metavar="WORD", help="rapid, fast, normal or wan")
            one.add_argument("--auto", default="", metavar="WORD", help="off, shadow or armed")
        self._list(groups, "every group")

    def _cert(self, commands: Any) -> None:
        certs = self._group_of(commands, "cert", "the certificates of the fleet")
        status = self._look(certs, "status", "what each server shows, and when it ends")
        status.add_argument("--plain", action="store_true", help="ASCII, tab-separated")
        renew = self._change(certs, "renew", "have the agent of a server renew its certificate now")
        renew.add_argument("hub", metavar="HUB")
        authority = self._change(certs, "authority", "renew the issuing authority, or replace the root in two steps")
        authority.add_argument(
            "step", choices=("renew", "replace", "finish"),
            help="renew: a new issuing authority below the same root; replace: a new root beside the old one, both "
            "trusted; finish: drop the old one, refused while a server still needs it",
        )  # fmt: skip
        renew.add_argument("--reason", default="", metavar="TEXT", help="why, for the audit")
