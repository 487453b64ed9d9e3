"""The holder: renewals that are started and never awaited, promises while the store is away, doubt after a mismatch."""

from hubagent.core.lease_events import WriteDone, WriteNotSent, WriteRefused
from hubagent.core.lease_fit import longest
from hubagent.core.lease_policy import Token, profile_of
from hubagent.core.lease_state import Holding, Phase
from hubagent.core.lease_watch import Candidate, _is_same
from hubagent.core.outcome import Outcome
from hubagent.wire.leases import LeaseRecord

FENCE_S = 1.0  # a member that has not acknowledged the token is asked again after this long
RENEWALS_MISSED = 1.5  # in P: a store silent for longer counts as unreachable, and the members are asked for promises


class Holder(Candidate):
    """Valid while now < send time of the last confirmed renewal + A."""

    settings_open: tuple[int, ...] = ()  # requests that wait for the record to carry their setting

    def _lapse(self, now: float) -> None:
        """The first act after any pause: a lapsed holder never renews."""
        if self.held is not None and now >= self.held.until:
            self._drop("not renewed in time", now)

    def _keep(self, now: float) -> None:
        held = self.held
        assert held is not None
        if not held.is_acting and now >= held.act_from:
            self._begin_acting(now)
        if held.coming and (not held.not_fenced or now >= held.coming_at):
            self.profile, held.coming = held.coming, None
            held.renew_at = now
        if now >= held.renew_at:
            held.renew_at = now + self.profile.renew_s
            if self.is_pulsed(now):
                self._renew(held, now)
        if held.not_fenced and now >= held.fence_at:
            held.fence_at = now + max(FENCE_S, self.profile.wait_s)
            self._ask("fence", sorted(held.not_fenced), held.token, now)

    def _renew(self, held: Holding, now: float) -> None:
        if held.by_hand:
            self._extend(now)  # nobody confirms it: that is what promotion by hand means
            if self.policy.has_witness:
                self._read()
            return
        if self.open or held.in_question:
            self._read()  # in doubt: look before writing again
        else:
            self._write_held(held, now)
        self._seek_promises(held, now)

    def _seek_promises(self, held: Holding, now: float) -> None:
        """Only while the store is unreachable, never after a mismatch."""
        if held.in_question or now - held.confirmed_sent < RENEWALS_MISSED * self.profile.renew_s:
            return
        if self.others:
            self._ask("promise", self.others, held.token, now)
        else:
            self._extend_by_promise(held, now, now)  # nobody else could promote

    def _promised(self, sent: float, now: float) -> None:
        """Every other member has promised; `_lapse` has already dropped an authority that ran out meanwhile."""
        held = self.held
        if held is not None and not held.in_question and now < held.until:
            self._extend_by_promise(held, sent, now)

    def _extend_by_promise(self, held: Holding, sent: float, now: float) -> None:
        """Said once it counts: before, the last confirmed renewal is authority enough, and its answer may only be late."""
        if not held.by_promise and now >= held.confirmed_sent + self.profile.span_s:
            held.by_promise = True
            self._note("warning", "witness unreachable: active by promise of the other members")
        self._extend(sent)

    def _extend(self, sent: float) -> None:
        held = self.held
        assert held is not None
        held.until = max(held.until, sent + self.profile.span_s)
        self._hold_guard()

    def _write_held(self, held: Holding, now: float) -> None:
        """Who reads a shorter span waits a shorter time: from its sending on, authority is no longer than that."""
        record = self._held_record()
        span_s = record.span_ms / 1000
        if span_s < self.profile.span_s and now + span_s < held.until:
            held.until = now + span_s
            self._hold_guard()
        self._write(record, now)

    def _held_record(self) -> LeaseRecord:
        assert self.held is not None
        members = self.wanted.members if self.wanted else self.members
        profile = longest(self.wanted.profile, self.stretched) if self.wanted else longest(self.profile, self.stretched)
        draining = self.phase is Phase.DRAINING and self.handover is not None
        return LeaseRecord(
            group=self.policy.group,
            members=list(members),
            profile=profile.name,
            epoch=self.held.token.epoch,
            holder=self.hub,
            boot=self.boot,
            span_ms=round(profile.span_s * 1000),
            state="draining" if draining else "held",
            t=0.0,
            successor=self.handover.successor if self.handover else "",
            maintenance=self.maintenance,
            auto=self.auto,
        )

    # --- answers of the store

    def _confirm(self, sent: float, record: LeaseRecord, seq: int, now: float) -> None:
        held = self.held
        assert held is not None
        if held.by_promise or held.by_hand:
            self._note("ok", "the witness confirms the lease again")
        self._adopt(record, seq, now)
        held.by_promise = held.by_hand = False
        held.confirmed_sent = max(held.confirmed_sent, sent)
        self.watch.read_at, self.watch.record, self.watch.seq = now, record, seq
        self._extend(self._counted_from(sent, now))
        self._settle_settings(record)

    def _adopt(self, record: LeaseRecord, seq: int, now: float) -> None:
        assert self.held is not None
        self.known, self.expect = record, seq
        self._take_profile(profile_of(record), now)
        self.held.in_question = False
        self.open.clear()
        self.reads.clear()

    def _settle_settings(self, record: LeaseRecord) -> None:
        if self.settings_open and (record.auto, record.maintenance) == (self.auto, self.maintenance):
            for request_id in self.settings_open:
                self._conclude(request_id, Outcome(ok=True))
            self.settings_open = ()

    def _mismatch(self, now: float) -> None:
        """Our own write in doubt may be what the store met; anything else means that somebody else wrote."""
        held = self.held
        assert held is not None
        if held.by_hand:
            self._read()
        elif self.open:
            held.in_question = True
            self._read()
        else:
            self._drop("the record was changed by somebody else", now)

    def _settle_held(self, now: float) -> None:
        """A read while holding: it settles what is in doubt."""
        held, record = self.held, self.watch.record
        assert held is not None
        if held.by_hand:
            self._reconcile(held, record, now)
        elif self.watch.seq == self.expect:
            self._settle_unchanged(held, now)
        else:
            self._settle_changed(held, record, now)

    def _settle_unchanged(self, held: Holding, now: float) -> None:
        if held.in_question:
            self._drop("the store refuses a write and shows no reason", now)
        elif self.open and self.is_pulsed(now):
            self._write_held(held, now)

    def _settle_changed(self, held: Holding, record: LeaseRecord | None, now: float) -> None:
        landed = next((write for write in self.open.values() if record and _is_same(write[1], record)), None)
        if landed:
            self._confirm(landed[0], landed[1], self.watch.seq, now)
        elif record and self._is_own(held, record) and self.watch.seq > self.expect:
            self._adopt(record, self.watch.seq, now)
        elif record and record.holder != self.hub:
            self._drop(f"{record.holder} holds epoch {record.epoch}", now)
        else:
            self._drop("the store was rolled back" if record else "the store was emptied", now)

    def _is_own(self, held: Holding, record: LeaseRecord) -> bool:
        return (record.holder, record.boot, record.epoch) == (self.hub, self.boot, held.token.epoch)

    def _reconcile(self, held: Holding, record: LeaseRecord | None, now: float) -> None:
        """Promoted by hand while the store was away: the higher epoch stands, and ours is written into the record."""
        if record and Token(record.epoch, record.holder) > held.token:
            self._drop(f"{record.holder} holds the higher epoch {record.epoch}", now)
        elif not self.open or self.watch.seq != self.expect:
            self.open.clear()
            self.expect = self.watch.seq
            self._write_held(held, now)

    def _on_write_done(self, event: WriteDone, now: float) -> None:
        written = self.open.get(event.write_id)
        if written is None:
            return
        if self.phase is Phase.CLAIMING:
            self._win(*written, event.seq, now)
        elif self.held is not None:
            self._confirm(*written, event.seq, now)
        elif self.phase is Phase.RELEASING:
            self._released(now)

    def _on_write_refused(self, event: WriteRefused, now: float) -> None:
        if self.open.pop(event.write_id, None) is None:
            return
        if self.held is not None:
            self._mismatch(now)
        elif self.open or self.phase is Phase.RELEASING:
            self._read()
        elif self.phase is Phase.CLAIMING:
            self._lose("another hub was faster", now)

    def _on_write_not_sent(self, event: WriteNotSent, now: float) -> None:
        if self.open.pop(event.write_id, None) is None or self.open:
            return
        if self.phase is Phase.CLAIMING:
            self._lose("witness unreachable", now)
        elif self.held is not None and not self.held.by_hand:
            self._seek_promises(self.held, now)

    def _released(self, now: float) -> None:
        raise AssertionError  # lease_handover
