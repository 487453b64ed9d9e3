"""The first start of a hub: make its keys and config, and check what is there."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml

from hubagent import config, group_checks
from hubagent.clock import Clock, SystemClock
from hubagent.config import Settings
from hubagent.edges import certificates, server, state_dir
from hubagent.errors import ConfigError, HubagentError
from hubagent.wire import signing
from hubagent.wire.permissions import HUB_SERVER
from hubagent.wire.roster import Roster, Server
from hubagent.wire.subjects import NameRefused, name


def key_path(settings: Settings) -> Path:
    """Where the hub's keys lie."""
    return Path(settings.hub.key_file or settings.state_dir / "hub.key")


def roster_path(settings: Settings) -> Path:
    """Where the roster lies."""
    return Path(settings.hub.roster_file or settings.state_dir / "roster.json")


def fleet_key(settings: Settings) -> str:
    """The public key that signs rosters: from the config, else from `fleet.pub`."""
    return settings.hub.fleet_key or state_dir.load_fleet_key(settings.state_dir / "fleet.pub")


def load_roster(settings: Settings) -> Roster:
    """The roster in force, with this hub in it."""
    roster = state_dir.load_roster(roster_path(settings), fleet_key(settings))
    keys = state_dir.load_keys(key_path(settings))
    known = roster.hub(settings.hub.id)
    path = str(roster_path(settings))
    if known is None:
        raise state_dir.StateRefused(path, f"hub {settings.hub.id} is not in it", "have the admin add the hub")
    if (known.login, known.signing) != (keys.login_public, keys.signer.public):
        raise state_dir.StateRefused(
            path, f"it has other keys for hub {settings.hub.id}", "have the admin take over the new ones"
        )
    return roster


def safe_urls(server: Server) -> list[str]:
    """The roster's addresses of a server; StateRefused where one would go in plain text beyond loopback."""
    for url in server.urls:
        if fault := config.url_fault(url):
            raise state_dir.StateRefused("roster", f"server {server.name}: {ascii(url)[:80]}", f"it must be {fault}")
    return server.urls


def with_urls(settings: Settings, roster: Roster) -> Settings:
    """The same settings with the roster's addresses where the config gives none.

    A config that gives no address at all leaves it to the roster which servers there are, too.
    """
    if not any(one.urls for one in settings.destinations):
        settings = _with_servers(settings, roster)
    known = {server.name: server for server in roster.servers}

    def urls(name: str, own: list[str]) -> list[str]:
        if own:
            return own
        if name not in known:
            where = f"server {name} has no address"
            raise state_dir.StateRefused("roster", where, "have the admin add it, or set urls in the config")
        return safe_urls(known[name])

    destinations = [msgspec.structs.replace(one, urls=urls(one.name, one.urls)) for one in settings.destinations]
    witness = settings.witness and msgspec.structs.replace(
        settings.witness, urls=urls("witness", settings.witness.urls)
    )
    return msgspec.structs.replace(settings, destinations=destinations, witness=witness)


def _with_servers(settings: Settings, roster: Roster) -> Settings:
    """Every hub server of the roster as a destination, and its witness: as the config has them, else as its first."""
    first = settings.destinations[0]
    had = {one.name: one for one in settings.destinations}
    destinations = [
        had.get(server.name) or msgspec.structs.replace(first, name=server.name)
        for server in roster.servers
        if server.role == HUB_SERVER
    ]
    witness = settings.witness
    if witness is None and any(server.name == "witness" for server in roster.servers):
        witness = config.WitnessSettings(ca_file=first.ca_file)
    elif witness is not None and not witness.urls and all(server.name != "witness" for server in roster.servers):
        witness = None
    return msgspec.structs.replace(settings, destinations=destinations or settings.destinations, witness=witness)


def make(path: Path, hub: str, directory: str, servers: Sequence[str]) -> list[str]:
    """Make keys and a first config where there are none; what was done, and what to do next, a line each."""
    try:
        name(hub, "hub")
    except NameRefused as error:
        raise ConfigError("--hub", 0, "hub", "a name: a-z, 0-9 and -", ascii(hub)[:80]) from error
    state = Path(directory)
    keys = state / "hub.key"
    said = [f"{keys}: kept" if keys.exists() else f"{keys}: made"]
    if not keys.exists():
        state.mkdir(parents=True, exist_ok=True, mode=0o750)
        _write_keys(keys)
    made = signing.parse_keys(keys.read_text())
    if path.exists():
        said.append(f"{path}: kept")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(_first_config(hub, directory, servers), sort_keys=False))
        said.append(f"{path}: made")
    return [
        *said,
        f"login key   {made.login_public}",
        f"signing key {made.signer.public}",
        f"next: have the fleet's admin add both keys, copy roster.json and fleet.pub to {state}, then: hubagent check -c {path}",
    ]


def _write_keys(path: Path) -> None:
    seeds = "".join(signing.seed_from(os.urandom(32)) + "\n" for _ in range(2))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(seeds)


def _first_config(hub: str, directory: str, servers: Sequence[str]) -> dict[str, object]:
    pairs = [one.partition("=") for one in servers] or [("central", "=", "tls://central:4222")]
    return {
        "hub": {"id": hub, "state_dir": directory},
        "destinations": [{"name": label, "urls": [url]} for label, _, url in pairs],
        "services": [],
    }


def check(settings: Settings, clock: Clock | None = None) -> list[str]:
    """Everything about this hub's files that would stop it, in words; empty where nothing would."""
    faults: list[str] = []
    for test in (lambda: state_dir.load_keys(key_path(settings)), lambda: load_roster(settings)):
        try:
            test()
        except HubagentError as error:
            faults.append(str(error))
    if not faults:
        faults += group_checks.faults(settings, load_roster(settings))
    if settings.server is not None:
        try:
            server.find_binary(settings.server.binary)
        except HubagentError as error:
            faults.append(str(error))
        if settings.server.cert_file:
            faults += _certificate_faults(Path(settings.server.cert_file), (clock or SystemClock()).wall())
    return list(dict.fromkeys(faults))


def warnings(settings: Settings) -> list[str]:
    """What is accepted and costs something; call it where `check` found nothing."""
    return group_checks.warnings(settings, load_roster(settings))


def _certificate_faults(path: Path, now: float) -> list[str]:
    try:
        held = certificates.read_validity(path)
    except HubagentError as error:
        return [str(error)]
    if not held.begins <= now < held.ends:
        return [f"{path}: the certificate has expired or is not valid yet; have it renewed, and compare the clocks"]
    return []
