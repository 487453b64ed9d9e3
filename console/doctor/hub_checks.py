"""Checks of the hubs, by what they say of themselves."""

from collections.abc import Iterator

from console.doctor.checks import Check, Finding, limits
from console.doctor.facts import Facts
from console.present.units import age, millis, percent, size
from hubagent.wire.reports import CRITICAL, OK, UNKNOWN, WARNING

SILENT_SECONDS = 15.0
SKEW_WARN_S, SKEW_CRIT_S = 2.0, 30.0
RTT_WARN_S, RTT_CRIT_S = 0.25, 1.0
LOSS_WARN_S, LOSS_CRIT_S = 86_400.0, 3600.0
DISK_WARN, DISK_CRIT = 0.85, 0.95
LAG_WARN_S, LAG_CRIT_S = 0.25, 1.0
FSYNC_WARN_S, FSYNC_CRIT_S = 0.1, 1.0


def silent(facts: Facts) -> Iterator[Finding]:
    """Every hub of the roster is heard."""
    for hub in facts.hubs:
        if not hub.is_in_roster:
            yield Finding(WARNING, hub.id, "speaks, but is not in the roster")
        elif hub.age_s is None or hub.age_s > SILENT_SECONDS:
            text = "not heard" if hub.age_s is None else f"last heard {age(hub.age_s)} ago"
            yield Finding(CRITICAL, hub.id, text)
        else:
            yield Finding(OK, hub.id, f"heard {age(hub.age_s)} ago")


def skew(facts: Facts) -> Iterator[Finding]:
    """Clocks agree."""
    for hub, _ in facts.heard:
        seen = [(hub.id, abs(hub.skew_s) if hub.skew_s is not None else None)]
        yield from limits(seen, SKEW_WARN_S, SKEW_CRIT_S, lambda _, hub=hub: f"{hub.skew_s:+.1f} s")  # type: ignore[misc]


def reach_from_hubs(facts: Facts) -> Iterator[Finding]:
    """Every hub reaches every hub server."""
    for hub, live in facts.heard:
        for dest in dict.fromkeys(lane.dest for lane in live.lanes):
            states = [lane for lane in live.lanes if lane.dest == dest]
            down = next((lane for lane in states if lane.state == "BUFFERING"), None)
            text = f"cannot reach {dest}: {down.why or 'buffering'}" if down else f"reaches {dest}"
            yield Finding(CRITICAL if down else OK, hub.id, text)


def witness_from_hubs(facts: Facts) -> Iterator[Finding]:
    """Members of groups reach the witness."""
    members = {member for group in (facts.roster.groups if facts.roster else []) for member in group.members}
    if facts.roster is not None and not members:
        yield Finding(OK, "", "no groups: no hub needs it")
    for hub, live in facts.heard:
        for group in live.groups:
            if group.witness:
                is_ok = group.witness == "ok"
                yield Finding(OK if is_ok else CRITICAL, hub.id, "reaches it" if is_ok else f"witness {group.witness}")


def hub_round_trips(facts: Facts) -> Iterator[Finding]:
    """Round trips from the hubs."""
    seen = [
        (f"{hub.id} to {dest}", seconds)
        for hub, detail in facts.detailed
        if detail.agent
        for dest, seconds in detail.agent.rtt_p99.items()
    ]
    return limits(seen, RTT_WARN_S, RTT_CRIT_S, millis)


def lanes(facts: Facts) -> Iterator[Finding]:
    """No lane is stuck on its server."""
    ranks = {"FENCED": CRITICAL, "BLOCKED": CRITICAL, "SHEDDING": CRITICAL, "BUFFERING": WARNING}
    for hub, live in facts.heard:
        for lane in live.lanes:
            result = ranks.get(lane.state, OK)
            text = f"{lane.lane} to {lane.dest} {lane.state}" + (f": {lane.why}" if lane.why else "")
            yield Finding(result, hub.id, text)


def loss(facts: Facts) -> Iterator[Finding]:
    """Nothing will be lost soon."""
    for hub, live in facts.heard:
        near = min((lane.loss_s for lane in live.lanes if lane.loss_s is not None), default=None)
        if near is None:
            yield Finding(OK, hub.id, "not at this rate")
        else:
            result = CRITICAL if near < LOSS_CRIT_S else WARNING if near < LOSS_WARN_S else OK
            yield Finding(result, hub.id, f"first loss in {age(near)}")


def spool_room(facts: Facts) -> Iterator[Finding]:
    """Spools have room."""
    seen = [
        (
            hub.id,
            detail.spool_bytes / detail.spool_budget
            if detail.spool_budget and detail.spool_bytes is not None
            else None,
        )
        for hub, detail in facts.detailed
    ]
    return limits(seen, 0.5, 0.9, lambda ratio: f"{percent(ratio)} % used")


def spool_fits(facts: Facts) -> Iterator[Finding]:
    """The disk can hold what the spool may take."""
    for hub, detail in facts.detailed:
        free = max((one.total - one.used for one in detail.disks if one.total and one.used is not None), default=None)
        if free is None or not detail.spool_budget:
            yield Finding(UNKNOWN, hub.id, "no figures of its disks")
            continue
        owed = detail.spool_budget - (detail.spool_bytes or 0)
        text = f"may still take {size(owed)}, the roomiest disk has {size(free)}"
        yield Finding(OK if free >= owed else WARNING, hub.id, text)


def disks(facts: Facts) -> Iterator[Finding]:
    """Disks have room."""
    for hub, live in facts.heard:
        where = f"{hub.id} {live.disk.mount}" if live.disk else hub.id
        seen = [(where, live.disk.used if live.disk else None)]
        yield from limits(seen, DISK_WARN, DISK_CRIT, lambda ratio: f"{percent(ratio)} %")


def rosters(facts: Facts) -> Iterator[Finding]:
    """Hubs have the newest roster."""
    newest = facts.roster.version if facts.roster else max((live.roster_v for _, live in facts.heard), default=0)
    for hub, live in facts.heard:
        text = f"version {live.roster_v}" + ("" if live.roster_v == newest else f", the newest is {newest}")
        yield Finding(OK if live.roster_v == newest else WARNING, hub.id, text)


def agent_versions(facts: Facts) -> Iterator[Finding]:
    """Agents and this console are at most one minor version apart."""
    for hub, live in facts.heard:
        apart = minor_distance(live.version, facts.local.version)
        result = UNKNOWN if apart is None else OK if apart == 0 else WARNING
        far = " (more than one minor version apart)" if apart and apart > 1 else ""
        yield Finding(result, hub.id, f"{live.version or '?'}, this console {facts.local.version}{far}")


def minor_distance(one: str, other: str) -> int | None:
    """How many minor versions lie between two; a large number across majors; None where one cannot be read."""
    parts = [text.split(".")[:2] for text in (one, other)]
    if not all(len(pair) == 2 and all(part.isdigit() for part in pair) for pair in parts):
        return None
    (major, minor), (major_2, minor_2) = ([int(part) for part in pair] for pair in parts)
    return abs(minor - minor_2) if major == major_2 else 1000


def groups_witness(facts: Facts) -> Iterator[Finding]:
    """Groups have a witness."""
    if facts.roster is None:
        return
    has_witness = any(server.role == "witness" for server in facts.roster.servers)
    for group in facts.roster.groups:
        text = "has a witness" if has_witness else "no witness: only a person can fail it over"
        yield Finding(OK if has_witness else WARNING, group.name, text)
    if not facts.roster.groups:
        yield Finding(OK, "", "no groups")


def armed(facts: Facts) -> Iterator[Finding]:
    """Automatic failover is armed, and not under maintenance: by the word of the active hub, others learn it later."""
    if facts.roster is not None and not facts.roster.groups:
        yield Finding(OK, "", "no groups")
    for group in facts.roster.groups if facts.roster else []:
        seen = [one for _, live in facts.heard for one in live.groups if one.group == group.name]
        if not seen:
            yield Finding(UNKNOWN, group.name, "no member is heard")
            continue
        word = max(seen, key=lambda one: (one.role.startswith("ACTIVE"), one.epoch))
        is_on = word.auto == "armed" and not word.maintenance
        yield Finding(OK if is_on else WARNING, group.name, "under maintenance" if word.maintenance else word.auto)


def one_active(facts: Facts) -> Iterator[Finding]:
    """Each group has exactly one active hub."""
    for group in facts.roster.groups if facts.roster else []:
        seen = [(hub.id, one) for hub, live in facts.heard for one in live.groups if one.group == group.name]
        active = [hub for hub, one in seen if one.role.startswith("ACTIVE")]
        if not seen:
            yield Finding(UNKNOWN, group.name, "no member is heard")
        elif len(active) != 1:
            yield Finding(CRITICAL, group.name, f"active: {' and '.join(active) or 'none'}")
        else:
            unfenced = sorted({name for _, one in seen for name in one.not_fenced})
            text = f"{active[0]} is active" + (f", not fenced: {', '.join(unfenced)}" if unfenced else "")
            yield Finding(WARNING if unfenced else OK, group.name, text)
    if facts.roster is not None and not facts.roster.groups:
        yield Finding(OK, "", "no groups")


def services(facts: Facts) -> Iterator[Finding]:
    """Every wanted service runs."""
    for hub, live in facts.heard:
        totals = live.services
        if totals is None or totals.wanted == totals.running:
            yield Finding(OK, hub.id, f"{totals.running if totals else 0} run")
        else:
            text = f"{totals.running} of {totals.wanted} run, worst: {totals.worst}"
            yield Finding(CRITICAL if "FATAL" in totals.worst else WARNING, hub.id, text)


def alerts(facts: Facts) -> Iterator[Finding]:
    """No alert is raised."""
    for hub, live in facts.heard:
        count = live.alerts.n if live.alerts else 0
        text = f"{count} raised, worst: {live.alerts.worst}" if live.alerts and count else "none"
        yield Finding(WARNING if count else OK, hub.id, text)


def own_words(facts: Facts) -> Iterator[Finding]:
    """No agent has something to say of itself."""
    for hub, detail in facts.detailed:
        yield Finding(WARNING if detail.warnings else OK, hub.id, "; ".join(detail.warnings) or "nothing to say")


def foreign(facts: Facts) -> Iterator[Finding]:
    """Nobody sends messages that are not ours."""
    for hub, detail in facts.detailed:
        yield Finding(WARNING if detail.foreign else OK, hub.id, f"{detail.foreign} dropped")
    if facts.dropped:
        # Of a retired hub only its old records are left, which no key of the roster verifies any more.
        is_retired = bool(facts.roster and facts.roster.revoked)
        text = f"{facts.dropped} dropped" + (", as records of revoked keys are" if is_retired else "")
        yield Finding(OK if is_retired else WARNING, "this console", text)


def loop_lag(facts: Facts) -> Iterator[Finding]:
    """Agents are not held up."""
    seen = [(hub.id, detail.agent.loop_lag_p99 if detail.agent else None) for hub, detail in facts.detailed]
    return limits(seen, LAG_WARN_S, LAG_CRIT_S, millis)


def fsync(facts: Facts) -> Iterator[Finding]:
    """Disks sync fast enough."""
    seen = [(hub.id, detail.agent.fsync_p99 if detail.agent else None) for hub, detail in facts.detailed]
    return limits(seen, FSYNC_WARN_S, FSYNC_CRIT_S, millis)


HUB_CHECKS = (
    Check("hub-silent", "every hub of the roster is heard", "a silent hub may be down, or only cut off",
          "log in there: hubagent status works without any server; retire it if it is gone for good", silent),
    Check("hub-clock", f"clocks agree within {SKEW_WARN_S:g} s", "records of several hubs are read side by side by time",
          "start chrony or systemd-timesyncd there", skew),
    Check("hub-reaches-servers", "each hub reaches each hub server", "what it cannot deliver waits in its spool",
          "look at the network between them; `hubagent status` there says why", reach_from_hubs),
    Check("hub-reaches-witness", "members of groups reach the witness", "without it a failover needs a promise or a person",
          "look at the network to the witness", witness_from_hubs),
    Check("hub-round-trip", f"round trips of hubs below {millis(RTT_WARN_S)}", "leases renew over them",
          "take a profile of the group that fits the link (wan)", hub_round_trips),
    Check("lanes", "no lane is fenced, blocked, shedding or buffering", "the records are then kept in one place only",
          "FENCED: find the clone of this hub; BLOCKED: make room on the server; see the guide", lanes),
    Check("time-to-loss", "no record is lost within a day", "the spool is finite",
          "bring the server back, or give the spool more (spool.budget)", loss),
    Check("spool-room", "spools are less than half full", "what is in it has not reached every server",
          "bring the servers back, or give the spool more", spool_room),
    Check("spool-fits-disk", "a disk can hold what the spool may take", "a full disk stops more than hubdeck",
          "lower spool.budget, or make room", spool_fits),
    Check("disk-room", f"disks are less than {percent(DISK_WARN)} % full", "a full disk is the commonest incident",
          "make room; the hub's detail says when it will be full", disks),
    Check("roster-hubs", "each hub has the newest roster", "an older one still trusts who was revoked since",
          "is the hub linked to a hub server? it takes the newest by itself", rosters),
    Check("agent-version", "agents are as new as this console", "one minor version apart works both ways, no more",
          "upgrade the older: pip install -U hubdeck, then systemctl restart hubagent", agent_versions),
    Check("group-witness", "groups have a witness", "two hubs alone cannot tell a dead peer from a cut line",
          "hubdeck invite HUB --server witness=HOST, on a third machine", groups_witness),
    Check("failover-armed", "automatic failover is armed", "shadow and off only watch",
          "hubdeck arm GROUP; end a maintenance with hubdeck maintenance GROUP --off", armed),
    Check("one-active", "each group has exactly one active hub", "none: its services stand; two: they run twice",
          "hubdeck failover GROUP says what is in the way", one_active),
    Check("services", "every wanted service runs", "that is what it is all for",
          "hubdeck logs SERVICE@HUB; hubdeck restart or rollback SERVICE@HUB", services),
    Check("alerts", "no alert is raised", "somebody set these thresholds for a reason",
          "look at the hub's detail; acknowledge what is known", alerts),
    Check("agent-words", "no agent warns of itself", "agents say there what only they can see", "do as it says", own_words),
    Check("foreign-messages", "nobody sends what is not ours", "a stranger, a clone or a broken client is on the bus",
          "look who is connected to the server (nats server report connections)", foreign),
    Check("agent-lag", "agents are not held up", "an agent that stalls renews its lease late",
          "is the machine overloaded, or out of memory?", loop_lag),
    Check("disk-sync", f"a sync to disk takes less than {millis(FSYNC_WARN_S)}", "commands wait for it before they act",
          "another disk for the state directory, or less load on this one", fsync),
)  # fmt: skip
