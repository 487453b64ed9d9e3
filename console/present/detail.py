"""The hub detail: figures with sparklines, lanes, forecasts, alerts and the agent's own cost, as lines."""

from collections.abc import Iterator

from console.fleet import Hub
from console.present.buffers import LANE_TONES, lane_rates
from console.present.events import tone_of
from console.present.hosts import state_span
from console.present.states import Outlook, hub_state
from console.present.text import Line, Span, crop, line, safe, spread
from console.present.units import age, clock_short, millis, number, percent, rate, size, span, sparkline
from hubagent.wire.reports import Detail, GroupState, Lane

SPARK_WIDTH = 30
DETAIL_OLD_SECONDS = 4.0
ROWS_MAX = 8  # of disks, nics, forecasts and alerts each; the rest is counted


def detail_head(hub: Hub, look: Outlook, width: int) -> Line:
    """The hub, its state, why, and the age of what is shown."""
    state = hub_state(hub, look)
    labels = " ".join(f"{safe(key, 20)}={safe(value, 20)}" for key, value in sorted(hub.labels.items()))
    left = [Span("HUB ", "title"), Span(hub.id, "title"), Span("  "), state_span(state.word, look)]
    left += [Span(f"  {safe(state.why)}"), Span(f"  {labels}", "dim")]
    return spread(left, line(Span(f"word {age(hub.age(look.now))} old", "dim")), width)


def detail_lines(hub: Hub, look: Outlook, width: int) -> list[Line]:
    """Everything that has no cursor of its own."""
    lines = list(_load_lines(hub, look))
    if hub.detail is None:
        lines.append(line(Span("asking the hub for its figures …", "busy")))
    else:
        lines += _detail_parts(hub.detail, None if hub.detail_at is None else look.now - hub.detail_at)
    lines += [_group_line(group) for group in (hub.live.groups if hub.live else ())]
    return [crop(one, width) for one in lines]


def _load_lines(hub: Hub, look: Outlook) -> Iterator[Line]:
    for name, history in (("cpu", hub.cpu), ("mem", hub.mem)):
        values = list(history)
        bars = sparkline(values, SPARK_WIDTH, top=1.0, is_ascii=look.is_ascii)
        now = percent(values[-1] if values else None)
        yield line(Span(f"{name:5}", "head"), f"{now:>3}% ", Span(bars, "busy"), Span("  last 60 s, top 100%", "dim"))


def _detail_parts(detail: Detail, seen: float | None) -> Iterator[Line]:
    if seen is not None and seen > DETAIL_OLD_SECONDS:
        yield line(Span(f"the figures below are {age(seen)} old", "old"))
    yield line(Span("mem  ", "head"), f"{size(detail.mem_used)} of {size(detail.mem_total)}",
               f"   swap {size(detail.swap_used)} of {size(detail.swap_total)}",
               f"   load {' '.join(number(one) for one in detail.load[:3])}",
               f"   {detail.processes if detail.processes is not None else '-'} processes")  # fmt: skip
    yield line(
        Span("cores", "head"), " ", " ".join(percent(one) for one in detail.cores[:32]) or "-", *_pressure(detail)
    )
    yield from _disks(detail)
    yield from _nics(detail)
    for lane in detail.lanes:
        yield _lane_line(lane)
    yield from _forecasts(detail)
    yield from _alerts(detail)
    yield from _agent(detail)
    for warning in detail.warnings[:ROWS_MAX]:
        yield line(Span("note ", "head"), Span(safe(warning), "warn"))


def _pressure(detail: Detail) -> list[Span]:
    if not detail.pressure:
        return []
    words = [f"{safe(key, 10)} {percent(value)}%" for key, value in sorted(detail.pressure.items())[:4]]
    return [Span(f"   waiting: {' '.join(words)}", "dim")]


def _disks(detail: Detail) -> Iterator[Line]:
    for disk in detail.disks[:ROWS_MAX]:
        rates = f"  read {rate(disk.read_rate)} write {rate(disk.write_rate)}"
        tone = "warn" if (disk.ratio or 0) >= 0.9 else ""
        yield line(
            Span("disk ", "head"), Span(f"{percent(disk.ratio):>3}% ", tone), f"{safe(disk.mount, 24):<16}",
            f" {size(disk.used)} of {size(disk.total)}", Span(rates, "dim"),
        )  # fmt: skip
    yield from _more("disk ", len(detail.disks))


def _nics(detail: Detail) -> Iterator[Line]:
    for nic in detail.nics[:ROWS_MAX]:
        wrong = f"  {nic.errors} errors" if nic.errors else ""
        traffic = f" in {rate(nic.rx_rate)} out {rate(nic.tx_rate)}"
        yield line(Span("net  ", "head"), f"{safe(nic.name, 16):<10}", traffic, Span(wrong, "warn"))
    yield from _more("net  ", len(detail.nics))


def _lane_line(lane: Lane) -> Line:
    depth = f"{lane.chunks} chunks {size(lane.bytes)}, oldest {age(lane.oldest_s)}"
    loss = Span(f", first loss in {age(lane.loss_s)}" if lane.loss_s is not None else "", "warn")
    dropped = Span(f", {len(lane.dropped)} drops declared" if lane.dropped else "", "crit")
    return line(
        Span("lane ", "head"), f"{safe(lane.dest, 16)} {safe(lane.lane, 8)} ",
        Span(safe(lane.state, 12), LANE_TONES.get(lane.state, "lost")), f"  {depth}", loss, dropped,
        Span(f"  {lane_rates(lane)}", "dim"), Span(f"  {safe(lane.why, 80)}" if lane.why else "", "warn"),
    )  # fmt: skip


def _forecasts(detail: Detail) -> Iterator[Line]:
    for one in detail.forecasts[:ROWS_MAX]:
        mid = f", most likely {age(one.mid_s)}" if one.mid_s is not None else ""
        pace = Span(f"  at {rate(one.rate)}" if one.rate is not None else "", "dim")
        yield line(Span("full ", "head"), f"{safe(one.what, 40)} in {span(one.low_s, one.high_s)}{mid}", pace)
    yield from _more("full ", len(detail.forecasts))


def _alerts(detail: Detail) -> Iterator[Line]:
    for alert in detail.alerts[:ROWS_MAX]:
        acked = f"  seen by {safe(alert.acked_by, 20)}" if alert.acked_by else "  owner: nobody"
        yield line(
            Span("alert", "head"), " ", Span(safe(alert.text), tone_of(alert.severity)),
            f"  since {clock_short(alert.since)}", Span(acked, "dim"),
        )  # fmt: skip
    yield from _more("alert", len(detail.alerts))


def _agent(detail: Detail) -> Iterator[Line]:
    agent = detail.agent
    if agent is None:
        return
    trips = " ".join(f"{safe(dest, 16)} {millis(value)}" for dest, value in sorted(agent.rtt_p99.items())[:4])
    spool = f"  spool {size(detail.spool_bytes)} of {size(detail.spool_budget)}" if detail.spool_budget else ""
    yield line(
        Span("agent", "head"), f" cpu {number(agent.cpu * 100 if agent.cpu is not None else None, 1)}%",
        f" rss {size(agent.rss)}  p99: loop {millis(agent.loop_lag_p99)} fsync {millis(agent.fsync_p99)} {trips}{spool}",
        Span(f"  {detail.foreign} foreign messages dropped" if detail.foreign else "", "warn"),
    )  # fmt: skip


def _group_line(group: GroupState) -> Line:
    left = f", {group.left_s:.1f}s of authority left" if group.left_s is not None else ""
    maintained = ", maintenance" if group.maintenance else ""
    if group.drill is not None:
        maintained += f", DRILL {safe(group.drill.kind, 16)} by {safe(group.drill.by, 24)}"
    why = Span(f": {safe(group.why, 80)}" if group.why else "", "warn")
    text = f"{safe(group.group, 24)} {safe(group.role, 24)}, epoch {group.epoch}{left}, {safe(group.auto, 12).upper()}"
    return line(Span("group", "head"), f" {text}{maintained}", why)


def _more(name: str, count: int) -> Iterator[Line]:
    if count > ROWS_MAX:
        yield line(Span(name, "head"), Span(f"+{count - ROWS_MAX} more", "dim"))
