"""One sender task: carries out what the core decides for one lane and destination, and feeds back what came of it."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from hubagent.clock import Clock
from hubagent.core import delivery as core
from hubagent.core.retention import Keeping, Position
from hubagent.edges import jetstream
from hubagent.edges.nats_link import Link, Message
from hubagent.edges.spool import Spool
from hubagent.edges.spool_store import CursorRow, Store
from hubagent.errors import HubagentError, JetStreamError, LinkDown, NotAllowed, RequestTimeout, StoreFailed
from hubagent.loops.chunk_log import SPARED, ChunkLog, Item, spared_place
from hubagent.loops.inbox import Inbox
from hubagent.loops.recorder import Recorder
from hubagent.loops.renumbering import confirm, last_of, needs_settling, settle, unspare
from hubagent.loops.resync import StreamReader
from hubagent.wire import subjects
from hubagent.wire.codec import WireError, decode
from hubagent.wire.reports import Live
from hubagent.wire.streams import STREAM_OF_LANE

AHEAD_BYTES_MAX = 256 << 10  # read ahead of the chunk in flight, so that a drain does not wait for the disk
AHEAD_ITEMS_MAX = 16
STORE_RETRY_SECONDS = 2.0


@dataclass(slots=True)
class Ahead:
    """Chunks read before they are asked for, all behind one position."""

    behind: Position = (0, 0)
    items: deque[Item] = field(default_factory=deque)
    is_refilling: bool = False

    def take(self, position: Position) -> Item | None:
        """The next item, where it is the one behind this position."""
        if not self.items or self.behind != position:
            return None
        item = self.items.popleft()
        self.behind = (item.inc, item.n_to)
        return item

    @property
    def end(self) -> Position:
        """How far the items reach."""
        return (self.items[-1].inc, self.items[-1].n_to) if self.items else self.behind


class _Local(NamedTuple):
    """The last number of an incarnation here, the hash under a number of it, and whether the stream must be compared."""

    last: int | None = None
    hash: str | None = None
    needs_settling: bool = False


class SenderLoop:
    """Runs one core.Sender over a link and the spool."""

    def __init__(
        self, link: Link, lane: str, *, spool: Spool, log: ChunkLog, public: str, recorder: Recorder,
        policy: core.SenderPolicy, keep_s: float, clock: Clock, kept: CursorRow | None,
        on_renumbered: "Callable[[SenderLoop], None]",
    ) -> None:  # fmt: skip
        self.lane, self.dest = lane, link.server
        kept = kept or CursorRow(link.server, lane, 0, 0, 0, "")
        cursor = core.Cursor(kept.inc, kept.n, kept.seq, kept.lineage)
        self.core = core.Sender(link.server, lane, policy, cursor, clock.monotonic())
        self.keeping = Keeping(keep_s, cursor.position, (kept.released_inc, kept.released_n), clock.monotonic())
        self._link, self._spool, self._log, self._recorder, self._clock = link, spool, log, recorder, clock
        self._reader = StreamReader(link, log.hub, lane, public)
        self._subject, self._stream = subjects.ops(lane, log.hub), STREAM_OF_LANE[lane]
        self._inbox: Inbox[core.Event] = Inbox(clock)
        self._ahead = Ahead()
        self._item: Item | None = None
        self._on_renumbered = on_renumbered
        self._compared: tuple[int, Position] | None = (
            None  # up to which renumbering, and what was the stream's last chunk
        )

    def put(self, event: core.Event) -> None:
        """Hand an event to the core at its turn."""
        self._inbox.put(event)

    def renumbered(self) -> None:
        """Another sender of the lane gave chunks new numbers."""
        self.forget_ahead()
        self.put(core.Renumbered())

    def forget_ahead(self) -> None:
        """What was read ahead may have new numbers by now."""
        self._ahead = Ahead()

    async def run(self) -> None:
        """Until cancelled."""
        self._link.on_change(self._link_changed)
        self._link_changed(self._link.is_connected)
        async with asyncio.TaskGroup() as started:
            while True:
                event = await self._inbox.next(until=self.core.deadline())
                now = self._clock.monotonic()
                effects = self.core.handle(event, now) if event is not None else self.core.tick(now)
                send = self._carry_out_all(effects, started)
                if send is not None:
                    started.create_task(self._send_on(send, started))

    def _carry_out_all(self, effects: list[core.Effect], started: asyncio.TaskGroup) -> core.Send | None:
        """Carry out effects, and what follows from chunks that were read ahead; a Send is given back."""
        todo, send = deque(effects), None
        while todo:
            match effect := todo.popleft():
                case core.Send():
                    send = effect
                case core.Load(turn, position) if (item := self._ahead.take(position)) is not None:
                    todo.extend(self.core.handle(self._loaded(turn, item), self._clock.monotonic()))
                    if len(self._ahead.items) == AHEAD_ITEMS_MAX // 2 and not self._ahead.is_refilling:
                        started.create_task(self._refill(self._ahead))
                case _ if not self._carry_out_now(effect):
                    started.create_task(self._carry_out(effect))
        return send

    async def _send_on(self, send: core.Send | None, started: asyncio.TaskGroup) -> None:
        """Send chunk after chunk while each is acknowledged: no detour over the inbox for each.

        Whatever else comes is told to `run`, which also looks at the core's new deadline then.
        """
        while send is not None:
            answer = await self._send(send.turn, send.expect, send.timeout_s)
            if not isinstance(answer, core.Acked) or answer.is_duplicate:
                self.put(answer)
                return
            send = self._carry_out_all(self.core.handle(answer, self._clock.monotonic()), started)

    def _link_changed(self, is_up: bool) -> None:
        self.put(core.LinkUp() if is_up else core.LinkLost(self._link.why))

    # Effects

    def _carry_out_now(self, effect: core.Effect) -> bool:
        """Effects that need no waiting; True where this was one."""
        match effect:
            case core.KeepCursor(cursor):
                self._keep(cursor)
            case core.Checked(position):
                before = self.keeping.released
                if self.keeping.checked(position, self._clock.monotonic()) != before:
                    self._keep(self.core.cursor)
            case core.Doubted(position):
                self.keeping.doubted(position)
            case core.Note(kind, severity, text, data):
                self._recorder.event(kind, severity, text, data=data)
            case _:
                return False
        return True

    async def _carry_out(self, effect: core.Effect) -> None:
        match effect:
            case core.ReadStream(turn, cursor, timeout_s):
                self.put(await self._read(turn, cursor, timeout_s))
            case core.Load(turn, position, reason):
                await self._load(turn, position, reason)
            case core.Listen(turn, seconds):
                self.put(core.Heard(turn, await self._hears_another(seconds)))
            case core.Settle(turn, seen, cursor):
                self.put(await self._settle(turn, seen, cursor))

    def _keep(self, cursor: core.Cursor) -> None:
        self.keeping.acked(cursor.position, self._clock.monotonic())
        if self._compared is not None and cursor.position > self._compared[1]:
            compared, self._compared = self._compared[0], None
            self._spool.write(lambda store: confirm(store, self.dest, self.lane, compared), lazy=True)
        self._spool.set_cursor(
            CursorRow(self.dest, self.lane, cursor.inc, cursor.n, cursor.seq, cursor.lineage, *self.keeping.released)
        )

    async def _read(self, turn: int, cursor: core.Cursor, timeout_s: float) -> core.Event:
        try:
            read = await self._reader.read(timeout_s)
            seen, is_vouched = read.seen, await self._reader.vouches_for(cursor, read, timeout_s)
            local = await self._spool.read(lambda store: self._local(store, seen))
        except NotAllowed as error:
            return core.ReadFailed(turn, str(error), denied=True)
        except HubagentError as error:
            return core.ReadFailed(turn, self._words(error), _jitter())
        facts = (read.lineage, read.first_seq, read.last_seq, seen, read.foreign)
        needed = local.needs_settling or not is_vouched
        return core.ReadDone(turn, core.Read(*facts, self._log.inc, local.last, local.hash, needed))

    def _words(self, error: HubagentError) -> str:
        if isinstance(error, JetStreamError) and error.code in core.NO_STREAM:
            return f"stream {self._stream} is missing on {self.dest}: make it with hubagent streams apply"
        return str(error)

    async def _load(self, turn: int, position: Position, reason: str) -> None:
        try:
            items = await self._spool.read(lambda store: self._items(store, position, reason))
            while items and items[0].reason.startswith(SPARED) and not await self._is_held(items[0]):
                items = await self._spool.read(lambda store: self._items(store, position, reason))
        except StoreFailed:
            await asyncio.sleep(STORE_RETRY_SECONDS)
            self.put(core.Loaded(turn))
            return
        except HubagentError as error:
            self.put(core.Unanswered(turn, self._words(error), _jitter()))
            return
        if turn != self.core.turn:
            return  # these may be under numbers that are no more
        self._ahead = Ahead(position, deque(items))
        item = self._ahead.take(position)
        if item is None:
            self.put(core.Loaded(turn))
        else:
            self.put(self._loaded(turn, item))

    async def _refill(self, ahead: Ahead) -> None:
        """Read on while the chunk in flight is on its way, so that a drain never waits for the disk."""
        ahead.is_refilling, end = True, ahead.end
        with suppress(StoreFailed):  # the next load says so
            items = await self._spool.read(lambda store: self._items(store, end, ""))
            if ahead.end == end and not (items and items[0].reason.startswith(SPARED)):
                ahead.items.extend(items)
        ahead.is_refilling = False

    async def _is_held(self, item: Item) -> bool:
        """Whether the stream still has what is spared; a restored log, or a server, may have forgotten otherwise."""
        place, count = spared_place(item.reason, item.n), item.n_to - item.n + 1
        missing = await self._reader.first_missing(place, count, self.core.timeout_s(0))
        if missing is not None:
            await self._spool.write(lambda store: unspare(store, self.dest, self.lane, item.inc, item.n + missing))
        return missing is None

    def _items(self, store: Store, position: Position, reason: str) -> list[Item]:
        items: list[Item] = []
        size = 0
        while len(items) < AHEAD_ITEMS_MAX and size < AHEAD_BYTES_MAX:
            item = self._log.next_item(store, self.dest, self.lane, position, reason)
            if item is None or (items and item.reason.startswith(SPARED)):
                break  # what is spared is looked for in the stream first
            items.append(item)
            position, size = (item.inc, item.n_to), size + len(item.payload)
        return items

    def _loaded(self, turn: int, item: Item) -> core.Loaded:
        self._item = item
        return core.Loaded(
            turn, item.inc, item.n, item.n_to, len(item.payload), item.kind, item.reason, item.records
        )  # fmt: skip

    async def _send(self, turn: int, expect: int, timeout_s: float) -> core.Event:
        item = self._item
        assert item is not None, "only what was loaded is sent"
        try:
            stored = await jetstream.publish_expecting(
                self._link, self._stream, self._subject, item.payload, expect, item.sig, timeout_s
            )
        except JetStreamError as error:
            if error.code == jetstream.NOT_JETSTREAM:
                return core.Unanswered(turn, str(error), _jitter())
            return core.Refused(turn, error.code, str(error), _jitter())
        except NotAllowed as error:
            return core.Denied(turn, str(error))
        except RequestTimeout as error:
            return core.Unanswered(turn, str(error), _jitter(), timed_out=True)
        except LinkDown as error:
            return core.Unanswered(turn, str(error), _jitter())
        except HubagentError as error:
            return core.Unanswered(turn, str(error), _jitter())
        return core.Acked(turn, stored.seq, stored.is_duplicate)

    async def _hears_another(self, seconds: float) -> bool:
        """Whether another boot speaks on our live subject."""
        heard = asyncio.Event()
        subject = subjects.live(self._log.hub)

        def listen(message: Message) -> None:
            try:
                live = decode(message.payload, Live)
            except WireError:
                return
            if live.boot != self._log.boot and not message.headers and not message.reply:
                heard.set()

        self._link.subscribe(subject, listen)
        try:
            async with asyncio.timeout(seconds):
                await heard.wait()
        except TimeoutError:
            return False
        finally:
            self._link.unsubscribe(subject)
        return True

    async def _settle(self, turn: int, seen: core.Seen, cursor: core.Cursor) -> core.Event:
        """Find where the stream's bytes and ours part, and give ours from there on new numbers."""
        try:
            found = await self._reader.compare(cursor, seen, self.dest, self._spool.read, self.core.timeout_s(0))
            done = await self._spool.write(lambda store: settle(self._log, store, self.dest, self.lane, *found))
        except HubagentError as error:
            return core.ReadFailed(turn, self._words(error), _jitter())
        self._compared = done.compared, seen.position
        if done.renumbered:
            # At once: the others must hear of it before they hear what they load under the new numbers.
            self._on_renumbered(self)
        self.forget_ahead()
        return core.Settled(turn, done.inc, done.renumbered, done.spared, done.has_begun)

    def _local(self, store: Store, seen: core.Seen | None) -> _Local:
        """What the log knows of the stream's last chunk."""
        if seen is None:
            return _Local()
        row, last = store.row(self.lane, *seen.position), last_of(store, self.lane, seen.inc)
        needed = needs_settling(store, self.dest, self.lane, self.core.cursor.position, seen.inc)
        return _Local(last, row.hash if row else None, needed)


def _jitter() -> float:
    return random.random()  # noqa: S311  # spreads retries, guards nothing
