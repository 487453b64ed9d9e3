"""The fleet view: a row a hub, worst first, the healthy folded to a count when there are many."""

from collections.abc import Callable, Sequence

from console.fleet import Fleet, Hub
from console.present.states import RANK, STATES, Outlook, State, first_loss, hub_state, read, stuck_lanes, symbol, tone
from console.present.text import Column, Row, Span, safe
from console.present.units import age, percent, size, span
from console.present.views import Order, Subject
from hubagent.wire.reports import GroupState, Lane, Live

FOLD = "*healthy"  # the key of the row that counts the healthy; no hub can have it
HUB_WIDTH_MAX = 24  # longer ids are cut in the table, never where an action names its target
FOLD_MIN = 50  # below that many hubs nothing is folded unless asked

_NARROW = (
    Column("STATE", 6),
    Column("HUB", 8),
    Column("ROLE", 7, drop=1),
    Column("CPU%", 4, is_right=True, drop=3),
    Column("MEM%", 4, is_right=True, drop=4),
    Column("DISK%", 5, is_right=True, drop=2),
    Column("BUFFER", 20, drop=1),
    Column("AGE", 4, is_right=True),
    Column("WHY", 11, flex=5),
    Column("SERVICES", 8, is_right=True, drop=7),
    Column("LOAD", 5, is_right=True, drop=8),
    Column("VERSION", 8, drop=9),
)
_NARROW_COLUMNS = 9
WIDE_WIDTH = 110  # from here on services, load and version have room


class Fleetwide:
    """The first view."""

    name = "fleet"
    title = "Fleet"
    sorts: Sequence[str] = ("state", "loss", "hub", "cpu", "mem", "disk", "age")

    def __init__(self) -> None:
        self._hub_width = 8

    def columns(self, width: int, *, is_wide: bool) -> Sequence[Column]:
        """Nine columns, or all of them where there is room or they are asked for; the longest id sets its width."""
        shown = _NARROW if is_wide or width >= WIDE_WIDTH else _NARROW[:_NARROW_COLUMNS]
        return (shown[0], shown[1]._replace(width=self._hub_width), *shown[2:])

    def keys(self, fleet: Fleet, look: Outlook, order: Order) -> list[str]:
        """Hub ids in order; with `is_folded` the healthy become one row."""
        self._hub_width = min(max(map(len, fleet.hubs), default=8), HUB_WIDTH_MAX)
        states = {hub.id: hub_state(hub, look) for hub in fleet.hubs.values()}
        shown = [hub for hub in fleet.hubs.values() if _stays(hub, states[hub.id], order)]
        shown.sort(key=_sort_key(order.sort, states, look), reverse=order.is_reversed)
        if not order.is_folded:
            return [hub.id for hub in shown]
        troubled = [hub.id for hub in shown if states[hub.id].word != "OK"]
        return [*troubled, FOLD] if len(troubled) < len(shown) else troubled

    def row(self, fleet: Fleet, key: str, look: Outlook) -> Row:
        """One hub's row."""
        if key == FOLD:
            return _fold_row(fleet, look)
        return hub_row(fleet, fleet.hub(key), look)

    def subject(self, fleet: Fleet, key: str) -> Subject:
        """The hub of this row."""
        return Subject(hub=key) if key in fleet.hubs else Subject()

    def empty(self, fleet: Fleet, look: Outlook) -> str:
        """Why there is no row."""
        if fleet.hubs:
            return "no hub matches this filter; esc clears it"
        return "no hub has been heard yet" if look.has_link else "connecting: no hub server has answered yet"


def is_superseded(fleet: Fleet, hub: Hub) -> bool:
    """Tell whether others were heard to be active under higher epochs in every group in which this hub last said that it is."""
    said = {group.group: group.epoch for group in hub.live.groups if _is_active(group)} if hub.live else {}
    if not said:
        return False
    others = [group for other in fleet.hubs.values() if other.live for group in other.live.groups if _is_active(group)]
    return said.keys() <= {one.group for one in others if one.group in said and one.epoch > said[one.group]}


def _is_active(group: GroupState) -> bool:
    return group.role.startswith("ACTIVE")


def hub_row(fleet: Fleet, hub: Hub, look: Outlook) -> Row:
    """A hub as a row of the fleet view."""
    state, live = hub_state(hub, look), hub.live
    is_stale = state.word in {"LOST", "OLD"}
    figures = "dim" if is_stale else ""
    cells = (
        state_span(state.word, look),
        Span(hub.id or "?", tone(state.word) if state.word in {"CRIT", "LOST"} else ""),
        role_span(live, is_stale=is_stale or is_superseded(fleet, hub)),
        Span(percent(live.cpu if live else None), figures),
        Span(percent(live.mem if live else None), figures),
        Span(percent(live.disk.used if live and live.disk else None), figures),
        buffer_span(live, look, is_stale=is_stale),
        Span(age(hub.age(look.now)), "old" if is_stale else "dim"),
        Span(_why(hub, state), tone(state.word) if state.word in {"CRIT", "WARN"} else ""),
        Span(_services(live), figures),
        Span("-" if live is None or live.load1 is None else f"{live.load1:.1f}", figures),
        Span(safe(live.version, 8) if live else "-", "dim"),
    )
    return Row(hub.id, cells)


def state_span(word: str, look: Outlook) -> Span:
    """Symbol and word of a state, in its tone."""
    return Span(f"{symbol(word, is_ascii=look.is_ascii)} {word}", tone(word))


def role_span(live: Live | None, *, is_stale: bool = False) -> Span:
    """What the hub is in its groups: the weightiest role, short; of a silent hub what it was, and that is no news."""
    if live is None:
        return Span("-", "dim")
    if is_stale:  # never two ACTIVE in one view, not even where colours are not seen
        text = role_span(live).text
        return Span("active?" if text.startswith("ACTIVE") else text, "dim")
    roles = [group.role for group in live.groups]
    if any(role.startswith("ACTIVE") for role in roles):
        return Span("ACTIVE" if "ACTIVE" in roles else "ACTIVE~", "title")
    if "NO AUTHORITY" in roles:
        return Span("NO AUTH", "warn")
    if "STANDBY" in roles:
        return Span("standby")
    return Span("unknown", "lost") if roles else Span("member")


def buffer_span(live: Live | None, look: Outlook, *, is_stale: bool = False) -> Span:
    """Which destinations wait, since when, how much, and the time to the first loss."""
    if live is None or not live.lanes:
        return Span("-", "dim")
    stuck = stuck_lanes(live)
    if not stuck:
        draining = [lane for lane in live.lanes if lane.state == "DRAINING"]
        if draining:
            return Span(f"{_dests(draining, live)} draining", "busy")
        return Span("live", "dim" if is_stale else "")
    oldest = max((lane.oldest_s or 0.0 for lane in stuck), default=0.0)
    loss = first_loss(stuck)
    words = [_dests(stuck, live), age(oldest), size(sum(lane.bytes for lane in stuck))]
    is_own = any(lane.dest not in look.shared for lane in stuck) or any(lane.state != "BUFFERING" for lane in stuck)
    return Span(" ".join(words + ([age(loss)] if loss is not None else [])), "buff" if is_own else "dim")


def _dests(lanes: Sequence[Lane], live: Live) -> str:
    names = sorted({lane.dest for lane in lanes})
    if len(names) == 1:
        return safe(names[0], 10)
    return "both" if len({lane.dest for lane in live.lanes}) == 2 else f"{len(names)} dests"


def _why(hub: Hub, state: State) -> str:
    live = hub.live
    words = [safe(state.why)] if state.why else []
    if live and live.disk and live.disk.eta is not None and live.disk.eta < 86400:
        words.append(f"{safe(live.disk.mount, 20)} full in {span(live.disk.eta, live.disk.eta)}")
    if live and live.interval_s > 2:
        words.append(f"slow link, {live.interval_s:g}s")
    if not words and live and live.services and live.services.running < live.services.wanted:
        words.append(safe(live.services.worst))
    return "; ".join(words)


def _services(live: Live | None) -> str:
    return f"{live.services.running}/{live.services.wanted}" if live and live.services else "-"


def _fold_row(fleet: Fleet, look: Outlook) -> Row:
    healthy = sum(1 for hub in fleet.hubs.values() if hub_state(hub, look).word == "OK")
    blank = Span("")
    cells = [state_span("OK", look), Span(str(healthy), "ok"), *[blank] * 6, Span("healthy: z", "dim")]
    return Row(FOLD, (*cells, blank, blank, blank))


def _stays(hub: Hub, state: State, order: Order) -> bool:
    if not order.filter.text:
        return True
    live = hub.live
    roles = " ".join(f"{group.group} {group.role}" for group in live.groups) if live else ""
    words = f"{hub.id} {state.word} {state.why} {roles} {' '.join(hub.labels.values())}"
    return order.filter.holds(words, {**hub.labels, "state": state.word, "hub": hub.id})


_LAST = float("inf")


def _sort_key(sort: str, states: dict[str, State], look: Outlook) -> Callable[[Hub], tuple[float, float, str]]:
    """Worst or largest first; equal hubs by id, so that rows do not dance."""

    def loss(hub: Hub) -> float:
        found = read(hub, hub.live, look).loss_s if hub.live else None
        return _LAST if found is None else found

    figures: dict[str, Callable[[Hub], float]] = {
        "loss": loss,
        "hub": lambda _: 0.0,
        "cpu": lambda hub: -(hub.live.cpu or 0.0) if hub.live else _LAST,
        "mem": lambda hub: -(hub.live.mem or 0.0) if hub.live else _LAST,
        "disk": lambda hub: -hub.live.disk.used if hub.live and hub.live.disk else _LAST,
        "age": lambda hub: -(hub.age(look.now) or _LAST),
    }
    figure = figures.get(sort)
    if figure:
        return lambda hub: (figure(hub), 0.0, hub.id)
    return lambda hub: (RANK[states[hub.id].word], loss(hub), hub.id)


def totals(fleet: Fleet, look: Outlook) -> dict[str, int]:
    """How many hubs are in each state; the counts sum to the fleet."""
    counts = dict.fromkeys(STATES, 0)
    for hub in fleet.hubs.values():
        counts[hub_state(hub, look).word] += 1
    return counts
