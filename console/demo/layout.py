"""The demo's directory: every file of a small fleet, on loopback and free ports."""

import contextlib
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from console import founding
from hubagent.wire.roster import Group, Hub, Operator, Roster, Server

SERVERS = ("central", "edge", "witness")
MEMBER_NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")
ROLES = ("viewer", "operator", "admin")
HUBS_MAX = 60  # members on one machine; each is an agent, a guard and a service


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of one demo lies."""

    root: Path
    members: tuple[str, ...]
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def hubs(self) -> tuple[str, ...]:
        """Every hub: the three with servers, then the members."""
        return (*SERVERS, *self.members)

    @property
    def leash(self) -> Path:
        """The FIFO whose writing end the demo holds: when it ends, all it started ends."""
        return self.root / "leash"

    @property
    def console_config(self) -> Path:
        """The console's configuration (identity admin)."""
        return self.root / "console.yaml"

    def key(self, identity: str) -> Path:
        """The key file of viewer, operator or admin."""
        return self.root / "keys" / f"{identity}.key"

    def state(self, hub: str) -> Path:
        """A hub's state directory."""
        return self.root / hub

    def config(self, hub: str) -> Path:
        """A hub's config file."""
        return self.root / hub / "hubagent.yaml"

    def url(self, server: str) -> str:
        """Where a server listens."""
        return f"nats://127.0.0.1:{self.ports[server]}"

    def web(self, hub: str) -> str:
        """Where a member's web service answers."""
        return f"http://127.0.0.1:{self.ports['web-' + hub]}/"


def member_names(count: int) -> tuple[str, ...]:
    """Names of that many members."""
    return (*MEMBER_NAMES[:count], *(f"hub-{number:03}" for number in range(len(MEMBER_NAMES) + 1, count + 1)))


@contextlib.contextmanager
def _held_ports(count: int) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        yield [one.getsockname()[1] for one in sockets]


def lay_out(root: Path, member_count: int, profile: str = "fast") -> Layout:
    """Make the directory with keys, signed roster, configs, releases and scripts; it must be new or empty."""
    members = member_names(member_count)
    names = [*SERVERS, *(f"web-{member}" for member in members)]
    with _held_ports(len(names)) as ports:
        layout = Layout(root, members, dict(zip(names, ports, strict=True)))
    fleet = founding.make_fleet_key(root)
    sealed = founding.seal_roster(fleet, _roster(layout, profile))
    for hub in layout.hubs:
        (layout.state(hub) / "roster.json").write_bytes(sealed)
        (layout.state(hub) / "fleet.pub").write_text(fleet.public + "\n")
        layout.config(hub).write_text(yaml.safe_dump(_hub_config(layout, hub), sort_keys=False))
    (root / "roster.json").write_bytes(sealed)
    layout.console_config.write_text(yaml.safe_dump(_console_config(layout), sort_keys=False))
    _write_programs(layout)
    return layout


def _roster(layout: Layout, profile: str) -> Roster:
    def keys(path: Path) -> dict[str, str]:
        made = founding.make_keys(path)
        return {"login": made.login, "signing": made.signing}

    hubs = [Hub(id=hub, labels={"site": "demo"}, **keys(layout.state(hub) / "hub.key")) for hub in layout.hubs]
    operators = [Operator(name=role, role=role, **keys(layout.key(role))) for role in ROLES]
    servers = [
        Server(name, [layout.url(name)], "witness" if name == "witness" else "hub-server", hub=name) for name in SERVERS
    ]
    core = Group("core", ["central", "edge"], profile=profile, auto="armed")
    return Roster(v=1, fleet="demo", version=1, hubs=hubs, operators=operators, servers=servers, groups=[core])


def _hub_config(layout: Layout, hub: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "hub": {"id": hub, "state_dir": str(layout.state(hub)), "leash": str(layout.leash)},
        "destinations": [{"name": name, "urls": [layout.url(name)]} for name in ("central", "edge")],
        "witness": {"urls": [layout.url("witness")]},
        "spool": {"budget": "256MiB", "reserve": "16MiB"},
        "services": [],
    }
    if hub in SERVERS:
        listen = layout.url(hub).removeprefix("nats://")
        config["server"] = {
            "role": hub, "listen": listen, "store": str(layout.state(hub) / "nats"), "max_store": "2GiB",
        }  # fmt: skip
    if hub in {"central", "edge"}:
        config["services"].append(_scheduler(layout, hub))
    if hub in layout.members:
        config["services"].append(_web(layout, hub))
    return config


def _scheduler(layout: Layout, hub: str) -> dict[str, Any]:
    program = [sys.executable, "-I", "-S", str(layout.root / "scheduler.py"), "--hub", hub]
    return {"name": "scheduler", "run": "active", "group": "core", "argv": program, "start_s": 0.5, "grace_s": 2}


def _web(layout: Layout, hub: str) -> dict[str, Any]:
    return {
        "name": "web",
        "run": "always",
        "argv": [sys.executable, "-I", "web.py", "--port", str(layout.ports["web-" + hub]), "--hub", hub],
        "release": {"root": str(layout.state(hub) / "web"), "gate_s": 15, "bake_s": 1},
        "probes": [{"http": layout.web(hub) + "healthz", "interval_s": 2, "timeout_s": 1}],
        "start_s": 0.5,
        "grace_s": 3,
    }


def _console_config(layout: Layout) -> dict[str, Any]:
    return {
        "identity": "admin",
        "key_file": str(layout.key("admin")),
        "fleet_key_file": str(layout.root / "fleet.pub"),
        "fleet_dir": str(layout.root),
        "roster_file": str(layout.root / "roster.json"),
        "servers": [{"name": name, "urls": [layout.url(name)]} for name in ("central", "edge")],
        "read_only": False,
    }


def _write_programs(layout: Layout) -> None:
    here = Path(__file__).parent / "programs"
    (layout.root / "scheduler.py").write_text((here / "scheduler.py").read_text())
    for hub in layout.members:
        root = layout.state(hub) / "web"
        for version in ("1.0", "1.1"):
            release = root / "releases" / version
            release.mkdir(parents=True)
            (release / "web.py").write_text((here / "web.py").read_text())
            (release / "VERSION").write_text(version + "\n")
        (root / "current").symlink_to("releases/1.1")
