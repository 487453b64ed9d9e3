"""STREAM: exactly one chunk in flight, and what each answer to it means."""

from hubagent.core.delivery_events import (
    BIG_BYTES,
    BLOCKED,
    DOUBTS_MAX,
    STREAM_FULL,
    WRONG_SEQUENCE,
    WRONG_STREAM,
    Acked,
    Cursor,
    Denied,
    Effect,
    Grew,
    KeepCursor,
    Loaded,
    Note,
    Refused,
    Send,
    Unanswered,
)
from hubagent.core.delivery_state import SenderState


class Stream(SenderState):
    """The table of what an answer to the chunk in flight means."""

    def _on_grew(self, _event: Grew, _now: float) -> list[Effect]:
        self._grew = True
        return self._load() if self._is_idle else []

    def _on_loaded(self, event: Loaded, now: float) -> list[Effect]:
        self._is_loading = False
        if not event.is_something:
            return self._load() if self._grew else []
        self._in_flight, self._sent_at = event, now
        self._turn += 1
        return [Send(self._turn, self._expect, self.timeout_s(event.size))]

    def _on_acked(self, event: Acked, now: float) -> list[Effect]:
        sent = self._in_flight
        assert sent is not None, "an ack answers the chunk in flight"
        if event.is_duplicate:
            return self._doubt(now, "the server took the chunk for a duplicate", 0.0)
        self._measure(sent.size, now - self._sent_at)
        self.cursor = Cursor(sent.inc, sent.n_to, event.seq, self.cursor.lineage)
        self._expect, self._in_flight, self.is_blocked = event.seq, None, False
        self._doubts, self._slowness, self._gap_reason = 0, 0, ""
        self._blocked.reset()
        effects: list[Effect] = [KeepCursor(self.cursor), *self._declared(sent)]
        if now >= self._checked_at + self._policy.check_s:
            return effects + self._resync(now, "check")
        return effects + self._load()

    def _declared(self, sent: Loaded) -> list[Effect]:
        """A loss that has just been told to a server is an event too."""
        if sent.kind != "lost_range":
            return []
        text = f"{self.dest} {self.lane}: chunks {sent.inc}/{sent.n} to {sent.n_to} are lost ({sent.reason})"
        data = {
            "dest": self.dest,
            "lane": self.lane,
            "inc": sent.inc,
            "n": sent.n,
            "n_to": sent.n_to,
            "count": sent.records,
        }
        severity = "warning" if sent.reason in {"before_destination", "before_stream"} else "critical"
        return [Note("lost_range", severity, text, {**data, "reason": sent.reason})]

    def _on_refused(self, event: Refused, now: float) -> list[Effect]:
        if event.code in WRONG_SEQUENCE:
            return self._doubt(now, event.text, event.jitter)
        if event.code in STREAM_FULL:
            return self._block(now, event)
        if event.code in WRONG_STREAM:
            return self._fence(now, event.text, identity=False)
        return self._resync_later(now, event.text, event.jitter)

    def _block(self, now: float, event: Refused) -> list[Effect]:
        first = not self.is_blocked
        self._become(BLOCKED, now, event.text)
        self.is_blocked = True
        self._retry_at = now + self._blocked.next_s(event.jitter)
        text = f"{self.dest} {self.lane}: the stream is full: {event.text}"
        return [Note("buffer_state", "critical", text, {"dest": self.dest, "state": BLOCKED})] if first else []

    def _on_unanswered(self, event: Unanswered, now: float) -> list[Effect]:
        if event.timed_out and self._in_flight is not None and self._in_flight.size >= BIG_BYTES:
            self._slowness = min(self._slowness + 1, 5)
        return self._resync_later(now, event.why, event.jitter)

    def _on_denied(self, event: Denied, now: float) -> list[Effect]:
        return self._fence(now, event.why, identity=False)

    def _doubt(self, now: float, why: str, jitter: float) -> list[Effect]:
        """Ask at once; who doubts again and again shares the subject with another writer, and slows down."""
        self._doubts += 1
        return self._resync(now, why) if self._doubts <= DOUBTS_MAX else self._resync_later(now, why, jitter)
