"""RESYNC: the stream's own last chunk decides where one lane to one destination goes on."""

from dataclasses import replace

from hubagent.core.delivery_events import (
    CONFIRM_SECONDS,
    LISTEN_SECONDS,
    RESYNC,
    STREAM,
    Checked,
    Cursor,
    Doubted,
    Effect,
    Heard,
    KeepCursor,
    Listen,
    Note,
    Read,
    ReadDone,
    ReadFailed,
    Renumbered,
    Seen,
    Settle,
    Settled,
)
from hubagent.core.delivery_state import SenderState
from hubagent.core.retention import START, Position


class Resync(SenderState):
    """The table of what a reading of the stream means."""

    def _on_read_failed(self, event: ReadFailed, now: float) -> list[Effect]:
        if event.denied:
            return self._fence(now, event.why, identity=False)
        return self._resync_later(now, event.why, event.jitter)

    def _on_read_done(self, event: ReadDone, now: float) -> list[Effect]:
        read, effects = event.read, list[Effect]()
        if read.foreign and read.last_seq != self._foreign_seq:
            self._foreign_seq = read.last_seq
            text = f"{self.dest} {self.lane}: a message that is not ours is stored on our subject (sequence {read.last_seq})"
            effects.append(Note("foreign_message", "warning", text, {"dest": self.dest, "seq": read.last_seq}))
        if read.seen is None:
            return effects + self._judge_none(read, now)
        self.seen_inc = max(self.seen_inc, read.seen.inc)
        if read.seen.inc > read.local_inc:
            why = f"identity conflict: the stream has incarnation {read.seen.inc}, this is {read.local_inc}; see hubagent adopt"
            return effects + self._fence(now, why, identity=True)
        if self._is_conflict(read, read.seen):
            return effects + self._judge_conflict(read, read.seen)
        return effects + self._judge_seen(read, read.seen, now)

    def _is_conflict(self, read: Read, seen: Seen) -> bool:
        """Other bytes under our numbers; what was settled in this run is not asked again."""
        if read.needs_settling:
            return True
        if (read.lineage, seen) == self._settled:
            return False
        if read.local_last is None:
            return seen.inc == read.local_inc
        differs = bool(seen.hash) and read.local_hash is not None and read.local_hash != seen.hash
        return seen.n > read.local_last or differs

    def _judge_conflict(self, read: Read, seen: Seen) -> list[Effect]:
        self._conflict, self._conflict_seq, self._conflict_lineage = seen, read.last_seq, read.lineage
        is_known = not seen.hash or read.local_hash == seen.hash
        if seen.inc < read.local_inc or is_known:
            return self._settle(seen)
        return [Listen(self._turn, LISTEN_SECONDS)]

    def _settle(self, seen: Seen) -> list[Effect]:
        is_same = (
            self._conflict_lineage == self.cursor.lineage
        )  # a sequence means nothing in another life of the stream
        return [Settle(self._turn, seen, self.cursor if is_same else replace(self.cursor, seq=0))]

    def _on_heard(self, event: Heard, now: float) -> list[Effect]:
        assert self._conflict is not None, "only a conflict makes us listen"
        if event.other:
            return self._fence(now, "identity conflict: another machine speaks under this hub's name", identity=True)
        return self._settle(self._conflict)

    def _on_settled(self, event: Settled, now: float) -> list[Effect]:
        assert self._conflict is not None, "only a conflict is settled"
        seen, self._conflict = self._conflict, None
        self._settled = self._conflict_lineage, seen
        self.cursor = Cursor(seen.inc, seen.n, seen.seq, self._conflict_lineage)
        return [
            *self._told(seen, event), Doubted(self.cursor.position), KeepCursor(self.cursor),
            *self._stream(now, self._conflict_seq),
        ]  # fmt: skip

    def _told(self, seen: Seen, event: Settled) -> list[Effect]:
        """A restart finds a settled conflict again; that is no news."""
        if not (event.has_begun or event.renumbered or event.spared):
            return []
        text = f"{self.dest} {self.lane}: the stream has other bytes up to chunk {seen.n}; going on as incarnation {event.inc}"
        counts = {"renumbered": event.renumbered, "spared": event.spared}
        data = {"dest": self.dest, "lane": self.lane, "inc": event.inc, **counts}
        return [Note("incarnation_change", "critical", text, data)]

    def _on_renumbered(self, _event: Renumbered, now: float) -> list[Effect]:
        """An ack for the chunk in flight would name a number that is no more: look at what the stream has."""
        return self._resync(now, "chunks were renumbered") if self.state in {RESYNC, STREAM} else []

    def _judge_none(self, read: Read, now: float) -> list[Effect]:
        """Nothing of ours on the subject."""
        is_first = self.cursor.lineage == ""
        if is_first or self.cursor.position == START:
            self._gap_reason = "before_destination"
            return self._go_on(Cursor(*START, 0, read.lineage), read, now)
        if read.lineage != self.cursor.lineage:
            self._gap_reason = "before_stream"
            text = f"{self.dest} {self.lane}: the stream was made anew; sending what is kept"
            note = Note("lineage_change", "warning", text, {"dest": self.dest, "lineage": read.lineage})
            return [note, Doubted(START), *self._go_on(Cursor(*START, 0, read.lineage), read, now)]
        if self.cursor.seq < read.first_seq:
            return self._go_on(self.cursor, read, now)  # expired or evicted: delivered it was, foreign or not
        return self._lost_tail(START, read, now)

    def _judge_seen(self, read: Read, seen: Seen, now: float) -> list[Effect]:
        """A chunk of ours is the last one."""
        if seen.position < self.cursor.position:
            return self._lost_tail(seen.position, read, now)
        self._lost_seen = None
        same = Cursor(seen.inc, seen.n, seen.seq, read.lineage)
        checked: list[Effect] = (
            [Checked(seen.position)] if read.lineage == self.cursor.lineage else [Doubted(seen.position)]
        )
        return [*checked, *self._go_on(same, read, now)]

    def _lost_tail(self, position: Position, read: Read, now: float) -> list[Effect]:
        """The server no longer has what it acknowledged: read again, then send it again."""
        if read.lineage == self.cursor.lineage and self._lost_seen != position:
            self._lost_seen = position
            self._become(RESYNC, now, "the server seems to have lost its tail")
            self._retry_at = now + CONFIRM_SECONDS
            return []
        self._lost_seen = None
        text = f"{self.dest} {self.lane}: acknowledged chunks behind {position[0]}/{position[1]} are gone; sending them again"
        data = {"dest": self.dest, "lane": self.lane, "from": list(position), "acked": list(self.cursor.position)}
        cursor = Cursor(*position, read.seen.seq if read.seen else 0, read.lineage)
        return [Note("tail_loss", "critical", text, data), Doubted(position), *self._go_on(cursor, read, now)]

    def _go_on(self, cursor: Cursor, read: Read, now: float) -> list[Effect]:
        self.cursor = cursor
        self._backoff.reset()
        return [KeepCursor(cursor), *self._stream(now, read.last_seq)]
