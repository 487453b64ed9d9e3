"""The one line an operator types into, after `:` or `/`; no widget, so that it costs nothing until used."""

from collections.abc import Callable
from dataclasses import dataclass

from console.present.text import Line, Span, line, safe

PROMPT_CHARS_MAX = 300
TYPING, GIVEN_UP, ENTERED = "typing", "given up", "entered"


@dataclass(slots=True)
class Prompt:
    """A mark (`:` or `/`), the text so far, and a way to complete it."""

    mark: str
    text: str = ""
    complete: Callable[[str], str | None] = lambda _: None

    def press(self, key: str) -> str:
        """Take one key; typing goes on, was given up, or was entered."""
        if key in {"escape", "ctrl+x"} or (key == "backspace" and not self.text):
            return GIVEN_UP
        if key == "enter":
            return ENTERED
        if key == "backspace":
            self.text = self.text[:-1]
        elif key == "ctrl+u":
            self.text = ""
        elif key == "ctrl+w":
            self.text = self.text.rstrip().rpartition(" ")[0]
        elif key in {"tab", "right"}:
            self.text = self.complete(self.text) or self.text
        elif key == "space" or len(key) == 1:
            self.add(" " if key == "space" else key)
        return TYPING

    def add(self, text: str) -> None:
        """Text typed or pasted, made harmless and bounded."""
        self.text = safe(self.text + text, PROMPT_CHARS_MAX)

    def line(self) -> Line:
        """What is typed, the cursor, and faintly what tab would add."""
        whole = self.complete(self.text) or ""
        rest = whole[len(self.text) :] if whole.startswith(self.text) else ""
        return line(
            Span(self.mark, "key"), self.text, Span("_", "key"), Span(f"{rest}  tab completes" if rest else "", "dim")
        )
