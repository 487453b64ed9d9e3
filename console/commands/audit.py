"""`hubdeck audit verify [HUB]`: whether each server's audit is what the hubs signed, whole and in order."""

import argparse
from dataclasses import dataclass
from typing import Any

import msgspec

from console.audit import Walk
from console.commands.output import note, write_json, write_table
from console.commands.session import HEAR_SECONDS, Session, session
from console.errors import DONE, REFUSED, NotConnected, NotThere, StreamUnread
from console.nats_side import NatsSide
from console.reading import hub_of, opened
from console.server_line import ServerLine
from console.streams import read, state_of
from hubagent.wire import subjects
from hubagent.wire.signing import payload_hash
from hubagent.wire.streams import STREAM_OF_LANE

LANE = "evt"


@dataclass(frozen=True, slots=True)
class Copy:
    """One hub's audit on one server; `why` where it could not be read."""

    hub: str
    server: str
    walk: Walk | None
    why: str = ""

    @property
    def text(self) -> str:
        """The verdict in words."""
        if self.walk is None:
            return f"not read: {self.why}"
        if self.walk.first is not None:
            return f"{self.walk.first.kind.upper()}: {self.walk.first.text}"
        lost = f", {self.walk.declared} declared lost" if self.walk.declared else ""
        planted = f"{self.walk.foreign} planted message{'s' * (self.walk.foreign > 1)}"
        foreign = f", beside {planted} that this hub did not sign" if self.walk.foreign else ""
        return f"whole and unaltered{lost}{foreign}"

    @property
    def is_ok(self) -> bool:
        """Tell whether it was read and nothing is wrong with it."""
        return self.walk is not None and self.walk.first is None


def run(options: argparse.Namespace) -> int:
    """Verify the signature, number and chain of every entry; 0 only where all is as the hubs wrote it."""
    with session(options) as visit:
        visit.connect()
        hubs = _hubs(visit, options.hub)
        acked = _acked(visit, hubs)  # before reading: what was acknowledged by then must be there
        copies = [copy for hub in hubs for copy in _copies(visit, hub, acked)]
    if options.json:
        write_json({"ok": all(copy.is_ok for copy in copies), "copies": [_document(copy) for copy in copies]})
    else:
        rows = [[copy.hub, copy.server, *_figures(copy), copy.text] for copy in copies]
        write_table(
            ("HUB", "SERVER", "ENTRIES", "RECORDS", "AUDIT"), rows, is_plain=options.plain, right="ENTRIES RECORDS"
        )
    wrong = [copy for copy in copies if not copy.is_ok]
    for copy in wrong:
        note(f"{copy.hub} on {copy.server}: {copy.text}")
    return REFUSED if wrong else DONE


def _hubs(visit: Session, named: str | None) -> list[str]:
    known = sorted(hub.id for hub in visit.fleet.roster.hubs) if visit.fleet.roster else []
    if named and named not in known:
        raise NotThere("hub", named, ", ".join(known[:20]))
    return [named] if named else known


def _acked(visit: Session, hubs: list[str]) -> dict[tuple[str, str], int]:
    """What each hub says that each server has acknowledged; silent hubs say nothing."""
    visit.ask_details(hubs)
    visit.wait_until(lambda: all(visit.fleet.hub(hub).detail is not None for hub in hubs), HEAR_SECONDS)
    details = {hub: visit.fleet.hub(hub).detail for hub in hubs}
    return {
        (hub, lane.dest): lane.acked_n
        for hub, detail in details.items() if detail
        for lane in detail.lanes if lane.lane == LANE
    }  # fmt: skip


def _copies(visit: Session, hub: str, acked: dict[tuple[str, str], int]) -> list[Copy]:
    async def work(side: NatsSide) -> list[Copy]:
        return [await _read(side, line, hub, acked.get((hub, line.name), 0)) for line in side.lines]

    copies = visit.get(visit.link.call(work))
    for copy in copies:
        for other in copies:
            if copy.walk and other.walk and other is not copy:
                copy.walk.compare(other.server, other.walk)
    return copies


async def _read(side: NatsSide, line: ServerLine, hub_id: str, acked_n: int) -> Copy:
    hub, subject, stream = hub_of(side, hub_id), subjects.ops(LANE, hub_id), STREAM_OF_LANE[LANE]
    try:
        where = await state_of(line, stream)
        walk = Walk(from_start=where.first_seq <= 1)
        async for stored in read(line, stream, subject):
            chunk = opened(hub, stored)
            if chunk is None:
                walk.take_foreign(stored.seq)
            else:
                walk.take(stored.seq, chunk, payload_hash(stored.payload))
        walk.end(acked_n)
    except (StreamUnread, NotConnected) as error:
        return Copy(hub_id, line.name, None, str(error))
    return Copy(hub_id, line.name, walk)


def _figures(copy: Copy) -> list[str]:
    return ["-", "-"] if copy.walk is None else [str(copy.walk.chunks), str(copy.walk.records)]


def _document(copy: Copy) -> dict[str, Any]:
    walk = copy.walk or Walk()
    return {
        "hub": copy.hub, "server": copy.server, "ok": copy.is_ok, "is_read": copy.walk is not None, "why": copy.why,
        "entries": walk.chunks, "records": walk.records, "declared": walk.declared, "foreign": walk.foreign,
        "first": msgspec.to_builtins(walk.first), "text": copy.text,
    }  # fmt: skip
