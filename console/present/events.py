"""The alerts view: what is raised now on each hub, then the records as they came, newest first."""

from collections.abc import Iterable, Sequence
from itertools import count

from console.fleet import Event, Fleet
from console.present.states import Outlook, symbol
from console.present.text import Column, Line, Row, Span, line, safe
from console.present.units import age, clock
from console.present.views import Order, Subject

SEVERITY_WORDS = {"critical": "CRIT", "warning": "WARN", "ok": "OK"}
_COLUMNS = (
    Column("TIME", 8),
    Column("STATE", 6),
    Column("HUB", 12, flex=1),
    Column("KIND", 14, drop=1),
    Column("BY", 8, drop=2),
    Column("WHAT", 20, flex=5),
)


class Alerts:
    """View 4."""

    name = "alerts"
    title = "Alerts and events"
    sorts: Sequence[str] = ("time",)

    def columns(self, width: int, *, is_wide: bool) -> Sequence[Column]:
        """The same at every width."""
        return _COLUMNS

    def keys(self, fleet: Fleet, look: Outlook, order: Order) -> list[str]:
        """Raised alerts by hub, then events by identity, so that the cursor stays on what it is on."""
        raised = [hub for hub in fleet.hubs.values() if hub.live and hub.live.alerts and hub.live.alerts.n]
        alerts = [
            f"!{hub.id}"
            for hub in sorted(raised, key=lambda hub: hub.id)
            if order.filter.holds(
                f"{hub.id} {hub.live.alerts.worst if hub.live and hub.live.alerts else ''}", hub.labels
            )
        ]
        events = [key for key, event in _keyed(fleet.events) if _stays(fleet, event, order)]
        return [*alerts, *(events if order.is_reversed else reversed(events))]

    def row(self, fleet: Fleet, key: str, look: Outlook) -> Row:
        """An alert, or an event."""
        if key.startswith("!"):
            return _alert_row(fleet, key, look)
        event = next((event for name, event in _keyed(fleet.events) if name == key), None)
        return Row(key, event_cells(event, look)) if event else Row(key, (Span("-"),))

    def subject(self, fleet: Fleet, key: str) -> Subject:
        """The hub of this row."""
        return Subject(hub=key[1:] if key.startswith("!") else key.partition("/")[0])

    def empty(self, fleet: Fleet, look: Outlook) -> str:
        """Why there is no row."""
        return "no alert is raised, and no event has been read yet"


def event_cells(event: Event, look: Outlook) -> tuple[Span, ...]:
    """Time, severity, hub, kind, actor and text."""
    record = event.record
    word = SEVERITY_WORDS.get(record.severity, "UNKN")
    mark = Span(f"{symbol(word, is_ascii=look.is_ascii)} {word}", tone_of(record.severity))
    reason = f" ({safe(record.reason, 80)})" if record.reason else ""
    return (
        Span(clock(record.t), "dim"), mark, Span(event.hub), Span(safe(record.kind, 24), "dim"),
        Span(safe(record.actor or "", 20)), Span(safe(record.text) + reason),
    )  # fmt: skip


def event_line(event: Event, look: Outlook) -> Line:
    """An event of one hub on one line."""
    time, mark, _, kind, actor, what = event_cells(event, look)
    by = [Span(f" {actor.text}")] if actor.text else []
    return line(time, " ", Span(f"{mark.text:7}", mark.tone), Span(kind.text, "dim"), *by, "  ", what)


def tone_of(severity: str) -> str:
    """The tone of a wire severity; an unknown word is shown as such."""
    return {"critical": "crit", "warning": "warn", "ok": ""}.get(severity, "lost")


def _alert_row(fleet: Fleet, key: str, look: Outlook) -> Row:
    hub = fleet.hub(key[1:])
    alerts = hub.live.alerts if hub.live else None
    word = SEVERITY_WORDS.get(hub.live.severity if hub.live else "", "UNKN")
    word = "WARN" if word == "OK" else word
    mark = Span(f"{symbol(word, is_ascii=look.is_ascii)} {word}", word.lower() if word != "UNKN" else "lost")
    many = f" (+{alerts.n - 1} more, enter shows them)" if alerts and alerts.n > 1 else ""
    text = f"{safe(alerts.worst)}{many}" if alerts else "cleared"
    return Row(key, (Span(f"{age(hub.age(look.now))} ago"), mark, Span(hub.id), Span("raised"), Span(""), Span(text)))


def _keyed(events: Iterable[Event]) -> list[tuple[str, Event]]:
    """Each event with a key that stays when newer ones come."""
    seen: dict[str, count[int]] = {}
    keyed = []
    for event in events:
        name = f"{event.hub}/{event.record.boot}/{event.record.mono:.6f}/{event.record.kind}"
        keyed.append((f"{name}/{next(seen.setdefault(name, count()))}", event))
    return keyed


def _stays(fleet: Fleet, event: Event, order: Order) -> bool:
    record = event.record
    if order.is_folded and record.severity == "ok":
        return False
    words = f"{event.hub} {record.kind} {record.severity} {record.actor or ''} {record.text}"
    return order.filter.holds(words, {**fleet.hub(event.hub).labels, "kind": record.kind, "hub": event.hub})
