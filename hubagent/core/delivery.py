"""One lane to one destination: exactly one chunk in flight, and after every doubt the stream itself is asked.

The stream's own last chunk decides where to go on (RESYNC). A wrong guess does no harm: each write carries the
sequence it expects, and fails back into RESYNC.
The tables stand in `delivery_resync` and `delivery_stream`, what they share in `delivery_state`.
"""

from collections.abc import Callable
from typing import Any

from hubagent.core.delivery_events import (
    BIG_BYTES,
    BLOCKED,
    CONFIRM_SECONDS,
    DENIED_SECONDS,
    DOUBTS_MAX,
    FENCED,
    LISTEN_SECONDS,
    MOVES,
    NO_STREAM,
    OFFLINE,
    RATE_BYTES_MIN,
    RESYNC,
    SLOW_SHARE,
    STREAM,
    STREAM_FULL,
    TIMEOUT_SECONDS_MAX,
    WRONG_SEQUENCE,
    WRONG_STREAM,
    Acked,
    Adopted,
    Checked,
    Cursor,
    Denied,
    Doubted,
    Effect,
    Event,
    Grew,
    Heard,
    KeepCursor,
    LinkLost,
    LinkUp,
    Listen,
    Load,
    Loaded,
    Note,
    Read,
    ReadDone,
    ReadFailed,
    ReadStream,
    Refused,
    Renumbered,
    Seen,
    Send,
    SenderPolicy,
    Settle,
    Settled,
    Unanswered,
)
from hubagent.core.delivery_resync import Resync
from hubagent.core.delivery_stream import Stream

__all__ = [
    "BIG_BYTES",
    "BLOCKED",
    "CONFIRM_SECONDS",
    "DENIED_SECONDS",
    "DOUBTS_MAX",
    "FENCED",
    "LISTEN_SECONDS",
    "MOVES",
    "NO_STREAM",
    "OFFLINE",
    "RATE_BYTES_MIN",
    "RESYNC",
    "SLOW_SHARE",
    "STREAM",
    "STREAM_FULL",
    "TIMEOUT_SECONDS_MAX",
    "WRONG_SEQUENCE",
    "WRONG_STREAM",
    "Acked",
    "Adopted",
    "Checked",
    "Cursor",
    "Denied",
    "Doubted",
    "Effect",
    "Event",
    "Grew",
    "Heard",
    "KeepCursor",
    "LinkLost",
    "LinkUp",
    "Listen",
    "Load",
    "Loaded",
    "Note",
    "Read",
    "ReadDone",
    "ReadFailed",
    "ReadStream",
    "Refused",
    "Renumbered",
    "Seen",
    "Send",
    "Sender",
    "SenderPolicy",
    "Settle",
    "Settled",
    "Unanswered",
]


class Sender(Resync, Stream):
    """The decisions for one lane and destination."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Decide."""
        turn = getattr(event, "turn", None)
        if turn is not None and turn != self._turn:
            return []  # the answer to a question that is no longer asked
        handler: Callable[[Any, float], list[Effect]] = getattr(self, _HANDLERS[type(event)])
        return handler(event, now)

    def tick(self, now: float) -> list[Effect]:
        """A deadline passed."""
        if self._retry_at is not None and now >= self._retry_at:
            return self._resync(now, self.why)
        if self._is_idle and now >= self._checked_at + self._policy.check_s:
            return self._resync(now, "check")
        return []

    def deadline(self) -> float | None:
        """When `tick` wants to be called."""
        if self._retry_at is not None:
            return self._retry_at
        return self._checked_at + self._policy.check_s if self._is_idle else None

    @property
    def turn(self) -> int:
        """The number of the question that is asked now; answers to others are ignored."""
        return self._turn

    @property
    def in_flight(self) -> Loaded | None:
        """What was sent and is not answered."""
        return self._in_flight

    @property
    def is_fenced_by_identity(self) -> bool:
        """Whether only an operator can let this sender go on."""
        return self.state == FENCED and self._identity_fence

    # The link

    def _on_link_up(self, _event: LinkUp, now: float) -> list[Effect]:
        if self.is_fenced_by_identity:
            return []
        if self.state in {OFFLINE, FENCED}:
            self._doubts = 0
            return self._resync(now, "connected")
        return []

    def _on_link_lost(self, event: LinkLost, now: float) -> list[Effect]:
        if not self.is_fenced_by_identity:
            self._become(OFFLINE, now, event.why or "not connected")
        return []

    def _on_adopted(self, _event: Adopted, now: float) -> list[Effect]:
        if self.state != FENCED:
            return []
        return self._resync(now, "adopted")


_HANDLERS: dict[type[Any], str] = {
    LinkUp: "_on_link_up", LinkLost: "_on_link_lost", ReadDone: "_on_read_done", ReadFailed: "_on_read_failed",
    Loaded: "_on_loaded", Grew: "_on_grew", Acked: "_on_acked", Refused: "_on_refused",
    Unanswered: "_on_unanswered", Denied: "_on_denied", Heard: "_on_heard", Settled: "_on_settled",
    Renumbered: "_on_renumbered", Adopted: "_on_adopted",
}  # fmt: skip
