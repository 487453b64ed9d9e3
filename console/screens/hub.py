"""One hub in detail: figures, services with a cursor, events."""

from collections.abc import Callable, Mapping
from itertools import islice

from textual.app import ComposeResult

from console.actions import CHANGES
from console.present.detail import detail_head, detail_lines
from console.present.events import event_line
from console.present.footer import status_line
from console.present.services import SERVICE_COLUMNS, service_row
from console.present.states import Outlook
from console.present.text import Line, Span, crop, line
from console.present.views import Order, Subject
from console.screens.deck_screen import DeckScreen
from console.widgets.resource_table import ResourceTable
from console.widgets.text_lines import TextLines

EVENTS_SHOWN = 100


class HubScreen(DeckScreen):
    """Watches one hub while it is open."""

    def __init__(self, hub: str) -> None:
        super().__init__(id="hub")
        self.hub_id = hub

    def compose(self) -> ComposeResult:
        """Figures, services, events; tab goes from one to the next."""
        yield TextLines(id="hub-head")
        yield TextLines(id="figures", can_focus=True)
        yield ResourceTable(id="services", ellipsis="~" if self.deck.is_ascii else "…")
        yield TextLines(id="events", can_focus=True)
        yield TextLines(id="status")
        yield TextLines(id="keys")

    def on_mount(self) -> None:
        """Ask for the detail, and put the cursor on the services."""
        self.deck.link.watch(self.hub_id)
        self.services.focus()

    def on_unmount(self) -> None:
        """Nobody watches any more."""
        self.deck.link.watch(None)

    @property
    def services(self) -> ResourceTable:
        """The services of this hub."""
        return self.query_one("#services", ResourceTable)

    @property
    def doings(self) -> Mapping[str, Callable[[], None]]:
        """What keys do here."""
        looking: dict[str, Callable[[], None]] = {
            "down": lambda: self._move(1),
            "up": lambda: self._move(-1),
            "top": lambda: self._move(-100_000),
            "bottom": lambda: self._move(100_000),
            "page_down": lambda: self._move(self.services.page),
            "page_up": lambda: self._move(-self.services.page),
            "back": self.deck.close_screen,
            "view_previous": self.deck.close_screen,
            "raw": lambda: self.deck.show_raw(self.hub_id),
            "logs": lambda: self.deck.follow(self.subject()),
            "open": lambda: self.deck.follow(self.subject()),
            "freeze": self.deck.toggle_freeze,
            "command": lambda: self.ask(":"),
            "palette": self.deck.open_palette,
            "help": self.deck.show_help,
        }
        return looking | {one.name: lambda one=one: self.deck.act(one, [self.subject()]) for one in CHANGES}

    def subject(self) -> Subject:
        """The service under the cursor on this hub."""
        return Subject(hub=self.hub_id, service=self.services.cursor_key)

    def paint(self, look: Outlook) -> None:
        """Every pane from the model."""
        hub, width = self.deck.fleet.hub(self.hub_id), self.size.width
        rule = (Span(("-" if look.is_ascii else "─") * width, "rule"),)
        self.query_one("#hub-head", TextLines).show([detail_head(hub, look, width), rule])
        figures = detail_lines(hub, look, width)
        self.query_one("#figures", TextLines).show(figures)
        named = {service.name: service for service in hub.detail.services} if hub.detail else {}
        empty = "this hub supervises no service" if hub.detail else "asking the hub for its services …"
        self.services.show(SERVICE_COLUMNS, list(named), lambda key: service_row(named[key]), empty)
        self.query_one("#events", TextLines).show(self._event_lines(look, width))
        self._fit(len(figures), len(named))
        order = Order("name")
        rows = (0, len(named), len(named))
        self.query_one("#status", TextLines).show(
            [status_line(f"{hub.id} services", rows, order, 0, self.deck.notice(look.now), width)]
        )
        self.query_one("#keys", TextLines).show([self.bottom_line()])

    def _event_lines(self, look: Outlook, width: int) -> list[Line]:
        events = islice(self.deck.fleet.events_of(self.hub_id), EVENTS_SHOWN)
        head = line(Span("EVENTS", "head"), Span("  newest first", "dim"))
        lines = [crop(event_line(event, look), width) for event in events]
        return [head, *(lines or [line(Span("  none read yet", "dim"))])]

    def _fit(self, figures: int, services: int) -> None:
        """Figures and services take what they need, up to two thirds; events have the rest."""
        free = self.size.height - 4
        table = min(max(services, 1) + 1, max(3, free // 3))
        top = min(figures, max(3, free - table - 4))
        for name, height in (("#figures", top), ("#services", table)):
            self.query_one(name).styles.height = height

    def _move(self, steps: int) -> None:
        focused = self.focused
        if isinstance(focused, TextLines):
            focused.scroll_to(y=max(0, focused.scroll_offset.y + steps), animate=False, force=True)
        else:
            self.services.move(steps)
