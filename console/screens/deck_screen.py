"""What every screen of hubdeck shares: keys come from actions, one line to type into, painted when the app says so."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from textual import events
from textual.geometry import Size
from textual.screen import Screen
from textual.timer import Timer

from console.present.commandline import complete
from console.present.footer import key_line
from console.present.keys import typed
from console.present.prompt import ENTERED, GIVEN_UP, Prompt
from console.present.states import Outlook
from console.present.text import Line

if TYPE_CHECKING:
    from console.app import Hubdeck


RESIZED_SECONDS = 0.5  # a window manager sends many sizes; the last one counts


class DeckScreen(Screen[None]):
    """A screen whose keys are looked up in the app's key table; `doings` says what it can do."""

    prompt: Prompt | None = None
    _resized: Timer | None = None
    _painted_for: Size | None = None

    @property
    def deck(self) -> "Hubdeck":
        """The app, by its own type."""
        return cast("Hubdeck", self.app)

    @property
    def doings(self) -> Mapping[str, Callable[[], None]]:
        """Name of an action → what this screen does for it."""
        return {}

    def paint(self, look: Outlook) -> None:
        """Show the model as it is now."""

    def filter_typed(self, text: str) -> None:
        """What is typed after `/`, as it is typed; empty when it was given up."""

    def do(self, name: str) -> bool:
        """Carry out an action by name; False where this screen has no such thing."""
        doing = self.doings.get(name)
        if doing is not None:
            doing()
        return doing is not None

    def ask(self, mark: str, text: str = "") -> None:
        """Open the one line, after `:` or `/`."""
        themes = tuple(self.deck.theme_names)
        self.prompt = Prompt(mark, text)
        if mark == ":":
            self.prompt.complete = lambda typed_text: complete(typed_text, self.deck.fleet, themes)

    def bottom_line(self) -> Line:
        """The line that is typed, or the keys."""
        if self.prompt:
            return self.prompt.line()
        doings = self.doings
        here = [one for one in self.deck.actions if one.name in doings]
        return key_line(here, self.deck.keys, self.size.width)

    def take_key(self, key: str) -> bool:
        """Take a key before the table of actions is asked: while a line is typed, every key belongs to it."""
        if self.prompt is None:
            return False
        prompt, what = self.prompt, self.prompt.press(key)
        if what in {GIVEN_UP, ENTERED}:
            self.prompt = None
        if prompt.mark == "/":
            self.filter_typed("" if what == GIVEN_UP else prompt.text)
        elif what == ENTERED:
            self.deck.command(prompt.text)
        return True

    def on_key(self, event: events.Key) -> None:
        """A key: taken as text, as an action, or told why not."""
        key = typed(event.key, event.character)
        self.deck.key_at = self.deck.clock.monotonic()
        if self.take_key(key) or self._act(key):
            event.stop()
            event.prevent_default()
            self.deck.paint_now()

    def on_paste(self, event: events.Paste) -> None:
        """Pasted text goes into the line that is typed, and nowhere else."""
        event.stop()
        if self.prompt is not None:
            self.prompt.add(event.text)
            self.deck.paint_now()

    def on_screen_resume(self) -> None:
        """Painted at once when it is on top again."""
        self.deck.paint_now()

    def on_resize(self, event: events.Resize) -> None:
        """Lines are made for a width; a terminal that was being resized meanwhile may have lost some, so all are sent again."""
        self.call_after_refresh(self.deck.paint_now)
        if self._painted_for not in {None, event.size}:  # the first size comes with the first frame
            if self._resized is not None:
                self._resized.stop()
            self._resized = self.set_timer(RESIZED_SECONDS, self._repaint)
        self._painted_for = event.size

    def _repaint(self) -> None:
        self.refresh(repaint=True, layout=True)

    def _act(self, key: str) -> bool:
        name = self.deck.keys.get(key)
        if name is None:
            return self.deck.explain_locked(key)
        return self.do(name)
