"""Everything that can be said of a hub's lanes by reading them on every server: complete or not, equal or not."""

from dataclasses import dataclass

from console.copies import Comparison, compare
from console.errors import NotConnected, StreamUnread
from console.nats_side import NatsSide
from console.reading import refill, tally
from console.records import Spans, Statement, Tally, holes, state


@dataclass(frozen=True, slots=True)
class LaneReading:
    """One lane of one hub as the servers have it; `unread`: server → why it could not be read."""

    hub: str
    lane: str
    tallies: dict[str, Tally]
    unread: dict[str, str]
    refilled: Spans

    def statement(self) -> Statement:
        """The completeness statement over all copies."""
        return state(self.lane, list(self.tallies.values()), self.refilled)

    def comparison(self) -> Comparison:
        """How the copies compare; digests must have been kept."""
        return compare(self.lane, self.tallies, self.unread)


async def read_lane(
    side: NatsSide, hub: str, lane: str, *, since: float | None, keeps_digests: bool = True, refills: bool = True
) -> LaneReading:
    """Read one lane on every server, and ask the hub for what none has."""
    tallies, unread = dict[str, Tally](), dict[str, str]()
    for line in side.lines:
        try:
            tallies[line.name] = await tally(side, line, hub, lane, since=since, keeps_digests=keeps_digests)
        except (StreamUnread, NotConnected) as error:
            unread[line.name] = str(error)
    counted = list(tallies.values())
    missing = holes(counted, from_start=all(one.from_start for one in counted))
    filled = await refill(side, hub, lane, missing) if refills else Spans()
    return LaneReading(hub, lane, tallies, unread, filled)
