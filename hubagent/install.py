"""`hubagent install|uninstall`: plans the steps from the settings and what is there, and has them carried out."""

import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from hubagent.config import Settings
from hubagent.edges.steps import (
    AddUser,
    EndAgent,
    EndGuard,
    GiveTree,
    MakeDirectory,
    Remove,
    RemoveUser,
    SetRights,
    Step,
    Systemctl,
    WriteFile,
)
from hubagent.edges.system import System, is_removable
from hubagent.errors import NotAllowed

UNIT = "hubagent.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
WANTS_PATH = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
POLKIT_PATH = "/etc/polkit-1/rules.d/50-hubagent.rules"
NOTE_NAME = "installed.json"  # beside the config: what was made, so that it can be taken away again
DEFAULT_USER = "hubdeck"
WATCHDOG_SECONDS = 30
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_PATH = re.compile(r"/[A-Za-z0-9._/@+-]+")  # what needs no quoting, neither in a unit nor in a shell


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one installation is made of; `made` names what it brought and may take away again."""

    user: str
    config: str
    state_dir: str
    program: str
    store: str = ""
    units: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    private: tuple[str, ...] = ()  # key files outside the state directory

    @property
    def note(self) -> str:
        """Where the installation is written down."""
        return str(Path(self.config).parent / NOTE_NAME)


def wanted(settings: Settings, config: str, user: str, program: str, inside: Callable[[str], str] = str) -> Wanted:
    """What these settings ask for; raises NotAllowed for what cannot be put into a unit."""
    state, store = inside(settings.hub.state_dir), inside(settings.server.store) if settings.server else ""
    for text in (config, state, program, *([store] if store else [])):
        if not _PATH.fullmatch(text):
            raise NotAllowed(
                "path", f"{ascii(text)[:100]}: a unit needs an absolute path of letters, digits and ._/@+-"
            )
    if not _USER.fullmatch(user):
        raise NotAllowed("user", f"{ascii(user)[:60]} is no name for a system user: a-z, 0-9, _ and -")
    keys = [settings.hub.key_file, settings.server.key_file if settings.server else ""]
    outside = [inside(key) for key in keys if key and not _is_inside(inside(key), state)]
    units = tuple(one.unit for one in settings.services if one.unit)
    return Wanted(user, config, state, program, "" if _is_inside(store, state) else store, units, (), tuple(outside))


def _is_inside(path: str, directory: str) -> bool:
    return bool(path) and os.path.normpath(path).startswith(os.path.normpath(directory) + "/")


def program_path() -> str:
    """The `hubagent` of this installation."""
    beside = Path(sys.prefix) / "bin" / "hubagent"
    return str(beside if beside.is_file() else Path(sys.argv[0]).resolve())


def unit_text(one: Wanted) -> str:
    """The systemd unit."""
    ours = "/usr", "/etc", "/boot", "/efi"
    writable = [path for path in (one.state_dir, one.store) if path.startswith(tuple(top + "/" for top in ours))]
    more = "".join(f"ReadWritePaths={path}\n" for path in writable)
    return _UNIT_TEXT.format(
        user=one.user, program=one.program, config=one.config, watchdog=WATCHDOG_SECONDS, more=more
    )


# What is switched off here is switched off for the supervised services too, since they are children of the guard:
# so only what an ordinary service of this user could not do anyway. No PrivateTmp (services meet in /tmp), no
# ProtectHome (releases may lie there), no ProtectControlGroups (the guard makes groups), no MemoryDenyWriteExecute
# (compilers at run time), no system call filter.
_UNIT_TEXT = """\
# Made by `hubagent install`; `hubagent uninstall` removes it. Your own changes: systemctl edit hubagent
[Unit]
Description=hubdeck hub agent
Documentation=https://pypi.org/project/hubdeck/
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
User={user}
Group={user}
ExecStart={program} run -c {config}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
WatchdogSec={watchdog}
TimeoutStartSec=90
TimeoutStopSec=30
# The guard, the services and the nats-server live in this unit and go on when the agent restarts.
KillMode=process
Delegate=yes
Environment=MALLOC_ARENA_MAX=1
LimitNOFILE=65536
NoNewPrivileges=yes
ProtectSystem=full
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectKernelTunables=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
LockPersonality=yes
{more}
[Install]
WantedBy=multi-user.target
"""


def polkit_text(one: Wanted) -> str:
    """The rule that lets the agent's user start and stop exactly the units that its config names."""
    names = json.dumps(list(one.units))
    return (
        "// Made by `hubagent install`: the hub agent may drive the units that its config names.\n"
        "polkit.addRule(function(action, subject) {\n"
        f'    if (action.id == "org.freedesktop.systemd1.manage-units" && subject.user == "{one.user}" &&\n'
        f'        {names}.indexOf(action.lookup("unit")) >= 0) {{ return polkit.Result.YES; }}\n'
        "});\n"
    )


def install_steps(one: Wanted, system: System) -> list[Step]:
    """Everything that an installation has, in order; what is there already is left out when it is carried out."""
    config_dir = str(Path(one.config).parent)
    steps: list[Step] = [
        AddUser(one.user),
        MakeDirectory(one.state_dir, 0o750, one.user, one.user),
        *([MakeDirectory(one.store, 0o750, one.user, one.user)] if one.store else []),
        *([MakeDirectory(config_dir, 0o750, "", one.user)] if _is_apart(config_dir, one) else []),
        SetRights(one.config, 0o640, "", one.user),
        GiveTree(one.state_dir, one.user, (one.config, one.note)),
        *([GiveTree(one.store, one.user)] if one.store else []),
        *(SetRights(path, 0o600, one.user, one.user) for path in one.private),
    ]
    if system.has_systemd:
        steps.append(WriteFile(UNIT_PATH, unit_text(one)))
        if one.units:
            steps.append(WriteFile(POLKIT_PATH, polkit_text(one)))
    steps.append(WriteFile(one.note, json.dumps(asdict(_with_made(one, system)), indent=1) + "\n", 0o640, one.user))
    return steps


def _is_own(directory: str) -> bool:
    return Path(directory).name in {"hubdeck", "hubagent"} and is_removable(directory)


def _is_apart(directory: str, one: Wanted) -> bool:
    """Tell whether the config has a directory of hubdeck's own, and not the state directory itself."""
    return _is_own(directory) and directory != one.state_dir and not _is_inside(directory, one.state_dir)


def _with_made(one: Wanted, system: System) -> Wanted:
    """The installation with what it brings; what was there before belongs to somebody else."""
    known = noted(system, one.config)
    kept = set(known.made) if known else set()
    directories = [path for path in (one.state_dir, one.store) if path]
    made = {path for path in directories if not system.exists(path)} | kept
    if system.user(one.user) is None or (known and known.user == one.user and "user" in known.made):
        made.add("user")
    return Wanted(
        one.user, one.config, one.state_dir, one.program, one.store, one.units, tuple(sorted(made)), one.private
    )


def noted(system: System, config: str) -> Wanted | None:
    """The installation that was written down beside this config."""
    try:
        fields = json.loads(system.read(str(Path(config).parent / NOTE_NAME)))
        tuples = {key: tuple(map(str, fields[key])) for key in ("units", "made", "private")}
        return Wanted(**{**{key: str(value) for key, value in fields.items()}, **tuples})  # type: ignore[arg-type]
    except (ValueError, TypeError, KeyError):
        return None


def config_of_unit(system: System) -> str:
    """The config that the installed unit names; empty where there is no unit."""
    match = re.search(r"^ExecStart=\S+ run -c (\S+)$", system.read(UNIT_PATH), re.MULTILINE)
    return match[1] if match else ""


def unknown(config: str) -> Wanted:
    """An installation of which neither note nor config is left: only the unit can be found."""
    return Wanted(DEFAULT_USER, config, "", "")


def run_steps(one: Wanted, system: System, changed: bool, faults: list[str]) -> Iterator[Step]:
    """What makes an installed unit run, where systemd runs."""
    if not system.is_whole:  # a machine in a directory: links only
        if not system.exists(WANTS_PATH):
            yield Systemctl(("enable", UNIT))
        return
    if changed:
        yield Systemctl(("daemon-reload",))
    if not system.is_unit("is-enabled", UNIT):
        yield Systemctl(("enable", UNIT))
    if faults:
        return
    is_active = system.is_unit("is-active", UNIT)
    if changed or not is_active:  # a restart of the agent leaves the services alone
        yield Systemctl(("restart" if is_active else "start", UNIT))


def uninstall_steps(one: Wanted, system: System, *, purge: bool) -> list[Step]:
    """Everything that takes an installation away; without `purge` the records, keys, config and user stay."""
    steps: list[Step] = []
    if system.exists(UNIT_PATH) and system.has_systemd:
        # `disable --now` would want a running systemd; in a directory only the link is taken away.
        steps.append(Systemctl(("disable", "--now", UNIT) if system.is_whole else ("disable", UNIT)))
    if one.state_dir:
        steps += [EndAgent(one.state_dir), EndGuard(one.state_dir)]
    steps += [Remove(UNIT_PATH), Remove(POLKIT_PATH), Remove(WANTS_PATH)]
    if system.is_whole and system.has_systemd and system.exists(UNIT_PATH):
        steps.append(Systemctl(("daemon-reload",)))
    return steps + (_purge_steps(one, system) if purge else [])


def _purge_steps(one: Wanted, system: System) -> list[Step]:
    config_dir = str(Path(one.config).parent)
    steps: list[Step] = [Remove(path) for path in (one.state_dir, one.store) if path]
    steps += [Remove(path) for path in one.private]
    # The directory goes where it is hubdeck's own; elsewhere the files that are known to be.
    steps += [Remove(config_dir)] if _is_own(config_dir) else [Remove(one.config), Remove(one.note)]
    if "user" in one.made:
        steps.append(RemoveUser(one.user))
    return steps


def unreachable(one: Wanted, system: System, needed: tuple[str, ...] = (sys.executable, __file__)) -> str:
    """Why the agent's user could not start the program, its Python or its packages; empty where it can."""
    paths = [system.path(one.program), *map(Path, needed)]
    hidden = next((found for path in paths if (found := _hidden_parent(path))), None)
    if hidden is None or one.user == "root":
        return ""
    return (
        f"user {one.user} cannot start {one.program}, since {hidden} is closed to others; install where all may read, "
        "with a Python that all may use: python3 -m venv /opt/hubdeck && /opt/hubdeck/bin/pip install 'hubdeck[server]' && "
        "/opt/hubdeck/bin/hubagent install"
    )


def _hidden_parent(path: Path) -> Path | None:
    """The first folder that others may not enter, on the way to the link or to what it points to."""
    parents = [*reversed(path.parents), *reversed(path.resolve().parents)]
    return next((one for one in parents if one.is_dir() and not one.stat().st_mode & stat.S_IXOTH), None)


def by_hand(one: Wanted) -> str:
    """The command that runs the agent where no systemd does."""
    return (
        f"setpriv --reuid {one.user} --regid {one.user} --init-groups "
        f"env MALLOC_ARENA_MAX=1 {one.program} run -c {one.config}"
    )


def carry_out(steps: list[Step], system: System, say: Callable[[str], None], *, dry_run: bool) -> int:
    """Do what is needed, and say it; how many steps were."""
    count = 0
    for step in steps:
        if dry_run and _is_later(step, steps, system):
            continue
        if system.needs(step):
            say(f"would {step}" if dry_run else str(step))
            if not dry_run:
                system.do(step)
            count += 1
    return count


def _is_later(step: Step, steps: list[Step], system: System) -> bool:
    """A dry run does not look for files of a user who is not there yet: the step is needed once the user is."""
    return isinstance(step, GiveTree) and system.user(step.owner) is None and not system.exists(step.path)


def install(one: Wanted, system: System, faults: list[str], say: Callable[[str], None], *, dry_run: bool) -> bool:
    """Install, or say what would be done; tell whether the agent can run afterwards."""
    _must_be_root(system, dry_run=dry_run)
    if system.is_whole and (fault := unreachable(one, system)):
        raise NotAllowed("program", fault)
    steps = install_steps(one, system)
    unit_changes = any(isinstance(step, WriteFile) and step.path == UNIT_PATH and system.needs(step) for step in steps)
    count = carry_out(steps, system, say, dry_run=dry_run)
    if system.has_systemd:
        count += carry_out(list(run_steps(one, system, unit_changes, faults)), system, say, dry_run=dry_run)
    if count == 0:
        say("nothing to do: it is installed as the config says")
    for fault in faults:
        say(f"not started: {fault}")
    if not system.has_systemd:
        say(f"systemd does not run here; have your supervisor, or yourself, run: {by_hand(one)}")
    elif faults:
        say(f"when that is mended: systemctl start {UNIT}")
    return not faults


def uninstall(one: Wanted, system: System, say: Callable[[str], None], *, purge: bool, dry_run: bool) -> None:
    """Take the installation away, or say what would be done."""
    _must_be_root(system, dry_run=dry_run)
    if purge:
        for path in (one.state_dir, one.store):
            if path and not is_removable(path):
                raise NotAllowed("purge", f"{path} is no directory of hubdeck's own; nothing was removed")
    if carry_out(uninstall_steps(one, system, purge=purge), system, say, dry_run=dry_run) == 0:
        say("nothing to do: nothing is installed here")
    if not purge:
        left = [path for path in (one.state_dir, one.store, one.config) if path and system.exists(path)]
        say(f"kept: {', '.join(left) or 'nothing'}" + (f" and the user {one.user}" if "user" in one.made and system.user(one.user) else "")
            + "; --purge removes them too")  # fmt: skip


def _must_be_root(system: System, *, dry_run: bool) -> None:
    if system.is_whole and not system.can_change_owners and not dry_run:
        raise NotAllowed("root", "only root can do this; sudo, or --dry-run to see what it would do")
