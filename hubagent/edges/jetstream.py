"""The few calls of the JetStream API that hubs use, over a Link."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from hubagent.edges.nats_link import Message
from hubagent.errors import JetStreamError
from hubagent.wire.codec import WireError, decode_any
from hubagent.wire.sanitise import clean_line
from hubagent.wire.signing import SIGNATURE_HEADER

NO_MESSAGE = 10037  # err_code: no message found
STREAM_NOT_FOUND = 10059
API_SECONDS = 2.0
ANSWER_BYTES_MAX = 4 << 20  # a stored chunk in base64, with room
NOT_JETSTREAM = 0  # our own code: the answer was no answer of JetStream
LINEAGE_KEY = "hubdeck.lineage"
SEQUENCE_MAX = 2**63 - 1  # what the spool can keep: a server's word beyond it must not look like a damaged spool


class Requests(Protocol):
    """What is needed of a Link."""

    server: str

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, headers: dict[str, str] | None = None
    ) -> Message:
        """One answer."""
        ...


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a stream says of itself; `lineage` is name, creation time and random id of this life of it."""

    created: str
    lineage: str
    first_seq: int
    last_seq: int
    bytes: int
    max_bytes: int
    config: dict[str, Any] = field(default_factory=dict)
    cluster: dict[str, Any] = field(default_factory=dict)  # leader and replicas, where the server is one of a cluster


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message of a stream, as stored."""

    subject: str
    seq: int
    payload: bytes
    headers: dict[str, str]
    time: str = ""

    @property
    def signature(self) -> str | None:
        """Its `Hub-Sig`, where it has one."""
        return self.headers.get(SIGNATURE_HEADER)


@dataclass(frozen=True, slots=True)
class Stored:
    """JetStream's word that a message is in the stream."""

    seq: int
    is_duplicate: bool = False


async def publish_expecting(
    link: Requests, stream: str, subject: str, payload: bytes, expect_seq: int, signature: str, timeout_s: float
) -> Stored:
    """Append where the subject's last sequence is `expect_seq`, and only there."""
    headers = {
        "Nats-Expected-Stream": stream,
        "Nats-Expected-Last-Subject-Sequence": str(expect_seq),
        SIGNATURE_HEADER: signature,
    }
    answer = _opened(link.server, await link.request(subject, payload, timeout_s=timeout_s, headers=headers))
    seq = answer.get("seq")
    if answer.get("stream") != stream or not isinstance(seq, int) or not 0 <= seq <= SEQUENCE_MAX:
        raise JetStreamError(link.server, NOT_JETSTREAM, f"no acknowledgement of stream {stream}")
    return Stored(seq, bool(answer.get("duplicate")))


async def stream_info(link: Requests, stream: str, timeout_s: float = API_SECONDS) -> StreamInfo:
    """The stream's lineage and bounds."""
    answer = await _ask(link, f"STREAM.INFO.{stream}", {}, timeout_s)
    return _stream_info(link.server, stream, answer)


async def last_message(
    link: Requests, stream: str, subject: str, timeout_s: float = API_SECONDS
) -> StoredMessage | None:
    """The leader-served last message of a subject, or None."""
    return await _get(link, stream, {"last_by_subj": subject}, timeout_s)


async def get_message(link: Requests, stream: str, seq: int, timeout_s: float = API_SECONDS) -> StoredMessage | None:
    """The message with this sequence, or None."""
    return await _get(link, stream, {"seq": seq}, timeout_s)


async def next_message(
    link: Requests, stream: str, subject: str, seq: int, timeout_s: float = API_SECONDS
) -> StoredMessage | None:
    """The first message of the subject at or after this sequence, or None."""
    return await _get(link, stream, {"seq": seq, "next_by_subj": subject}, timeout_s)


async def create_stream(link: Requests, config: dict[str, Any], timeout_s: float = API_SECONDS) -> StreamInfo:
    """Make a stream."""
    answer = await _ask(link, f"STREAM.CREATE.{config['name']}", config, timeout_s)
    return _stream_info(link.server, config["name"], answer)


async def update_stream(link: Requests, config: dict[str, Any], timeout_s: float = API_SECONDS) -> StreamInfo:
    """Change a stream's configuration."""
    answer = await _ask(link, f"STREAM.UPDATE.{config['name']}", config, timeout_s)
    return _stream_info(link.server, config["name"], answer)


async def step_down(link: Requests, stream: str, preferred: str, timeout_s: float = API_SECONDS) -> None:
    """Have another server lead the stream; the election goes on after this returns."""
    await _ask(link, f"STREAM.LEADER.STEPDOWN.{stream}", {"placement": {"preferred": preferred}}, timeout_s)


async def _get(link: Requests, stream: str, query: dict[str, Any], timeout_s: float) -> StoredMessage | None:
    try:
        answer = await _ask(link, f"STREAM.MSG.GET.{stream}", query, timeout_s)
    except JetStreamError as error:
        if error.code == NO_MESSAGE:
            return None
        raise
    return _stored(link.server, answer.get("message"))


async def _ask(link: Requests, call: str, query: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    body = msgspec.json.encode(query) if query else b""
    return _opened(link.server, await link.request(f"$JS.API.{call}", body, timeout_s=timeout_s))


def _opened(server: str, message: Message) -> dict[str, Any]:
    """The answer as a mapping, or JetStreamError."""
    try:
        answer = decode_any(message.payload, ANSWER_BYTES_MAX)
    except WireError as error:
        raise JetStreamError(server, NOT_JETSTREAM, f"no answer of JetStream: {error}") from error
    if not isinstance(answer, dict):
        raise JetStreamError(server, NOT_JETSTREAM, "no answer of JetStream")
    refusal = answer.get("error")
    if isinstance(refusal, dict):
        code = refusal.get("err_code") or refusal.get("code") or NOT_JETSTREAM
        raise JetStreamError(server, int(code), clean_line(str(refusal.get("description", "")), 200))
    return answer


def _stream_info(server: str, stream: str, answer: dict[str, Any]) -> StreamInfo:
    try:
        config, state = dict(answer["config"]), answer["state"]
        created = str(answer["created"])
        life = (config.get("metadata") or {}).get(LINEAGE_KEY, "")
        return StreamInfo(
            created,
            f"{stream}/{created}/{life}",
            _sequence(state["first_seq"]),
            _sequence(state["last_seq"]),
            int(state["bytes"]),
            int(config.get("max_bytes", -1)),
            config,
            dict(answer.get("cluster") or {}),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise JetStreamError(server, NOT_JETSTREAM, f"no stream info: {error}") from error


def _sequence(value: Any) -> int:
    sequence = int(value)
    if not 0 <= sequence <= SEQUENCE_MAX:
        raise ValueError(f"no sequence: {sequence}")
    return sequence


def _stored(server: str, message: Any) -> StoredMessage:
    try:
        raw_headers = base64.b64decode(message.get("hdrs") or "")
        return StoredMessage(
            str(message["subject"]),
            _sequence(message["seq"]),
            base64.b64decode(message.get("data") or ""),
            _headers(raw_headers),
            str(message.get("time", "")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise JetStreamError(server, NOT_JETSTREAM, f"no stored message: {error}") from error


def _headers(raw: bytes) -> dict[str, str]:
    lines = raw.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}
