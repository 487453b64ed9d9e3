"""What an operator types after `:` as a record, and what could complete it."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from console.actions import ACTIONS, CHANGES, Action
from console.fleet import Fleet
from hubagent.wire.subjects import is_name

VIEW_WORDS = ("fleet", "buffers", "services", "alerts", "groups", "logs")
OWN_WORDS = ("unlock", "lock", "theme", "quit", *VIEW_WORDS)
_SPAN = re.compile(r"(\d{1,4})(s|m|h)")
UNLOCK_SECONDS_MAX = 8 * 3600.0


class Order(NamedTuple):
    """A command line that can be carried out: its word, and what is named in it."""

    word: str
    hub: str = ""
    service: str = ""
    group: str = ""
    to: str = ""
    reason: str = ""
    seconds: float = 0.0
    text: str = ""


def parse(text: str) -> Order | str:
    """The order, or what is wrong with it in words."""
    word, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if word == "unlock":
        return _unlock(rest)
    if word == "theme":
        return Order(word, text=rest) if rest else "theme needs a name: theme NAME"
    if word in OWN_WORDS:
        return Order(word)
    action = next((one for one in ACTIONS if one.name == word), None)
    if action is None:
        return f"no such command: {ascii(word)[1:-1][:40]}; ? lists them" if word else "nothing typed"
    if not action.changes:
        return Order(word, text=rest)
    return _change(action, rest.split())


def complete(text: str, fleet: Fleet, themes: Sequence[str]) -> str | None:
    """The whole line with its last word completed, or None."""
    words = text.split(" ")
    choices: list[str] = []
    if len(words) == 1:
        choices = sorted({*OWN_WORDS, *(one.name for one in ACTIONS)})
    elif words[0] == "theme":
        choices = sorted(themes)
    else:
        action = next((one for one in CHANGES if one.name == words[0]), None)
        choices = _targets(action, fleet) if action else []
    found = next((one for one in choices if one.startswith(words[-1]) and one != words[-1]), None)
    return " ".join([*words[:-1], found]) if found and words[-1] else None


def _unlock(rest: str) -> Order | str:
    length, _, reason = rest.partition(" ")
    match = _SPAN.fullmatch(length)
    if match is None or not reason.strip():
        return "unlock needs a time and a reason: unlock 15m REASON"
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
    if not 0 < seconds <= UNLOCK_SECONDS_MAX:
        return f"unlock for at most {UNLOCK_SECONDS_MAX / 3600:.0f}h"
    return Order("unlock", seconds=seconds, reason=reason.strip()[:200])


def _change(action: Action, words: list[str]) -> Order | str:
    """`restart web@alpha REASON`, `failover core --to edge REASON`; nothing named: what the cursor is on."""
    if not words:
        return Order(action.name)
    target, rest = words[0], words[1:]
    to = ""
    if rest and rest[0] == "--to":
        to, rest = (rest[1] if len(rest) > 1 else ""), rest[2:]
    service, at, hub = target.partition("@")
    wrong = [name for name in (service, hub if at else service, to or service) if not is_name(name)]
    if wrong and not (to and action.scope == "service" and is_name(service)):
        return f"no valid name: {ascii(wrong[0])[:60]}"
    reason = " ".join(rest)[:200]
    if action.scope == "group":
        return Order(action.name, group=target, to=to, reason=reason)
    if not at:
        return f"{action.name} needs SERVICE@HUB"
    return Order(action.name, hub=hub, service=service, to=to, reason=reason)


def _targets(action: Action, fleet: Fleet) -> list[str]:
    if action.scope == "group":
        lives = [hub.live for hub in fleet.hubs.values() if hub.live]
        return sorted({group.group for live in lives for group in live.groups})
    known = {f"{one.name}@{hub.id}" for hub in fleet.hubs.values() if hub.detail for one in hub.detail.services}
    return sorted(known)
