"""Lines to read: help, and the last message of a hub as it came."""

from collections.abc import Callable, Mapping, Sequence

from textual.app import ComposeResult

from console.present.states import Outlook
from console.present.text import Line, Span, line
from console.screens.deck_screen import DeckScreen
from console.widgets.text_lines import TextLines


class TextScreen(DeckScreen):
    """Shows lines until it is left."""

    def __init__(self, title: str, make: Callable[[], Sequence[Line]]) -> None:
        super().__init__(id="text")
        self.heading = title
        self.make = make

    def compose(self) -> ComposeResult:
        """A title, the lines, how to leave."""
        yield TextLines(id="title")
        yield TextLines(id="body", can_focus=True)
        yield TextLines(id="keys")

    @property
    def doings(self) -> Mapping[str, Callable[[], None]]:
        """Scrolling and leaving."""
        return {
            "down": lambda: self._scroll(1),
            "up": lambda: self._scroll(-1),
            "page_down": lambda: self._scroll(10),
            "page_up": lambda: self._scroll(-10),
            "top": lambda: self._scroll(-100_000),
            "bottom": lambda: self._scroll(100_000),
            "back": self.deck.close_screen,
            "help": self.deck.close_screen,
            "raw": self.deck.close_screen,
        }

    def paint(self, look: Outlook) -> None:
        """The lines as they are now."""
        self.query_one("#title", TextLines).show([line(Span(self.heading, "title"))])
        self.query_one("#body", TextLines).show(self.make())
        self.query_one("#keys", TextLines).show([line(Span("j k scroll  ", "dim"), Span("q", "key"), " back")])

    def _scroll(self, steps: int) -> None:
        body = self.query_one("#body", TextLines)
        body.scroll_to(y=max(0, body.scroll_offset.y + steps), animate=False, force=True)
