"""Choosing a service, a group or a hub where a key needs one and the cursor does not say which."""

from collections.abc import Callable, Sequence

from textual.app import ComposeResult

from console.present.states import Outlook
from console.present.text import Column, Row, Span, line, safe
from console.screens.deck_screen import DeckScreen
from console.widgets.resource_table import ResourceTable
from console.widgets.text_lines import TextLines
from hubagent.wire.subjects import is_name

_COLUMNS = (Column("NAME", 20, flex=1),)


class PickScreen(DeckScreen):
    """Lists what is known, and takes a typed name as well."""

    def __init__(
        self, title: str, what: str, options: Callable[[], Sequence[str]], done: Callable[[str], None], hub: str = ""
    ) -> None:
        super().__init__(id="pick")
        self.heading, self.what, self.options, self.done, self.hub_id = title, what, options, done, hub
        self.name_typed = ""

    def compose(self) -> ComposeResult:
        """A title, the options, what is typed."""
        yield TextLines(id="title")
        yield ResourceTable(id="options")
        yield TextLines(id="keys")

    def on_mount(self) -> None:
        """A hub's services are known once it is watched."""
        if self.hub_id:
            self.deck.link.watch(self.hub_id)

    def on_unmount(self) -> None:
        """Nobody watches any more."""
        if self.hub_id:
            self.deck.link.watch(None)

    def paint(self, look: Outlook) -> None:
        """Options that begin with what is typed."""
        known = self.options()
        if len(known) == 1 and self.hub_id and not self.name_typed:
            self._take(known[0])  # nothing to choose; what opens next still asks before anything changes
            return
        shown = [one for one in known if one.startswith(self.name_typed)]
        empty = "asking the hub …" if self.hub_id and not self.name_typed else f"no known {self.what} begins so"
        self.query_one("#title", TextLines).show([line(Span(self.heading, "title"), f": which {self.what}?")])
        self.query_one(ResourceTable).show(_COLUMNS, shown, lambda key: Row(key, (Span(safe(key)),)), empty)
        typed_line = line(
            f"{self.what}: ",
            Span(self.name_typed, "key"),
            Span("_", "key"),
            Span("   enter takes it, esc leaves", "dim"),
        )
        self.query_one("#keys", TextLines).show([typed_line])

    def take_key(self, key: str) -> bool:
        """Arrows move, letters type, enter takes, escape leaves."""
        table = self.query_one(ResourceTable)
        if key == "escape":
            self.deck.close_screen()
        elif key in {"up", "down"}:
            table.move(1 if key == "down" else -1)
        elif key == "enter":
            self._take(table.cursor_key or self.name_typed)
        elif key == "backspace":
            self.name_typed = self.name_typed[:-1]
        elif len(key) == 1 and len(self.name_typed) < 63:
            self.name_typed += key
        return True

    def _take(self, name: str) -> None:
        if is_name(name):
            self.deck.close_screen()
            self.done(name)
