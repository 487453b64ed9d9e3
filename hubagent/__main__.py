"""The command line `hubagent`."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from hubagent import __version__

DEFAULT_CONFIG = "/etc/hubdeck/hubagent.yaml"
FOLDER_CONFIG = "/var/lib/hubdeck/hubagent.yaml"  # of a machine whose whole folder came from `hubdeck fleet new`
DONE, FAILED, USAGE = 0, 1, 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hubagent", description="The hub agent: one light daemon on each machine.")
    parser.add_argument("--version", action="version", version=f"hubagent {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        where = f"config file (default {DEFAULT_CONFIG}, or where that is missing {FOLDER_CONFIG})"
        command.add_argument("-c", "--config", default="", help=where)
        return command

    run = add("run", "run the agent in the foreground until SIGTERM")
    run.add_argument("--observe", action="store_true", help="measure and report only; supervise nothing")
    init = add("init", "make this hub's keys and a first config file; nothing that is there is overwritten")
    init.add_argument("--hub", required=True, help="the hub's id")
    init.add_argument("--server", action="append", default=[], metavar="NAME=URL", help="a hub server; may be repeated")
    init.add_argument("--state-dir", default="/var/lib/hubdeck", help="where the hub keeps its state")
    join = add("join", "join a fleet with the token of `hubdeck invite`: keys are made here, roster and config arrive")
    join.add_argument("line", metavar="TOKEN", help="the one line; - reads it from standard input")
    join.add_argument("--state-dir", default="/var/lib/hubdeck", help="where the hub keeps its state")
    add("check", "check the config file, keys and roster, and say what is wrong")
    _add_machine(add("install", "install the agent on this machine: user, directories, systemd unit"), removes=False)
    _add_machine(add("uninstall", "take the installation away; with --purge everything"), removes=True)
    _add_streams(commands.add_parser("streams", help="the streams of a NATS that has no hub agent of its own"))
    release = add(
        "release", "let go of a group's lease after this hub's agent has died (the guard does this by itself)"
    )
    release.add_argument("group")
    add("guard", "run the guard in the foreground (the agent does this by itself)")
    status = add("status", "what this hub's agent says of itself; works with every server dead")
    status.add_argument("--json", action="store_true", help="as JSON")
    for name, text in (
        ("start", "start a service"),
        ("stop", "stop a service and keep it stopped"),
        ("restart", "restart a service"),
        ("rollback", "go back to a service's last good release"),
        ("logs", "show a service's last output"),
    ):
        command = add(name, text + "; works with every server dead")
        command.add_argument("service")
        if name == "rollback":
            command.add_argument(
                "--to", default="", metavar="RELEASE", help="this release instead of the last good one"
            )
        if name == "logs":
            command.add_argument("--lines", type=int, default=100, metavar="N", help="how many lines (default 100)")
        else:
            command.add_argument("--reason", default="", help="kept in the audit")
    demote = add("demote", "give up a group's lease, so that another member takes over")
    demote.add_argument("group")
    demote.add_argument("--reason", default="", help="kept in the audit")
    _add_spool(add("spool", "look at this hub's durable buffer, check it, repair it"))
    destination = add("destination", "what hub servers must get this hub's records before they are forgotten")
    destination.add_argument(
        "action", choices=["remove"], help="it is no longer required (it must be out of the config)"
    )
    destination.add_argument("name", help="the destination's name")
    destination.add_argument("--reason", default="", help="kept in the audit")
    adopt = add("adopt", "say that this machine is the hub, where two machines had its identity")
    adopt.add_argument("--reason", default="", help="kept in the audit")
    return parser


def _add_spool(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=["check", "repair", "export", "stats"],
        help="check: look for damage; repair: save what is good into a new file; both only while no agent runs. "
        "export: every kept chunk as a line of JSON; stats: depth, bytes and age",
    )
    parser.add_argument("--json", action="store_true", help="stats as JSON")
    parser.add_argument("--lane", choices=["evt", "met"], default="", help="export this lane only")
    parser.add_argument("--output", default="", metavar="FILE", help="export into a new file")


def _add_machine(parser: argparse.ArgumentParser, *, removes: bool) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    parser.add_argument("--prefix", default="/", metavar="ROOT", help="a directory that stands for the machine")
    if removes:
        parser.add_argument("--purge", action="store_true", help="remove records, keys, config and user as well")
    else:
        parser.add_argument("--user", default="hubdeck", help="the system user that runs it (default hubdeck)")


def _add_streams(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="apply|check|permissions")
    actions.add_parser("permissions", help="print the permissions that each role needs, to be pasted")
    for name, text in (
        ("apply", "make the streams that are missing; what differs is said, never changed"),
        ("check", "say what is missing or differs; changes nothing"),
    ):
        one = actions.add_parser(name, help=text, description=text)
        one.add_argument("--url", default="", metavar="URL", help="address of the server")
        one.add_argument("--creds", default="", metavar="FILE", help="log in by a creds file")
        one.add_argument("--nkey", default="", metavar="FILE", help="log in by the seed in a file")
        one.add_argument("--ca", default="", metavar="FILE", help="certificate authority of the server")
        one.add_argument("--context", default="", metavar="NAME", help="a context of the nats tool")
        one.add_argument("--witness", action="store_true", help="the witness's stream instead of a hub server's")
        one.add_argument(
            "--max-store", default="", metavar="SIZE", help="room for the streams (default: the account's)"
        )


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 done, 1 refused or failed, 2 usage or configuration."""
    options = _parser().parse_args(argv)
    if vars(options).get("config") == "":
        options.config = _default_config(options)
    from hubagent.errors import ConfigError, HubagentError  # keeps --help light

    try:
        return _COMMANDS.get(options.command, _local)(options)
    except ConfigError as error:
        print(f"hubagent: {error}", file=sys.stderr)
        return USAGE
    except (HubagentError, ValueError, OSError) as error:
        print(f"hubagent: {error}", file=sys.stderr)
        return FAILED


def _default_config(options: argparse.Namespace) -> str:
    """Where the config is, on the machine or in the directory that stands for it; `init` and `join` write a new one."""
    root = vars(options).get("prefix", "/").rstrip("/")
    makes_one = options.command in {"init", "join"}
    is_in_folder = not os.access(root + DEFAULT_CONFIG, os.F_OK) and os.access(root + FOLDER_CONFIG, os.F_OK)
    return FOLDER_CONFIG if is_in_folder and not makes_one else DEFAULT_CONFIG


def _run(options: argparse.Namespace) -> int:
    from hubagent import config, daemon

    path = Path(options.config)
    return daemon.run(path, config.load(path), observe=options.observe)


def _guard(options: argparse.Namespace) -> int:
    from hubagent import config, guard

    settings = config.load(Path(options.config))
    return guard.main(settings.hub.state_dir, settings.hub.leash)


def _release(options: argparse.Namespace) -> int:
    from hubagent.commands import release

    return release.run(options)


def _init(options: argparse.Namespace) -> int:
    from hubagent import setup

    for line in setup.make(Path(options.config), options.hub, options.state_dir, options.server):
        print(line)
    return DONE


def _join(options: argparse.Namespace) -> int:
    from hubagent import enrol, logs
    from hubagent.clock import SystemClock

    logs.set_up("error")
    line = sys.stdin.readline() if options.line == "-" else options.line
    paths = Path(options.config).absolute(), Path(options.state_dir).absolute()
    enrol.join(line, *paths, SystemClock(), lambda words: print(words, flush=True))
    return DONE


def _check(options: argparse.Namespace) -> int:
    from hubagent import config, setup

    path = Path(options.config)
    settings = config.load(path)
    faults = setup.check(settings)
    for fault in faults:
        print(f"hubagent: {path}: {fault}", file=sys.stderr)
    if not faults:
        for warning in setup.warnings(settings):
            print(f"hubagent: {path}: warning: {warning}", file=sys.stderr)
        print(f"{path}: ok")
    return FAILED if faults else DONE


def _streams(options: argparse.Namespace) -> int:
    from hubagent.commands import streams

    return streams.run(options)


def _spool(options: argparse.Namespace) -> int:
    from hubagent.commands import spool

    return spool.run(options)


def _destination(options: argparse.Namespace) -> int:
    from hubagent.commands import spool

    return spool.run_destination(options)


def _adopt(options: argparse.Namespace) -> int:
    from hubagent.commands import spool

    return spool.run_adopt(options)


def _install(options: argparse.Namespace) -> int:
    from hubagent.commands import install

    return install.run_install(options)


def _uninstall(options: argparse.Namespace) -> int:
    from hubagent.commands import install

    return install.run_uninstall(options)


def _local(options: argparse.Namespace) -> int:
    """A command to the agent on this machine, through its socket."""
    from hubagent import config, control

    settings = config.load(Path(options.config))
    names = ("service", "group", "to", "lines", "reason")
    fields: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name, None)}
    answer = control.call(settings.state_dir / "agent.sock", options.command, **fields)
    if not answer.get("ok"):
        print(f"hubagent: {answer.get('gate') or 'failed'}: {answer.get('why', '')}", file=sys.stderr)
        return FAILED
    if options.command == "status":
        print(json.dumps(answer["status"], indent=1) if options.json else _status_text(answer["status"]))
    elif options.command == "logs":
        print("\n".join(answer["lines"]))
    else:
        took = f" in {answer['took_s']:.1f} s" if answer.get("took_s") is not None else ""
        print(f"{options.command} {options.__dict__.get('service') or options.__dict__.get('group')}: done{took}")
    return DONE


def _status_text(status: dict[str, Any]) -> str:
    lines = [f"hub {status['hub']}  {status['severity']}  {status.get('why', '')}".rstrip()]
    lines += [
        f"  {lane['lane']} to {lane['dest']:<10} {lane['state']:<10} {lane['chunks']} chunks, {lane['bytes']} bytes"
        for lane in status.get("lanes", [])
    ]
    lines += [
        f"  {one['name']:<16} {one['state']:<9} {one.get('release', ''):<8} pid {one.get('pid') or '-'}  {one.get('why', '')}".rstrip()
        for one in status.get("services", [])
    ]
    lines += [
        f"  group {one['group']:<10} {one['role']}  epoch {one['epoch']}  {one.get('auto', 'shadow')}  {one.get('why', '')}".rstrip()
        for one in status.get("groups", [])
    ]
    return "\n".join(lines)


_COMMANDS = {
    "run": _run,
    "guard": _guard,
    "release": _release,
    "init": _init,
    "join": _join,
    "check": _check,
    "install": _install,
    "uninstall": _uninstall,
    "streams": _streams,
    "spool": _spool,
    "destination": _destination,
    "adopt": _adopt,
}

if __name__ == "__main__":
    sys.exit(main())
