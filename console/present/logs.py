"""The logs view: the output of the followed service, newest at the end."""

from collections.abc import Sequence

from console.fleet import Fleet
from console.present.states import Outlook
from console.present.text import Column, Row, Span, safe
from console.present.views import Order, Subject

_COLUMNS = (Column("SERVICE", 20, drop=1), Column("OUTPUT", 20, flex=1))


class Logs:
    """View 7."""

    name = "logs"
    title = "Logs"
    sorts: Sequence[str] = ("time",)

    def columns(self, width: int, *, is_wide: bool) -> Sequence[Column]:
        """The same at every width."""
        return _COLUMNS

    def keys(self, fleet: Fleet, look: Outlook, order: Order) -> list[str]:
        """Line numbers since the console started."""
        first = fleet.logs_total - len(fleet.logs)
        kept = [
            str(first + index)
            for index, one in enumerate(fleet.logs)
            if order.filter.holds(f"{one.service}@{one.hub} {one.text}", {"hub": one.hub, "service": one.service})
        ]
        return kept[::-1] if order.is_reversed else kept

    def row(self, fleet: Fleet, key: str, look: Outlook) -> Row:
        """One line of output."""
        index = int(key) - fleet.logs_total + len(fleet.logs)
        if not 0 <= index < len(fleet.logs):
            return Row(key, (Span("-"), Span("no longer kept", "dim")))
        one = fleet.logs[index]
        return Row(key, (Span(f"{safe(one.service, 30)}@{one.hub}", "dim"), Span(safe(one.text, 1000))))

    def subject(self, fleet: Fleet, key: str) -> Subject:
        """The service that wrote this line."""
        index = int(key) - fleet.logs_total + len(fleet.logs)
        if not 0 <= index < len(fleet.logs):
            return Subject()
        return Subject(hub=fleet.logs[index].hub, service=fleet.logs[index].service)

    def empty(self, fleet: Fleet, look: Outlook) -> str:
        """How to get lines."""
        return "nothing is followed: put the cursor on a hub or service and press l"
