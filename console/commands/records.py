"""`hubdeck records HUB`: what the streams hold of a hub, counted by number, and whether it is complete."""

import argparse
from dataclasses import dataclass
from typing import Any

from console.commands import compare
from console.commands.moments import since
from console.commands.output import note, write, write_json, write_table
from console.commands.session import HEAR_SECONDS, Session, session
from console.errors import DONE, REFUSED, NotConnected, NotThere, StreamUnread, Usage
from console.nats_side import NatsSide
from console.reading import refill, tally
from console.records import Declared, Span, Spans, Statement, Tally, holes, state
from hubagent.wire.streams import STREAM_OF_LANE
from hubagent.wire.subjects import LANES

RANGES_MAX = 100  # in the JSON; the counts are of all


@dataclass(slots=True)
class Copy:
    """One lane in one server's stream; `why` where it could not be read."""

    server: str
    lane: str
    tally: Tally | None
    why: str = ""
    waiting: int = 0


def run(options: argparse.Namespace) -> int:
    """Read, count, and say what is missing; 0 only where nothing is missing, twice or broken."""
    if options.compare:
        return compare.run(options)
    if not options.hub:
        raise Usage("which hub? hubdeck records HUB, or hubdeck records --compare for all")
    with session(options) as visit:
        begin = since(options.since, visit.clock.wall()) if options.since else None
        visit.connect()
        if options.hub not in visit.fleet.hubs:
            raise NotThere("hub", options.hub, ", ".join(sorted(visit.fleet.hubs)[:20]))
        lanes = [options.lane] if options.lane else list(LANES)
        copies, refilled = _read(visit, options.hub, lanes, begin, keeps_digests=options.verify)
        _note_waiting(visit, options.hub, copies)
    statements = [
        state(lane, [copy.tally for copy in copies if copy.lane == lane and copy.tally], refilled[lane])
        for lane in lanes
    ]
    faults = list(_faults(copies, statements, is_verified=options.verify))
    if options.json:
        write_json(_document(options, copies, statements, faults))
    else:
        _show(copies, statements, is_plain=options.plain)
    for fault in faults:
        note(fault)
    return REFUSED if faults else DONE


def _read(
    visit: Session, hub: str, lanes: list[str], begin: float | None, *, keeps_digests: bool
) -> tuple[list[Copy], dict[str, Spans]]:
    async def read(side: NatsSide) -> tuple[list[Copy], dict[str, Spans]]:
        copies, refilled = [], {}
        for lane in lanes:
            mine = []
            for line in side.lines:
                try:
                    counted = await tally(side, line, hub, lane, since=begin, keeps_digests=keeps_digests)
                    mine.append(Copy(line.name, lane, counted))
                except (StreamUnread, NotConnected) as error:
                    mine.append(Copy(line.name, lane, None, str(error)))
            read_well = [copy.tally for copy in mine if copy.tally]
            missing = holes(read_well, from_start=all(one.from_start for one in read_well))
            refilled[lane] = await refill(side, hub, lane, missing)
            copies += mine
        return copies, refilled

    return visit.get(visit.link.call(read))


def _note_waiting(visit: Session, hub: str, copies: list[Copy]) -> None:
    """What the hub still owes each server, by its own word; silent hubs owe what the other copy has."""
    visit.ask_details([hub])
    visit.wait_until(lambda: visit.fleet.hub(hub).detail is not None, HEAR_SECONDS)
    detail = visit.fleet.hub(hub).detail
    owed = {(lane.dest, lane.lane): lane.chunks for lane in detail.lanes} if detail else {}
    for copy in copies:
        others = [one.tally.last() for one in copies if one.lane == copy.lane and one.tally]
        ahead = max(others, default=(0, 0))
        mine = copy.tally.last() if copy.tally else (0, 0)
        behind = ahead[1] - mine[1] if ahead[0] == mine[0] else 0
        copy.waiting = max(owed.get((copy.server, copy.lane), 0), behind, 0)


def _faults(copies: list[Copy], statements: list[Statement], *, is_verified: bool) -> list[str]:
    found = [copy.why for copy in copies if copy.tally is None]
    for copy in copies:
        if copy.tally is None:
            continue
        counts = {
            "missing": len(copy.tally.missing()),
            "twice": copy.tally.twice,
            "out of order": copy.tally.out_of_order,
            "breaks of the chain": copy.tally.breaks if is_verified else 0,
        }
        found += [f"{copy.server} {copy.lane}: {count} {what}" for what, count in counts.items() if count]
    found += [statement.text for statement in statements if not statement.is_complete]
    found += [f"{one.lane}: {one.differing} chunks differ between the servers" for one in statements if one.differing]
    return found


def _show(copies: list[Copy], statements: list[Statement], *, is_plain: bool) -> None:
    head = ("SERVER", "LANE", "CHUNKS", "RECORDS", "MISSING", "TWICE", "DECLARED", "FOREIGN", "WAITING", "LAST")
    rows = []
    for copy in copies:
        one = copy.tally
        figures = (
            ["-"] * 6 if one is None
            else [one.chunks, one.records, len(one.missing()), one.twice, len(one.declared_spans()), one.foreign]
        )  # fmt: skip
        last = "/".join(map(str, one.last())) if one else copy.why
        rows.append([copy.server, copy.lane, *map(str, figures), str(copy.waiting), last])
    write_table(head, rows, is_plain=is_plain, right="CHUNKS RECORDS MISSING TWICE DECLARED FOREIGN WAITING")
    write()
    for statement in statements:
        write(statement.text)
        for cause in _causes(statement):
            write(f"  declared {cause.kind} {cause.span.inc}/{cause.span.n0}-{cause.span.n1}: {cause.reason}")


def _causes(statement: Statement) -> list[Declared]:
    """Those substitutes that stand for numbers no copy has; each once."""
    lost = statement.declared
    mine = [one for one in statement.causes if any(lost.holds(one.span.inc, n) for n in (one.span.n0, one.span.n1))]
    return list(dict.fromkeys(mine))[:RANGES_MAX]


def _document(
    options: argparse.Namespace, copies: list[Copy], statements: list[Statement], faults: list[str]
) -> dict[str, Any]:
    return {
        "hub": options.hub,
        "verified": options.verify,
        "complete": all(statement.is_complete for statement in statements),
        "ok": not faults,
        "streams": [_copy(copy) for copy in copies],
        "lanes": [_statement(statement, is_verified=options.verify) for statement in statements],
        "faults": faults,
    }


def _copy(copy: Copy) -> dict[str, Any]:
    one = copy.tally or Tally()
    return {
        "server": copy.server, "lane": copy.lane, "stream": STREAM_OF_LANE[copy.lane],
        "is_read": copy.tally is not None, "why": copy.why,
        "chunks": one.chunks, "records": one.records, "missing": len(one.missing()), "twice": one.twice,
        "declared": len(one.declared_spans()), "out_of_order": one.out_of_order, "foreign": one.foreign,
        "chain_breaks": one.breaks, "waiting": copy.waiting,
        "last": dict(zip(("inc", "n"), one.last(), strict=True)), "faults": one.faults,
        "missing_ranges": _ranges(one.missing()),
    }  # fmt: skip


def _statement(one: Statement, *, is_verified: bool) -> dict[str, Any]:
    return {
        "lane": one.lane, "complete": one.is_complete, "statement": one.text,
        "accepted": one.accepted, "received": one.received, "refilled": one.refilled,
        "declared": len(one.declared), "missing": len(one.missing), "missing_ranges": _ranges(one.missing),
        "copies_differ": one.differing if is_verified else None,
        "causes": [
            {**_range(cause.span), "kind": cause.kind, "records": cause.records, "reason": cause.reason}
            for cause in _causes(one)
        ],
    }  # fmt: skip


def _ranges(spans: Spans) -> list[dict[str, int]]:
    return [_range(span) for span in list(spans)[:RANGES_MAX]]


def _range(span: Span) -> dict[str, int]:
    return {"inc": span.inc, "n0": span.n0, "n1": span.n1}
