"""Chunks and substitutes: the immutable, numbered, chained unit of spool, wire and stream (design: delivery)."""

from typing import Any

import msgspec

from hubagent.wire.codec import WireError, decode
from hubagent.wire.signing import CHUNK, ZERO_HASH, Signer, payload_hash, verify

CHUNK_BYTES_MAX = 1 << 20

DATA = "data"
TOMBSTONE = "tombstone"  # shed on purpose by a stated rule
LOST_RANGE = "lost_range"  # damaged, or older than retention


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """One data chunk, or a substitute that stands for the numbers n…n_to.

    `recs`: in lane `evt` a list of Record objects; in lane `met` a list of rows, one a sample, whose columns stand
    once in `cols` (the first two are `t`, Unix seconds, and `mono`, seconds). `prev` is the hash of the data chunk
    before it, 64 zeros for the very first. A substitute has no `recs`; its `hash` is the hash of chunk n_to where known.
    """

    v: int
    hub: str
    inc: int
    lane: str
    n: int
    prev: str
    boot: str
    t0: float
    t1: float
    count: int
    recs: list[Any] = msgspec.field(default_factory=list)
    cols: list[str] | None = None
    kind: str = DATA
    n_to: int = 0  # 0 in a data chunk
    hash: str = ""
    reason: str = ""

    @property
    def last(self) -> int:
        """The highest number that this chunk stands for."""
        return self.n_to or self.n


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event. `t` Unix seconds, `mono` seconds since the machine's start."""

    t: float
    mono: float
    boot: str
    kind: str
    severity: str
    text: str
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    actor: str | None = None
    cmd_id: str | None = None
    reason: str | None = None


def sign_chunk(key: Signer, subject: str, payload: bytes) -> str:
    """The `Hub-Sig` of a stored chunk."""
    return sign_chunk_hash(key, subject, payload_hash(payload))


def sign_chunk_hash(key: Signer, subject: str, digest: str) -> str:
    """The same where the payload's hash is known already."""
    return key.sign_hash(CHUNK, subject, digest)


def open_chunk(public: str, subject: str, payload: bytes, signature: str | None) -> Chunk | None:
    """The chunk of a stored message, or None where it is foreign: unsigned, altered, or not a chunk at all."""
    if not verify(public, CHUNK, subject, payload, signature):
        return None
    try:
        return decode(payload, Chunk, CHUNK_BYTES_MAX)
    except WireError:
        return None


__all__ = [
    "CHUNK_BYTES_MAX", "DATA", "LOST_RANGE", "TOMBSTONE", "ZERO_HASH",
    "Chunk", "Record", "open_chunk", "payload_hash", "sign_chunk", "sign_chunk_hash",
]  # fmt: skip
