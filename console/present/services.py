"""The services view: how many run on each hub, and each service of the hubs whose detail is known."""

from collections.abc import Sequence

from console.fleet import Fleet, Hub
from console.present.states import Outlook
from console.present.text import Column, Row, Span, safe
from console.present.units import NONE, age, percent, size
from console.present.views import Order, Subject
from hubagent.wire.reports import Service

SERVICE_TONES = {
    "RUNNING": "good", "STARTING": "busy", "STOPPING": "busy", "BACKOFF": "warn", "EXITED": "warn", "FATAL": "crit",
    "STOPPED": "dim",
}  # fmt: skip

_COLUMNS = (
    Column("HUB", 12, flex=1),
    Column("SERVICE", 12, flex=1),
    Column("STATE", 9),
    Column("HEALTH", 7),
    Column("RELEASE", 8, drop=1),
    Column("UP", 4, is_right=True),
    Column("RESTARTS", 8, is_right=True, drop=2),
    Column("AGE", 4, is_right=True),
    Column("WHY", 8, flex=3, drop=4),
)


class Services:
    """View 3."""

    name = "services"
    title = "Services"
    sorts: Sequence[str] = ("trouble", "hub")

    def columns(self, width: int, *, is_wide: bool) -> Sequence[Column]:
        """The same at every width."""
        return _COLUMNS

    def keys(self, fleet: Fleet, look: Outlook, order: Order) -> list[str]:
        """`hub/` for a hub's totals, `hub/service` below it where the detail is known."""
        hubs = [hub for hub in fleet.hubs.values() if hub.live and hub.live.services]
        if order.is_folded:
            hubs = [hub for hub in hubs if _missing(hub)]
        hubs.sort(key=lambda hub: (0 if order.sort == "hub" else -_missing(hub), hub.id), reverse=order.is_reversed)
        return [key for hub in hubs for key in _keys_of(hub, order)]

    def row(self, fleet: Fleet, key: str, look: Outlook) -> Row:
        """A hub's totals, or one service."""
        hub_id, _, name = key.partition("/")
        hub = fleet.hub(hub_id)
        service = next((one for one in hub.detail.services if one.name == name), None) if hub.detail else None
        if name and service:
            seen = None if hub.detail_at is None else look.now - hub.detail_at
            return Row(key, (Span(""), *service_cells(service), Span(age(seen), "dim"), Span(safe(service.why))))
        return Row(key, _totals_cells(hub, look))

    def subject(self, fleet: Fleet, key: str) -> Subject:
        """The hub, and the service where the row is one."""
        hub, _, service = key.partition("/")
        return Subject(hub=hub, service=service)

    def empty(self, fleet: Fleet, look: Outlook) -> str:
        """Why there is no row."""
        return "no hub reports services, or none matches the filter"


def service_cells(service: Service) -> tuple[Span, ...]:
    """Name, state, health, release, uptime and restarts."""
    health = {True: Span("healthy", "good"), False: Span("SICK", "crit"), None: Span("unknown", "dim")}
    return (
        Span(safe(service.name, 40)),
        Span(safe(service.state, 12), SERVICE_TONES.get(service.state, "lost")),
        health[service.healthy],
        Span(safe(service.release, 20) or NONE),
        Span(age(service.up_s)),
        Span(str(service.restarts), "warn" if service.restarts else ""),
    )


def service_figures(service: Service) -> tuple[Span, ...]:
    """CPU and memory of one service."""
    return Span(percent(service.cpu)), Span(size(service.rss))


def _totals_cells(hub: Hub, look: Outlook) -> tuple[Span, ...]:
    totals = hub.live.services if hub.live else None
    if totals is None:
        return (Span(hub.id), Span(NONE))
    missing = totals.wanted - totals.running
    count = Span(f"{totals.running} of {totals.wanted} run", "warn" if missing > 0 else "")
    blank = Span("")
    known = "" if hub.detail else "enter shows each"
    why = Span(safe(totals.worst) if missing > 0 else known, "" if missing > 0 else "dim")
    return (Span(hub.id, "title"), count, blank, blank, blank, blank, blank, Span(age(hub.age(look.now)), "dim"), why)


def _keys_of(hub: Hub, order: Order) -> list[str]:
    names = [service.name for service in hub.detail.services] if hub.detail else []
    labels = {**hub.labels, "hub": hub.id}
    kept = [name for name in names if order.filter.holds(f"{hub.id} {name}", {**labels, "service": name})]
    worst = hub.live.services.worst if hub.live and hub.live.services else ""
    if kept or order.filter.holds(f"{hub.id} {worst}", labels):
        return [f"{hub.id}/", *(f"{hub.id}/{name}" for name in dict.fromkeys(kept))]
    return []


def _missing(hub: Hub) -> int:
    services = hub.live.services if hub.live else None
    return services.wanted - services.running if services else 0


SERVICE_COLUMNS = (
    Column("SERVICE", 12, flex=1),
    Column("STATE", 9),
    Column("HEALTH", 7),
    Column("RELEASE", 8),
    Column("UP", 4, is_right=True),
    Column("RESTARTS", 8, is_right=True),
    Column("CPU%", 4, is_right=True, drop=2),
    Column("RSS", 5, is_right=True, drop=3),
    Column("RUN", 10, drop=4),
    Column("WHY", 8, flex=3, drop=1),
)


def service_row(service: Service) -> Row:
    """A service of one hub."""
    run = f"{safe(service.run, 10)}" + (f" in {safe(service.group, 20)}" if service.group else "")
    exits = f"  last exits {', '.join(safe(one, 12) for one in service.exits[-3:])}" if service.exits else ""
    cells = (*service_cells(service), *service_figures(service), Span(run, "dim"), Span(safe(service.why) + exits))
    return Row(service.name, cells)
