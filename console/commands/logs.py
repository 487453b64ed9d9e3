"""`hubdeck logs SERVICE@HUB`: the output of a service, its last lines, and followed on request."""

import argparse

from console.commands.output import note, safe, write, write_json
from console.commands.session import HEAR_SECONDS, Session, session
from console.errors import DONE, NotAnswering, NotThere, Usage
from console.fleet import LogSeen
from hubagent.wire.reports import LogLines
from hubagent.wire.subjects import is_name

LINES_MAX = 200  # a hub sends no more of what was before; the file on the hub has the rest
LINE_CHARS_MAX = 4096


def run(options: argparse.Namespace) -> int:
    """Show the last lines; with --follow go on until interrupted."""
    service, at, hub = options.target.partition("@")
    if not (at and is_name(service) and is_name(hub)):
        raise Usage(f"logs: a target is SERVICE@HUB, such as web@alpha, found {ascii(options.target)[:80]}")
    if not 0 <= options.lines <= LINES_MAX:
        raise Usage(f"logs: --lines is a number from 0 to {LINES_MAX}, found {options.lines}")
    with session(options) as visit:
        visit.connect()
        if hub not in visit.fleet.hubs:
            raise NotThere("hub", hub, ", ".join(sorted(visit.fleet.hubs)[:20]))
        _check(visit, hub, service)
        visit.link.follow(hub, service, options.lines)
        _show_first(visit, options)
        while options.follow:
            visit.link.wait(1.0)
            _show(visit, options)
    return DONE


def _check(visit: Session, hub: str, service: str) -> None:
    """The hub answers and has such a service; otherwise no line would ever come, without a word why."""
    visit.ask_details([hub])
    if not visit.wait_until(lambda: visit.fleet.hub(hub).detail is not None, HEAR_SECONDS):
        raise NotAnswering(hub)
    detail = visit.fleet.hub(hub).detail
    names = [one.name for one in detail.services] if detail else []
    if service not in names:
        raise NotThere(f"service on {hub}", service, ", ".join(names))


def _show_first(visit: Session, options: argparse.Namespace) -> None:
    """A hub that has no line yet sends nothing: that is an empty answer, not an error."""
    deadline = visit.clock.monotonic() + (HEAR_SECONDS if options.lines else 0.0)
    while visit.clock.monotonic() < deadline and not _show(visit, options):
        visit.link.wait(0.25)


def _show(visit: Session, options: argparse.Namespace) -> bool:
    found = [report.lines for report in visit.take() if isinstance(report, LogSeen)]
    for lines in found:
        _write(lines, options)
    return bool(found)


def _write(lines: LogLines, options: argparse.Namespace) -> None:
    if options.json:
        document = {"hub": lines.hub, "service": lines.service, "lines": lines.lines, "skipped": lines.skipped}
        write_json(document, is_line=True)
        return
    for line in lines.lines:
        text = safe(line, LINE_CHARS_MAX) if line else ""
        write(text.encode("ascii", "replace").decode() if options.plain else text)
    if lines.skipped:
        note(f"{lines.skipped} lines left out: they came faster than they may be sent")
