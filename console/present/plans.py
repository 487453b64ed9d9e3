"""From a key and what it is pressed on to a plan: what, where, its effect, how, and what to be warned of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from console.actions import Action, command_line, drill_effect
from console.fleet import Fleet, Hub
from console.present.groups import GroupView, group_views
from console.present.states import Outlook
from console.present.text import safe
from console.present.units import age
from console.present.views import Subject
from hubagent.wire import drills
from hubagent.wire.reports import Service

TARGETS_MAX = 50  # one screen of progress; more is a rollout, not a key


class Target(NamedTuple):
    """One command: to which hub, with which arguments, and how it is called on screen."""

    hub: str
    args: dict[str, object]
    name: str
    boot: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be sent, fixed when the preflight opens; `typed` is what must be typed, empty where a key is enough."""

    action: Action
    verb: str
    targets: tuple[Target, ...]
    effect: str
    typed: str = ""
    warnings: tuple[str, ...] = ()
    reason: str = ""

    @property
    def how(self) -> str:
        """The same as a command line."""
        first = self.targets[0]
        return command_line(self.action, first.hub, first.args, self.reason)


class Ask(NamedTuple):
    """Something must be chosen first."""

    what: str
    options: tuple[str, ...]
    hubs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """What the operator already named."""

    service: str = ""
    group: str = ""
    to: str = ""
    reason: str = ""
    subjects: Sequence[Subject] = field(default_factory=tuple)


def make_plan(action: Action, choice: Choice, fleet: Fleet, look: Outlook) -> Plan | Ask | str:
    """A plan, a question, or in words why there is none."""
    if action.scope == "group":
        return _group_plan(action, choice, fleet, look)
    return _service_plan(action, choice, fleet, look)


def faults(plan: Plan, fleet: Fleet, look: Outlook) -> str:
    """Why the plan may not be sent now, in words; empty where it may. Asked while it is shown, and when it is sent."""
    if not look.has_link:
        return "no hub server is reachable"
    for target in plan.targets:
        hub = fleet.hubs.get(target.hub)
        if hub is None:
            return f"{target.hub} is no longer in the fleet"
        old = hub.age(look.now)
        if hub.live is None or old is None or old > max(5.0, 3 * hub.live.interval_s):
            return f"the data of {target.hub} is {age(old)} old" if old is not None else f"{target.hub} was never heard"
        if target.boot and hub.live.boot != target.boot:
            return f"the agent of {target.hub} restarted since this opened; open it again"
    return ""


def _service_plan(action: Action, choice: Choice, fleet: Fleet, look: Outlook) -> Plan | Ask | str:
    hubs = tuple(dict.fromkeys(one.hub for one in choice.subjects if one.hub in fleet.hubs))
    if not hubs:
        return f"{action.label}: put the cursor on a hub or a service"
    if len(hubs) > TARGETS_MAX:
        return f"{action.label}: at most {TARGETS_MAX} hubs at once, {len(hubs)} are marked"
    named = {one.service for one in choice.subjects}
    service = choice.service or (named.pop() if len(named) == 1 else "")
    if not service:
        return _ask_service(hubs, fleet)
    args: dict[str, object] = {"service": service, **({"to": choice.to} if choice.to else {})}
    targets = tuple(Target(hub, args, f"{service}@{hub}", _boot(fleet, hub)) for hub in hubs)
    last = _is_last_healthy(service, hubs, fleet) and action.name in {"stop", "restart", "rollback"}
    warnings = [
        *_busy(hubs, fleet),
        *([f"it is the last healthy {service} that this console knows of"] if last else []),
    ]
    typed = str(len(hubs)) if len(hubs) > 1 else service if last else ""
    effect = _service_effect(action, service, hubs, choice.to, fleet)
    return Plan(action, action.verb, targets, effect, typed, tuple(warnings), choice.reason)


def _ask_service(hubs: tuple[str, ...], fleet: Fleet) -> Ask:
    known = {service.name for hub in hubs for service in _services(fleet.hub(hub))}
    return Ask("service", tuple(sorted(known)), hubs)


def _service_effect(action: Action, service: str, hubs: tuple[str, ...], to: str, fleet: Fleet) -> str:
    many = f", on {len(hubs)} hubs one after the other, stopping at the first failure" if len(hubs) > 1 else ""
    known = next((one for one in _services(fleet.hub(hubs[0])) if one.name == service), None)
    now = (
        f" (now {safe(known.state, 12)}, release {safe(known.release, 20) or '-'}, up {age(known.up_s)})"
        if known
        else ""
    )
    back = safe(to, 40) or (
        f"last good {safe(known.last_good, 40)}" if known and known.last_good else "the last good release"
    )
    words = {
        "restart": f"{service} stops with its grace and starts again; it is away in between{now}{many}",
        "stop": f"{service} stops, and stays stopped until somebody starts it{now}{many}",
        "start": f"{service} starts{now}{many}",
        "rollback": f"{service} returns to {back} behind a health gate{now}{many}",
    }
    return words.get(action.name, action.help)


def _is_last_healthy(service: str, hubs: tuple[str, ...], fleet: Fleet) -> bool:
    """Tell whether every other known instance is down; instances that no detail was seen of do not count as known."""
    up = {hub.id for hub in fleet.hubs.values() for one in _services(hub) if one.name == service and _runs(one)}
    known = [hub.id for hub in fleet.hubs.values() for one in _services(hub) if one.name == service]
    return bool(up) and up <= set(hubs) and len(known) > 1


def _runs(service: Service) -> bool:
    return service.state == "RUNNING" and service.healthy is not False


def _services(hub: Hub) -> Sequence[Service]:
    return hub.detail.services if hub.detail else ()


def _busy(hubs: tuple[str, ...], fleet: Fleet) -> list[str]:
    lives = [(hub, fleet.hub(hub).live) for hub in hubs]
    return [
        f"{hub} has a command under way"
        for hub, live in lives
        if live and any(r.state == "accepted" for r in live.results)
    ]


def _boot(fleet: Fleet, hub: str) -> str:
    live = fleet.hub(hub).live
    return live.boot if live else ""


def _group_plan(action: Action, choice: Choice, fleet: Fleet, look: Outlook) -> Plan | Ask | str:
    named = choice.group or next((one.group for one in choice.subjects if one.group), "")
    views = {view.name: view for view in group_views(fleet, look)}
    if not named:
        near = _groups_of(choice.subjects, fleet) or tuple(views)
        if len(near) != 1:
            return Ask("group", near) if near else f"{action.label}: no group is known"
        named = near[0]
    view = views.get(named)
    if view is None and action.name == "maintenance" and named in fleet.hubs:
        return _hub_maintenance(action, named, choice, fleet)
    if view is None:
        return f"{action.label}: no group {safe(named, 40)}; known: {', '.join(views) or 'none'}"
    if action.name == "failover":
        return _failover(action, choice, view, fleet, look)
    if action.name == "drill" and view.active:
        return _drill(action, choice, view, fleet)
    if not view.active:
        return f"{action.label}: {view.name} has no active hub to tell it to"
    return _setting(action, choice, view, fleet)


def _groups_of(subjects: Sequence[Subject], fleet: Fleet) -> tuple[str, ...]:
    lives = [fleet.hub(one.hub).live for one in subjects if one.hub]
    return tuple(dict.fromkeys(group.group for live in lives if live for group in live.groups))


def _failover(action: Action, choice: Choice, view: GroupView, fleet: Fleet, look: Outlook) -> Plan | Ask | str:
    """Planned, told to the active hub; or forced, told to the hub that shall become active where none is heard."""
    if look.is_fresh_start and not (view.active and view.standbys):
        missing = "standby" if view.active else "active hub"
        return f"press again: no {missing} of {view.name} is heard yet"
    cursor = next((one.hub for one in choice.subjects if one.hub in view.standbys), "")
    to = choice.to or cursor
    if to and view.members and to not in view.members:
        return f"failover: {safe(to, 40)} is no member of {view.name} ({', '.join(view.members)})"
    if view.active:
        if not view.standbys:
            return f"failover: no standby of {view.name} is heard"
        to = to or view.standbys[0]
        if to == view.active:
            return f"failover: {to} is active already"
        text = f"the active services of {view.name} stop on {view.active} with their grace and start on {to}"
        args: dict[str, object] = {"group": view.name, "to": to}
        target = Target(view.active, args, f"{view.name}: {view.active} to {to}", _boot(fleet, view.active))
        return Plan(action, "failover", (target,), text, view.name, _group_warnings(view), choice.reason)
    if not to and len(view.standbys) != 1:
        return Ask("to", view.standbys) if view.standbys else f"failover: no member of {view.name} is heard"
    to = to or view.standbys[0]
    text = f"FORCED: {to} becomes active in {view.name} under a higher epoch"
    warnings = (f"no active hub of {view.name} is heard: I cannot know whether it is dead", *_group_warnings(view))
    target = Target(to, {"group": view.name}, f"{view.name}: promote {to}", _boot(fleet, to))
    return Plan(action, "promote", (target,), text, view.name, warnings, choice.reason)


def _drill(action: Action, choice: Choice, view: GroupView, fleet: Fleet) -> Plan | Ask:
    """Told to the active hub, which strikes itself; the kind is chosen first."""
    if choice.to not in drills.KINDS:
        return Ask("kind", drills.KINDS)
    text = f"DRILL {choice.to} on {view.active}: {drill_effect(choice.to)}"
    args: dict[str, object] = {"group": view.name, "kind": choice.to}
    target = Target(view.active, args, f"{view.name}@{view.active}", _boot(fleet, view.active))
    return Plan(action, "drill", (target,), text, view.name, _group_warnings(view), choice.reason)


def _group_warnings(view: GroupView) -> tuple[str, ...]:
    found = [f"{view.name} is {view.auto}: {view.why}"] if view.why else []
    if view.witness not in {"ok", ""}:
        found.append(f"witness {view.witness}")
    return tuple(found)


def _hub_maintenance(action: Action, hub: str, choice: Choice, fleet: Fleet) -> Plan:
    """`:maintenance HUB`: the hub becomes active nowhere by itself, or may again."""
    live = fleet.hub(hub).live
    is_on = bool(live and live.maintenance)
    text = (
        f"{hub} may become active again"
        if is_on
        else f"{hub} becomes active in no group by itself; what it holds it keeps"
    )
    target = Target(hub, {"on": not is_on}, hub, _boot(fleet, hub))
    return Plan(action, action.verb, (target,), text, hub, (), choice.reason)


def _setting(action: Action, choice: Choice, view: GroupView, fleet: Fleet) -> Plan:
    """Maintenance on or off, arming: what it is not now."""
    if action.name == "maintenance":
        args: dict[str, object] = {"group": view.name, "on": not view.is_maintained}
        text = (
            "automatic failover goes on again"
            if view.is_maintained
            else "no automatic failover until it is switched off"
        )
    else:
        auto = "shadow" if view.auto == "ARMED" else "armed"
        args = {"group": view.name, "auto": auto}
        text = f"automatic failover of {view.name} becomes {auto.upper()}, now {view.auto}"
    target = Target(view.active, args, f"{view.name}@{view.active}", _boot(fleet, view.active))
    return Plan(action, action.verb, (target,), text, view.name, _group_warnings(view), choice.reason)
