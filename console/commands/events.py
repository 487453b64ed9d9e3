"""`hubdeck events`: what happened, read from the streams, and followed on request."""

import argparse
from dataclasses import dataclass
from typing import Any

import msgspec

from console.clock import utc
from console.commands.moments import since
from console.commands.output import note, safe, to_ascii, write, write_json
from console.commands.session import Session, session
from console.errors import DONE, NotConnected, NotThere, StreamUnread
from console.fleet import RecordsSeen, Report
from console.nats_side import NatsSide, records_of
from console.reading import chunks
from hubagent.wire.chunk import Record

EVENTS_MAX = 10_000  # the newest of what was asked for; a shorter --since shows the rest


@dataclass(frozen=True, slots=True)
class Event:
    """One record and the hub that wrote it."""

    hub: str
    record: Record

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it one event, from whichever server it came."""
        return (self.hub, self.record.boot, self.record.mono, self.record.kind, self.record.cmd_id, self.record.text)


def run(options: argparse.Namespace) -> int:
    """Show the events since a moment; with --follow go on until interrupted."""
    with session(options) as visit:
        begin = since(options.since, visit.clock.wall())
        visit.connect()
        events = _read(visit, _hubs(visit, options.hub), begin)
        _show(events, options)
        if options.follow:
            _follow(visit, {event.key for event in events}, begin, options)
    return DONE


def _hubs(visit: Session, hub: str | None) -> list[str]:
    known = sorted(visit.fleet.hubs)
    if hub and hub not in known:
        raise NotThere("hub", hub, ", ".join(known[:20]))
    return [hub] if hub else known


def _read(visit: Session, hubs: list[str], begin: float) -> list[Event]:
    """From every server that can be read, merged by chunk number, in order of time."""

    async def read(side: NatsSide) -> tuple[list[Event], list[str]]:
        found: dict[tuple[str, int, int], list[Event]] = {}
        failures = []
        for line in side.connected():
            try:
                for hub in hubs:
                    async for chunk in chunks(side, line, hub, "evt", begin):
                        key = (hub, chunk.inc, chunk.n)
                        if key not in found:
                            found[key] = [Event(hub, record) for record in records_of(chunk) if record.t >= begin]
            except (StreamUnread, NotConnected) as error:
                failures.append(error)
        if len(failures) == len(side.connected()):
            raise failures[0]
        return [event for events in found.values() for event in events], [str(failure) for failure in failures]

    events, failures = visit.get(visit.link.call(read))
    for failure in failures:
        note(f"{failure}; shown from the other server")
    return sorted(events, key=lambda event: event.record.t)[-EVENTS_MAX:]


def _show(events: list[Event], options: argparse.Namespace) -> None:
    if options.json and not options.follow:
        write_json({"events": [_as_json(event) for event in events]})
        return
    for event in events:
        _write(event, options)


def _follow(visit: Session, shown: set[tuple[object, ...]], begin: float, options: argparse.Namespace) -> None:
    while True:
        for report in _next_reports(visit):
            if not isinstance(report, RecordsSeen) or (options.hub and report.hub != options.hub):
                continue
            for record in report.records:
                event = Event(report.hub, record)
                if event.key not in shown and record.t >= begin:
                    shown.add(event.key)
                    _write(event, options)


def _next_reports(visit: Session) -> list[Report]:
    visit.link.wait(1.0)
    return visit.take()


def _write(event: Event, options: argparse.Namespace) -> None:
    if options.json:
        write_json(_as_json(event), is_line=True)
        return
    record, parts = event.record, []
    if record.actor and not f"{record.text} ".endswith(f"by {record.actor} "):
        parts.append(f"by {record.actor}")
    if record.reason:
        parts.append(f"because: {record.reason}")
    text = f"{record.text} ({', '.join(parts)})" if parts else record.text
    cells = [utc(record.t), record.severity, event.hub, record.kind, text]
    if options.plain:
        write(to_ascii("\t".join(safe(cell, 500) for cell in cells)))
    else:
        write(f"{cells[0]}  {safe(cells[1]):8}  {safe(cells[2]):12}  {safe(cells[3]):16}  {safe(cells[4], 500)}")


def _as_json(event: Event) -> dict[str, Any]:
    return {"hub": event.hub, **msgspec.structs.asdict(event.record)}
