"""What to call the state of a hub: one word, one symbol, one tone, and why."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from console.fleet import UP, Fleet, Hub
from hubagent.wire.reports import CRITICAL, OK, WARNING, Lane, Live

LOST_SECONDS = 15.0  # without word this long the hub is LOST
OLD_INTERVALS = 3.0  # as many expected intervals make data OLD
GRACE_SECONDS = 6.0  # a console that just connected has not heard everybody yet
LOSS_NEAR_SECONDS = 3600.0  # a hub turns BUFF by itself when its first loss is nearer than this
SHARED_RATIO = 0.5  # as many hubs with one trouble make it the server's, not theirs

# worst first; word → (symbol, ASCII symbol, tone)
STATES = {
    "CRIT": ("✖", "X", "crit"),
    "LOST": ("?", "?", "lost"),
    "UNKN": ("?", "?", "lost"),
    "WARN": ("▲", "!", "warn"),
    "BUFF": ("≈", "b", "buff"),
    "OLD": ("~", "~", "old"),
    "BUSY": (">", ">", "busy"),
    "MUTE": ("-", "-", "mute"),
    "OK": ("●", ".", "ok"),
}
RANK = {word: rank for rank, word in enumerate(STATES)}
STUCK = frozenset({"BUFFERING", "SHEDDING", "BLOCKED", "FENCED"})


class State(NamedTuple):
    """A word of STATES, and why in words."""

    word: str
    why: str = ""


class Said(NamedTuple):
    """What a summary says by itself, worked out once a summary: a thousand of them come every second."""

    live: Live
    shared: frozenset[str]
    state: State
    stuck: tuple[Lane, ...]
    loss_s: float | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What all rows of one paint share: the time, whose trouble is whose, and each hub's state once worked out."""

    now: float
    wall: float
    has_link: bool = True
    is_fresh_start: bool = False
    shared: frozenset[str] = frozenset()
    is_ascii: bool = False
    states: dict[str, State] = field(default_factory=dict, compare=False)


def outlook(fleet: Fleet, now: float, wall: float, *, is_ascii: bool = False) -> Outlook:
    """Look once at the whole fleet, so that each row need not."""
    up_since = [server.since for server in fleet.servers.values() if server.state == UP]
    return Outlook(
        now,
        wall,
        has_link=bool(up_since),
        is_fresh_start=not up_since or now - max(min(up_since), fleet.started_at) < GRACE_SECONDS,
        shared=_shared_destinations(fleet, now),
        is_ascii=is_ascii,
    )


def symbol(word: str, *, is_ascii: bool) -> str:
    """The symbol of a state's word."""
    return STATES[word][1 if is_ascii else 0]


def tone(word: str) -> str:
    """The tone of a state's word."""
    return STATES[word][2]


def hub_state(hub: Hub, look: Outlook) -> State:
    """The one state of a hub: the worst that is true of it now."""
    known = look.states.get(hub.id)
    if known is None:
        known = look.states[hub.id] = _state(hub, look)
    return known


def _state(hub: Hub, look: Outlook) -> State:
    live, age = hub.live, hub.age(look.now)
    if live is None or age is None:
        return _unheard(look)
    if age > max(LOST_SECONDS, OLD_INTERVALS * live.interval_s) and look.has_link and not look.is_fresh_start:
        return State("LOST", "no word" + (f"; was: {live.why}" if live.why else ""))
    said = read(hub, live, look).state
    is_old = age > OLD_INTERVALS * max(1.0, live.interval_s)
    if is_old and RANK[said.word] > RANK["OLD"]:
        return State("OLD", "no hub server reachable" if not look.has_link else "no word")
    return said


def read(hub: Hub, live: Live, look: Outlook) -> Said:
    """What this summary says; remembered until another one comes."""
    known = hub.memo
    if isinstance(known, Said) and known.live is live and known.shared == look.shared:
        return known
    stuck = stuck_lanes(live)
    loss = first_loss(stuck) if stuck else None
    hub.memo = Said(live, look.shared, _said(live, stuck, loss, look), stuck, loss)
    return hub.memo


def stuck_lanes(live: Live) -> tuple[Lane, ...]:
    """The lanes that do not get through."""
    return tuple([lane for lane in live.lanes if lane.state in STUCK])


def first_loss(lanes: Iterable[Lane]) -> float | None:
    """Seconds to the first loss among these lanes, None where it never comes."""
    return min((lane.loss_s for lane in lanes if lane.loss_s is not None), default=None)


def _unheard(look: Outlook) -> State:
    if not look.has_link:
        return State("OLD", "no hub server reachable")
    return State("OLD", "waiting for its first word") if look.is_fresh_start else State("LOST", "never heard")


def _said(live: Live, stuck: tuple[Lane, ...], loss: float | None, look: Outlook) -> State:
    if live.severity == CRITICAL:
        return State("CRIT", live.why or _worst_alert(live))
    if not stuck and live.severity == OK:
        return _quiet(live)
    losing = next((lane for lane in stuck if lane.state in {"SHEDDING", "FENCED"}), None)
    if losing:
        return State("CRIT", f"{losing.state.lower()} {losing.lane} for {losing.dest}")
    own = [lane for lane in stuck if lane.dest not in look.shared]
    if own or (loss is not None and loss < LOSS_NEAR_SECONDS):
        near = (own or stuck)[0]
        return State("BUFF", near.why or f"{near.state.lower()} for {near.dest}")
    if live.severity == WARNING and not (stuck and _is_about_buffering(live)):
        return State("WARN", live.why or _worst_alert(live))
    if live.severity not in {OK, WARNING}:
        return State("UNKN", f"severity {live.severity}" + (f": {live.why}" if live.why else ""))
    return _quiet(live)


def _quiet(live: Live) -> State:
    under_way = sum(1 for one in live.results if one.state == "accepted") if live.results else 0
    if under_way:
        return State("BUSY", f"{under_way} command{'s' if under_way > 1 else ''} under way")
    if live.maintenance:
        return State("MUTE", f"in maintenance by {live.maintenance}: never active by itself")
    maintained = [group.group for group in live.groups if group.maintenance] if live.groups else []
    if maintained:
        return State("MUTE", f"maintenance of {maintained[0]}")
    if live.why and not _is_about_buffering(live):
        return State("OK", live.why)
    return State("OK", _worst_alert(live) if live.alerts else "")


def _worst_alert(live: Live) -> str:
    return live.alerts.worst if live.alerts and live.alerts.n else ""


def _is_about_buffering(live: Live) -> bool:
    """A hub that warns only of a server that is everybody's trouble is that server's line, not its own."""
    return live.why.startswith("buffering for ") and "(+" not in live.why


def _shared_destinations(fleet: Fleet, now: float) -> frozenset[str]:
    down = {server.name for server in fleet.servers.values() if server.state != UP}
    fresh = 0
    stuck: dict[str, int] = {}
    for hub in fleet.hubs.values():
        if hub.live is None or hub.seen_at is None or now - hub.seen_at > LOST_SECONDS:
            continue
        fresh += 1
        for dest in {lane.dest for lane in hub.live.lanes if lane.state in STUCK}:
            stuck[dest] = stuck.get(dest, 0) + 1
    shared = {dest for dest, count in stuck.items() if count >= 2 and count >= fresh * SHARED_RATIO}
    return frozenset(down | shared)
