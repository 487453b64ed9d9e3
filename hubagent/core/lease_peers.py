"""What members ask each other: promises, fences, epochs; and promotion by hand, where nobody else can confirm it."""

from hubagent.core.lease_events import Answer, EpochKept, KeepEpoch, PeerAnswered, PeerAsked, Promote
from hubagent.core.lease_handover import Handing
from hubagent.core.lease_policy import NO_TOKEN, WAIT_S_MAX, Token, span_of
from hubagent.core.lease_state import NEVER, Holding, Phase, Round, longer
from hubagent.core.outcome import Outcome

PROMISE_S_MAX = WAIT_S_MAX * 2  # no member may bind another for longer
RESUME_S = 1.0  # a plain pair's former holder asks this often whether anybody was promoted meanwhile


class Peers(Handing):
    """Answers the other members, and weighs their answers."""

    claim_by_hand = False
    resume_at = NEVER

    # --- asked

    def _on_peer_asked(self, event: PeerAsked, now: float) -> None:
        if event.sender not in self.others:
            self._answer(event, f"{event.sender} is no member of {self.policy.group} here")
            return
        self.peer_heard[event.sender] = now
        self.peer_epoch = max(self.peer_epoch, event.token.epoch if event.ask != "epoch" else 0)
        answers = {
            "promise": self._promise,
            "fence": self._obey,
            "epoch": self._tell_epoch,
            "take": self._take,
        }
        answer = answers.get(event.ask)
        if answer is None:
            self._answer(event, "unknown question")
        else:
            answer(event, now)

    def _answer(self, event: PeerAsked, why: str = "") -> None:
        self._emit(Answer(event.request_id, not why, max(self.own_epoch, self.seen.epoch), why))

    def _promise(self, event: PeerAsked, now: float) -> None:
        refusal = self._promise_refusal(event)
        if not refusal:
            until = now + min(max(event.span_s, self.profile.wait_s), PROMISE_S_MAX)
            self.promised_until, self.promised_to = max(self.promised_until, until), event.sender
        self._answer(event, refusal)

    def _promise_refusal(self, event: PeerAsked) -> str:
        if self.phase is Phase.CLAIMING:
            return "a claim of its own is open"
        if self.held is not None:
            return f"holds epoch {self.held.token.epoch} itself"
        if event.token.holder != event.sender or event.token < self.seen:
            return f"sees another holder: {self.seen.holder} with epoch {self.seen.epoch}"
        return ""

    def _obey(self, event: PeerAsked, now: float) -> None:
        """A token is on disk before it is acknowledged; a lower one is refused."""
        if event.token.holder != event.sender or event.token < self.seen:
            self._answer(event, f"a higher token was seen: epoch {self.seen.epoch} of {self.seen.holder}")
            return
        if self._see_token(event.token, now) and self.held is not None:
            self._drop(f"{event.sender} was promoted with the higher epoch {event.token.epoch}", now)
        if self.held is None:
            self.fence_span_s, self.fenced_at = min(span_of(event.span_s), PROMISE_S_MAX), now
            self.profile = longer(self.profile, self.fence_span_s)
        self._remember(event.request_id)
        self._answer(event)

    def _tell_epoch(self, event: PeerAsked, now: float) -> None:
        if self.held is not None and now < self.held.until:
            self._answer(event, "has authority")
        elif now < self.promised_until and event.sender != self.promised_to:
            self._answer(event, f"{self.promised_to} has authority by promise")
        else:
            self._answer(event)

    def _take(self, event: PeerAsked, now: float) -> None:
        """Only in a plain pair, and only from the holder of the highest token: a switchover that a person asked for."""
        if self.policy.has_witness or self.phase is not Phase.STANDBY or self.broken or event.token < self.seen:
            self._answer(event, self.broken or "cannot take over here")
            return
        self._answer(event)
        self._claim_hand(f"handed over by {event.sender}", None)

    # --- answered

    def _on_peer_answered(self, event: PeerAnswered, now: float) -> None:
        asked = self.rounds.get(event.round_id)
        if asked is None or event.hub not in asked.waiting:
            return
        self.peer_heard[event.hub] = now
        self.peer_epoch = max(self.peer_epoch, event.epoch)
        if not event.ok:
            self._refused(asked, event, now)
            return
        asked.waiting.discard(event.hub)
        if asked.ask == "fence":
            self._fenced(event.hub, now)
        if not asked.waiting:
            del self.rounds[event.round_id]
            self._all_agreed(asked, now)

    def _refused(self, asked: Round, event: PeerAnswered, now: float) -> None:
        if asked.ask == "promise":
            self.rounds.pop(event.round_id, None)
        elif asked.ask == "epoch":
            self.hold_off = now + 2 * self.profile.renew_s
            self.watch.asked_at = now + self.profile.renew_s - self._wait_s() / 2  # ask again in P
        elif asked.ask == "take":
            self._fail_take(event.why)

    def _all_agreed(self, asked: Round, now: float) -> None:
        if asked.ask == "promise":
            self._promised(asked.sent, now)
        elif asked.ask == "epoch" and not self.policy.has_witness:
            self._resume(now)
        elif asked.ask == "take" and self.handover:
            took_s = now - self.handover.began
            self._conclude(self.handover.request_id, Outcome(ok=True, took_s=took_s))
            self.handover = None

    def _fail_take(self, why: str) -> None:
        if self.handover:
            self._conclude(self.handover.request_id, Outcome(ok=False, gate="takeover", why=why))
            self.handover = None

    def _fenced(self, hub: str, now: float) -> None:
        held = self.held
        if held is None:
            return
        held.not_fenced.discard(hub)
        if not held.not_fenced and not held.is_acting:
            held.act_from = min(held.act_from, now + self.profile.margin_s)

    # --- by hand

    def _on_promote(self, event: Promote, now: float) -> None:
        if self.phase is not Phase.STANDBY:
            why = "already active" if self.held else "a claim is open already"
            self._conclude(event.request_id, Outcome(ok=False, gate="standby", why=why))
        elif self.broken:
            self._conclude(event.request_id, Outcome(ok=False, gate="token-file", why=self.broken))
        elif self.policy.has_witness and self._reads_store(now):
            self.claim_request = event.request_id
            self._claim("promoted by hand", now)
        else:
            self._claim_hand("promoted by hand", event.request_id)

    def _reads_store(self, now: float) -> bool:
        return now - self.watch.read_at <= 2.5 * self.profile.renew_s

    def _claim_hand(self, why: str, request_id: int | None) -> None:
        self._move("claim")
        self.claim_by_hand, self.claim_request, self.claim_why = True, request_id, why
        self.claim_epoch = self.own_epoch = self._next_epoch()
        self.doubt_at = None
        self.open.clear()
        self._emit(KeepEpoch(self.claim_epoch, self.profile.span_s))

    def _on_epoch_kept(self, event: EpochKept, now: float) -> None:
        if not self.claim_by_hand or event.why or event.epoch != self.claim_epoch:
            super()._on_epoch_kept(event, now)
            return
        self.claim_by_hand = False
        self._move("won")
        token = Token(self.claim_epoch, self.hub)
        self._see_token(token, now)
        self._hold_by_hand(token, self.claim_why, now)

    def _hold_by_hand(self, token: Token, why: str, now: float) -> None:
        """Where there is a witness, wait W even so: a holder that cannot reach this hub any more lapses meanwhile."""
        act_from = now + self._wait_s() if self.policy.has_witness else now
        self.held = Holding(
            token,
            until=now + self.profile.span_s,
            act_from=act_from,
            by_hand=True,
            renew_at=now,
            since=now,
            not_fenced=set(self.others),
            why=why,
        )
        if now >= act_from:
            self._begin_acting(now)

    def _seek_resumption(self, now: float) -> None:
        """A plain pair's holder that restarted goes on only when every other member says that nobody was promoted."""
        if self.policy.has_witness or self.broken or now < self.resume_at:
            return
        self.resume_at = now + max(RESUME_S, self.profile.wait_s)
        if self.others:
            self._ask("epoch", self.others, self.seen, now)
        elif self.seen.holder == self.hub:
            self._resume(now)
        elif self.seen == NO_TOKEN:
            self._claim_hand("the only member", None)

    def _resume(self, now: float) -> None:
        if self.phase is Phase.STANDBY and self.seen.holder == self.hub and self.peer_epoch <= self.seen.epoch:
            self._move("by hand")
            self._hold_by_hand(self.seen, "goes on after a restart", now)
