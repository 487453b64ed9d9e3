"""From a key to a preflight: choose what is missing, then open it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from console.actions import Action
from console.present.plans import Ask, Choice, make_plan

if TYPE_CHECKING:
    from console.app import Hubdeck


def begin(deck: "Hubdeck", action: Action, choice: Choice) -> None:
    """Open the preflight of an action, or ask what it needs, or say why it cannot be."""
    planned = make_plan(action, choice, deck.fleet, deck.look())
    if isinstance(planned, str):
        deck.say(planned, "warn")
    elif isinstance(planned, Ask):
        _choose(deck, action, choice, planned)
    else:
        from console.screens.preflight import PreflightScreen

        deck.push_screen(PreflightScreen(planned, deck.clock.monotonic(), may_force=deck.link.role == "admin"))


def choose_service(deck: "Hubdeck", title: str, hubs: Sequence[str], done: Callable[[str], None]) -> None:
    """Ask which service of these hubs; the list fills when the first hub has answered."""
    from console.screens.pick import PickScreen

    def known() -> list[str]:
        details = [deck.fleet.hub(hub).detail for hub in hubs]
        return sorted({service.name for detail in details if detail for service in detail.services})

    names = known()
    if len(names) == 1 and all(deck.fleet.hub(hub).detail for hub in hubs):
        done(names[0])  # nothing to choose
        return
    where = hubs[0] if len(hubs) == 1 else f"{len(hubs)} hubs"
    deck.push_screen(PickScreen(f"{title} on {where}", "service", known, done, hub=hubs[0]))


def _choose(deck: "Hubdeck", action: Action, choice: Choice, ask: Ask) -> None:
    title = action.label.upper()
    if ask.what == "service":
        choose_service(deck, title, ask.hubs, lambda name: begin(deck, action, replace(choice, service=name)))
        return
    from console.screens.pick import PickScreen

    def chosen(name: str) -> None:
        begin(deck, action, replace(choice, group=name) if ask.what == "group" else replace(choice, to=name))

    deck.push_screen(PickScreen(title, ask.what, lambda: ask.options, chosen))
