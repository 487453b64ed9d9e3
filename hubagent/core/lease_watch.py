"""The candidate: when it may take over, and the claim that decides it."""

from hubagent.core.lease_events import EpochKept, KeepEpoch, ReadDone
from hubagent.core.lease_fit import longest
from hubagent.core.lease_policy import NO_TOKEN, WAIT_S_MAX, LeasePolicyRefused, Profile, Token, profile_of
from hubagent.core.lease_state import NEVER, Holding, LeaseState, Phase, longer
from hubagent.core.outcome import Outcome
from hubagent.wire.leases import LeaseRecord

STEP = 1 / 8  # of P: how closely a candidate follows the holder's renewals
HASTE = 4  # a named successor polls this many times faster while the holder drains


class Candidate(LeaseState):
    """Watches the store, counts W from receipt, claims by compare-and-set."""

    # --- reading

    def _observe(self, event: ReadDone, now: float) -> None:
        """Take in what the store shows; anything new begins a full wait."""
        record = self._checked(event.record)
        watch = self.watch
        key = (event.seq, event.connection, event.foreign, *_stamp(record))
        if key != watch.key:
            watch.key, watch.first_seen, watch.asked_at = key, now, NEVER
        watch.read_at = now
        if record and record.state != "released":
            watch.live_seen = (event.connection, record.epoch)
        is_same = event.connection == watch.connection
        is_newer = is_same and event.seq > watch.seq
        watch.has_news = is_newer or (is_same and watch.has_news)
        was_released = bool(self.known and self.known.state == "released")
        watch.seq, watch.record, watch.connection = event.seq, record, event.connection
        if record:
            self._learn(record, now, was_released=was_released, is_newer=is_newer)

    def _checked(self, record: LeaseRecord | None) -> LeaseRecord | None:
        if record is None or record.holder not in record.members:
            return None
        try:
            profile_of(record)
        except LeasePolicyRefused:
            return None
        return record

    def _learn(self, record: LeaseRecord, now: float, *, was_released: bool, is_newer: bool) -> None:
        if self.held is None and not self._is_own_claim(record):
            # A store that may be an older copy may show a shorter span than the one that its holder counts by; and what
            # a member said last is true until the store has shown news for a whole wait.
            if is_newer and now - self.fenced_at > self.fence_span_s:
                self.fence_span_s = 0.0
            least_s = 0.0 if is_newer else self.profile.span_s if self.known else self.span_kept_s
            least_s = max(least_s, self.fence_span_s)
            self.profile = longer(profile_of(record), least_s)
            self.auto, self.maintenance = record.auto, record.maintenance
        self.known = record
        is_first = self.seen == NO_TOKEN
        if self._see_token(Token(record.epoch, record.holder), now):
            self._remember()
            if not (was_released or is_first):
                self.takeovers.append(now)

    def _is_own_claim(self, record: LeaseRecord) -> bool:
        """Read back; a longer span that it names is news to nobody else yet."""
        is_own = (record.epoch, record.holder, record.boot) == (self.claim_epoch, self.hub, self.boot)
        return self.phase is Phase.CLAIMING and is_own

    # --- deciding

    def _rank(self) -> int:
        """Priority: the place among the members that could follow; who held it last is not passed over for itself."""
        holder = self.watch.record.holder if self.watch.record else ""
        members = self.members
        if self.hub == holder or self.hub not in members:
            return 0
        place = members.index(self.hub)
        return place - (holder in members[:place])

    def _wait_s(self) -> float:
        """W; the longest there is while the store has shown nothing new on this connection.

        Who was away may have missed that the span was lengthened, and a store that was put back shows the shorter one.
        """
        wait_s = longest(self.profile, self.stretched).wait_s
        is_sure = self.watch.has_news or not self.others or self._is_birth()
        return wait_s if is_sure else max(wait_s, WAIT_S_MAX)

    def _is_birth(self) -> bool:
        """Nobody ever held it, as far as this hub knows, and it is the first member."""
        is_unheard = self.watch.record is None and self.seen == NO_TOKEN and self.peer_epoch == 0
        return is_unheard and self.hub == self.policy.members[0]

    def _expires_at(self) -> float | None:
        """When this candidate may claim, by the record alone."""
        watch = self.watch
        if watch.first_seen is None:
            return None
        wait_s = self._wait_s() + self._rank() * self.profile.renew_s
        record = watch.record
        if record and record.state == "released" and record.holder == self.hub and record.successor:
            wait_s += self._wait_s()  # who let go stands back once, so that the successor comes first
        return watch.first_seen + wait_s

    def _may_take_fast(self) -> bool:
        """A release opens the fast path only to its successor, who saw that very epoch live on this connection.

        A store rolled back to an old release shows an epoch below the highest seen, or comes with a new connection.
        """
        record = self.watch.record
        if record is None or record.state != "released" or record.successor != self.hub:
            return False
        return record.epoch >= max(self.seen.epoch, self.peer_epoch) and self.watch.live_seen == (
            self.watch.connection,
            record.epoch,
        )

    def _hindrance(self, now: float) -> str:
        """Why this hub may not take over now, in words; empty when it may."""
        if self.broken:
            return self.broken
        if not self.policy.has_witness:
            return "plain pair: promotion is by hand"
        if self.hub not in self.members or self.hub not in self.policy.members:
            return "not a member of the group"
        if self.hub_maintenance:
            return "this hub is in maintenance"
        if now - self.watch.read_at > 2.5 * self.profile.renew_s:
            return "witness unreachable"
        if now < self.promised_until:
            return f"promised {self.promised_to} not to promote"
        if now < self.hold_off:
            return "another member says it has authority"
        if not self.is_pulsed(now):
            return "the main loop does not answer"
        return ""

    def _reservation(self) -> str:
        """Why nothing may happen without a person; empty when armed, or when it is no failover at all."""
        record = self.watch.record
        if self._is_birth():
            return ""
        last = record.holder if record else self.seen.holder
        if last == self.hub:
            return ""  # its own, after a restart
        if self.maintenance:
            return "maintenance"
        return "" if self.auto == "armed" else self.auto

    def _consider(self, now: float) -> None:
        """Poll, ask around in good time, and claim when nothing stands against it."""
        watch = self.watch
        if self.policy.has_witness and now >= watch.poll_at:
            self._read()
            watch.poll_at = self._next_poll(now)
        suspicious_at = self._suspicious_at()
        if suspicious_at is not None and now >= suspicious_at:
            watch.asked_at = now
            if self.others:
                self._ask("epoch", self.others, self.seen, now)
        expires_at = self._expires_at()
        if self._may_take_fast():
            self._claim_unless_hindered("handed over", now)
        elif expires_at is not None and now >= expires_at:
            self._expire(now)

    def _next_poll(self, now: float) -> float:
        """In step with the holder: just before its next renewal is due, then often until it shows, then each P.

        W counts from the receipt of the first read that showed a renewal: what is seen sooner ends sooner.
        """
        renew_s, record = self.profile.renew_s, self.watch.record
        if record and record.state == "draining" and record.successor == self.hub:
            return now + renew_s / HASTE
        seen = self.watch.first_seen
        if seen is None or now > seen + (1 + 2 * STEP) * renew_s:
            return now + renew_s
        return max(seen + (1 - STEP) * renew_s, now + STEP * renew_s)

    def _suspicious_at(self) -> float | None:
        """When to ask the members for their epochs: half-way through the wait, then once a wait."""
        watch = self.watch
        if watch.first_seen is None or not self.policy.has_witness:
            return None
        return max(watch.first_seen, watch.asked_at) + self._wait_s() / 2

    def _expire(self, now: float) -> None:
        watch, record = self.watch, self.watch.record
        why = f"{_silence(record)} for {now - (watch.first_seen or now):.2f} s"
        reservation = self._reservation()
        if not reservation:
            self._claim_unless_hindered(why, now)
        elif reservation != "off" and watch.shadowed != watch.key and not self._hindrance(now):
            watch.shadowed = watch.key
            self._note("warning", f"would have failed over, because {why} ({reservation})")

    def _claim_unless_hindered(self, why: str, now: float) -> None:
        if not self._hindrance(now):
            self._claim(why, now)

    # --- claiming

    def _next_epoch(self) -> int:
        """Our own counter, above everything known: a rolled-back store cannot bring it down."""
        shown = self.watch.record.epoch if self.watch.record else 0
        return max(shown, self.own_epoch, self.seen.epoch, self.peer_epoch) + 1

    def _claim(self, why: str, now: float) -> None:
        self._move("claim")
        self.claim_epoch = self.own_epoch = self._next_epoch()
        self.claim_why = why
        self.expect, self.claim_connection = self.watch.seq, self.watch.connection
        self.doubt_at = None
        self.open.clear()
        self._emit(KeepEpoch(self.claim_epoch, self.profile.span_s))

    def _on_epoch_kept(self, event: EpochKept, now: float) -> None:
        if event.why:
            self.broken = event.why
            self._note("critical", f"refuses to act: {event.why}")
            if self.held is not None:
                self._drop(event.why, now)
        if self.phase is not Phase.CLAIMING or event.epoch != self.claim_epoch:
            return
        if event.why:
            self._lose(event.why, now)
        else:
            self._write_claim(now)

    def _write_claim(self, now: float) -> None:
        self.doubt_at = now + self.profile.renew_s
        self._write(self._new_record(), now, self.claim_connection)

    def _new_record(self) -> LeaseRecord:
        profile = longest(self.profile, self.stretched)
        return LeaseRecord(
            group=self.policy.group,
            members=list(self.members),
            profile=profile.name,
            epoch=self.claim_epoch,
            holder=self.hub,
            boot=self.boot,
            span_ms=round(profile.span_s * 1000),
            state="held",
            t=0.0,
            maintenance=self.maintenance,
            auto=self.auto,
        )

    def _settle_claim(self, now: float) -> None:
        """A read while the claim is in doubt: landed, not yet, or lost."""
        record = self.watch.record
        if not self.open:
            return  # the epoch is still on its way to the disk; the compare-and-set will tell
        landed = next((write for write in self.open.values() if record and _is_same(write[1], record)), None)
        if landed:
            self._win(landed[0], landed[1], self.watch.seq, now)
        elif self.watch.seq != self.expect:
            self._lose("another hub was faster", now)
        elif self._may_claim_again(now):
            self.claim_connection = self.watch.connection
            self._write_claim(now)

    def _may_claim_again(self, now: float) -> bool:
        """Over a new connection only after a full wait on it: the store may be an older copy."""
        if self._hindrance(now):
            return False
        expires_at = self._expires_at()
        return self.watch.connection == self.claim_connection or (expires_at is not None and now >= expires_at)

    def _win(self, sent: float, record: LeaseRecord, seq: int, now: float) -> None:
        named = profile_of(record)
        until = self._counted_from(sent, now) + min(self.profile, named, key=lambda one: one.span_s).span_s
        if now >= until or sent < self.void_before:
            self._lose("the claim was confirmed too late", now)
            return
        self._move("won")
        self._see_token(Token(record.epoch, self.hub), now)
        self.known, self.expect = record, seq
        self.open.clear()
        self.reads.clear()
        self.fence_span_s = 0.0
        forced = self.claim_request is not None
        self.watch.has_news |= not forced and self.claim_connection == self.watch.connection
        self.held = Holding(
            Token(record.epoch, self.hub),
            until=until,
            # By hand nobody waited for the old holder to lapse: this hub holds the record, and acts only after W.
            act_from=now + self._wait_s() if forced else NEVER,
            confirmed_sent=sent,
            renew_at=sent + self.profile.renew_s,
            since=now,
            not_fenced=set(self.others),
            why=self.claim_why,
        )
        self._take_profile(named, now)
        if not forced:
            self._begin_acting(now)

    def _take_profile(self, named: Profile, now: float) -> None:
        """A shorter span counts at once; a longer one when every member knows of it, or must have read it."""
        held = self.held
        assert held is not None
        if named.span_s <= self.profile.span_s:
            self.profile, held.coming = named, None
            held.renew_at = min(held.renew_at, now + named.renew_s)
        elif held.coming != named:
            held.coming, held.coming_at = named, now + named.wait_s
            held.not_fenced, held.fence_at = set(self.others), now

    def _counted_from(self, sent: float, received: float) -> float:
        """Authority counts from sending, never from receipt."""
        return sent

    def _lose(self, why: str, now: float) -> None:
        self._move("lost")
        self.open.clear()
        self.watch.restart(now)
        self._conclude(self.claim_request, Outcome(ok=False, gate="claim", why=why))
        self.claim_request = None


def _stamp(record: LeaseRecord | None) -> tuple[object, ...]:
    return (record.epoch, record.holder, record.boot, record.state, record.t) if record else ()


def _silence(record: LeaseRecord | None) -> str:
    if record is None:
        return "the store shows no holder"
    if record.state == "released":
        return f"nobody has taken epoch {record.epoch}, which {record.holder} released,"
    return f"{record.holder} has not renewed epoch {record.epoch}"


def _is_same(ours: LeaseRecord, shown: LeaseRecord) -> bool:
    return _stamp(ours) == _stamp(shown)
