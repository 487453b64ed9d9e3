"""Reading one hub's lane from a hub server's stream: where to begin, what is verified, what the hub still has."""

from collections.abc import AsyncIterator

from console.errors import NotThere
from console.nats_side import NatsSide
from console.records import Span, Spans, Tally
from console.server_line import ServerLine
from console.streams import Stored, next_of, read, state_of
from hubagent.wire import subjects
from hubagent.wire.chunk import Chunk, open_chunk
from hubagent.wire.codec import WireError, decode, encode
from hubagent.wire.commands import FetchReply, FetchRequest
from hubagent.wire.roster import Hub
from hubagent.wire.signing import payload_hash
from hubagent.wire.streams import STREAM_OF_LANE

FETCH_SECONDS = 3.0
FETCHES_MAX = 200  # requests of one refill; what is left stays reported as missing


def hub_of(side: NatsSide, hub_id: str) -> Hub:
    """The hub in the roster, for its key; raises NotThere."""
    hub = side.roster.hub(hub_id) if side.roster else None
    if hub is None:
        raise NotThere("hub", hub_id, ", ".join(one.id for one in side.roster.hubs[:20]) if side.roster else "")
    return hub


async def tally(
    side: NatsSide, line: ServerLine, hub_id: str, lane: str, *, since: float | None, keeps_digests: bool
) -> Tally:
    """Count one lane of one hub in one stream; raises StreamUnread or NotConnected."""
    hub, subject, stream = hub_of(side, hub_id), subjects.ops(lane, hub_id), STREAM_OF_LANE[lane]
    where = await state_of(line, stream)
    begin = 1 if since is None else await _first_since(line, stream, subject, where.last_seq, since, hub)
    counted = Tally(from_start=since is None and where.first_seq <= 1, keeps_digests=keeps_digests)
    async for stored in read(line, stream, subject, seq=begin):
        chunk = opened(hub, stored)
        if chunk is None:
            counted.take_foreign(stored.seq)
        else:
            counted.take(stored.seq, chunk, payload_hash(stored.payload))
    return counted


async def chunks(side: NatsSide, line: ServerLine, hub_id: str, lane: str, since: float) -> AsyncIterator[Chunk]:
    """The verified chunks of one hub and lane that reach past a moment."""
    hub, subject, stream = hub_of(side, hub_id), subjects.ops(lane, hub_id), STREAM_OF_LANE[lane]
    where = await state_of(line, stream)
    begin = await _first_since(line, stream, subject, where.last_seq, since, hub)
    async for stored in read(line, stream, subject, seq=begin):
        chunk = opened(hub, stored)
        if chunk is not None and chunk.t1 >= since:
            yield chunk


async def refill(side: NatsSide, hub_id: str, lane: str, missing: Spans) -> Spans:
    """Ask the hub itself for numbers that no stream has; what it still keeps, and proves, comes back."""
    hub, got = hub_of(side, hub_id), Spans()
    asked = 0
    for span in missing:
        n = span.n0
        while n <= span.n1 and asked < FETCHES_MAX:
            asked += 1
            kept = await _fetch(side, hub, FetchRequest(lane, span.inc, n, span.n1))
            if not kept:
                break
            for chunk in kept:
                got.add(Span(chunk.inc, chunk.n, chunk.last))
            n = max(n, *(chunk.last for chunk in kept)) + 1
    return got


async def _fetch(side: NatsSide, hub: Hub, request: FetchRequest) -> list[Chunk]:
    subject = subjects.ops(request.lane, hub.id)
    for line in side.lines:
        message = await line.request(subjects.fetch(hub.id), encode(request), FETCH_SECONDS)
        if message is None:
            continue
        try:
            reply = decode(message.data, FetchReply)
        except WireError:
            side.dropped += 1
            continue
        kept = [open_chunk(hub.signing, subject, one.payload, one.sig) for one in reply.chunks]
        return [one for one in kept if one and one.inc == request.inc and request.n0 <= one.n <= request.n1]
    return []


def opened(hub: Hub, stored: Stored) -> Chunk | None:
    """The chunk, where this hub signed it for this subject."""
    chunk = open_chunk(hub.signing, stored.subject, stored.payload, stored.signature)
    return chunk if chunk and chunk.hub == hub.id and stored.subject == subjects.ops(chunk.lane, hub.id) else None


async def _first_since(line: ServerLine, stream: str, subject: str, last_seq: int, since: float, hub: Hub) -> int:
    """Binary search on the chunks' own times, never on store time: late chunks are stored late."""
    low, high = 1, last_seq + 1
    while low < high:
        middle = (low + high) // 2
        stored, chunk = await _next_chunk(line, stream, subject, middle, hub)
        if stored is None or chunk is None or chunk.t1 >= since:  # a foreign message: rather too early than too late
            high = middle
        else:
            low = max(middle, stored.seq) + 1
    return low


async def _next_chunk(
    line: ServerLine, stream: str, subject: str, seq: int, hub: Hub
) -> tuple[Stored | None, Chunk | None]:
    """The first message at or after a sequence, and its chunk; foreign messages have no time of their own."""
    stored = await next_of(line, stream, subject, seq)
    return stored, opened(hub, stored) if stored else None
