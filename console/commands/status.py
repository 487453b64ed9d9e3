"""`hubdeck status`: every hub of the roster, worst first; who is silent is LOST, not absent."""

import argparse
from dataclasses import replace
from typing import Any

import msgspec

from console.commands.output import note, safe, write, write_json, write_table
from console.commands.session import DETAIL_HUBS_MAX, HEAR_SECONDS, Session, session
from console.errors import DONE, REFUSED, NotConnected
from console.fleet import Fleet, Hub
from console.present.states import RANK, State, first_loss, hub_state, outlook, symbol
from console.present.units import age, millis, percent, size
from hubagent.wire.reports import GroupState, Lane, Live

SHAPE = 1  # of the JSON; a new key does not change it, a changed meaning does


def run(options: argparse.Namespace) -> int:
    """Show the fleet as it is now."""
    with session(options) as visit:
        exit_status = DONE
        try:
            visit.connect()
            _hear(visit, options)
        except NotConnected as error:
            note(str(error))
            exit_status = REFUSED
        document = _document(visit)
    if options.json:
        write_json(document)
    else:
        _show(document, is_plain=options.plain)
    if options.services and not options.json:
        _show_services(document, is_plain=options.plain)
    return exit_status


def _hear(visit: Session, options: argparse.Namespace) -> None:
    """Until every hub has spoken and, in a small fleet, sent its services."""
    hubs = sorted(visit.fleet.hubs)
    with_services = options.services or len(hubs) <= DETAIL_HUBS_MAX
    if with_services:
        visit.ask_details(hubs)

    def complete() -> bool:
        return all(hub.live and (hub.detail or not with_services) for hub in visit.fleet.hubs.values())

    visit.wait_until(complete, HEAR_SECONDS if options.wait is None else options.wait)


def _document(visit: Session) -> dict[str, Any]:
    fleet, now, wall = visit.fleet, visit.clock.monotonic(), visit.clock.wall()
    look = replace(outlook(fleet, now, wall), is_fresh_start=False)
    states = {hub.id: hub_state(hub, look) for hub in fleet.hubs.values()}
    order = sorted(fleet.hubs.values(), key=lambda hub: (RANK[states[hub.id].word], _loss(hub), hub.id))
    words = [state.word for state in states.values()]
    return {
        "v": SHAPE,
        "fleet": fleet.name,
        "t": wall,
        "roster_v": fleet.roster.version if fleet.roster else None,
        "me": {"identity": visit.link.identity, "role": visit.link.role},
        "servers": [
            {"name": one.name, "state": one.state, "why": one.why, "rtt_s": one.rtt_s} for one in fleet.servers.values()
        ],
        "counts": {word: words.count(word) for word in RANK if word in words},
        "groups": _groups(fleet),
        "hubs": [_hub(hub, states[hub.id], now) for hub in order],
        "dropped": visit.link.dropped,
    }


def _loss(hub: Hub) -> float:
    loss = first_loss(hub.live.lanes) if hub.live else None
    return float("inf") if loss is None else loss


def _hub(hub: Hub, state: State, now: float) -> dict[str, Any]:
    live, detail = hub.live or _SILENT, hub.detail
    return {
        "hub": hub.id,
        "state": state.word,
        "why": state.why,
        "age_s": hub.age(now),
        **{name: getattr(live, name) for name in _FIGURES},
        "heard": hub.live is not None,
        "disk": msgspec.to_builtins(live.disk),
        "lanes": [_lane(lane) for lane in live.lanes],
        "groups": [_group(group) for group in live.groups],
        "service_totals": msgspec.to_builtins(live.services),
        "services": [msgspec.structs.asdict(one) for one in detail.services] if detail else None,
        "alerts": msgspec.to_builtins(live.alerts),
        "results": [msgspec.structs.asdict(one) for one in live.results],
        "labels": hub.labels,
    }


def _group(group: GroupState) -> dict[str, Any]:
    inner = {name: msgspec.to_builtins(getattr(group, name)) for name in ("drill", "proven", "schedule")}
    return msgspec.structs.asdict(group) | inner


_SILENT = Live(v=1, hub="", boot="", seq=0, t=0.0, version="", roster_v=0, severity="unknown")
_FIGURES = ("maintenance", "severity", "boot", "seq", "t", "version", "roster_v", "cpu", "mem", "load1")
_LANE = ("dest", "lane", "state", "chunks", "bytes", "oldest_s", "loss_s", "why")


def _lane(lane: Lane) -> dict[str, Any]:
    return {name: getattr(lane, name) for name in _LANE}


def _groups(fleet: Fleet) -> list[dict[str, Any]]:
    """Each group of the roster: who is active, as those say that are heard."""
    found = []
    for group in fleet.roster.groups if fleet.roster else []:
        lives = {member: fleet.hub(member).live for member in group.members}
        seen = {hub: one for hub, live in lives.items() if live for one in live.groups if one.group == group.name}
        active = [hub for hub, one in seen.items() if one.role.startswith("ACTIVE")]
        newest = max(seen.values(), key=lambda one: one.epoch, default=None)
        found.append({
            "group": group.name,
            "active": active[0] if len(active) == 1 else None,
            "active_all": active,
            "epoch": newest.epoch if newest else None,
            "auto": newest.auto if newest else group.auto,
            "maintenance": newest.maintenance if newest else None,
            "witness": newest.witness if newest else "",
            "profile": group.profile,
            "roles": {member: seen[member].role if member in seen else "UNKNOWN" for member in group.members},
            "not_fenced": sorted({hub for one in seen.values() for hub in one.not_fenced}),
            "proven": msgspec.to_builtins(max((one.proven for one in seen.values() if one.proven), key=lambda one: one.t, default=None)),
            "drill": next((msgspec.to_builtins(one.drill) for one in seen.values() if one.drill), None),
            "hubs_in_maintenance": sorted(hub for hub, live in lives.items() if live and live.maintenance),
        })  # fmt: skip
    return found


def _show(document: dict[str, Any], *, is_plain: bool) -> None:
    me, counts = document["me"], document["counts"]
    if not is_plain:
        total = "  ".join(f"{count} {word}" for word, count in counts.items())
        write(
            f"fleet {safe(document['fleet'])}  {len(document['hubs'])} hubs  {total}   {me['identity']} ({me['role']})"
        )
        for one in document["servers"]:
            rtt = f" {millis(one['rtt_s'])}" if one["rtt_s"] is not None else ""
            write(f"server {one['name']} {one['state']}{rtt}" + (f": {safe(one['why'])}" if one["why"] else ""))
        for group in document["groups"]:
            write(_group_line(group))
        write()
    rows = [_row(hub, is_plain=is_plain) for hub in document["hubs"]]
    write_table(_HEAD, rows, is_plain=is_plain, right="CPU% MEM% DISK% AGE")


def _show_services(document: dict[str, Any], *, is_plain: bool) -> None:
    head = ("SERVICE", "HUB", "STATE", "HEALTHY", "RELEASE", "UP", "RESTARTS", "WHY")
    healthy = {True: "yes", False: "no", None: "-"}
    rows = [
        (one["name"], hub["hub"], one["state"], healthy[one["healthy"]], one["release"], age(one["up_s"]),
         str(one["restarts"]), one["why"])
        for hub in document["hubs"] for one in hub["services"] or []
    ]  # fmt: skip
    write()
    write_table(head, rows, is_plain=is_plain, right="UP RESTARTS")


_HEAD = ("STATE", "HUB", "ROLE", "CPU%", "MEM%", "DISK%", "BUFFER", "AGE", "SERVICES", "WHY")


def _group_line(group: dict[str, Any]) -> str:
    active = " and ".join(group["active_all"]) or "no active hub heard"
    auto = "MAINTENANCE" if group["maintenance"] else str(group["auto"]).upper()
    witness = f", witness {group['witness']}" if group["witness"] else ""
    fenced = f", not fenced: {', '.join(group['not_fenced'])}" if group["not_fenced"] else ""
    away = f", in maintenance: {', '.join(group['hubs_in_maintenance'])}" if group["hubs_in_maintenance"] else ""
    drill = f", DRILL {group['drill']['kind']} by {group['drill']['by']}" if group["drill"] else ""
    epoch = "" if group["epoch"] is None else f", epoch {group['epoch']}"
    return safe(f"group {group['group']}: {active}{epoch}, {auto}{witness}{fenced}{away}{drill}", 400)


def _row(hub: dict[str, Any], *, is_plain: bool) -> list[str]:
    totals, disk = hub["service_totals"], hub["disk"]
    role = ", ".join(f"{one['group']} {one['role']}" for one in hub["groups"])
    return [
        f"{symbol(hub['state'], is_ascii=is_plain)} {hub['state']}", hub["hub"], role,
        percent(hub["cpu"]), percent(hub["mem"]), percent(disk["used"] if disk else None),
        _buffer(hub["lanes"]), age(hub["age_s"]),
        f"{totals['running']}/{totals['wanted']}" if totals else "", hub["why"],
    ]  # fmt: skip


def _buffer(lanes: list[dict[str, Any]]) -> str:
    """`live`, or for each destination that owes something what and how much: `central BUFFERING 1.2M 3h`."""
    parts = []
    for dest in dict.fromkeys(lane["dest"] for lane in lanes):
        mine = [lane for lane in lanes if lane["dest"] == dest]
        troubled = [lane["state"] for lane in mine if lane["state"] != "LIVE"]
        if troubled:
            oldest = max((lane["oldest_s"] or 0.0 for lane in mine), default=0.0)
            parts.append(f"{dest} {troubled[0]} {size(sum(lane['bytes'] for lane in mine))} {age(oldest)}")
    return "; ".join(parts) or ("live" if lanes else "")
