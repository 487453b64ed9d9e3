"""What RESYNC asks a stream: its life, its bounds, and the last chunk of ours on the subject."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from hubagent.core.chunking import chain_hash, record_marks
from hubagent.core.delivery import Cursor, Seen
from hubagent.core.retention import START, Position
from hubagent.edges import jetstream
from hubagent.edges.jetstream import Requests, StoredMessage
from hubagent.edges.spool_store import Store
from hubagent.errors import JetStreamError
from hubagent.loops import renumbering
from hubagent.loops.chunk_log import SPARED, spared_place
from hubagent.wire import subjects
from hubagent.wire.chunk import DATA, Chunk, open_chunk
from hubagent.wire.streams import STREAM_OF_LANE

READS_MAX = 20_000  # messages that are looked behind; a flood of more is said, and asked again
T = TypeVar("T")
IsOurs = Callable[[Seen], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class StreamRead:
    """The stream's side of a Read."""

    lineage: str
    first_seq: int
    last_seq: int
    seen: Seen | None
    foreign: bool


class Ask(Protocol):
    """Reads the spool."""

    def __call__(self, op: Callable[[Store], T], /) -> Awaitable[T]:
        """Gives what the op gives."""
        ...


class Compared(NamedTuple):
    """Behind which position chunks need new numbers, up to which incarnation, and which records the stream has."""

    after: Position | None
    until_inc: int
    held: renumbering.Held


class StreamReader:
    """Reads one hub's lane on one destination; leader-served reads only."""

    def __init__(self, link: Requests, hub: str, lane: str, public: str) -> None:
        self._link, self._hub, self._lane, self._public = link, hub, lane, public
        self._stream, self._subject = STREAM_OF_LANE[lane], subjects.ops(lane, hub)

    async def read(self, timeout_s: float) -> StreamRead:
        """Lineage, first sequence, last message; where that is foreign, the last of ours before it."""
        info = await jetstream.stream_info(self._link, self._stream, timeout_s)
        last = await self._last(timeout_s)
        if last is None:
            return StreamRead(info.lineage, info.first_seq, 0, None, foreign=False)
        seen = self._own(last)
        foreign = seen is None
        if seen is None:
            seen = await self._own_before(last.seq, info.first_seq, timeout_s)
        return StreamRead(info.lineage, info.first_seq, last.seq, seen, foreign)

    async def compare(self, cursor: Cursor, seen: Seen, dest: str, ask: Ask, timeout_s: float) -> Compared:
        """Hold the stream against the log."""
        if not await self._vouches_for(cursor, seen, timeout_s):
            cursor = Cursor(*START, 0, cursor.lineage)

        def is_ours(own: Seen) -> Awaitable[bool]:
            return ask(lambda store: renumbering.is_ours(store, self._lane, own.position, own.hash))

        after, until_inc = await self._parting(cursor, seen, is_ours, timeout_s), seen.inc
        left_out = await self._left_out(cursor, seen, seen.inc if after is None else after[0], ask, is_ours, timeout_s)
        if after is None:
            until_inc -= 1
        after = after if left_out is None else left_out
        renumbered = await ask(lambda store: renumbering.uncompared(store, dest, self._lane))
        firsts = [move.first for move in renumbered] + ([] if after is None else [after])
        return Compared(after, until_inc, await self._held(min(firsts, default=seen.position), seen.seq, timeout_s))

    async def vouches_for(self, cursor: Cursor, read: StreamRead, timeout_s: float) -> bool:
        """Whether a stream that is beyond a cursor has what the cursor says was acknowledged, or has let it expire.

        A restored log brings old cursors back: what they speak of may have gone with a tail since, and another life of the
        log may have gone on behind it. What is not beyond, or in another life of the stream, is judged otherwise.
        """
        if read.seen is None or read.lineage != cursor.lineage or read.seen.position < cursor.position:
            return True
        return cursor.position == START or await self._vouches_for(cursor, read.seen, timeout_s)

    async def _vouches_for(self, cursor: Cursor, seen: Seen, timeout_s: float) -> bool:
        if cursor.seq in {0, seen.seq}:
            return (cursor.seq, cursor.position) == (seen.seq, seen.position)
        found = await self._chunk_from(cursor.seq, timeout_s)
        if found is not None and found[1] == cursor.seq:
            return (found[0].inc, found[0].last) == cursor.position
        first = await self._chunk_from(1, timeout_s)
        return first is not None and cursor.seq < first[1]

    async def _left_out(
        self, cursor: Cursor, seen: Seen, inc: int, ask: Ask, is_ours: IsOurs, timeout_s: float
    ) -> Position | None:  # fmt: skip
        """Behind which position the stream lacks, or has otherwise, chunks of incarnations older than `inc`."""
        for end in await ask(lambda store: renumbering.ends_between(store, self._lane, cursor.position, inc)):
            beyond = await self._chunk_at((end[0], end[1] + 1), timeout_s)
            own = await self._own_before(beyond[1], 1, timeout_s) if beyond is not None else seen
            if own is None:
                return cursor.position
            parting = await self._parting(cursor, own, is_ours, timeout_s)
            if parting is not None or own.position < end:
                return parting or own.position
        return None

    async def _parting(self, cursor: Cursor, seen: Seen, is_ours: IsOurs, timeout_s: float) -> Position | None:
        """Behind which position the stream and this log differ; None where they do not.

        Once they part they stay apart (the chain), so the place is found by halves. Numbers between the last common
        chunk and the first that differs may have expired there: they count as parted, but for acknowledged ones that lay
        before everything that is left.
        """
        if await is_ours(seen):
            return None
        low, high, common, parted = 0, seen.seq, START, seen  # the chunk at low is ours, the first from high on is not
        while high - low > 1:
            middle = (low + high) // 2
            own = await self._own_from(middle, timeout_s) or seen
            if own.seq < high and await is_ours(own):
                low, common = own.seq, own.position
            else:
                high, parted = middle, own if own.seq < high else parted
        if common == START and 0 < cursor.seq < parted.seq and cursor.position < parted.position:
            return cursor.position
        return common

    async def _held(self, first: Position, last_seq: int, timeout_s: float) -> renumbering.Held:
        """The records that the stream has from a position on, by their marks, and where."""
        held, found = dict[bytes, Position](), await self._chunk_at(first, timeout_s)
        for _ in range(READS_MAX):
            if found is None or found[1] > last_seq:
                return held
            chunk, seq, payload = found
            held.update(dict.fromkeys(record_marks(payload), (chunk.inc, chunk.n)))
            found = await self._chunk_from(seq + 1, timeout_s)
        text = f"more than {READS_MAX} chunks on {self._subject} differ from this log: give it back its newer state"
        raise JetStreamError(self._link.server, jetstream.NOT_JETSTREAM, text)

    async def first_missing(self, place: Position, count: int, timeout_s: float) -> int | None:
        """How many of so many successive places hold their records before the first that does not; None: all do."""
        found = await self._chunk_at(place, timeout_s)
        for index in range(count):
            wanted = place[0], place[1] + index
            while found is not None and (found[0].inc, found[0].last) < wanted:
                found = await self._chunk_from(found[1] + 1, timeout_s)
            if found is None or (found[0].inc, found[0].n) > wanted:
                return index
            if found[0].kind != DATA and not await self._stands_for_held(found[0], wanted[1], timeout_s):
                return index
        return None

    async def _stands_for_held(self, substitute: Chunk, n: int, timeout_s: float) -> bool:
        if not substitute.reason.startswith(SPARED):
            return False
        return await self.first_missing(spared_place(substitute.reason, n), 1, timeout_s) is None

    async def _chunk_at(self, place: Position, timeout_s: float) -> tuple[Chunk, int, bytes] | None:
        """The first chunk that reaches a place, by halves: a subject's chunks are in the order of their numbers."""
        last = await self._last(timeout_s)
        low, high = 0, last.seq + 1 if last is not None else 1
        while high - low > 1:
            middle = (low + high) // 2
            found = await self._chunk_from(middle, timeout_s)
            if found is not None and (found[0].inc, found[0].last) < place:
                low = found[1]
            else:
                high = middle
        return await self._chunk_from(high, timeout_s)

    async def _own_from(self, seq: int, timeout_s: float) -> Seen | None:
        found = await self._chunk_from(seq, timeout_s)
        return None if found is None else _seen(*found)

    async def _chunk_from(self, seq: int, timeout_s: float) -> tuple[Chunk, int, bytes] | None:
        for _ in range(READS_MAX):
            message = await self._next(seq, timeout_s)
            if message is None:
                return None
            chunk = self._opened(message)
            if chunk is not None:
                return chunk, message.seq, message.payload
            seq = message.seq + 1
        return None

    async def _last(self, timeout_s: float) -> StoredMessage | None:
        return await jetstream.last_message(self._link, self._stream, self._subject, timeout_s)

    async def _next(self, seq: int, timeout_s: float) -> StoredMessage | None:
        return await jetstream.next_message(self._link, self._stream, self._subject, seq, timeout_s)

    def _own(self, message: StoredMessage) -> Seen | None:
        chunk = self._opened(message)
        return None if chunk is None else _seen(chunk, message.seq, message.payload)

    def _opened(self, message: StoredMessage) -> Chunk | None:
        chunk = open_chunk(self._public, self._subject, message.payload, message.signature)
        return None if chunk is None or chunk.hub != self._hub or chunk.lane != self._lane else chunk

    async def _own_before(self, seq: int, first_seq: int, timeout_s: float) -> Seen | None:
        """The last message of ours before a foreign one, by looking back in growing steps."""
        step, reads = 1, 0
        start = seq
        while start > first_seq:
            if reads >= READS_MAX:
                text = f"more than {READS_MAX} messages that are not ours on {self._subject}: find out who writes there"
                raise JetStreamError(self._link.server, jetstream.NOT_JETSTREAM, text)
            end, start = start, max(seq - step, first_seq, 1)
            step *= 4
            found, count = await self._last_own_between(start, end, timeout_s)
            reads += count
            if found is not None:
                return found
        return None

    async def _last_own_between(self, start: int, end: int, timeout_s: float) -> tuple[Seen | None, int]:
        found, reads, at = None, 0, start
        while at < end and reads < READS_MAX:
            message = await self._next(at, timeout_s)
            reads += 1
            if message is None or message.seq >= end:
                break
            found, at = self._own(message) or found, message.seq + 1
        return found, reads


def _seen(chunk: Chunk, seq: int, payload: bytes) -> Seen:
    return Seen(chunk.inc, chunk.last, chain_hash(chunk, payload), seq)
