"""Leases that are broken on purpose: a checker that lets one of them pass is no checker.

Where the long wait of a hub that has seen no news would hide a fault, it is left out as well.
"""

from hubagent.core.lease import Lease
from hubagent.core.lease_fit import longest
from tests.support import lease_faults as faults


class BelievesWhatIsShownFirst(Lease):
    """Waits by the span that an older copy may show; it is only safe where nobody ever lengthens it."""

    def _wait_s(self):
        return longest(self.profile, self.stretched).wait_s


class FromReceipt(Lease):
    """Counts authority from the receipt of a confirmation."""

    def _counted_from(self, sent, received):
        return received


class AwaitsRenewal(Lease):
    """Looks at its deadline only when the renewal under way has been answered."""

    def _lapse(self, now):
        if not self.open:
            super()._lapse(now)

    def has_authority(self, now):
        """Believes in its authority until somebody looks."""
        return self.held is not None and self.held.is_acting

    def _holding_times(self):
        return [self.held.renew_at]


class NoMargin(Lease):
    """A candidate that waits A instead of W."""

    def _wait_s(self):
        return self.profile.span_s


class EpochFromSequence(BelievesWhatIsShownFirst):
    """Takes its epoch from the stream, which can be rolled back."""

    def _next_epoch(self):
        return self.watch.seq + 1


class FastPathForAll(Lease):
    """Takes any released record for an invitation."""

    def _may_take_fast(self):
        record = self.watch.record
        return record is not None and record.state == "released" and record.holder != self.hub


class PromiseAfterMismatch(BelievesWhatIsShownFirst):
    """Takes a mismatch for an unreachable store, and lives on by promises."""

    def _mismatch(self, now):
        self.held.in_question = False
        self._seek_promises(self.held, now)

    def _settle_held(self, now):
        if self.watch.record and self.watch.seq == self.expect:
            super()._settle_held(now)

    def _lapse(self, now):
        """It asks again after a pause as well."""

    def _promised(self, sent, now):
        if self.held is not None:
            self._extend_by_promise(self.held, sent, now)

    def _holding_times(self):
        return [self.held.renew_at]


class ClaimsInPromise(Lease):
    """Gives promises, and breaks them."""

    def _hindrance(self, now):
        self.promised_until = self.hold_off = now  # nor does it listen to a holder that says it lives
        return super()._hindrance(now)


class ForgetsToWaitAfterRollback(BelievesWhatIsShownFirst):
    """Takes the same sequence on a new connection for the same store."""

    def _observe(self, event, now):
        before, since = self.watch.key, self.watch.first_seen
        super()._observe(event, now)
        if before and self.watch.key and before[0] == self.watch.key[0] and before[2:] == self.watch.key[2:]:
            self.watch.first_seen = since


class ShrinksWithoutCutting(Lease):
    """Tells of a shorter span, and goes on counting by the longer one."""

    def _write_held(self, held, now):
        self._write(self._held_record(), now)


class BelievesAnOldCopy(BelievesWhatIsShownFirst):
    """Takes its wait from whatever the store shows, also after it was rolled back."""

    def _learn(self, record, now, *, was_released, is_newer):
        super()._learn(record, now, was_released=was_released, is_newer=True)


# Each with the faults and the network that it must not survive; few seeds suffice where the faults are pointed.
BROKEN = (
    (FromReceipt, (faults.slow_answers,), {}),
    (AwaitsRenewal, (faults.cut_store, faults.pause), {}),
    (NoMargin, (faults.cut_store, faults.pause), {"fast_s": 0.001}),
    (EpochFromSequence, (faults.restart, faults.store_emptied), {}),
    (FastPathForAll, (faults.switch, faults.store_back), {}),
    (ClaimsInPromise, (faults.cut_holder,), {}),
    (ForgetsToWaitAfterRollback, (faults.store_back, faults.cut_store), {}),
    (ShrinksWithoutCutting, (faults.reconfigure, faults.isolate), {}),
)
