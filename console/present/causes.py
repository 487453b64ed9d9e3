"""Troubles that many hubs share become one line, worst first."""

import re
from typing import NamedTuple

from console.fleet import Fleet, Hub
from console.present.states import RANK, Outlook, hub_state
from console.present.text import safe

ALONE_WORDS = frozenset({"CRIT", "LOST"})  # one hub alone deserves a line above the table only for these


_FIGURES = re.compile(r"\d+(?:[.,]\d+)*")


class Cause(NamedTuple):
    """One trouble: its state's word, its text, the hubs, and since when (monotonic) where known."""

    word: str
    text: str
    hubs: tuple[str, ...]
    since: float | None
    is_exact: bool = True  # False: it was so already when this console first heard of it


def causes(fleet: Fleet, look: Outlook) -> list[Cause]:
    """The troubles of the fleet; hubs of one trouble are folded into it."""
    if not look.has_link and fleet.servers:
        since = max(server.since for server in fleet.servers.values())
        return [Cause("CRIT", "no hub server reachable: every figure below is old", tuple(fleet.hubs), since)]
    found: dict[tuple[str, str], list[Hub]] = {}
    texts: dict[tuple[str, str], str] = {}
    for hub in fleet.hubs.values():
        state = hub_state(hub, look)
        if RANK[state.word] <= RANK["BUFF"]:
            key = (state.word, _kind(state.word, state.why))
            found.setdefault(key, []).append(hub)
            texts.setdefault(key, "no word" if state.word == "LOST" else state.why)
    listed = [_cause(key[0], texts[key], hubs) for key, hubs in found.items()]
    shown = [cause for cause in listed if len(cause.hubs) > 1 or cause.word in ALONE_WORDS]
    return sorted(shown, key=lambda cause: (RANK[cause.word], -len(cause.hubs), cause.text))


def _kind(word: str, why: str) -> str:
    """What makes two hubs' troubles the same: the words before any figure."""
    if word == "LOST":
        return "never heard" if why.startswith("never") else "no word"
    return _FIGURES.sub("#", why.partition(";")[0])


def _cause(word: str, text: str, hubs: list[Hub]) -> Cause:
    seen = [hub.seen_at if word == "LOST" else hub.severity_since for hub in hubs]
    since = min((at for at in seen if at is not None), default=None)
    is_exact = word == "LOST" or all(hub.has_changed for hub in hubs)
    return Cause(word, safe(text, 120) or "no reason given", tuple(hub.id for hub in hubs), since, is_exact)
