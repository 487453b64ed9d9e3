"""The NATS side of the console, on an event loop of its own: everything that comes in is checked here."""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
from nats.aio.msg import Msg

from console.clock import Clock, utc
from console.config import Settings
from console.errors import NotConnected, StreamUnread
from console.fleet import DetailSeen, LiveSeen, LogSeen, RecordsSeen, RosterSeen
from console.key_files import fleet_key
from console.mailbox import Mailbox
from console.results import Results
from console.server_line import ServerLine, end_all
from console.streams import Stored, last_of, read
from console.watching import Watching
from hubagent.wire import subjects
from hubagent.wire.chunk import Chunk, Record, open_chunk
from hubagent.wire.codec import WireError, decode
from hubagent.wire.reports import Detail, Live, LogLines
from hubagent.wire.roster import Roster, RosterRefused, open_roster
from hubagent.wire.signing import SIGNATURE_HEADER, Keys
from hubagent.wire.streams import EVT, ROSTER

T = TypeVar("T", Live, Detail)
LIVE_BYTES_MAX = 64 << 10
DETAIL_BYTES_MAX = 512 << 10
BACKFILL_SECONDS = 3600.0
BACKFILL_CHUNKS_MAX = 20_000  # of all hubs; beyond it the rest is read with `hubdeck events`
APPLIED_MAX = 50_000  # chunk numbers already applied; older ones cannot come again but from a long outage
HUBS_MAX = 5_000  # hubs that we keep the last message of


class NatsSide:
    """All lines to the hub servers and what came over them; used on its own event loop only."""

    def __init__(self, settings: Settings, keys: Keys, mailbox: Mailbox, clock: Clock) -> None:
        self.settings, self.keys, self.clock = settings, keys, clock
        self.roster: Roster | None = None
        self.results = Results()
        self.fresh: dict[str, tuple[str, int, float]] = {}  # hub: boot, seq, when (monotonic)
        self.dropped = 0  # messages that were no valid messages of ours
        self.lines = [
            ServerLine(server, settings.identity, keys.login_seed, settings.ping_s, clock, mailbox.put)
            for server in settings.servers
        ]
        self._fleet_key = fleet_key(settings)
        self._mailbox = mailbox
        self._seen: dict[str, tuple[bytes, bytes]] = {}  # subject: the last two messages, to drop the second copy
        self._applied: OrderedDict[tuple[str, int, int], None] = OrderedDict()
        self.watching = Watching(self.lines, self._on_logs)
        self._stop, self._check_copies = asyncio.Event(), asyncio.Event()

    def stop(self) -> None:
        """Have `run` end; call it on the loop."""
        self._stop.set()

    def connected(self) -> list[ServerLine]:
        """The lines that something sent now would leave on; raises NotConnected where there is none."""
        up = [line for line in self.lines if line.is_connected]
        if not up:
            raise NotConnected(", ".join(line.name for line in self.lines))
        return up

    async def check_copies(self) -> None:
        """Begin the slow check of the servers' copies against each other."""
        self._check_copies.set()

    async def _watch_copies(self) -> None:
        await self._check_copies.wait()
        from console.copy_watch import CopyWatch

        await CopyWatch(self.lines, lambda: self.roster, self._mailbox.put, self.clock.wall).run()

    async def run(self) -> None:
        """Keep every line up until `stop`."""
        self._load_roster()
        for line in self.lines:
            await line.subscribe("live.*", self._on_live)
            await line.subscribe("detail.*", self._on_detail)
            await line.subscribe(EVT.subjects[0], self._on_chunk)
            await line.subscribe(subjects.ROSTER, self._on_roster)
        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(line.run(self._greet)) for line in self.lines]
            started += [tasks.create_task(self.watching.run()), tasks.create_task(self._watch_copies())]
            await self._stop.wait()
            await end_all(started)

    async def _greet(self, line: ServerLine) -> None:
        """What a fresh line is used for first: the roster, then what happened in the last hour."""
        await self.watching.ask_over(line)
        stored = await last_of(line, ROSTER.name, subjects.ROSTER)
        if stored:
            self._take_roster(stored.payload)
        with suppress(NotConnected, StreamUnread):  # the line's own state says why
            await self._backfill(line)

    async def _backfill(self, line: ServerLine) -> None:
        # By store time: a chunk is never stored before its records were made, so late ones are not missed either.
        begin = self.clock.wall() - BACKFILL_SECONDS
        count = 0
        async for stored in read(line, EVT.name, EVT.subjects[0], since=utc(begin, "%Y-%m-%dT%H:%M:%SZ")):
            self._apply(line, stored, begin)
            count += 1
            if count >= BACKFILL_CHUNKS_MAX:
                return

    # What comes in. Callbacks of the client: nothing here waits.

    def _on_live(self, line: ServerLine, message: Msg) -> None:
        hub = message.subject[5:]
        self.watching.note_way(hub, line)
        live = self._open(message, Live, LIVE_BYTES_MAX, hub)
        if live is None:
            return
        boot, seq, _ = self.fresh.get(hub, ("", -1, 0.0))
        if boot == live.boot and live.seq <= seq:
            return
        self.fresh[hub] = (live.boot, live.seq, self.clock.monotonic())
        for result in live.results:
            self.results.note(hub, result)
        self._mailbox.put(LiveSeen(line.name, live))

    def _on_detail(self, line: ServerLine, message: Msg) -> None:
        hub = message.subject[7:]
        self.watching.note_way(hub, line)
        detail = self._open(message, Detail, DETAIL_BYTES_MAX, hub)
        if detail is not None:
            self._mailbox.put(DetailSeen(line.name, detail))

    def _open(self, message: Msg, kind: type[T], bytes_max: int, hub: str) -> T | None:
        """A summary, unless it is the other server's copy, is none of ours, or speaks for somebody else."""
        subject, raw = message.subject, message.data
        known = self._seen.get(subject, (b"", b""))
        if raw in known:
            return None
        if len(self._seen) >= HUBS_MAX * 2 and subject not in self._seen:
            self.dropped += 1
            return None
        self._seen[subject] = (raw, known[0])
        # A server can make a message with headers or a reply subject out of another's (7): such a one is no summary.
        record = None if message.reply or message.headers else _decoded(raw, kind, bytes_max)
        if record is None or record.hub != hub or not subjects.is_name(hub):
            self.dropped += 1
            return None
        return record

    def _on_chunk(self, line: ServerLine, message: Msg) -> None:
        signature = (message.headers or {}).get(SIGNATURE_HEADER)
        self._apply(line, Stored(0, message.subject, message.data, signature), 0.0)

    def _on_logs(self, line: ServerLine, message: Msg) -> None:
        try:
            lines = decode(message.data, LogLines, DETAIL_BYTES_MAX)
        except WireError:
            self.dropped += 1
            return
        if self.watching.is_followed(lines.hub, lines.service):
            self._mailbox.put(LogSeen(lines))

    def _on_roster(self, line: ServerLine, message: Msg) -> None:
        self._take_roster(message.data)

    def _apply(self, line: ServerLine, stored: Stored, begin: float) -> None:
        """Hand a chunk's records on: verified, and each number once, whichever server it came from."""
        chunk = self._verified(stored)
        if chunk is None or chunk.t1 < begin:
            return
        key = (chunk.hub, chunk.inc, chunk.n)
        if key in self._applied:
            return
        self._applied[key] = None
        if len(self._applied) > APPLIED_MAX:
            self._applied.popitem(last=False)
        records = records_of(chunk)
        for record in records:
            self.results.note_record(chunk.hub, record)
        if records:
            self._mailbox.put(RecordsSeen(line.name, chunk.hub, records))

    def _verified(self, stored: Stored) -> Chunk | None:
        hub_id = stored.subject.rpartition(".")[2]
        hub = self.roster.hub(hub_id) if self.roster else None
        chunk = open_chunk(hub.signing, stored.subject, stored.payload, stored.signature) if hub else None
        if chunk is None or chunk.hub != hub_id:
            self.dropped += 1
            return None
        return chunk

    def _load_roster(self) -> None:
        if self.settings.roster_file:
            with suppress(OSError):  # the servers have it too
                self._take_roster(Path(self.settings.roster_file).read_bytes())

    def _take_roster(self, sealed: bytes) -> None:
        """Take a roster that the fleet key signed and that is no older than the one we have."""
        try:
            roster = open_roster(self._fleet_key, sealed)
        except RosterRefused:
            self.dropped += 1
            return
        if self.roster is None or roster.version > self.roster.version:
            self.roster = roster
            self._mailbox.put(RosterSeen(roster))


def _decoded(raw: bytes, kind: type[T], bytes_max: int) -> T | None:
    try:
        return decode(raw, kind, bytes_max)
    except WireError:
        return None


def records_of(chunk: Chunk) -> tuple[Record, ...]:
    """The events of a chunk; what is no event is left out."""
    records = []
    for item in chunk.recs:
        with suppress(msgspec.ValidationError):
            records.append(msgspec.convert(item, Record))
    return tuple(records)
