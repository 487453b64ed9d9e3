"""Reading the streams of a hub server by direct gets: no consumers, nothing left behind."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from console.errors import NotConnected, StreamUnread
from console.server_line import ServerLine
from hubagent.wire.codec import WireError, decode
from hubagent.wire.sanitise import clean_line
from hubagent.wire.signing import SIGNATURE_HEADER

BATCH = 200  # messages of one request
BATCH_BYTES = 4 << 20  # the server stops there and is asked again
TIMEOUT_SECONDS = 5.0
NONE_FOUND, END_OF_BATCH = "404", "204"


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored message as the stream keeps it."""

    seq: int
    subject: str
    payload: bytes
    signature: str | None


class StreamState(msgspec.Struct, frozen=True):
    """Where a stream begins and ends."""

    first_seq: int = 0
    last_seq: int = 0
    messages: int = 0


class _Info(msgspec.Struct, frozen=True):
    state: StreamState | None = None
    error: dict[str, object] | None = None


async def state_of(line: ServerLine, stream: str) -> StreamState:
    """The first and last sequence of a stream; raises NotConnected or StreamUnread."""
    if not line.is_connected:
        raise NotConnected(line.name)
    message = await line.request(f"$JS.API.STREAM.INFO.{stream}", b"", TIMEOUT_SECONDS)
    try:
        info = decode(message.data, _Info) if message else _Info()
    except WireError as error:
        raise StreamUnread(line.name, stream, str(error)) from error
    if info.state is None:
        why = str(info.error.get("description", "an error")) if info.error else "no answer"
        raise StreamUnread(line.name, stream, clean_line(why, 200))
    return info.state


async def last_of(line: ServerLine, stream: str, subject: str) -> Stored | None:
    """The newest message of a subject; None where there is none or it cannot be read now."""
    message = await line.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", TIMEOUT_SECONDS)
    return _stored(message) if message else None


async def next_of(line: ServerLine, stream: str, subject: str, seq: int) -> Stored | None:
    """The first message of a subject at or after a sequence."""
    body = msgspec.json.encode({"seq": max(seq, 1), "next_by_subj": subject})
    message = await line.request(f"$JS.API.DIRECT.GET.{stream}", body, TIMEOUT_SECONDS)
    return _stored(message) if message else None


async def read(
    line: ServerLine, stream: str, subject: str, *, seq: int = 1, since: str = ""
) -> AsyncGenerator[Stored, None]:
    """Every message of a subject (wildcards allowed) from a sequence, or a store time (RFC 3339), to the end."""
    start: dict[str, object] = {"start_time": since} if since else {"seq": max(seq, 1)}
    while True:
        got = 0
        async for stored in _batch(line, stream, {**start, "next_by_subj": subject}):
            got += 1
            start = {"seq": stored.seq + 1}
            yield stored
        if not got:
            return


async def _batch(line: ServerLine, stream: str, ask: dict[str, object]) -> AsyncIterator[Stored]:
    body = msgspec.json.encode({**ask, "batch": BATCH, "max_bytes": BATCH_BYTES})
    try:
        async with line.answers(f"$JS.API.DIRECT.GET.{stream}", body) as answers:
            while True:
                message = await answers.next_msg(TIMEOUT_SECONDS)
                stored = _stored(message)
                if stored is None:
                    _refuse_bad_end(line, stream, message)
                    return
                yield stored
    except (TimeoutError, NatsError, OSError) as error:
        raise StreamUnread(line.name, stream, clean_line(str(error) or "no answer", 200)) from error


def _refuse_bad_end(line: ServerLine, stream: str, message: Msg) -> None:
    headers = message.headers or {}
    status = headers.get("Status", "")
    if status not in {NONE_FOUND, END_OF_BATCH}:
        why = "nobody answers for it" if status == "503" else headers.get("Description", status or "a strange answer")
        raise StreamUnread(line.name, stream, clean_line(why, 200))


def _stored(message: Msg) -> Stored | None:
    headers = message.headers or {}
    sequence = headers.get("Nats-Sequence", "")
    if headers.get("Status") or not sequence.isascii() or not sequence.isdigit():
        return None
    return Stored(int(sequence), headers.get("Nats-Subject", ""), message.data, headers.get(SIGNATURE_HEADER))
