"""What the first screen answers without a key: a few lines above the table."""

from collections.abc import Sequence
from typing import NamedTuple

from console.fleet import UP, Fleet, Server
from console.present.causes import Cause, causes
from console.present.groups import GroupView, group_views
from console.present.hosts import totals
from console.present.news import changed_lately, lost_records, under_way
from console.present.states import RANK, Outlook, first_loss, stuck_lanes, symbol, tone
from console.present.text import Line, Span, crop, line, safe, spread, spread_best
from console.present.units import age, clock_short, millis

GROUP_LINES_MAX = 2
CAUSE_LINES_MAX = 3
NARROW_WIDTH = 60  # below, what is down matters more than what was lost
DAY_SECONDS = 86400.0


class Me(NamedTuple):
    """Who sits at this console and what they may do now."""

    identity: str
    role: str
    is_unlocked: bool
    until: float | None = None  # monotonic; None: until the console ends


def header(fleet: Fleet, look: Outlook, me: Me, width: int, *, frozen_s: float | None = None) -> list[Line]:
    """All lines above the table, worst news first among those of a kind."""
    lines = [_totals_line(fleet, look, width, frozen_s), _servers_line(fleet, look, width)]
    lines += _group_lines(fleet, look, me, width)
    lines += [_cause_line(cause, look, width) for cause in causes(fleet, look)[:CAUSE_LINES_MAX]]
    if news := _news_line(fleet, look, width):
        lines.append(news)
    return lines


def _totals_line(fleet: Fleet, look: Outlook, width: int, frozen_s: float | None) -> Line:
    counts = totals(fleet, look)
    left = [Span(f"FLEET {safe(fleet.name, 20)}".rstrip(), "title"), Span(f"  {len(fleet.hubs)} hubs ")]
    left += [
        Span(f" {symbol(word, is_ascii=look.is_ascii)} {counts[word]} {word}", tone(word))
        for word in sorted(counts, key=RANK.__getitem__)
        if counts[word]
    ]
    if frozen_s is not None:
        return spread(left, line(Span(f"FROZEN {age(frozen_s)} ago, p goes on", "warn")), width)
    age_span = _data_age(fleet, look)
    return spread_best(left, [(age_span, Span(f"  {clock_short(look.wall)} UTC", "dim")), (age_span,)], width)


def _data_age(fleet: Fleet, look: Outlook) -> Span:
    """The age of the whole view: the time since any hub was heard."""
    newest = max((hub.seen_at for hub in fleet.hubs.values() if hub.seen_at is not None), default=None)
    if newest is None:
        return Span("no data yet", "old")
    since = look.now - newest
    return Span(f"data {age(since)}", "old" if since > 5 else "dim")


def _servers_line(fleet: Fleet, look: Outlook, width: int) -> Line:
    spans = [Span("connecting", "busy")] if not fleet.servers else []
    for server in fleet.servers.values():
        spans += _server_spans(fleet, server, look)
    rights = _lost_spans(fleet, look) if width >= NARROW_WIDTH else [()]
    return spread_best(spans, rights, width)


def _server_spans(fleet: Fleet, server: Server, look: Outlook) -> list[Span]:
    name = safe(server.name, 20)
    if server.state == UP:
        rtt = f" {millis(server.rtt_s)}" if server.rtt_s is not None else ""
        spans = [Span(f"{name} "), Span("ok", "ok"), Span(f"{rtt}  ", "dim")]
        waiting = _waiting(fleet, server.name) if server.name in look.shared else ""
        return [*spans[:2], Span(f"{rtt}, but {waiting}  ", "warn")] if waiting else spans
    word = "DOWN" if server.why or server.state == "down" else "connecting"
    told = Span(f"{word} {age(look.now - server.since)}", "crit" if word == "DOWN" else "busy")
    waiting = _waiting(fleet, server.name)
    return [Span(f"{name} "), told, Span(f": {waiting}  " if waiting else "  ")]


def _waiting(fleet: Fleet, dest: str) -> str:
    """How many hubs buffer for this server, and how soon one of them loses."""
    lanes = [
        (hub.id, lane) for hub in fleet.hubs.values() if hub.live for lane in stuck_lanes(hub.live) if lane.dest == dest
    ]
    if not lanes:
        return ""
    hubs = len({hub for hub, _ in lanes})
    loss = first_loss(lane for _, lane in lanes)
    when = f"first loss in {age(loss)}" if loss is not None else "no loss in sight"
    return f"{hubs} hub{'s buffer' if hubs > 1 else ' buffers'}, {when}"


def _lost_spans(fleet: Fleet, look: Outlook) -> list[Line]:
    """Records lost in 24 h; where this console knows less of the past, it says since when."""
    lost = lost_records(fleet, look.wall - DAY_SECONDS)
    if fleet.records_from is None:
        return [line(Span("lost/24h ?", "dim"))]
    covered = look.wall - fleet.records_from >= DAY_SECONDS
    tone_ = "crit" if lost else "dim"
    long = "lost/24h" if covered else f"lost since {clock_short(fleet.records_from)}"
    return [line(Span(f"{long} {lost}", tone_)), line(Span(f"lost {lost}", tone_))]


def _group_lines(fleet: Fleet, look: Outlook, me: Me, width: int) -> list[Line]:
    views = group_views(fleet, look)
    shown = views[:GROUP_LINES_MAX]
    lines = [_group_spans(view) for view in shown] or [[Span("no groups", "dim")]]
    if len(views) > len(shown):
        lines[-1].append(Span(f"  +{len(views) - len(shown)} groups (6)", "dim"))
    return [spread(lines[0], line(me_span(me, look)), width), *[crop(one, width) for one in lines[1:]]]


def _group_spans(view: GroupView) -> list[Span]:
    spans = [Span(f"{view.name}: ", "title"), Span(view.who), Span(f" {view.role}", view.role_tone)]
    if view.witness:
        spans.append(Span(f", witness {view.witness}", "" if view.witness == "ok" else "warn"))
    if view.auto != "UNKNOWN" or view.active:
        spans += [Span(", "), Span(view.auto, view.auto_tone)]
    if view.why:
        spans.append(Span(f": {view.why}"))
    if view.proven:
        spans.append(Span(f" (proven {view.proven})", "dim"))
    return spans


def me_span(me: Me, look: Outlook) -> Span:
    """Who I am, and whether a key can change anything."""
    who = f"{safe(me.identity, 16)} ({safe(me.role, 10)})"
    if not me.is_unlocked:
        return Span(f"{who}: read-only", "dim")
    until = f" {age(me.until - look.now)} left" if me.until is not None else ""
    return Span(f"{who}: unlocked{until}", "warn")


def _cause_line(cause: Cause, look: Outlook, width: int) -> Line:
    mark = Span(f"{symbol(cause.word, is_ascii=look.is_ascii)} ", tone(cause.word))
    whom = cause.hubs[0] if len(cause.hubs) == 1 else f"{len(cause.hubs)} hubs"
    since = ""
    if cause.since is not None:
        lasted = look.now - cause.since
        since = (
            f"  since {clock_short(look.wall - lasted)} ({age(lasted)})" if cause.is_exact else f"  for > {age(lasted)}"
        )
    return spread([mark, Span(cause.text, tone(cause.word))], line(Span(f"{whom}{since}")), width)


def _news_line(fleet: Fleet, look: Outlook, width: int) -> Line | None:
    """What is under way and whose it is; then what changed in the last hour."""
    spans: list[Span] = []
    for work in under_way(fleet)[:2]:
        spans += [Span("NOW ", "busy"), Span(f"{work}  ", "busy")]
    changes: Sequence[str] = changed_lately(fleet, look)
    if changes:
        more = f" (+{len(changes) - 1} in 1h)" if len(changes) > 1 else ""
        spans += [Span("changed ", "dim"), Span(changes[0]), Span(more, "dim")]
    return crop(spans, width) if spans else None
