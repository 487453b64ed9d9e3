"""The buffers view: a row for each hub, destination and lane, the nearest loss first."""

from collections.abc import Sequence

from console.fleet import Fleet, Hub
from console.present.copies import copies_span
from console.present.states import STUCK, Outlook
from console.present.text import Column, Row, Span, safe
from console.present.units import age, rate, size
from console.present.views import Order, Subject
from hubagent.wire.reports import Lane

_LAST = float("inf")
LANE_TONES = {"LIVE": "good", "DRAINING": "busy", "BUFFERING": "buff", "SHEDDING": "crit", "BLOCKED": "warn"}

_COLUMNS = (
    Column("HUB", 12, flex=1),
    Column("TO", 8, flex=1),
    Column("LANE", 4),
    Column("STATE", 9),
    Column("CHUNKS", 6, is_right=True),
    Column("BYTES", 5, is_right=True),
    Column("OLDEST", 6, is_right=True),
    Column("LOSS IN", 7, is_right=True),
    Column("AGE", 4, is_right=True),
    Column("WHY", 8, flex=3, drop=1),
)


class Buffers:
    """View 2."""

    name = "buffers"
    title = "Buffers"
    sorts: Sequence[str] = ("loss", "bytes", "hub")

    def columns(self, width: int, *, is_wide: bool) -> Sequence[Column]:
        """The same at every width."""
        return _COLUMNS

    def keys(self, fleet: Fleet, look: Outlook, order: Order) -> list[str]:
        """`hub/destination/lane`, the nearest loss first."""
        found = [
            (f"{hub.id}/{lane.dest}/{lane.lane}", lane)
            for hub in fleet.hubs.values()
            for lane in (hub.live.lanes if hub.live else ())
            if _stays(hub, lane, order)
        ]
        found.sort(key=lambda one: (*_rank(one[1], order.sort), one[0]), reverse=order.is_reversed)
        return list(dict.fromkeys(key for key, _ in found))

    def row(self, fleet: Fleet, key: str, look: Outlook) -> Row:
        """One lane's row."""
        hub, lane = _find(fleet, key)
        if hub is None or lane is None:
            return Row(key, (Span(safe(key)), Span("gone", "dim")))
        return Row(key, (Span(hub.id), *lane_cells(lane), Span(age(hub.age(look.now)), "dim"), _why(hub, lane, look)))

    def subject(self, fleet: Fleet, key: str) -> Subject:
        """The hub of this row."""
        return Subject(hub=key.partition("/")[0])

    def empty(self, fleet: Fleet, look: Outlook) -> str:
        """Why there is no row."""
        return "no hub has reported a lane yet, or none matches the filter"


def lane_cells(lane: Lane) -> tuple[Span, ...]:
    """Destination, lane, state, depth, oldest age and time to the first loss."""
    return (
        Span(safe(lane.dest, 24)),
        Span(safe(lane.lane, 8)),
        Span(safe(lane.state, 12), LANE_TONES.get(lane.state, "lost")),
        Span(str(lane.chunks)),
        Span(size(lane.bytes)),
        Span(age(lane.oldest_s)),
        Span(age(lane.loss_s), "warn" if lane.loss_s is not None else "dim"),
    )


def _why(hub: Hub, lane: Lane, look: Outlook) -> Span:
    """Why the lane is stuck; where it is not, how the servers' copies compare."""
    copies = copies_span(hub, lane.lane, look.now)
    return Span(safe(lane.why)) if lane.why and copies.tone != "crit" else copies


def lane_rates(lane: Lane) -> str:
    """In, out and drain time, where the detail has them."""
    drain = f", drained in {age(lane.drain_s)}" if lane.drain_s is not None else ""
    return f"in {rate(lane.in_rate)} out {rate(lane.out_rate)}{drain}"


def _rank(lane: Lane, sort: str) -> tuple[float, ...]:
    if sort == "hub":
        return ()
    loss = _LAST if lane.loss_s is None else lane.loss_s
    return (-lane.bytes, loss) if sort == "bytes" else (loss, 0.0 if lane.state in STUCK else 1.0, -lane.bytes)


def _stays(hub: Hub, lane: Lane, order: Order) -> bool:
    if order.is_folded and lane.state == "LIVE":
        return False
    words = f"{hub.id} {lane.dest} {lane.lane} {lane.state} {lane.why}"
    return order.filter.holds(words, {**hub.labels, "state": lane.state, "dest": lane.dest, "lane": lane.lane})


def _find(fleet: Fleet, key: str) -> tuple[Hub | None, Lane | None]:
    hub_id, _, rest = key.partition("/")
    hub = fleet.hubs.get(hub_id)
    lanes = hub.live.lanes if hub and hub.live else ()
    return hub, next((lane for lane in lanes if f"{lane.dest}/{lane.lane}" == rest), None)
