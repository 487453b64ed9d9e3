"""The slow check behind "copies equal, checked 12 s ago": one hub after the other, a bounded piece of each stream."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from console.clock import utc
from console.copies import common, compare
from console.errors import NotConnected, StreamUnread
from console.fleet import CopiesSeen
from console.reading import opened
from console.records import Tally
from console.server_line import ServerLine
from console.streams import Stored, read, state_of
from hubagent.wire import subjects
from hubagent.wire.roster import Hub, Roster
from hubagent.wire.signing import payload_hash
from hubagent.wire.streams import STREAM_OF_LANE

FIRST_SECONDS = 8.0  # the start has better things to do
STEP_SECONDS = 4.0  # between two hubs
WINDOW_SECONDS = 600.0  # what was stored so long before the first check is looked at too
STEP_CHUNKS_MAX = 300  # of one lane and server in one step
DIGESTS_MAX = 2_000  # of one copy that wait for the other server; then the check begins anew


@dataclass(slots=True)
class _Copy:
    """One lane of one hub on one server, as far as it was read; `seq` is where to go on, 0 before the first time."""

    tally: Tally = field(default_factory=lambda: Tally(from_start=False, keeps_digests=True))
    seq: int = 0


class CopyWatch:
    """Reads on where it stopped; used on the NATS side's loop only."""

    def __init__(
        self,
        lines: list[ServerLine],
        roster: Callable[[], Roster | None],
        report: Callable[[CopiesSeen], None],
        wall: Callable[[], float],
    ) -> None:
        self._lines, self._roster, self._report, self._wall = lines, roster, report, wall
        self._copies: dict[tuple[str, str, str], _Copy] = {}
        self._compared: dict[tuple[str, str], int] = {}

    async def run(self, step_s: float = STEP_SECONDS) -> None:
        """Until cancelled."""
        await asyncio.sleep(min(FIRST_SECONDS, step_s))
        while True:
            roster = self._roster()
            for hub in roster.hubs if roster else ():
                for lane in subjects.LANES:
                    await self.check(hub, lane)
                await asyncio.sleep(step_s)
            await asyncio.sleep(step_s if not roster or not roster.hubs else 0)

    async def check(self, hub: Hub, lane: str) -> None:
        """Read on on every server, and say how the copies compare."""
        unread: dict[str, str] = {}
        for line in self._lines:
            try:
                await self._read_on(line, hub, lane)
            except (StreamUnread, NotConnected) as error:
                unread[line.name] = str(error)
        copies = {line.name: self._copy(line, hub, lane).tally for line in self._lines if line.name not in unread}
        found = compare(lane, copies, unread, is_window=True)
        if len(copies) > 1:
            self._settle(hub, lane, list(copies.values()))
        total = self._compared.get((hub.id, lane), 0)
        text = f"copies equal, {total} chunks" if found.state == "equal" and not found.foreign else found.text
        self._report(CopiesSeen(hub.id, lane, found.state, text))

    def _settle(self, hub: Hub, lane: str, tallies: list[Tally]) -> None:
        """Forget digests that are the same everywhere; copies that wait for each other too long begin anew."""
        same = common(tallies)
        self._compared[hub.id, lane] = self._compared.get((hub.id, lane), 0) + len(same)
        for tally in tallies:
            for key in same:
                del tally.digests[key]
        if max(len(tally.digests) for tally in tallies) > DIGESTS_MAX:
            for line in self._lines:
                self._copies.pop((hub.id, lane, line.name), None)

    async def _read_on(self, line: ServerLine, hub: Hub, lane: str) -> None:
        copy, stream = self._copy(line, hub, lane), STREAM_OF_LANE[lane]
        where = await state_of(line, stream)
        if copy.seq > where.last_seq + 1:  # the server lost its tail, or the stream is another one
            copy = self._copies[hub.id, lane, line.name] = _Copy()
        since = "" if copy.seq else utc(self._wall() - WINDOW_SECONDS, "%Y-%m-%dT%H:%M:%SZ")
        count = 0
        async with aclosing(read(line, stream, subjects.ops(lane, hub.id), seq=copy.seq, since=since)) as messages:
            async for stored in messages:
                _take(copy.tally, hub, stored)
                copy.seq, count = stored.seq + 1, count + 1
                if count >= STEP_CHUNKS_MAX:
                    return
        copy.seq = max(copy.seq, where.last_seq + 1)

    def _copy(self, line: ServerLine, hub: Hub, lane: str) -> _Copy:
        return self._copies.setdefault((hub.id, lane, line.name), _Copy())


def _take(tally: Tally, hub: Hub, stored: Stored) -> None:
    chunk = opened(hub, stored)
    if chunk is None:
        tally.take_foreign(stored.seq)
    else:
        tally.take(stored.seq, chunk, payload_hash(stored.payload))
