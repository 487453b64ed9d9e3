"""What the sender of one lane and destination is told and says: its states, events and effects, as plain records."""

from dataclasses import dataclass, field
from typing import Any

from hubagent.core.backoff import BackoffPolicy
from hubagent.core.retention import Position

OFFLINE, RESYNC, STREAM, BLOCKED, FENCED = "OFFLINE", "RESYNC", "STREAM", "BLOCKED", "FENCED"
MOVES = {
    OFFLINE: {RESYNC, FENCED},
    RESYNC: {OFFLINE, STREAM, FENCED},
    STREAM: {OFFLINE, RESYNC, BLOCKED, FENCED},
    BLOCKED: {OFFLINE, RESYNC, FENCED},
    FENCED: {RESYNC, OFFLINE},
}
WRONG_SEQUENCE = {10071, 10164, 10158}
STREAM_FULL = {10077, 10047, 10023}
WRONG_STREAM = {10060}
NO_STREAM = {10059}
CONFIRM_SECONDS = 1.0  # a lost tail is read twice: a server that is just starting may answer early
LISTEN_SECONDS = 3.0  # three live messages of another self
DENIED_SECONDS = 30.0  # permissions may be repaired: look again
TIMEOUT_SECONDS_MAX = 64.0
DOUBTS_MAX = 3  # resyncs in a row without a pause; then they back off: two writers must not spin
BIG_BYTES = 16 << 10  # only such a chunk can be late because the link is slow
RATE_BYTES_MIN = 2048  # smaller chunks measure the round trip, not the rate
SLOW_SHARE = 4.0  # a chunk may take this many times what the measured rate says


@dataclass(frozen=True, slots=True)
class SenderPolicy:
    """Timeouts, pauses and how often a healthy link is checked."""

    timeout_s: float = 2.0
    check_s: float = 900.0
    backoff: BackoffPolicy = field(default_factory=BackoffPolicy)
    blocked: BackoffPolicy = field(default_factory=lambda: BackoffPolicy(1.0, 30.0))


@dataclass(frozen=True, slots=True)
class Cursor:
    """What this destination has acknowledged: chunk (inc, n), stored as seq, in this life of its stream.

    `seq` is always one of our own: what somebody else stored behind it is expected, and never becomes the cursor.
    """

    inc: int = 0
    n: int = 0
    seq: int = 0
    lineage: str = ""

    @property
    def position(self) -> Position:
        """Where in the log."""
        return self.inc, self.n


@dataclass(frozen=True, slots=True)
class Seen:
    """The last chunk of ours on the subject; `hash` is what the next chunk's prev must be, empty where unknown."""

    inc: int
    n: int
    hash: str
    seq: int

    @property
    def position(self) -> Position:
        """Where in the log."""
        return self.inc, self.n


@dataclass(frozen=True, slots=True)
class Read:
    """What the stream said, and what the local log knows of it.

    `last_seq`: sequence of the subject's last message, whosever it is, 0 for none. `foreign`: it is not ours.
    `local_last`: last closed number of `seen.inc` here, None where that incarnation is unknown here.
    `local_hash`: hash of (seen.inc, seen.n) here, None where unknown. `needs_settling`: whatever these say, the stream must
    be compared with what has new numbers here or waits below them, or it lacks what the cursor says it acknowledged.
    """

    lineage: str
    first_seq: int
    last_seq: int
    seen: Seen | None
    foreign: bool
    local_inc: int
    local_last: int | None = None
    local_hash: str | None = None
    needs_settling: bool = False


# Events


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The link to the destination is there."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """It is gone."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class ReadDone:
    """The stream was read."""

    turn: int
    read: Read


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """It could not be read; `denied` where it never will be without somebody's help."""

    turn: int
    why: str
    jitter: float = 0.0
    denied: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """The next chunk (or substitute) of the log, or None where there is none yet."""

    turn: int
    inc: int = 0
    n: int = 0
    n_to: int = 0
    size: int = 0
    kind: str = ""
    reason: str = ""
    records: int = 0

    @property
    def is_something(self) -> bool:
        """Whether there is anything to send."""
        return self.n > 0


@dataclass(frozen=True, slots=True)
class Grew:
    """The local log has a new chunk."""


@dataclass(frozen=True, slots=True)
class Acked:
    """The chunk in flight is in the stream."""

    turn: int
    seq: int
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The server refused the chunk in flight."""

    turn: int
    code: int
    text: str
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Nobody knows what became of the chunk in flight."""

    turn: int
    why: str
    jitter: float = 0.0
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Denied:
    """This identity may not write the subject."""

    turn: int
    why: str


@dataclass(frozen=True, slots=True)
class Heard:
    """Listening ended: another boot with our name speaks, or nobody does."""

    turn: int
    other: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """The log goes on in incarnation `inc`; what the stream has under our numbers stays there.

    `has_begun`: that incarnation is new. `spared`: chunks that are not sent because the stream has their records.
    """

    turn: int
    inc: int
    renumbered: int = 0
    spared: int = 0
    has_begun: bool = False


@dataclass(frozen=True, slots=True)
class Renumbered:
    """Another sender of this lane had chunks renumbered: what is in flight here may be one of them."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """An operator decided that this hub is the one (`hubagent adopt`)."""


Event = (
    LinkUp | LinkLost | ReadDone | ReadFailed | Loaded | Grew | Acked | Refused | Unanswered | Denied | Heard | Settled
    | Renumbered | Adopted
)  # fmt: skip


# Effects


@dataclass(frozen=True, slots=True)
class ReadStream:
    """Read lineage, bounds and the last own message."""

    turn: int
    cursor: Cursor
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Load:
    """Fetch what comes behind a position; `reason` is why a gap there would be one."""

    turn: int
    position: Position
    reason: str


@dataclass(frozen=True, slots=True)
class Send:
    """Publish what was loaded, where the subject's last sequence is `expect`."""

    turn: int
    expect: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class KeepCursor:
    """Keep the cursor."""

    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Checked:
    """The stream still has everything up to here: retention may go by it."""

    position: Position


@dataclass(frozen=True, slots=True)
class Doubted:
    """The stream lost what lies behind this position: retention must forget what it knew of acknowledgements."""

    position: Position


@dataclass(frozen=True, slots=True)
class Note:
    """Record an event."""

    kind: str
    severity: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listen:
    """Listen on the own live subject for another boot."""

    turn: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Settle:
    """The stream has other bytes under our numbers: find where they part, go on in a new incarnation."""

    turn: int
    seen: Seen
    cursor: Cursor


Effect = ReadStream | Load | Send | KeepCursor | Checked | Doubted | Note | Listen | Settle
