"""Collects the facts: knocks at every server, logs in, and listens to the hubs for a moment."""

import argparse
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from console import config
from console.commands.session import HEAR_SECONDS, Session, session
from console.config import Settings
from console.doctor.facts import Facts, Greeting, HubFacts, LocalFacts, ServerFacts
from console.doctor.greet import greet
from console.doctor.local import look_around
from console.errors import ConsoleError
from console.fleet import Hub
from console.key_files import fleet_key
from console.nats_side import NatsSide
from hubagent.wire.roster import Roster

SERVERS_MAX = 32


def collect(options: argparse.Namespace) -> Facts:
    """One look; what cannot be seen is left out, and the checks say so."""
    path = Path(options.config) if options.config else config.default_path()
    settings = config.load(path)
    local = look_around(settings, path)
    with session(options) as visit:
        why = _hear(visit, options)
        servers = _servers(settings, visit.fleet.roster)
        with ThreadPoolExecutor(max_workers=8) as pool:
            greeted = list(pool.map(lambda one: _greeted(one, settings, visit), servers))
        seen = [replace(one, is_up=False, why=why) for one in greeted] if why else _visited(visit, settings, greeted)
        return _facts(visit, local, tuple(seen))


def _facts(visit: Session, local: LocalFacts, servers: tuple[ServerFacts, ...]) -> Facts:
    now, wall = visit.clock.monotonic(), visit.clock.wall()
    hubs = [_hub(hub, now, wall) for _, hub in sorted(visit.fleet.hubs.items())]
    link = visit.link
    return Facts(wall, link.identity, link.role, local, visit.fleet.roster, servers, tuple(hubs), link.dropped)


def _hear(visit: Session, options: argparse.Namespace) -> str:
    """Wait for every hub's summary and detail; why nothing can be heard at all, else empty."""
    try:
        visit.connect()
        hubs = sorted(visit.fleet.hubs)
        visit.ask_details(hubs)
        seconds = HEAR_SECONDS if options.wait is None else options.wait
        visit.wait_until(lambda: all(hub.live and hub.detail for hub in visit.fleet.hubs.values()), seconds)
    except ConsoleError as error:
        return str(error) if visit.link.failure else ""
    return ""


def _servers(settings: Settings, roster: Roster | None) -> list[ServerFacts]:
    """The config's servers first, then those that only the roster knows, as the witness."""
    known = {one.name: one for one in roster.servers} if roster else {}
    found = [
        ServerFacts(
            one.name,
            known[one.name].role if one.name in known else "hub-server",
            known[one.name].hub if one.name in known else "",
            tuple(one.urls),
        )
        for one in settings.servers
    ]
    names = {one.name for one in found}
    found += [
        ServerFacts(one.name, one.role, one.hub, tuple(one.urls)) for one in known.values() if one.name not in names
    ]
    return found[:SERVERS_MAX]


def _ca_file(name: str, settings: Settings) -> str:
    """The server's own, else the fleet's: the first that the config names."""
    own = next((one.ca_file for one in settings.servers if one.name == name), "")
    return own or next((one.ca_file for one in settings.servers if one.ca_file), "")


def _greeted(server: ServerFacts, settings: Settings, visit: Session) -> ServerFacts:
    ca_file = _ca_file(server.name, settings)
    greetings: Iterable[Greeting] = (greet(url, ca_file, visit.clock) for url in server.urls)
    return replace(server, greetings=tuple(greetings))


def _visited(visit: Session, settings: Settings, servers: list[ServerFacts]) -> list[ServerFacts]:
    """Each server after a login; on the link's own loop, one after the other."""
    from console.doctor.visit import visit as log_in
    from console.logins import LoginRefused, login

    configured = {one.name: one for one in settings.servers}

    async def all_of(side: NatsSide) -> list[ServerFacts]:
        key, role = fleet_key(settings), visit.link.role
        seen = []
        for one in servers:
            try:
                entry = login(configured.get(one.name), side.keys.login_seed)
            except LoginRefused as error:
                seen.append(replace(one, is_up=False, why=str(error)))
                continue
            ca_file = _ca_file(one.name, settings)
            seen.append(await log_in(one, ca_file, settings.identity, entry, role, key, visit.clock))
        return seen

    return visit.get(visit.link.call(all_of))


def _hub(hub: Hub, now: float, wall: float) -> HubFacts:
    age, live = hub.age(now), hub.live
    skew = live.t - (wall - age) if live is not None and age is not None else None
    return HubFacts(hub.id, hub.is_in_roster, age, live, hub.detail, skew)
