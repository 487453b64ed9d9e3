"""`hubdeck records --compare [HUB]`: whether the hub servers' copies are equal, by number and hash."""

import argparse
from typing import Any

from console.commands.moments import since
from console.commands.output import note, write_json, write_table
from console.commands.session import Session, session
from console.completeness import LaneReading, read_lane
from console.copies import Comparison
from console.errors import DONE, REFUSED, NotThere
from console.nats_side import NatsSide
from hubagent.wire.subjects import LANES

DIFFERENCES_MAX = 100  # in the JSON, of one lane


def run(options: argparse.Namespace) -> int:
    """Read every copy whole and compare; 0 only where nothing differs without a cause and all could be read."""
    lanes = [options.lane] if options.lane else LANES
    with session(options) as visit:
        begin = since(options.since, visit.clock.wall()) if options.since else None
        visit.connect()
        found = [
            (hub, _read(visit, hub, lane, begin).comparison()) for hub in _hubs(visit, options.hub) for lane in lanes
        ]
    faults = [f"{hub} {one.lane}: {one.text}" for hub, one in found if one.state in {"different", "unknown"}]
    if options.json:
        write_json({"ok": not faults, "copies": [_document(hub, one) for hub, one in found]})
    else:
        rows = [[hub, one.lane, one.state, str(one.compared), one.text] for hub, one in found]
        write_table(("HUB", "LANE", "COPIES", "CHUNKS", "IN WORDS"), rows, is_plain=options.plain, right="CHUNKS")
    for fault in faults:
        note(fault)
    return REFUSED if faults else DONE


def _hubs(visit: Session, named: str | None) -> list[str]:
    known = sorted(hub.id for hub in visit.fleet.roster.hubs) if visit.fleet.roster else []
    if named and named not in known:
        raise NotThere("hub", named, ", ".join(known[:20]))
    return [named] if named else known


def _read(visit: Session, hub: str, lane: str, begin: float | None) -> LaneReading:
    async def work(side: NatsSide) -> LaneReading:
        return await read_lane(side, hub, lane, since=begin, refills=False)

    return visit.get(visit.link.call(work))


def _document(hub: str, one: Comparison) -> dict[str, Any]:
    return {
        "hub": hub, "lane": one.lane, "state": one.state, "text": one.text, "servers": list(one.servers),
        "compared": one.compared, "foreign": dict(one.foreign), "unread": dict(one.unread),
        "differences": [
            {
                "server": other.server, "kind": other.kind, "explained": other.is_explained, "why": other.why,
                "inc": other.span.inc, "n0": other.span.n0, "n1": other.span.n1,
            }
            for other in one.differences[:DIFFERENCES_MAX]
        ],
    }  # fmt: skip
