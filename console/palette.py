"""What Textual's palette offers: the actions that the screen below it can do, and the themes."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual.app import SystemCommand
from textual.screen import Screen

from console.screens.deck_screen import DeckScreen

if TYPE_CHECKING:
    from console.app import Hubdeck


def entries(deck: "Hubdeck", screen: Screen[object]) -> Iterator[SystemCommand]:
    """One entry an action, from the same records as keys and help."""
    allowed = set(deck.keys.values())
    if isinstance(screen, DeckScreen):
        for action in deck.actions:
            if action.name in allowed and action.name in screen.doings and action.name != "palette":
                yield SystemCommand(action.label, action.help, partial(_do, deck, screen, action.name))
    for name in deck.theme_names:
        yield SystemCommand(f"theme {name}", "Use this theme", partial(deck.use_theme, name))


def _do(deck: "Hubdeck", screen: DeckScreen, name: str) -> None:
    screen.do(name)
    deck.paint_now()
