"""The first screen: the header's answers, and one of the table views below them."""

from collections.abc import Callable, Mapping

from textual.app import ComposeResult

from console.actions import CHANGES
from console.fleet import Hub
from console.present.buffers import Buffers
from console.present.commandline import VIEW_WORDS
from console.present.events import Alerts
from console.present.filters import Filter
from console.present.footer import status_line
from console.present.groups import Groups
from console.present.header import header
from console.present.hosts import FOLD, FOLD_MIN, Fleetwide
from console.present.logs import Logs
from console.present.services import Services
from console.present.states import Outlook
from console.present.text import Span
from console.present.views import Order, Subject, View
from console.screens.deck_screen import DeckScreen
from console.widgets.resource_table import ResourceTable
from console.widgets.text_lines import TextLines

SORT_FROZEN_SECONDS = 5.0  # after a key rows stay where they are, so that none is hit by mistake


class FleetScreen(DeckScreen):
    """Views 1 to 7 over one table; the tree of widgets never changes."""

    def __init__(self) -> None:
        super().__init__(id="fleet")
        self.views: dict[str, View] = {
            one.name: one for one in (Fleetwide(), Buffers(), Services(), Alerts(), Groups(), Logs())
        }
        self.view: View = self.views["fleet"]
        self.previous = "fleet"
        self.orders = {name: Order(view.sorts[0]) for name, view in self.views.items()}
        self.is_wide = False
        self.fold_wish: bool | None = None  # None: folded when there are many
        self._reordered = True

    def compose(self) -> ComposeResult:
        """Header, rule, table, status, keys."""
        yield TextLines(id="head", is_growing=True)
        yield ResourceTable(id="table", ellipsis="~" if self.deck.is_ascii else "…")
        yield TextLines(id="status")
        yield TextLines(id="keys")

    @property
    def table(self) -> ResourceTable:
        """The one table."""
        return self.query_one("#table", ResourceTable)

    @property
    def order(self) -> Order:
        """How the shown view is ordered now."""
        return self.orders[self.view.name]

    @property
    def doings(self) -> Mapping[str, Callable[[], None]]:
        """What keys do here."""
        table = self.table
        looking: dict[str, Callable[[], None]] = {
            "down": lambda: table.move(1),
            "up": lambda: table.move(-1),
            "top": lambda: table.move_to(0),
            "bottom": lambda: table.move_to(len(table.keys) - 1),
            "page_down": lambda: table.move(table.page),
            "page_up": lambda: table.move(-table.page),
            "next_match": lambda: table.move(1),
            "previous_match": lambda: table.move(-1),
            "open": self.open,
            "details": self._open_details,
            "back": self.back,
            "filter": lambda: self.ask("/", self.order.filter.text),
            "command": lambda: self.ask(":"),
            "palette": self.deck.open_palette,
            "mark": self._mark,
            "mark_all": lambda: table.marked.update(key for key in table.keys if key != FOLD),
            "unmark_all": table.marked.clear,
            "wide": lambda: setattr(self, "is_wide", not self.is_wide),
            "troubled": self._fold,
            "sort": self._sort,
            "reverse": lambda: self._reorder(is_reversed=not self.order.is_reversed),
            "freeze": self.deck.toggle_freeze,
            "raw": lambda: self.deck.show_raw(self.subject().hub),
            "logs": lambda: self.deck.follow(self.subject()),
            "help": self.deck.show_help,
            "view_previous": lambda: self.show_view(self.previous),
        }
        looking |= {f"view_{name}": lambda name=name: self.show_view(name) for name in VIEW_WORDS}  # type: ignore[misc]
        return looking | {one.name: lambda one=one: self.deck.act(one, self.subjects()) for one in CHANGES}

    def paint(self, look: Outlook) -> None:
        """Header, rows in order, status and keys."""
        fleet, width = self.deck.fleet, self.size.width
        rule = (Span(("-" if look.is_ascii else "─") * width, "rule"),)
        head = header(fleet, look, self.deck.me, width, frozen_s=self.deck.frozen_for)
        self.query_one("#head", TextLines).show([*head, rule])
        self._paint_table(look)
        shown = self.table.visible_range()
        status = status_line(
            self.view.title, (shown.start, shown.stop, len(self.table.keys)), self._shown_order(),
            len(self.table.marked), self.deck.notice(look.now), width,
        )  # fmt: skip
        self.query_one("#status", TextLines).show([status])
        self.query_one("#keys", TextLines).show([self.bottom_line()])

    def subject(self) -> Subject:
        """What the cursor is on."""
        key = self.table.cursor_key
        return self.view.subject(self.deck.fleet, key) if key else Subject()

    def subjects(self) -> list[Subject]:
        """What is marked; where nothing is, what the cursor is on."""
        keys = [key for key in self.table.keys if key in self.table.marked]
        found = [self.view.subject(self.deck.fleet, key) for key in keys]
        return [one for one in found if any(one)] or [self.subject()]

    def show_view(self, name: str) -> None:
        """Switch to another view; marks do not travel."""
        if name != self.view.name:
            self.previous, self.view = self.view.name, self.views[name]
            self.table.clear()
        self._reordered = True

    def set_filter(self, text: str) -> None:
        """Only rows of this text stay."""
        self._reorder(filter=Filter(text))

    def open(self) -> None:
        """Open the hub under the cursor; of a buffer, its completeness statement."""
        if self.view.name == "buffers" and self.subject().hub:
            self.deck.show_completeness(self.subject().hub)
        else:
            self._open_details()

    def _open_details(self) -> None:
        if self.table.cursor_key == FOLD:
            self._fold()
            return
        hub = self._hub_under_cursor()
        if hub is not None:
            self.deck.open_hub(hub.id)

    def back(self) -> None:
        """Clear what narrows the view, then return to the fleet, then ask for a second press to leave."""
        if self.order.filter.text or self.table.marked:
            self.set_filter("")
            self.table.marked.clear()
        elif self.view.name != "fleet":
            self.show_view("fleet")
        else:
            self.deck.leave()

    def filter_typed(self, text: str) -> None:
        """Rows follow while the filter is typed."""
        self.set_filter(text)

    def on_resource_table_opened(self) -> None:
        """A double click opens."""
        self.open()

    def _hub_under_cursor(self) -> Hub | None:
        subject = self.subject()
        if subject.group:
            named = self.deck.active_hub(subject.group)
            return self.deck.fleet.hubs.get(named)
        return self.deck.fleet.hubs.get(subject.hub)

    def _paint_table(self, look: Outlook) -> None:
        fleet, order, view = self.deck.fleet, self._shown_order(), self.view
        keys = view.keys(fleet, look, order)
        if not self._reordered and look.now - self.deck.key_at < SORT_FROZEN_SECONDS:
            keys = _in_old_order(self.table.keys, keys)
        self._reordered = False
        if self.deck.key_at == float("-inf") and keys:
            self.table.cursor_key = keys[0]  # nobody chose a row yet: the worst one
        columns = view.columns(self.size.width, is_wide=self.is_wide)
        self.table.show(columns, keys, lambda key: view.row(fleet, key, look), view.empty(fleet, look))

    def _shown_order(self) -> Order:
        if self.view.name != "fleet" or self.fold_wish is not None:
            return self.order._replace(is_folded=bool(self.fold_wish))
        is_plain = self.order.sort == "state" and not self.order.filter.text
        return self.order._replace(is_folded=is_plain and len(self.deck.fleet.hubs) > FOLD_MIN)

    def _mark(self) -> None:
        key = self.table.cursor_key
        if key and key != FOLD:
            self.table.marked ^= {key}
        self.table.move(1)

    def _fold(self) -> None:
        self.fold_wish = not self._shown_order().is_folded
        self._reordered = True

    def _sort(self) -> None:
        sorts = list(self.view.sorts)
        self._reorder(sort=sorts[(sorts.index(self.order.sort) + 1) % len(sorts)])

    def _reorder(self, **changes: object) -> None:
        self.orders[self.view.name] = self.order._replace(**changes)  # type: ignore[arg-type]
        self._reordered = True


def _in_old_order(old: list[str], new: list[str]) -> list[str]:
    """The rows of `new`, those that were there staying where they were."""
    there, kept = set(new), set(old)
    return [*(key for key in old if key in there), *(key for key in new if key not in kept)]
