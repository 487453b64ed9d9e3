"""Which roster is in force: the newest one that the fleet key signed; its version never falls."""

from dataclasses import dataclass

from hubagent.wire.roster import Roster, RosterRefused, open_roster
from hubagent.wire.signing import payload_hash


@dataclass(frozen=True, slots=True)
class Taken:
    """A newer roster, to be kept before anybody acts on it."""

    roster: Roster


@dataclass(frozen=True, slots=True)
class Known:
    """The one in force, again; or one that nobody needs to hear of."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A roster that is not taken, and why."""

    why: str


Verdict = Taken | Known | Refused


class RosterBook:
    """One hub's view of the roster; `in_force` changes only by `take`."""

    def __init__(self, fleet_key: str, first: Roster, sealed: bytes = b"") -> None:
        self.in_force = first
        self._fleet_key = fleet_key
        self._digest = payload_hash(sealed) if sealed else ""

    def judge(self, sealed: bytes) -> Verdict:
        """What to do with a roster that somebody offers; nothing changes yet."""
        try:
            offered = open_roster(self._fleet_key, sealed)
        except RosterRefused as error:
            return Refused(str(error))
        if offered.fleet != self.in_force.fleet:
            return Refused(f"it is of fleet {offered.fleet}, this hub is of {self.in_force.fleet}")
        if offered.version > self.in_force.version:
            return Taken(offered)
        if offered.version < self.in_force.version:
            return Refused(f"version {offered.version} is older than {self.in_force.version}, which is in force")
        if self._digest and payload_hash(sealed) != self._digest:
            return Refused(f"there are two rosters of version {offered.version}: two admins published at once")
        return Known()

    def take(self, roster: Roster, sealed: bytes) -> None:
        """Put a taken roster in force; what is kept on disk has been kept before."""
        assert roster.version > self.in_force.version, "a roster's version never falls"
        self.in_force, self._digest = roster, payload_hash(sealed)
