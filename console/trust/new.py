"""`hubdeck fleet new`: every key, certificate, config and the first roster; what is there is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from console import founding
from console.errors import Usage
from console.trust.files import FleetDir, console_config, write_hub_folder, write_yaml
from hubagent.wire.addresses import Address, AddressRefused, is_loopback, parse_address, url, uses_tls
from hubagent.wire.roster import Group, Hub, Operator, Roster, Server
from hubagent.wire.subjects import is_name

WITNESS = "witness"
LOOPBACK = ("central=127.0.0.1:4222", "edge=127.0.0.1:4232")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new fleet is made of."""

    fleet: str
    servers: tuple[tuple[str, Address], ...]
    groups: tuple[Group, ...]
    admin: str
    force_tls: bool
    life_s: float

    @property
    def has_tls(self) -> bool:
        """Tell whether any server is reached beyond loopback."""
        return self.force_tls or any(not is_loopback(address.host) for _, address in self.servers)


def plan(
    fleet: str, servers: Sequence[str], witness: str, groups: Sequence[str], admin: str, *, tls: bool, life_s: float
) -> Plan:
    """The plan that the command line asks for; raises Usage."""
    pairs = [_pair(text) for text in servers or LOOPBACK]
    if witness:
        pairs.append((WITNESS, _address(witness)))
    for label in (fleet, admin, *(name for name, _ in pairs)):
        if not is_name(label):
            raise Usage(f"fleet new: {ascii(label)[:60]} is no name: a-z, 0-9 and -, at most 63")
    names = [name for name, _ in pairs]
    places = [str(address) for _, address in pairs]
    for found, what in ((names, "server"), (places, "address")):
        if len(set(found)) != len(found):
            raise Usage(f"fleet new: each {what} once, found {', '.join(found)}")
    if not witness and WITNESS in names:
        raise Usage("fleet new: the witness is given with --witness HOST[:PORT]")
    return Plan(fleet, tuple(pairs), tuple(_group(text, names) for text in groups), admin, tls, life_s)


def _pair(text: str) -> tuple[str, Address]:
    name, equals, place = text.partition("=")
    if not equals:
        raise Usage(f"fleet new: --server NAME=HOST[:PORT], found {ascii(text)[:60]}")
    return name, _address(place)


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except AddressRefused as error:
        raise Usage(f"fleet new: {error}") from error


def _group(text: str, names: Sequence[str]) -> Group:
    name, equals, members = text.partition("=")
    if not equals or not is_name(name):
        raise Usage(f"fleet new: --group NAME=HUB,HUB, found {ascii(text)[:60]}")
    unknown = [one for one in members.split(",") if one not in names]
    if unknown:
        raise Usage(f"fleet new: group {name}: {ascii(unknown[0])[:60]} is none of {', '.join(names)}")
    return Group(name, members.split(","))


def make(wanted: Plan, root: Path, now: float) -> list[str]:
    """Make what is missing; what was made or kept, a line each. Safe to run again: no key is ever written over."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    fleet = FleetDir(root)
    said = [f"{root / 'fleet.key'}: {'kept' if (root / 'fleet.key').exists() else 'made'}"]
    founding.make_fleet_key(root)
    if wanted.has_tls and fleet.make_authorities(wanted.fleet, now):
        said.append(f"{fleet.ca_file}: root certificate, and the issuing authority below it")
    roster = fleet.roster()
    if roster is None:
        roster = _first_roster(wanted, fleet)
        fleet.seal(roster)
        said.append(f"{fleet.roster_file}: version 1")
    else:
        said.append(
            f"{fleet.roster_file}: kept, version {roster.version}; change it with hubdeck server, hub, operator"
        )
    for server in roster.servers:
        # A server that was replaced has a folder of its own by now; the first one is not made again.
        if (root / server.hub / "hub.key").exists():
            said += write_hub_folder(fleet, roster, server.hub, root / server.hub, now, wanted.life_s)
    if not fleet.console_config.exists():
        write_yaml(
            fleet.console_config, console_config(fleet, roster, wanted.admin, f"{wanted.admin}.key", with_keys=True)
        )
        said.append(f"{fleet.console_config}: console of {wanted.admin}")
    return [*said, "", *next_steps(fleet, roster, root)]


def _first_roster(wanted: Plan, fleet: FleetDir) -> Roster:
    hubs, servers = [], []
    for name, address in wanted.servers:
        keys = founding.make_keys(fleet.root / name / "hub.key")
        hubs.append(Hub(name, keys.login, keys.signing))
        role = "witness" if name == WITNESS else "hub-server"
        servers.append(Server(name, [url(address, tls=True if wanted.force_tls else None)], role, hub=name))
    mine = founding.make_keys(fleet.root / f"{wanted.admin}.key")
    admin = Operator(wanted.admin, mine.login, mine.signing, "admin")
    return Roster(1, wanted.fleet, 1, hubs, [admin], servers, list(wanted.groups))


def next_steps(fleet: FleetDir, roster: Roster, root: Path) -> list[str]:
    """The next commands, exactly."""
    lines = ["next:"]
    for server in roster.servers:
        lines += start_lines(server, root / server.hub)
    lines += [
        f"  hubdeck status -c {fleet.console_config}",
        f"  hubdeck invite HUB -c {fleet.console_config}",
        "keep this directory off the servers: it holds the fleet key"
        + (" and the root of all certificates" if any(uses_tls(one) for one in roster.servers) else ""),
    ]
    return lines


def start_lines(server: Server, folder: Path) -> list[str]:
    """How the hub of a server is started, on this machine or on its own."""
    host = parse_address(server.urls[0]).host
    if is_loopback(host):
        return [f"  hubagent run -c {folder}/hubagent.yaml"]
    place = "/var/lib/hubdeck"
    return [
        f"  scp -r {folder} root@{host}:{place}",
        f"  ssh root@{host} /opt/hubdeck/bin/hubagent install",
    ]
