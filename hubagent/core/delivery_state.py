"""What one sender knows, and its moves: one place where the state changes, one where anything is asked or loaded."""

from hubagent.core.backoff import Backoff
from hubagent.core.delivery_events import (
    DENIED_SECONDS,
    FENCED,
    MOVES,
    OFFLINE,
    RATE_BYTES_MIN,
    RESYNC,
    SLOW_SHARE,
    STREAM,
    TIMEOUT_SECONDS_MAX,
    Cursor,
    Effect,
    Load,
    Loaded,
    Note,
    ReadStream,
    Seen,
    SenderPolicy,
)
from hubagent.core.retention import Position


class SenderState:
    """One sender's state, and the only ways in which it changes."""

    def __init__(self, dest: str, lane: str, policy: SenderPolicy, cursor: Cursor, now: float) -> None:
        self.dest, self.lane = dest, lane
        self.state, self.since, self.why = OFFLINE, now, "not connected yet"
        self.cursor = cursor
        self.is_blocked = False  # stays until a chunk goes through, whatever the state between two tries
        self.rate: float | None = None  # bytes a second, measured
        self._policy = policy
        self._backoff, self._blocked = Backoff(policy.backoff), Backoff(policy.blocked)
        self._turn = 0
        self._expect = 0
        self._in_flight: Loaded | None = None
        self._sent_at = 0.0
        self._is_loading = False
        self._grew = False
        self._doubts = 0
        self._slowness = 0  # timeouts in a row: each doubles the next timeout
        self._retry_at: float | None = None
        self._checked_at = now
        self._lost_seen: Position | None = None  # a lost tail that waits for its second reading
        self._conflict: Seen | None = None
        self._conflict_seq = 0
        self._conflict_lineage = ""
        self._settled: tuple[str, Seen] | None = None  # a conflict that is over, and in which life of the stream
        self._foreign_seq = 0
        self.seen_inc = 0  # the highest incarnation that the stream has shown
        self._gap_reason = ""
        self._identity_fence = False

    def timeout_s(self, size: int) -> float:
        """How long an answer for so many bytes may take on this link."""
        expected = SLOW_SHARE * size / self.rate if self.rate else 0.0
        return min(self._policy.timeout_s * 2.0**self._slowness + expected, TIMEOUT_SECONDS_MAX)

    # Moves

    def _become(self, state: str, now: float, why: str = "") -> None:
        """The one place where the state changes."""
        assert state == self.state or state in MOVES[self.state], f"{self.state} → {state}"
        if state != self.state:
            self.since = now
        self.state, self.why = state, why
        self._turn += 1
        self._retry_at, self._in_flight, self._is_loading = None, None, False

    @property
    def _is_idle(self) -> bool:
        return self.state == STREAM and self._in_flight is None and not self._is_loading

    def _resync(self, now: float, why: str) -> list[Effect]:
        self._become(RESYNC, now, why)
        return [ReadStream(self._turn, self.cursor, self.timeout_s(0))]

    def _resync_later(self, now: float, why: str, jitter: float) -> list[Effect]:
        self._become(RESYNC, now, why)
        self._retry_at = now + self._backoff.next_s(jitter)
        return []

    def _stream(self, now: float, expect: int) -> list[Effect]:
        self._become(STREAM, now)
        self._expect = expect
        self._checked_at = now
        return self._load()

    def _load(self) -> list[Effect]:
        self._turn += 1
        self._is_loading, self._grew = True, False
        return [Load(self._turn, self.cursor.position, self._gap_reason)]

    def _fence(self, now: float, why: str, *, identity: bool) -> list[Effect]:
        self._become(FENCED, now, why)
        self._identity_fence = identity
        if not identity:
            self._retry_at = now + DENIED_SECONDS
        return [Note("buffer_state", "critical", f"{self.dest} {self.lane}: {why}", {"state": FENCED})]

    def _measure(self, size: int, seconds: float) -> None:
        if size >= RATE_BYTES_MIN and seconds > 0:
            rate = size / seconds
            self.rate = rate if self.rate is None else 0.7 * self.rate + 0.3 * rate
