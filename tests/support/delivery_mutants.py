"""Senders and hubs that are broken on purpose: the simulation must catch each, or it proves nothing."""

from dataclasses import replace

from hubagent.core import delivery as core
from hubagent.core.chunking import record_marks
from hubagent.core.retention import START
from tests.support.delivery_world import SimHub, SimSender


class NoResync(core.Sender):
    """Sends the chunk again after every doubt, expecting what it expected before."""

    def _resync(self, now, why):
        if self.state != core.STREAM:
            return super()._resync(now, why)
        return self._stream(now, self._expect)

    def _resync_later(self, now, why, jitter):
        return self._resync(now, why)


class IgnoresLostAcks(core.Sender):
    """Believes its own cursor where the stream has more."""

    def _judge_seen(self, read, seen, now):
        if seen.position > self.cursor.position > START:
            return self._go_on(self.cursor, read, now)
        return super()._judge_seen(read, seen, now)


class IgnoresLostTails(core.Sender):
    """Believes its own cursor where the stream has less."""

    def _lost_tail(self, position, read, now):
        return self._go_on(self.cursor, read, now)


class ForgetsNewLineage(core.Sender):
    """Goes on with the old cursor in a stream that was made anew."""

    def _judge_none(self, read, now):
        return self._go_on(self.cursor if self.cursor.lineage else core.Cursor(lineage=read.lineage), read, now)


class IgnoresConflicts(core.Sender):
    """Never sees that its log was restored."""

    def _is_conflict(self, read, seen):
        return False


class AcksWithoutAnswer(core.Sender):
    """Takes a timeout for an ack."""

    def _on_unanswered(self, event, now):
        return self._on_acked(core.Acked(event.turn, self._expect + 1), now)


class NeverGoesOn(core.Sender):
    """Forgets that the log grew while it was loading."""

    def _on_grew(self, _event, _now):
        return []


class IgnoresWhatIsBehind(core.Sender):
    """Takes a last chunk that looks like ours for the whole truth."""

    def _is_conflict(self, read, seen):
        return super()._is_conflict(replace(read, needs_settling=False), seen)


class MissesRenumbering(core.Sender):
    """Does not look again when another sender had chunks renumbered."""

    def _on_renumbered(self, _event, _now):
        return []


class NeverSpares(SimSender):
    """Renumbers without asking what the stream has already."""

    def compare(self, reader, effect):
        """Without a look at the records."""
        return super().compare(reader, effect)._replace(held={})


class DropsWhatIsHeld(SimSender):
    """What this destination has, all others have too, it thinks."""

    def compare(self, reader, effect):
        """And a deed."""
        found = super().compare(reader, effect)
        self.others_have(found.held)
        return found

    def others_have(self, held):
        """Drop the records everywhere."""
        for (row_id,) in self.hub.store.db.execute("SELECT id FROM body WHERE lane=?", (self.lane,)).fetchall():
            payload = self.hub.store.body(row_id)
            if payload.startswith(b"{") and set(record_marks(payload)) & set(held):
                self.hub.store.drop_chunk(row_id)


class BelievesOldCursors(SimSender):
    """What a restored cursor says was acknowledged is there for ever."""

    def reader(self):
        """The stream is not asked."""

        async def vouches(*_):
            return True

        reader = super().reader()
        reader.vouches_for = reader._vouches_for = vouches
        return reader


class NeverUnspares(SimSender):
    """What was spared because the stream had it stays spared when the stream has lost it."""

    def next_item(self, position, reason):
        """Without a look at the stream."""
        return self.hub.log.next_item(self.hub.store, self.dest.name, self.lane, position, reason)


class ExpectsZeroSender(SimSender):
    """Expects an empty subject, always."""

    def expected(self, effect):
        """What the frame says."""
        return 0


class ExpectsNothingSender(SimSender):
    """Appends without comparing: what a dedupe window of a few seconds would have to catch."""

    def expected(self, effect):
        """What the frame says."""
        return None  # noqa: RET501  # the expectation is: none


class PipelinedSender(SimSender):
    """Sends the chunk behind the one in flight as well, without waiting."""

    def _do_Send(self, effect):  # noqa: N802  # named after the effect
        super()._do_Send(effect)
        item = self.hub.log.next_item(self.hub.store, self.dest.name, self.lane, (self.item.inc, self.item.n_to), "")
        if item is not None and self.dest.is_up and not self.world.likely(self.world.faults.request_lost):
            self.world.after(0.05, self.stream.append, item.payload, item.sig, None)


class CursorBeforeFsync(SimHub):
    """Tells its user that a record is accepted before the commit returned."""

    def _record(self, lane):
        super()._record(lane)
        self._accept()


class SendsBeforeFsync(SimHub):
    """Lets the senders see what is not committed yet."""

    def commit(self, ops):
        """Publishes inside the transaction."""

        def early():
            result = ops()
            for closed_lane in self.log._lanes.values():
                if not closed_lane.is_empty:
                    self.log._keep(self.store, closed_lane.close())
            for part in self.parts.values():
                item = self.log.next_item(self.store, part.dest.name, part.lane, part.core.cursor.position, "")
                if item and part.dest.is_up:
                    part.item = item
                    part._do_Send(core.Send(-1, part.stream.last_seq, 2.0))
            return result

        return super().commit(early)


class ReleasesOnAck(SimHub):
    """Deletes a chunk as soon as it is acknowledged."""

    def release(self):
        """Too early."""
        for part in self.parts.values():
            part.keeping.released = part.core.cursor.position
        super().release()


class ForgetsTheOpenChunk(SimHub):
    """A restart forgets the open chunk's records instead of closing them."""

    def __init__(self, world, snapshot, why_new=""):
        super().__init__(world, _without_open(snapshot), why_new)


class SkipsSubstitutes(SimSender):
    """Says nothing of what was shed or lost."""

    def _loaded(self, turn, position, reason):
        log, item = self.hub.log, None
        if self.hub.is_alive and turn == self.core._turn:
            item = log.next_item(self.hub.store, self.dest.name, self.lane, position, reason)
        while item is not None and item.kind != "data":
            position = (item.inc, item.n_to)
            item = log.next_item(self.hub.store, self.dest.name, self.lane, position, reason)
        super()._loaded(turn, position, reason)


def _without_open(snapshot):
    if snapshot is None:
        return None
    from tests.support.delivery_world import _restored

    store = _restored(snapshot)
    store.db.execute("DELETE FROM open_row")
    return store.db.serialize()


def hub_with(sender: type[SimSender]) -> type[SimHub]:
    """A hub whose senders are of this kind."""

    class Hub(SimHub):
        """A hub with broken senders."""

        sender_class = sender

    return Hub


SENDERS = (
    NoResync,
    IgnoresLostAcks,
    IgnoresLostTails,
    ForgetsNewLineage,
    IgnoresConflicts,
    AcksWithoutAnswer,
    NeverGoesOn,
)
RESTORED_SENDERS = (IgnoresWhatIsBehind, MissesRenumbering)
HUBS = (
    hub_with(ExpectsZeroSender), hub_with(ExpectsNothingSender), hub_with(PipelinedSender), hub_with(SkipsSubstitutes), CursorBeforeFsync,
    SendsBeforeFsync, ReleasesOnAck, ForgetsTheOpenChunk,
)  # fmt: skip
RESTORED_HUBS = (hub_with(NeverSpares), hub_with(DropsWhatIsHeld), hub_with(NeverUnspares))
BELIEVING_HUB = hub_with(BelievesOldCursors)
