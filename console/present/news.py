"""What changed lately and by whom, what is under way and whose it is, and what was lost."""

from console.fleet import Event, Fleet
from console.present.states import Outlook
from console.present.text import safe
from console.present.units import clock_short

HOUR_SECONDS = 3600.0
CHANGE_KINDS = frozenset({"command_result", "release", "incarnation_change", "agent_start", "drill"})
LOSS_KINDS = frozenset({"lost_range", "tombstone", "shed"})


def changed_lately(fleet: Fleet, look: Outlook) -> list[str]:
    """Changes of the last hour, newest first, each with its time, who did it, and where."""
    since = look.wall - HOUR_SECONDS
    recent = (event for event in reversed(fleet.events) if event.record.t >= since)
    return [_change(event) for event in recent if _is_change(event)]


def under_way(fleet: Fleet) -> list[str]:
    """Commands that hubs have accepted and not finished, and whose they are."""
    return [
        _work(fleet, hub.id, result.cmd_id)
        for hub in fleet.hubs.values()
        for result in (hub.live.results if hub.live else ())
        if result.state == "accepted"
    ]


def lost_records(fleet: Fleet, since: float) -> int:
    """Records declared lost since then, as far as this console has read."""
    return sum(_count(event) for event in fleet.events if event.record.t >= since and event.record.kind in LOSS_KINDS)


def _change(event: Event) -> str:
    record = event.record
    who = safe(record.actor, 20) + " " if record.actor else ""
    return f"{clock_short(record.t)} {who}{event.hub}: {safe(record.text, 80)}"


def _is_change(event: Event) -> bool:
    """What somebody did, or what went another way; that all is well again is no news beside it."""
    kind, is_loud = event.record.kind, event.record.severity in {"warning", "critical"}
    return is_loud if kind in {"buffer_state", "lease"} else kind in CHANGE_KINDS


def _work(fleet: Fleet, hub: str, cmd_id: str) -> str:
    for event in reversed(fleet.events):
        record = event.record
        if record.kind == "command_intent" and record.cmd_id == cmd_id:
            return f"{safe(record.actor or 'somebody', 20)} {safe(record.text, 60)} on {hub}"
    return f"a command on {hub} ({safe(cmd_id, 8)})"


def _count(event: Event) -> int:
    count = event.record.data.get("count", 0)
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 0
