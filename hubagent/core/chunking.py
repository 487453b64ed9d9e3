"""Records become closed chunks: numbered, chained and signed once, and never changed after."""

import hashlib
import json
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import groupby

import msgspec

from hubagent.wire.chunk import CHUNK_BYTES_MAX, DATA, Chunk
from hubagent.wire.codec import encode
from hubagent.wire.signing import ZERO_HASH, payload_hash

VERSION = 1
CHUNK_BYTES_MIN = 4 << 10  # even the slowest link sends this much at a time
ENVELOPE_BYTES = 16 << 10  # room for the chunk's own fields and its columns
RECORD_BYTES_MAX = CHUNK_BYTES_MAX - 2 * ENVELOPE_BYTES
Sign = Callable[[str, str], str]  # (lane, hash of the payload) → Hub-Sig


@dataclass(frozen=True, slots=True)
class ChunkPolicy:
    """When a chunk of metrics is closed."""

    chunk_s: float = 5.0
    chunk_bytes: int = 256 << 10

    def __post_init__(self) -> None:
        assert self.chunk_s > 0, "chunk_s must be positive"
        assert self.chunk_bytes <= RECORD_BYTES_MAX, f"chunk_bytes must be at most {RECORD_BYTES_MAX}"


@dataclass(frozen=True, slots=True)
class Closed:
    """A chunk whose bytes are fixed."""

    lane: str
    inc: int
    n: int
    prev: str
    hash: str
    payload: bytes
    sig: str
    count: int
    t0: float
    t1: float


@dataclass(frozen=True, slots=True)
class Gap:
    """What stands for chunks n…n_to that a destination will never get."""

    lane: str
    inc: int
    n: int
    n_to: int
    kind: str
    reason: str
    prev: str
    hash: str
    count: int
    t0: float
    t1: float


@dataclass(slots=True)
class _Open:
    """Everything that changes in a lane, apart from the rest so that a failed commit can be undone."""

    n: int
    prev: str
    inc: int
    rows: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    columns: tuple[str, ...] | None = None
    bytes: int = 0
    opened_at: float = 0.0


class LaneLog:
    """The open chunk of one lane and its place in the chain."""

    def __init__(
        self, hub: str, lane: str, boot: str, *, inc: int, n: int, prev: str, sign: Sign, policy: ChunkPolicy
    ) -> None:
        self.lane = lane
        self.bytes_max = policy.chunk_bytes  # follows the slowest link's measured rate
        self._hub, self._boot, self._sign, self._policy = hub, boot, sign, policy
        self._open = _Open(n, prev or ZERO_HASH, inc)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be closed."""
        return not self._open.rows

    @property
    def inc(self) -> int:
        """The incarnation that the next chunk belongs to."""
        return self._open.inc

    @property
    def last_n(self) -> int:
        """The number of the last closed chunk of this incarnation, 0 before the first."""
        return self._open.n

    def checkpoint(self) -> _Open:
        """What `restore` takes back to here."""
        old = self._open
        return replace(old, rows=list(old.rows), times=list(old.times))

    def restore(self, checkpoint: _Open) -> None:
        """Undo what a failed commit did not keep."""
        self._open = replace(checkpoint, rows=list(checkpoint.rows), times=list(checkpoint.times))

    def reincarnate(self, inc: int) -> None:
        """Number from 1 in a higher incarnation; the chain goes on from the last chunk of the one before."""
        assert inc > self._open.inc, "an incarnation only rises"
        assert self.is_empty, "close the open chunk first"
        self._open = _Open(0, self._open.prev, inc)

    def follow(self, closed: Closed) -> None:
        """Go on behind a chunk that was made elsewhere (a renumbered one)."""
        assert self.is_empty, "close the open chunk first"
        self._open = _Open(closed.n, closed.hash, closed.inc)

    @property
    def place(self) -> tuple[int, int, str]:
        """Incarnation, number and hash of the last closed chunk."""
        return self._open.inc, self._open.n, self._open.prev

    def add(self, raw: bytes, t: float, now: float, columns: tuple[str, ...] | None = None) -> Closed | None:
        """Add one encoded record; gives the chunk that had to be closed before it, if any."""
        closed = self.close() if self._must_close_before(raw, columns) else None
        if self.is_empty:
            self._open.opened_at, self._open.columns = now, columns
        self._open.rows.append(raw)
        self._open.times.append(t)
        self._open.bytes += len(raw) + 1
        return closed

    def extend(self, raws: Sequence[bytes], times: Sequence[float], now: float) -> list[Closed]:
        """Add encoded records, all at once where they fit; gives the chunks that had to be closed."""
        size = sum(map(len, raws)) + len(raws)
        if self._open.columns is not None or self._open.bytes + size > self.bytes_max:
            return [closed for raw, t in zip(raws, times, strict=True) if (closed := self.add(raw, t, now))]
        if self.is_empty:
            self._open.opened_at = now
        self._open.rows.extend(raws)
        self._open.times.extend(times)
        self._open.bytes += size
        return []

    def is_due(self, now: float) -> bool:
        """Whether the open chunk has its age or size."""
        return not self.is_empty and (now >= self.due_at() or self._open.bytes >= self.bytes_max)

    def due_at(self) -> float:
        """When the open chunk has its age."""
        return self._open.opened_at + self._policy.chunk_s

    def close(self, boot: str = "") -> Closed | None:
        """Fix the bytes of the open chunk, where there is one; `boot` where another run of the agent recorded it."""
        if self.is_empty:
            return None
        old = self._open
        chunk = Chunk(
            VERSION, self._hub, old.inc, self.lane, old.n + 1, old.prev, boot or self._boot,
            min(old.times), max(old.times), len(old.rows),
            recs=[msgspec.Raw(row) for row in old.rows], cols=list(old.columns) if old.columns else None,
        )  # fmt: skip
        closed = _sealed(chunk, self._sign)
        self._open = _Open(closed.n, closed.hash, old.inc)
        return closed

    def _must_close_before(self, raw: bytes, columns: tuple[str, ...] | None) -> bool:
        return not self.is_empty and (
            columns != self._open.columns or self._open.bytes + len(raw) > max(self.bytes_max, CHUNK_BYTES_MIN)
        )


def _sealed(chunk: Chunk, sign: Sign) -> Closed:
    payload = encode(chunk)
    digest = payload_hash(payload)
    return Closed(
        chunk.lane, chunk.inc, chunk.n, chunk.prev, digest, payload, sign(chunk.lane, digest),
        chunk.count, chunk.t0, chunk.t1,
    )  # fmt: skip


class _Raw(msgspec.Struct):
    recs: list[msgspec.Raw] = msgspec.field(default_factory=list)
    kind: str = DATA


def record_marks(payload: bytes) -> list[bytes]:
    """A short mark of each record of a chunk, by its very bytes."""
    return [_mark(raw) for raw in msgspec.json.decode(payload, type=_Raw).recs]


def _mark(raw: msgspec.Raw) -> bytes:
    return hashlib.blake2b(bytes(raw), digest_size=16).digest()


def renumbered(
    payload: bytes, inc: int, n: int, prev: str, sign: Sign, held: AbstractSet[bytes] = frozenset()
) -> list[Closed]:
    """The same records under new numbers from n on; a chunk of them is held, by its marks, wholly or not at all."""
    old, raws = msgspec.json.decode(payload, type=Chunk), msgspec.json.decode(payload, type=_Raw).recs
    pieces = list[Closed]()
    for _, run in groupby(raws, key=lambda raw: _mark(raw) in held):
        recs = list(run)
        one = msgspec.structs.replace(old, inc=inc, n=n + len(pieces), prev=prev, recs=recs, count=len(recs))
        pieces.append(_sealed(one, sign))
        prev = pieces[-1].hash
    return pieces


def substitute(hub: str, boot: str, gap: Gap, sign: Sign) -> Closed:
    """The signed chunk that declares a gap; its `hash` is the one of chunk n_to, so the chain goes on behind it."""
    chunk = Chunk(
        VERSION, hub, gap.inc, gap.lane, gap.n, gap.prev, boot, gap.t0, gap.t1, gap.count,
        kind=gap.kind, n_to=gap.n_to, hash=gap.hash, reason=gap.reason,
    )  # fmt: skip
    return _sealed(chunk, sign)


def chain_hash(chunk: Chunk, payload: bytes) -> str:
    """What the next chunk's `prev` must be: the payload's hash, or the one that a substitute carries."""
    return payload_hash(payload) if chunk.kind == DATA else chunk.hash


def columns_text(columns: tuple[str, ...] | None) -> str:
    """Columns as they stand beside an open record, so that a restart can close the chunk."""
    return json.dumps(columns) if columns is not None else ""


def columns_of(text: str) -> tuple[str, ...] | None:
    """The reverse."""
    return tuple(json.loads(text)) if text else None
