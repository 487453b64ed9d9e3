"""Planned handover: draining announces, the services stop, released lets go, and the outcome is followed to the end."""

import msgspec

from hubagent.core.lease_events import Drain, Drained, Promoted, Switchover
from hubagent.core.lease_hold import Holder
from hubagent.core.lease_state import Handover, Phase
from hubagent.core.outcome import Outcome
from hubagent.wire.leases import LeaseRecord


class Handing(Holder):
    """Switchover on request, and the clean end of the hub agent."""

    _draining_announced = False
    _released_record: LeaseRecord | None = None

    def _on_switchover(self, event: Switchover, now: float) -> None:
        refusal = self._switchover_refusal(event, now)
        if refusal:
            self._conclude(event.request_id, refusal)
            return
        successor = event.to or self._next_member()
        if event.stop and (self.auto != "armed" or self.maintenance):
            successor = ""  # a restart of an unarmed hub is no reason to move anything
        self._move("drain")
        self.handover = Handover(event.request_id, successor, now, event.stop)
        self._draining_announced = False
        assert self.held is not None
        self.held.renew_at = now
        self._note("warning", f"draining for {successor or 'a restart'}")
        if event.stop or self.held.by_hand:
            self._announce()

    def _switchover_refusal(self, event: Switchover, now: float) -> Outcome | None:
        held, policy = self.held, self.policy
        if event.stop and held is None and self.phase is Phase.STANDBY:
            return Outcome(ok=True)
        if held is None or self.phase is not Phase.HOLDING or not held.is_acting:
            return Outcome(ok=False, gate="lease-held", why=f"{self.hub} does not hold the lease of {policy.group}")
        if event.stop:
            return None
        to = event.to or self._next_member()
        if to == self.hub or to not in self.members:
            return Outcome(
                ok=False, gate="target-is-member", why=f"{to or 'nobody'} is no other member of {policy.group}"
            )
        age_s = now - held.since
        if age_s < policy.hold_min_s and "minimum-hold" not in event.forced:
            why = f"active for {age_s:.0f} s, at least {policy.hold_min_s:.0f} s before a planned switchover"
            return Outcome(ok=False, gate="minimum-hold", why=why)
        recent = sum(1 for at in self.changes if now - at < policy.changes_window_s)
        if recent >= policy.changes_max and "few-changes" not in event.forced:
            why = f"{recent} changes within {policy.changes_window_s:.0f} s, the limit is {policy.changes_max}"
            return Outcome(ok=False, gate="few-changes", why=why)
        return None

    def _next_member(self) -> str:
        return next((member for member in self.members if member != self.hub), "")

    def _announce(self) -> None:
        if not self._draining_announced and self.handover:
            self._draining_announced = True
            self._emit(Drain(self.handover.successor))

    def _confirm(self, sent: float, record: LeaseRecord, seq: int, now: float) -> None:
        super()._confirm(sent, record, seq, now)
        if record.state == "draining" and self.phase is Phase.DRAINING:
            self._announce()

    def _on_drained(self, event: Drained, now: float) -> None:
        if self.phase is not Phase.DRAINING or self.handover is None:
            return
        if event.ok or self.handover.stop:
            self._let_go(now)
        else:
            self._go_on(event.why, now)

    def _go_on(self, why: str, now: float) -> None:
        assert self.held is not None
        assert self.handover is not None
        self._move("go on")
        self._conclude(self.handover.request_id, Outcome(ok=False, gate="drain", why=why))
        self.handover = None
        self.held.renew_at = now
        self._emit(Promoted(self.held.token, self.profile.span_s, "the switchover was given up"))

    def _let_go(self, now: float) -> None:
        """Authority ends here, before the release is written: the fast path of the successor rests on it."""
        assert self.held is not None
        assert self.handover is not None
        by_hand, token, in_doubt = self.held.by_hand, self.held.token, bool(self.open)
        self._released_record = msgspec.structs.replace(self._held_record(), state="released")
        self._move("drained")
        self._stop_acting(f"handed over to {self.handover.successor or 'nobody'}", now)
        self.doubt_at = now + self.profile.renew_s
        if by_hand:
            self._released(now)
            if not self.policy.has_witness and self.handover:
                self._ask("take", (self.handover.successor,), token, now)
        elif in_doubt:
            self._read()
        else:
            self._write(self._released_record, now)

    def _push_release(self, now: float) -> None:
        """While the release is in doubt: read, write again, and give up after W, when others may take over anyway."""
        assert self.handover is not None
        if self.doubt_at is not None and now >= self.doubt_at:
            self.doubt_at = now + self.profile.renew_s
            self._read()
        if now >= self.handover.began + self.policy.handover_s:
            self._move("released")
            self._conclude(self.handover.request_id, Outcome(ok=False, gate="release", why="unknown: not confirmed"))
            self.handover = None

    def _settle_release(self, now: float) -> None:
        record, released = self.watch.record, self._released_record
        assert released is not None
        if record and record.holder == self.hub and record.epoch == released.epoch and record.boot == self.boot:
            self.expect = self.watch.seq
            if record.state == "released":
                self._released(now)
            else:
                self.open.clear()
                self._write(released, now)
        else:
            self._released(now)

    def _released(self, now: float) -> None:
        assert self.handover is not None
        self._move("released")
        self.open.clear()
        self.handover.released_at = now
        self.watch.restart(now)
        if self.handover.stop or not self.handover.successor:
            took_s = now - self.handover.began
            self._conclude(self.handover.request_id, Outcome(ok=True, took_s=took_s))
            self.handover = None

    def _follow_handover(self, now: float) -> None:
        """Done when the record names the successor; failed when it names another, or nobody came in time."""
        handover, released = self.handover, self._released_record
        if handover is None or handover.released_at is None or released is None:
            return
        record = self.known
        if record and record.epoch > released.epoch:
            ok = record.holder == handover.successor
            why = "" if ok else f"{handover.successor} did not take over, {record.holder} did"
            self._conclude(handover.request_id, Outcome(ok, why, "" if ok else "takeover", now - handover.began))
            self.handover = None
        elif now >= handover.released_at + self.policy.handover_s:
            why = f"released, but {handover.successor} did not take over in {self.policy.handover_s:.0f} s"
            self._conclude(handover.request_id, Outcome(ok=False, gate="takeover", why=why))
            self.handover = None
