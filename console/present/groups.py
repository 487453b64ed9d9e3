"""The groups view: who is active, who stands by, and whether a failover would come by itself."""

from collections.abc import Sequence
from typing import NamedTuple

from console.fleet import Fleet, Hub
from console.present.states import LOST_SECONDS, Outlook
from console.present.text import Column, Row, Span, safe
from console.present.units import age, number, sparkline, took
from console.present.views import Order, Subject
from hubagent.wire.reports import GroupState

UNHEARD = "not heard yet"  # of an active hub, while this console has only just connected
AUTO_TONES = {"ARMED": "good", "SHADOW": "warn", "OFF": "crit"}


class GroupView(NamedTuple):
    """One group, put together from what its members say."""

    name: str
    active: str
    role: str
    role_tone: str
    epoch: int
    left_s: float | None
    auto: str
    auto_tone: str
    witness: str
    standbys: tuple[str, ...]
    members: tuple[str, ...]
    why: str
    proven: str
    is_maintained: bool
    trend: tuple[float, ...] = ()
    drill: str = ""
    schedule: str = ""

    @property
    def who(self) -> str:
        """The active hub; `nobody` where there is none, `?` while that cannot be known."""
        return self.active or ("?" if self.role == UNHEARD else "nobody")

    @property
    def is_troubled(self) -> bool:
        """Tell whether an operator should look here first."""
        return not self.active or self.auto != "ARMED" or self.witness not in {"ok", ""} or bool(self.why)


def group_views(fleet: Fleet, look: Outlook) -> list[GroupView]:
    """All groups, troubled ones first."""
    said: dict[str, list[tuple[Hub, GroupState]]] = {}
    for hub in fleet.hubs.values():
        for state in hub.live.groups if hub.live else ():
            said.setdefault(state.group, []).append((hub, state))
    named = {group.name: tuple(group.members) for group in fleet.roster.groups} if fleet.roster else {}
    views = [_view(fleet, look, name, said.get(name, []), named.get(name, ())) for name in {**named, **said}]
    return sorted(views, key=lambda view: (not view.is_troubled, view.name))


def _view(
    fleet: Fleet, look: Outlook, name: str, said: list[tuple[Hub, GroupState]], members: tuple[str, ...]
) -> GroupView:
    fresh = [(hub, state) for hub, state in said if (hub.age(look.now) or 0.0) <= LOST_SECONDS]
    holders = [(hub, state) for hub, state in fresh if state.role.startswith("ACTIVE")]
    holder = max(holders, key=lambda one: one[1].epoch, default=None)
    state = holder[1] if holder else max((one for _, one in fresh), key=lambda one: one.epoch, default=None)
    is_early = holder is None and look.has_link and look.is_fresh_start
    auto = safe(state.auto, 12).upper() if state else "UNKNOWN"
    maintained = state is not None and state.maintenance
    return GroupView(
        name=safe(name, 24),
        active=holder[0].id if holder else "",
        role=safe(holder[1].role, 24) if holder else UNHEARD if is_early else "NO ACTIVE HUB" if state else "UNKNOWN",
        role_tone="lost" if is_early else "crit" if not holder else "good" if holder[1].role == "ACTIVE" else "warn",
        epoch=state.epoch if state else 0,
        left_s=state.left_s if state else None,
        auto="OFF" if maintained else auto,
        auto_tone="warn" if maintained else AUTO_TONES.get(auto, "lost"),
        witness=_witness(fresh),
        standbys=tuple(sorted(hub.id for hub, one in fresh if one.role == "STANDBY")),
        members=members or tuple(sorted(hub.id for hub, _ in said)),
        why=_why(fresh, state, maintained=maintained),
        proven=_proven(fleet, look, name, [one for _, one in said]),
        is_maintained=maintained,
        trend=max((tuple(one.trend) for _, one in said), key=len, default=()),
        drill=_drill(fresh),
        schedule=_schedule(fresh),
    )


def _witness(fresh: list[tuple[Hub, GroupState]]) -> str:
    words = {safe(state.witness, 16) for _, state in fresh if state.witness}
    return "ok" if words == {"ok"} else " / ".join(sorted(words))


def _why(fresh: list[tuple[Hub, GroupState]], state: GroupState | None, *, maintained: bool) -> str:
    if told := _drill(fresh):
        return f"DRILL {told}"
    if maintained:
        return "maintenance: no automatic failover"
    away = [
        f"{safe(hub.id, 24)} by {safe(hub.live.maintenance, 24)}"
        for hub, _ in fresh
        if hub.live and hub.live.maintenance
    ]
    if away:
        return f"in maintenance: {', '.join(away)}; never active by itself"
    if state is None:
        return "no member is heard"
    unfenced = [safe(hub, 24) for hub in state.not_fenced]
    if unfenced:
        return f"not fenced: {', '.join(unfenced)}"
    return safe(state.why, 80) or next((safe(one.why, 80) for _, one in fresh if one.why), "")


def _drill(fresh: list[tuple[Hub, GroupState]]) -> str:
    """The drill that is under way, on which hub, by whom."""
    for hub, state in fresh:
        if state.drill is not None:
            left = f", strikes in {state.drill.in_s:.0f} s" if state.drill.in_s is not None else ""
            return f"{safe(state.drill.kind, 16)} on {safe(hub.id, 24)} by {safe(state.drill.by, 24)}{left}"
    return ""


def _schedule(fresh: list[tuple[Hub, GroupState]]) -> str:
    """When drills come by themselves, as all members that are heard have kept it."""
    kept = [state.schedule for _, state in fresh]
    if len({(one.at, one.kind) if one else None for one in kept}) > 1:
        return "drill schedules of the members differ"
    one = next(iter(kept), None)
    return f"drill {safe(one.kind, 16)} {safe(one.at, 24)} UTC" if one else ""


def _proven(fleet: Fleet, look: Outlook, name: str, said: list[GroupState]) -> str:
    """The last failover that was seen to work: a drill that a member remembers, or what the records show."""
    proof = max((one.proven for one in said if one.proven), key=lambda one: one.t, default=None)
    if proof is not None:
        return f"{age(look.wall - proof.t)} ago {took(proof.took_s)}"
    for event in reversed(fleet.events):
        record = event.record
        if record.kind in {"drill", "lease"} and record.data.get("group") == name and "took_s" in record.data:
            seconds = record.data["took_s"]
            if isinstance(seconds, int | float):
                return f"{age(look.wall - record.t)} ago {took(float(seconds))}"
    return ""


TREND = 8
_COLUMNS = (
    Column("GROUP", 10, flex=1),
    Column("ACTIVE", 12, flex=1),
    Column("AUTHORITY", 14),
    Column("LEFT", 5, is_right=True),
    Column("EPOCH", 5, is_right=True, drop=4),
    Column("AUTO", 6),
    Column("WITNESS", 11, drop=3),
    Column("STANDBY", 10, flex=1),
    Column("DRILLS", TREND, drop=2),
    Column("WHY", 8, flex=3),
)


def _calm(view: GroupView) -> str:
    """What is said where nothing stands against a failover: the last proof, the next drill."""
    proof = f"last proven failover: {view.proven}" if view.proven else "never proven by a drill"
    return "; ".join(filter(None, (proof, view.schedule)))


class Groups:
    """View 6."""

    name = "groups"
    title = "Groups"
    sorts: Sequence[str] = ("trouble", "group")

    def columns(self, width: int, *, is_wide: bool) -> Sequence[Column]:
        """The same at every width; the least missed go first."""
        return _COLUMNS

    def keys(self, fleet: Fleet, look: Outlook, order: Order) -> list[str]:
        """Group names."""
        views = [view for view in group_views(fleet, look) if order.filter.holds(f"{view.name} {view.active}")]
        if order.sort == "group":
            views.sort(key=lambda view: view.name)
        names = [view.name for view in views]
        return names[::-1] if order.is_reversed else names

    def row(self, fleet: Fleet, key: str, look: Outlook) -> Row:
        """One group's row."""
        view = next((view for view in group_views(fleet, look) if view.name == key), None)
        if view is None:
            return Row(key, (Span(safe(key)), Span("gone", "dim")))
        return Row(
            key,
            (
                Span(view.name, "title"),
                Span(view.who, view.role_tone if not view.active else ""),
                Span(view.role, view.role_tone),
                Span(number(view.left_s, 1) if view.left_s is not None else "-"),
                Span(str(view.epoch)),
                Span(view.auto, view.auto_tone),
                Span(view.witness or "-", "" if view.witness in {"ok", ""} else "warn"),
                Span(", ".join(view.standbys) or "none", "" if view.standbys else "warn"),
                Span(sparkline(list(view.trend), TREND, is_ascii=look.is_ascii) if view.trend else "none", "dim"),
                Span(view.why or _calm(view)),
            ),
        )

    def subject(self, fleet: Fleet, key: str) -> Subject:
        """The group of this row."""
        return Subject(group=key)

    def empty(self, fleet: Fleet, look: Outlook) -> str:
        """Why there is no row."""
        return "no group is known: the roster names none, and no hub reports one"
