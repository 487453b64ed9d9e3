"""The command line `hubdeck`: what it offers; each command is imported when it is used, so that help is quick."""

import argparse
from importlib import import_module
from typing import NoReturn

from console.trust import words as trust
from hubagent.wire import drills

_EPILOG = """exit status: 0 done, 1 refused or failed (the gate is named), 2 usage, 3 outcome unknown

without a command the console opens. SERVICE@HUB names a service on a hub, such as web@alpha."""


class _Parser(argparse.ArgumentParser):
    """Errors are one line: what, and where to look."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(ascii(message)[1:-1].split())}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """Everything that can be typed."""
    top = _Parser(
        prog="hubdeck",
        description="An operations console over NATS.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version and end")
    _common(top, config=None)
    top.add_argument("--theme", default=None, metavar="NAME", help="theme of the console (default: the config's)")
    top.add_argument("--monochrome", action="store_true", default=None, help="no colours")
    top.add_argument("--ascii", action="store_true", default=None, help="ASCII symbols only")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    _add_looks(commands)
    _add_changes(commands)
    trust.add(commands, _common)
    commands.add_parser("demo", add_help=False, help="start a whole fleet on this machine (hubdeck demo --help)")
    return top


def _common(one: argparse.ArgumentParser, config: object = argparse.SUPPRESS) -> None:
    text = "the console's config (default: $XDG_CONFIG_HOME/hubdeck/config.yaml)"
    one.add_argument("-c", "--config", default=config, metavar="FILE", help=text)


def _look(commands: "argparse._SubParsersAction[_Parser]", name: str, text: str) -> argparse.ArgumentParser:
    one = commands.add_parser(name, help=text, description=text)
    _common(one)
    one.add_argument("--json", action="store_true", help="print JSON")
    one.add_argument("--plain", action="store_true", help="ASCII, tab-separated, for screen readers and scripts")
    return one


def _add_looks(commands: "argparse._SubParsersAction[_Parser]") -> None:
    status = _look(commands, "status", "every hub, worst first; who is silent is LOST")
    status.add_argument("--wait", type=float, metavar="S", help="seconds to wait for the first word of all hubs")
    status.add_argument("--services", action="store_true", help="the services of each hub as well")
    doctor = _look(commands, "doctor", "is all as it should be: servers, hubs, files, this terminal")
    doctor.add_argument("--wait", type=float, metavar="S", help="seconds to wait for the word of all hubs")
    doctor.add_argument("--all", action="store_true", help="every finding of every check")
    doctor.epilog = "exit status: 0 all ok, 1 a warning, 2 something critical, 3 only what could not be seen"
    events = _look(commands, "events", "what happened, by whom")
    events.add_argument("hub", nargs="?", metavar="HUB", help="of one hub only")
    events.add_argument("--since", default="1h", metavar="WHEN", help="90s, 15m, 1h, 7d or a UTC time (default 1h)")
    events.add_argument("--follow", "-f", action="store_true", help="go on until interrupted")
    logs = _look(commands, "logs", "the output of a service")
    logs.add_argument("target", metavar="SERVICE@HUB")
    logs.add_argument("--lines", "-n", type=int, default=50, metavar="N", help="so many of the last lines (default 50)")
    logs.add_argument("--follow", "-f", action="store_true", help="go on until interrupted")
    records = _look(commands, "records", "what the streams hold of a hub, and whether it is complete")
    records.add_argument("hub", metavar="HUB", nargs="?", help="needed but with --compare, which means all without it")
    records.add_argument("--lane", choices=("evt", "met"), help="one lane only (default: both)")
    records.add_argument("--since", metavar="WHEN", help="90s, 15m, 1h, 7d or a UTC time (default: all)")
    records.add_argument("--verify", action="store_true", help="check the hash chain and compare the copies too")
    records.add_argument(
        "--compare", action="store_true", help="only compare the servers' copies, and say what differs"
    )
    audit = _look(commands, "audit", "is the audit what the hubs signed: names the first altered or missing entry")
    audit.add_argument("what", choices=("verify",), metavar="verify")
    audit.add_argument("hub", nargs="?", metavar="HUB", help="of one hub only")
    wire = commands.add_parser(
        "wire", help="what travels on which subject", description="What travels on which subject."
    )
    wire.add_argument("--schema", action="store_true", help="JSON Schema of every record")


def _change(commands: "argparse._SubParsersAction[_Parser]", name: str, text: str) -> argparse.ArgumentParser:
    one = commands.add_parser(name, help=text, description=text)
    _common(one)
    one.add_argument("--json", action="store_true", help="print JSON")
    one.add_argument("--dry-run", action="store_true", help="print the gates, change nothing")
    one.add_argument("--yes", action="store_true", help="do not ask")
    one.add_argument("--reason", default="", metavar="TEXT", help="why, for the audit")
    one.add_argument(
        "--force", action="append", default=[], metavar="GATE", help="pass over this gate (admin, with --reason)"
    )
    one.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="how long to follow the outcome (default 60)"
    )
    return one


def _add_changes(commands: "argparse._SubParsersAction[_Parser]") -> None:
    for name, text in (
        ("restart", "stop a service with its grace and start it again"),
        ("start", "start a service"),
        ("stop", "stop a service with its grace"),
        ("rollback", "return a service to its last good release"),
    ):
        one = _change(commands, name, text)
        one.add_argument("targets", nargs="+", metavar="SERVICE@HUB", help="one after the other, until one fails")
        if name == "rollback":
            one.add_argument("--to", default="", metavar="RELEASE", help="another installed release")
    failover = _change(commands, "failover", "hand a group over; forced where its active hub is silent")
    failover.add_argument("group", metavar="GROUP")
    failover.add_argument("--to", default="", metavar="HUB", help="the member that shall become active")
    maintenance = _change(commands, "maintenance", "no automatic failover of a group, or none to one hub, for a while")
    maintenance.add_argument("group", metavar="GROUP", nargs="?", default="")
    maintenance.add_argument("--hub", default="", metavar="HUB", help="of one hub instead: it becomes active nowhere")
    maintenance.add_argument("--off", action="store_true", help="end the maintenance")
    arm = _change(commands, "arm", "automatic failover of a group: armed, shadow or off")
    arm.add_argument("group", metavar="GROUP")
    arm.add_argument("--auto", choices=("armed", "shadow", "off"), default="armed")
    drill = _change(
        commands, "drill", "prove a group's failover: strike its active hub on purpose; ctrl-c calls it off"
    )
    drill.add_argument("group", metavar="GROUP")
    drill.add_argument(
        "--kind", choices=drills.KINDS, default=drills.KINDS[0],
        help=f"what is struck on the active hub (default {drills.KINDS[0]})",
    )  # fmt: skip
    drill.add_argument(
        "--schedule", default="", metavar="WHEN",
        help="no drill now, but by themselves: 'daily HH:MM' or 'sunday HH:MM', in UTC; 'off' ends that, 'show' shows it",
    )  # fmt: skip
    drill.set_defaults(timeout=120.0)


_MODULES: dict[str | None, str] = {
    None: "console",
    **{
        name: name
        for name in ("status", "doctor", "events", "logs", "records", "audit", "wire", "drill", *trust.MODULES)
    },
}


def main(argv: list[str]) -> int:
    """Carry out one command line; raises ConsoleError."""
    if argv[:1] == ["demo"]:
        return int(import_module("console.demo.main").main(argv[1:]))
    options = parser().parse_args(argv)
    if options.version:
        from importlib.metadata import version

        print(f"hubdeck {version('hubdeck')}")
        return 0
    module = _MODULES.get(options.command, "act")
    return int(import_module(f"console.commands.{module}").run(options))
