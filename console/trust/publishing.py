"""Handing a new roster out: kept by the admin first, then to every server that can be reached, then who has taken it."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from console.commands.session import Session
from console.errors import Refused
from console.nats_side import NatsSide
from console.trust.files import FleetDir
from hubagent.wire import subjects
from hubagent.wire.codec import WireError, decode_any
from hubagent.wire.roster import Roster
from hubagent.wire.sanitise import clean_line

PUBLISH_SECONDS = 5.0
TAKEN_SECONDS = 10.0  # the promise: in force everywhere reachable within this
TAKEN = "taken"


@dataclass(slots=True)
class Handed:
    """What became of a new roster: by server, and the hubs that have or have not taken it."""

    version: int
    servers: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The same for scripts."""
        return {
            "roster_v": self.version, "servers": self.servers, "taken": self.taken, "waiting": self.waiting,
            "took_s": round(self.took_s, 3),
        }  # fmt: skip


def newest(visit: Session, fleet: FleetDir) -> Roster:
    """The roster to change: what the servers have, unless the admin's own is newer."""
    rosters = [one for one in (visit.fleet.roster, fleet.roster()) if one is not None]
    return max(rosters, key=lambda one: one.version)


def hand_out(
    visit: Session, fleet: FleetDir, base: Roster, roster: Roster, seconds: float = TAKEN_SECONDS,
    *, servers_only: bool = False, absent: str = "",
) -> Handed:  # fmt: skip
    """Sign, keep, publish; wait until every hub (or those with a server; not the absent one) has it, at most so long."""
    visit.take()
    if visit.fleet.roster is not None and visit.fleet.roster.version > base.version:
        raise Refused("roster", "version", "another admin changed it meanwhile; look at it and try again")
    began = visit.clock.monotonic()
    joining = [one for one in roster.joining if one.until > visit.clock.wall()]  # also those that an admin left behind
    sealed = fleet.seal(msgspec.structs.replace(roster, joining=joining))
    handed = Handed(roster.version, publish(visit, sealed))
    if TAKEN not in handed.servers.values():
        whys = "; ".join(f"{name}: {why}" for name, why in handed.servers.items())
        raise Refused(
            "roster", "published", f"no server took it ({whys}); it is kept in {fleet.roster_file}: run again"
        )
    awaited = {one.hub for one in roster.servers} if servers_only else {one.id for one in roster.hubs}
    awaited.discard(absent)
    visit.wait_until(lambda: not awaited & set(_waiting(visit, roster)), seconds)
    handed.waiting = _waiting(visit, roster)
    handed.taken = [one.id for one in roster.hubs if one.id not in handed.waiting]
    handed.took_s = visit.clock.monotonic() - began
    return handed


def _waiting(visit: Session, roster: Roster) -> list[str]:
    """The hubs that have not said that they have this version, or a later one."""
    lives = {hub.id: hub.live for hub in visit.fleet.hubs.values()}
    return [one.id for one in roster.hubs if (live := lives.get(one.id)) is None or live.roster_v < roster.version]


def publish(visit: Session, sealed: bytes) -> dict[str, str]:
    """To every server; each one's word."""

    async def everywhere(side: NatsSide) -> dict[str, str]:
        return {line.name: await _publish(side, number, sealed) for number, line in enumerate(side.lines)}

    return visit.get(visit.link.call(everywhere))


async def _publish(side: NatsSide, number: int, sealed: bytes) -> str:
    line = side.lines[number]
    if not line.is_connected:
        return "not connected: its own hub brings it the roster"
    message = await line.request(subjects.ROSTER, sealed, PUBLISH_SECONDS)
    if message is None:
        return f"no answer within {PUBLISH_SECONDS:g} s"
    try:
        answer = decode_any(message.data)
    except WireError as error:
        return str(error)
    if isinstance(answer, dict) and answer.get("stream") == "ROSTER":
        return TAKEN
    return clean_line(str(answer), 200)
