"""The lease core in its corners: what it counts, remembers, hears from members, and does around a handover."""

import pytest

from hubagent.core import lease_events as ev
from hubagent.core.lease import Lease
from hubagent.core.lease_policy import PROFILES, LeasePolicy, LeasePolicyRefused, Memory, Profile, Token, profile_of
from hubagent.core.lease_state import Phase, longer
from hubagent.core.lease_view import group_state
from tests.unit.test_lease import FAST, GROUP, HERE, THERE, Driven, record

FORCED = frozenset({"minimum-hold", "few-changes"})


def concluded(driven) -> list:
    """Outcomes of requests."""
    return [one.outcome for one in driven.of(ev.Concluded)]


def notes(driven) -> list[str]:
    """What is worth a record."""
    return [note.text for note in driven.of(ev.Note)]


# --- reading


def test_a_token_that_the_record_shows_first_is_remembered_on_disk():
    """Once, not with each read."""
    driven = Driven()
    driven.read(5, record(epoch=4))
    assert driven.of(ev.Remember) == [ev.Remember(Token(4, THERE), 0.6)]
    driven.read(6, record(epoch=4, t=2.0))
    assert not driven.of(ev.Remember)


def test_only_takeovers_after_a_loss_ask_for_a_decision():
    """The first record ever seen is none, nor is one that follows a release."""
    driven = Driven()
    driven.read(1, record(epoch=1))
    for epoch in (2, 3):
        driven.read(10 * epoch, record(epoch=epoch - 1, state="released", t=epoch))
        driven.read(10 * epoch + 1, record(epoch=epoch, t=epoch + 0.5))
    assert not driven.lease.takeovers
    for epoch in (4, 5, 6):
        driven.read(10 * epoch, record(epoch=epoch, t=epoch))
    assert len(driven.lease.takeovers) == 3
    assert "3 takeovers in 5 min: decide" in group_state(driven.lease, driven.now).why


@pytest.mark.parametrize("odd", [record(members=[HERE]), record(span_ms=0), record(span_ms=-600)])
def test_a_record_that_nobody_could_have_written_counts_as_none(odd):
    """Its holder is no member, or its span is no span."""
    driven = Driven()
    driven.read(5, odd)
    assert driven.lease.known is None
    assert driven.lease.watch.record is None


def test_who_is_not_in_the_record_or_not_in_the_roster_never_promotes_itself():
    """Either list alone keeps a hub out."""
    driven = Driven()
    for _ in range(12):
        driven.read(5, record(members=[THERE, "c"]), after=0.1)
        assert not driven.of(ev.KeepEpoch)
    assert "not a member" in group_state(driven.lease, driven.now).why


def test_a_witness_that_has_not_answered_for_two_and_a_half_renewals_hinders():
    """Whatever its last answer said."""
    driven = Driven()
    driven.read(5, record())
    driven.feed(ev.Pulse(driven.now), after=2.5 * FAST.renew_s - 0.001)
    driven.lease.pulse_at = driven.now
    assert driven.lease._hindrance(driven.now) == ""
    driven.feed(ev.Pulse(driven.now), after=0.002)
    assert driven.lease._hindrance(driven.now) == "witness unreachable"


def test_reads_keep_step_with_the_holder_and_calm_down_when_nothing_comes():
    """Just before P, then each P/8 until 1.25 P, then each P; a successor of a draining holder reads each P/4."""
    driven = Driven()
    driven.read(5, record())
    seen, p = driven.now, FAST.renew_s
    driven.now = seen
    assert driven.lease._next_poll(seen + 0.01) == pytest.approx(seen + 7 / 8 * p)
    assert driven.lease._next_poll(seen + p) == pytest.approx(seen + 9 / 8 * p)
    assert driven.lease._next_poll(seen + 2 * p) == pytest.approx(seen + 3 * p)
    driven.read(6, record(state="draining", successor=HERE, t=2.0))
    assert driven.lease._next_poll(driven.now) == pytest.approx(driven.now + p / 4)
    driven.read(7, record(state="draining", successor="c", t=3.0))
    assert driven.lease._next_poll(driven.now) == pytest.approx(driven.now + 7 / 8 * p)


def test_answers_to_overtaken_reads_are_ignored():
    """A slow answer shows the past."""
    driven = Driven()
    driven.lease._read()
    old = max(driven.lease.reads)
    driven.read(6, record(t=2.0))
    driven.feed(ev.ReadDone(old, 5, record(), 1))
    assert driven.lease.watch.seq == 6


def test_the_members_are_asked_for_their_epochs_half_way_through_the_wait():
    """And an answer that somebody has authority holds a claim off for two renewals."""
    driven = Driven()
    driven.read(5, record())
    driven.feed(after=FAST.wait_s / 2 - 0.01)
    assert not driven.of(ev.Ask)
    driven.feed(after=0.02)
    (asked,) = driven.of(ev.Ask)
    assert (asked.ask, asked.members) == ("epoch", (THERE,))
    driven.feed(ev.PeerAnswered(asked.round_id, THERE, ok=False, epoch=7, why="has authority"))
    assert driven.lease.hold_off == pytest.approx(driven.now + 2 * FAST.renew_s)
    assert driven.lease.peer_epoch == 7
    assert driven.lease._hindrance(driven.now) == "another member says it has authority"


def test_who_let_go_to_a_successor_stands_back_for_a_second_wait():
    """So that the successor comes first."""
    driven = Driven()
    driven.read(5, record(holder=HERE, state="released", successor=THERE))
    assert driven.lease._expires_at() == pytest.approx(driven.now + 2 * FAST.wait_s)


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"auto": "off"}, "off"), ({"auto": "shadow"}, "shadow"), ({"maintenance": True}, "maintenance"), ({}, "")],
)
def test_what_is_not_armed_needs_a_person_unless_it_was_this_hubs_own(changes, word):
    """A restart of the holder itself is no failover."""
    driven = Driven()
    driven.read(5, record(**changes))
    assert driven.lease._reservation() == word
    own = Driven(Memory(seen=Token(1, HERE)))
    own.read(5, record(holder=HERE, **changes))
    assert own.lease._reservation() == ""


def test_shadow_speaks_once_for_each_silence_and_off_never():
    """What it would have done, with the reason."""
    for auto, count in (("shadow", 1), ("off", 0)):
        driven, said = Driven(), []
        driven.read(5, record(auto=auto))
        for _ in range(15):
            driven.read(5, record(auto=auto), after=0.1)
            said += [text for text in notes(driven) if text.startswith("would have failed over")]
        assert len(said) == count


def test_an_empty_store_is_born_by_the_first_member_alone():
    """Others would need to be armed by a record, or by the roster."""
    second = Driven(auto="shadow")
    second.lease.policy = LeasePolicy(GROUP, HERE, (THERE, HERE), FAST)
    for _ in range(15):
        second.read(0, None, after=0.1)
        assert not second.of(ev.KeepEpoch)
    first = Driven(auto="shadow")
    for _ in range(9):
        first.read(0, None, after=0.1)
    assert first.lease.claim_epoch == 1


# --- claiming


def claiming(epoch=1, connection=1) -> Driven:
    """A hub whose claim is on its way."""
    driven = Driven()
    for _ in range(9):
        driven.read(5, record(epoch=epoch), after=0.1, connection=connection)
    driven.feed(ev.EpochKept(driven.lease.claim_epoch))
    return driven


def test_a_claim_leaves_on_the_connection_that_the_wait_was_counted_on():
    """Or not at all, and then the wait begins afresh."""
    driven = claiming()
    (write,) = driven.of(ev.Write)
    assert (write.expect, write.connection, write.record.epoch) == (5, 1, 2)
    driven.feed(ev.WriteNotSent(write.write_id))
    assert driven.lease.phase is Phase.STANDBY
    assert driven.lease.watch.first_seen is None


def test_a_claim_in_doubt_is_looked_up_after_p_and_made_again_where_it_did_not_land():
    """Once, over the same connection."""
    driven = claiming()
    write = driven.of(ev.Write)[0]
    assert driven.lease.deadline() == pytest.approx(driven.now + FAST.renew_s)
    driven.feed(ev.WriteUnknown(write.write_id))
    driven.feed(after=FAST.renew_s + 0.001)
    assert driven.of(ev.Read)
    driven.read(5, record())
    assert len(driven.of(ev.Write)) == 1
    assert driven.lease.phase is Phase.CLAIMING
    driven.read(6, driven.of(ev.Write)[0].record if driven.of(ev.Write) else write.record)
    assert driven.lease.phase in (Phase.HOLDING, Phase.CLAIMING)


def test_a_claim_that_is_seen_in_the_store_is_won_and_counts_from_its_sending():
    """Nothing else may count."""
    driven = claiming()
    write, sent = driven.of(ev.Write)[0], driven.now
    driven.read(6, write.record, after=0.2)
    assert driven.lease.phase is Phase.HOLDING
    assert driven.lease.held.until == pytest.approx(sent + FAST.span_s)
    assert driven.lease.held.since == driven.now
    assert driven.lease.held.not_fenced == {THERE}


@pytest.mark.parametrize("how", ["refused", "another in the store"])
def test_a_claim_that_another_hub_won_is_lost(how):
    """And the wait begins afresh."""
    driven = claiming()
    if how == "refused":
        driven.feed(ev.WriteRefused(driven.write_id()))
    else:
        driven.read(6, record(holder=THERE, epoch=2, t=3.0))
    assert driven.lease.phase is Phase.STANDBY


def test_a_promotion_by_hand_over_a_living_store_acts_only_after_a_wait():
    """Nobody waited for the old holder; then it is told to whoever asked."""
    driven = Driven()
    driven.read(5, record())
    driven.feed(ev.Promote(9))
    driven.feed(ev.EpochKept(driven.lease.claim_epoch))
    driven.feed(ev.WriteDone(driven.write_id(), 6))
    assert not driven.of(ev.Promoted)
    assert driven.lease.held.act_from == pytest.approx(driven.now + FAST.wait_s)
    assert group_state(driven.lease, driven.now).role == "NO AUTHORITY"
    seq, told = 6, []
    for _ in range(9):
        driven.feed(after=0.1)
        told += concluded(driven)
        for write in driven.of(ev.Write):
            seq += 1
            driven.feed(ev.WriteDone(write.write_id, seq))
            told += concluded(driven)
    assert [one.ok for one in told] == [True]
    assert driven.lease.has_authority(driven.now)


# --- holding


def test_a_switchover_is_refused_by_the_gate_that_stands_against_it():
    """In this order: held, member, hold, changes."""
    driven = Driven()
    driven.feed(ev.Switchover(1, THERE))
    assert concluded(driven)[0].gate == "lease-held"
    driven.hold()
    for to in (HERE, "stranger"):
        driven.feed(ev.Switchover(2, to, FORCED))
        assert concluded(driven)[0].gate == "target-is-member"
    driven.lease.held.since -= 29.9
    driven.feed(ev.Switchover(3, THERE))
    assert concluded(driven)[0].gate == "minimum-hold"
    driven.lease.held.since -= 0.2
    driven.lease.changes.extend([driven.now - 299.0, driven.now - 10.0])
    driven.feed(ev.Switchover(4, THERE))
    assert concluded(driven)[0].gate == "few-changes"
    driven.lease.changes[0] = driven.now - 301.0
    driven.lease.changes.popleft()
    driven.feed(ev.Switchover(5, THERE))
    assert driven.lease.phase is Phase.DRAINING


def test_the_end_of_an_agent_that_holds_nothing_is_done_at_once():
    """Nothing to hand over."""
    driven = Driven()
    driven.feed(ev.Switchover(1, stop=True))
    assert concluded(driven)[0].ok


@pytest.mark.parametrize(("auto", "successor"), [("armed", THERE), ("shadow", "")])
def test_an_agent_that_ends_hands_over_only_where_armed(auto, successor):
    """A restart of an unarmed hub moves nothing."""
    driven = Driven().hold()
    driven.lease.auto = auto
    driven.feed(ev.Switchover(1, stop=True))
    assert driven.of(ev.Drain) == [ev.Drain(successor)]
    driven.feed(ev.Drained(ok=False, why="still runs"))
    assert driven.lease.phase is Phase.RELEASING  # the guard kills at the deadline; waiting would help nobody
    driven.read(2, driven.lease.known)
    driven.feed(ev.WriteDone(driven.write_id(), 3))
    assert concluded(driven)[0].ok


def test_a_successor_that_does_not_come_is_a_failed_switchover():
    """After ten seconds, by name; another hub that came is named, too."""
    driven = released()
    driven.feed(after=10.1)
    (outcome,) = concluded(driven)
    assert not outcome.ok
    assert (outcome.gate, outcome.why) == ("takeover", f"released, but {THERE} did not take over in 10 s")
    driven = released()
    driven.read(4, record(holder="c", epoch=2, members=[HERE, THERE, "c"], t=9.0))
    (outcome,) = concluded(driven)
    assert (outcome.gate, outcome.why) == ("takeover", f"{THERE} did not take over, c did")


def released() -> Driven:
    """A hub that has just let go for a successor."""
    driven = Driven().hold()
    driven.feed(ev.Switchover(2, THERE, FORCED))
    driven.feed(ev.WriteDone(driven.write_id(), 2))
    driven.feed(ev.Drained(ok=True))
    driven.feed(ev.WriteDone(driven.write_id(), 3))
    assert driven.lease.phase is Phase.STANDBY
    return driven


def test_a_release_in_doubt_is_looked_up_and_written_again_or_given_up():
    """Authority ended before; only the news is late."""
    driven = Driven().hold()
    driven.feed(ev.Switchover(2, THERE, FORCED))
    draining = driven.of(ev.Write)[0]
    driven.feed(ev.WriteDone(draining.write_id, 2))
    driven.feed(ev.Drained(ok=True))
    write = driven.of(ev.Write)[0]
    driven.feed(ev.WriteUnknown(write.write_id))
    driven.feed(after=FAST.renew_s + 0.001)
    assert driven.of(ev.Read)
    driven.read(2, draining.record)
    assert driven.of(ev.Write)[0].record.state == "released"
    driven.feed(after=10.0)
    assert concluded(driven)[0].gate == "release"
    assert driven.lease.phase is Phase.STANDBY


def test_settings_are_confirmed_by_the_record_and_refused_without_authority():
    """off, shadow, armed and nothing else; maintenance the same way."""
    driven = Driven()
    driven.read(5, record())
    driven.feed(ev.SetAuto(1, "off"))
    assert (concluded(driven)[0].gate, THERE in concluded(driven)[0].why) == ("lease-held", True)
    driven = Driven().hold()
    driven.feed(ev.SetAuto(1, "maybe"))
    assert concluded(driven)[0].gate == "auto"
    driven.feed(ev.SetAuto(2, "off"))
    assert driven.of(ev.Write)[0].record.auto == "off"
    assert not concluded(driven)
    driven.feed(ev.WriteDone(driven.write_id(), 2))
    assert concluded(driven)[0].ok
    driven.feed(ev.SetMaintenance(3, on=True), after=0.01)
    assert driven.of(ev.Write)[0].record.maintenance
    driven.feed(after=0.7)
    assert concluded(driven)[0].gate == "lease-held"


def test_a_member_that_has_not_acknowledged_the_token_is_named_and_asked_again():
    """At once, then each second."""
    driven = Driven().hold()
    asked, seq = [], 1
    for _ in range(22):
        for write in driven.of(ev.Write):
            seq += 1
            driven.feed(ev.WriteDone(write.write_id, seq))
        driven.feed(after=0.1)
        asked += [ask for ask in driven.of(ev.Ask) if ask.ask == "fence"]
    assert len(asked) == 2
    assert group_state(driven.lease, driven.now).not_fenced == [THERE]
    driven.feed(ev.PeerAnswered(asked[-1].round_id, THERE, ok=True, epoch=1))
    assert group_state(driven.lease, driven.now).not_fenced == []


def test_a_jump_of_the_clocks_within_the_margin_is_none():
    """Above it, authority is void and every wait begins afresh."""
    driven = Driven().hold()
    driven.feed(ev.Clocks(driven.now - 50.0, 1.8e9))
    driven.feed(ev.Clocks(driven.now - 50.0 - FAST.margin_s + 0.001, 1.8e9))
    assert driven.lease.held is not None
    driven.feed(ev.Clocks(driven.now - 50.0 - 2 * FAST.margin_s, 1.8e9))
    assert driven.of(ev.Demoted)
    assert "the clocks jumped" in driven.of(ev.Demoted)[0].why


# --- members


def test_questions_nobody_knows_and_strangers_are_answered_no():
    """With the highest epoch ever seen all the same."""
    driven = Driven(Memory(own_epoch=3, seen=Token(4, THERE)))
    driven.feed(ev.PeerAsked(1, THERE, "sing", Token(1, THERE)))
    assert driven.of(ev.Answer) == [ev.Answer(1, ok=False, epoch=4, why="unknown question")]
    driven.feed(ev.PeerAsked(2, "c", "epoch", Token(1, "c")))
    assert driven.of(ev.Answer)[0].why == "c is no member of core here"
    driven.feed(ev.PeerAsked(3, THERE, "take", Token(9, THERE)))
    assert driven.of(ev.Answer)[0].why == "cannot take over here"


def test_a_hub_tells_whoever_asks_that_it_or_another_has_authority():
    """While it lasts."""
    driven = Driven().hold()
    driven.feed(ev.PeerAsked(1, THERE, "epoch", Token(0, THERE)))
    assert driven.of(ev.Answer)[0].why == "has authority"
    other = Driven()
    other.lease.policy = LeasePolicy(GROUP, HERE, (HERE, THERE, "c"), FAST)
    other.feed(ev.PeerAsked(1, THERE, "promise", Token(1, THERE), 0.7))
    other.feed(ev.PeerAsked(2, "c", "epoch", Token(1, "c")))
    assert other.of(ev.Answer)[0].why == f"{THERE} has authority by promise"
    other.feed(ev.PeerAsked(3, THERE, "epoch", Token(1, THERE)))
    assert other.of(ev.Answer)[0].ok


def test_no_promise_binds_for_longer_than_twice_the_longest_wait():
    """Nor for less than the own one."""
    driven = Driven()
    driven.feed(ev.PeerAsked(1, THERE, "promise", Token(1, THERE), 1e9))
    assert driven.lease.promised_until == pytest.approx(driven.now + 2 * PROFILES["wan"].wait_s)
    driven = Driven()
    driven.feed(ev.PeerAsked(1, THERE, "promise", Token(1, THERE), 0.001))
    assert driven.lease.promised_until == pytest.approx(driven.now + FAST.wait_s)


def test_a_promise_for_another_holders_token_is_refused():
    """Only the holder itself asks."""
    driven = Driven()
    driven.feed(ev.PeerAsked(1, THERE, "promise", Token(1, "c"), 0.7))
    assert not driven.of(ev.Answer)[0].ok
    driven.hold()
    driven.feed(ev.PeerAsked(2, THERE, "promise", Token(9, THERE), 0.7))
    assert driven.of(ev.Answer)[0].why == "holds epoch 2 itself"


# --- by hand, and what was claimed in vain


def test_whoever_asked_for_a_promotion_hears_that_another_hub_was_faster():
    """The claim failed; nothing is left open."""
    driven = Driven()
    driven.read(5, record())
    driven.feed(ev.Promote(9))
    driven.feed(ev.EpochKept(driven.lease.claim_epoch))
    driven.feed(ev.WriteRefused(driven.write_id()))
    assert [(one.ok, one.gate) for one in concluded(driven)] == [(False, "claim")]
    driven.feed(ev.Promote(10))
    assert driven.lease.phase is Phase.CLAIMING


def test_a_claim_with_a_longer_profile_counts_by_the_shorter_until_the_others_know():
    """And its fence speaks of the longer one."""
    driven = Driven()
    driven.feed(ev.Measured(0.3, 0.0))
    for _ in range(20):
        driven.read(5, record(), after=0.1)
        if driven.of(ev.KeepEpoch):
            break
    driven.feed(ev.EpochKept(driven.lease.claim_epoch))
    sent = driven.now
    driven.feed(ev.WriteDone(driven.write_id(), 6))
    assert driven.lease.held.until == pytest.approx(sent + FAST.span_s)
    assert driven.lease.held.coming is PROFILES["normal"]
    assert driven.of(ev.Ask)[0].span_s == PROFILES["normal"].wait_s


def test_what_a_fence_said_is_not_forgotten_with_the_next_record():
    """Only after news for a whole span."""
    driven = Driven()
    driven.read(5, record())
    driven.feed(ev.PeerAsked(1, THERE, "fence", Token(1, THERE), PROFILES["normal"].wait_s))
    driven.read(6, record(t=2.0), after=0.1)
    assert driven.lease.profile is PROFILES["normal"]


def by_hand(*, has_witness: bool) -> Driven:
    """A hub that a person promoted while no store answered."""
    driven = Driven(has_witness=has_witness)
    driven.feed(ev.Promote(9))
    driven.feed(ev.EpochKept(driven.lease.claim_epoch))
    assert driven.lease.held.by_hand
    return driven


def test_a_holder_by_hand_looks_for_the_witness_and_asks_nobody_for_promises():
    """Without one there is nothing to look for."""
    for has_witness in (True, False):
        driven = by_hand(has_witness=has_witness)
        driven.feed(after=0.16)
        assert bool(driven.of(ev.Read)) is has_witness
        assert [ask.ask for ask in driven.of(ev.Ask)] in ([], ["fence"])
        assert driven.lease.held.until == pytest.approx(driven.now + FAST.span_s)


def test_a_holder_by_hand_writes_itself_into_the_record_when_the_witness_is_back():
    """Over whatever sequence is there; a write that never left asks for no promises."""
    driven = by_hand(has_witness=True)
    driven.read(41, record(epoch=0))
    (write,) = driven.of(ev.Write)
    assert (write.expect, write.record.epoch, write.record.holder) == (41, driven.lease.held.token.epoch, HERE)
    driven.feed(ev.WriteNotSent(write.write_id))
    assert not [ask for ask in driven.of(ev.Ask) if ask.ask == "promise"]


def test_a_holder_by_hand_waits_for_its_write_and_writes_anew_only_over_another_sequence():
    """Its own token in the record is no reason to yield."""
    driven = by_hand(has_witness=True)
    driven.read(41, record(epoch=0))
    assert len(driven.of(ev.Write)) == 1
    driven.read(41, record(epoch=0), after=0.05)
    assert not driven.of(ev.Write)
    driven.read(42, record(epoch=0), after=0.05)
    (write,) = driven.of(ev.Write)
    assert write.expect == 42
    driven.read(43, record(HERE, epoch=driven.lease.held.token.epoch), after=0.05)
    assert not driven.of(ev.Demoted)
    assert driven.lease.held is not None


def test_a_write_of_its_own_that_was_given_up_and_landed_is_what_the_next_one_builds_on():
    """The same holder, boot and epoch at a later sequence."""
    driven = Driven().hold()
    driven.read(5, record(HERE, epoch=driven.lease.held.token.epoch), after=0.05)
    assert not driven.of(ev.Demoted)
    assert driven.renewal().expect == 5


def test_a_holder_by_hand_yields_to_a_higher_epoch_in_the_record():
    """The witness knew better."""
    driven = by_hand(has_witness=True)
    driven.read(41, record(epoch=9))
    assert driven.lease.held is None
    assert any("higher epoch 9" in text for text in notes(driven))


# --- a plain pair, and a group of one


def test_a_pair_goes_on_after_a_restart_only_where_it_was_the_last_holder():
    """And only with the word of every other member."""
    for seen, goes_on in ((Token(3, HERE), True), (Token(3, THERE), False)):
        driven = Driven(Memory(seen=seen), has_witness=False)
        driven.feed()
        (asked,) = driven.of(ev.Ask)
        assert (asked.ask, asked.members) == ("epoch", (THERE,))
        driven.feed(ev.PeerAnswered(asked.round_id, THERE, ok=True, epoch=3))
        assert (driven.lease.held is not None) is goes_on


def test_a_group_of_one_without_a_witness_needs_nobody():
    """Born once, and resumed after a restart."""
    alone = LeasePolicy(GROUP, HERE, (HERE,), FAST, has_witness=False)
    for seen in (Token(0, ""), Token(3, HERE), Token(3, "gone")):
        driven = Driven(Memory(seen=seen), has_witness=False)
        driven.lease.policy = alone
        driven.feed()
        kept = driven.of(ev.KeepEpoch)
        if seen == Token(0, ""):
            driven.feed(ev.EpochKept(kept[0].epoch))
        assert (driven.lease.held is not None) is (seen.holder != "gone")


def test_after_a_suspended_machine_wakes_a_candidate_waits_a_whole_wait_again():
    """What it saw before is worth nothing."""
    driven = Driven()
    driven.read(5, record())
    driven.feed(ev.Clocks(driven.now - 50.0, 1.8e9))
    driven.feed(ev.Clocks(driven.now - 51.0, 1.8e9))
    assert driven.lease.watch.first_seen is None


# --- exact bounds, and what is kept apart


def test_times_end_at_their_very_moment():
    """What holds until then does not hold then."""
    driven = Driven()
    driven.read(5, record())
    driven.lease.pulse_at = driven.now
    driven.lease.hold_off = driven.lease.promised_until = driven.now
    assert driven.lease._hindrance(driven.now) == ""
    assert driven.lease.deadline() is not None
    expires_at = driven.lease._expires_at()
    driven.lease.claim_connection = 7
    driven.lease.watch.read_at = driven.lease.pulse_at = expires_at
    assert driven.lease._may_claim_again(expires_at)


@pytest.mark.parametrize(
    ("read", "why"),
    [((0, None), "the store was emptied"), ((1, record(holder=HERE, epoch=1)), "the store was rolled back")],
)
def test_a_holder_whose_record_is_gone_from_the_store_gives_up(read, why):
    """It never writes over what it does not know."""
    driven = Driven().hold()
    driven.feed(ev.WriteDone(driven.renewal().write_id, 2))
    driven.read(*read)
    assert driven.of(ev.Demoted)[0].why == why


def test_a_mismatch_while_own_writes_are_in_doubt_is_settled_by_a_read_alone():
    """No promise is asked meanwhile; an unchanged store then means that nobody may believe anything."""
    driven = Driven().hold()
    first = driven.renewal()
    driven.feed(ev.WriteUnknown(first.write_id))
    driven.read(1, driven.lease.known, after=0.05)
    second = driven.of(ev.Write)[0]
    driven.feed(ev.WriteRefused(second.write_id))
    assert driven.lease.held.in_question
    driven.feed(ev.Pulse(driven.now), after=0.16)
    assert not [ask for ask in driven.of(ev.Ask) if ask.ask == "promise"]
    driven.read(1, driven.lease.known)
    assert driven.of(ev.Demoted)[0].why == "the store refuses a write and shows no reason"


def test_a_read_that_shows_nothing_new_makes_no_second_write():
    """Only a write in doubt is written again, and only for a main loop that is alive."""
    driven = Driven().hold()
    driven.read(1, driven.lease.known)
    assert not driven.of(ev.Write)
    driven.renewal()
    driven.lease._read()
    read_id = max(driven.lease.reads)
    effects = driven.lease.handle(ev.ReadDone(read_id, 1, driven.lease.known, 1), driven.now + 0.31)
    assert not [one for one in effects if isinstance(one, ev.Write)]


def test_what_is_asked_of_a_holder_that_lapses_fails_by_name():
    """A promotion that waits for its time, and a switchover under way."""
    driven = Driven()
    driven.read(5, record())
    driven.feed(ev.Promote(9))
    driven.feed(ev.EpochKept(driven.lease.claim_epoch))
    driven.feed(ev.WriteDone(driven.write_id(), 6))
    driven.feed(after=0.7)
    assert [(one.ok, one.why) for one in concluded(driven)] == [(False, "not renewed in time")]
    driven = Driven().hold()
    driven.feed(ev.Switchover(2, THERE, FORCED))
    driven.feed(after=0.7)
    assert [(one.gate, one.why) for one in concluded(driven)] == [("lease-held", "not renewed in time")]
    assert driven.lease.handover is None


def test_a_pairs_successor_that_refuses_is_a_failed_switchover_once():
    """And the former holder may go on by hand."""
    driven = by_hand(has_witness=False)
    driven.lease.held.since -= 60
    driven.feed(ev.Switchover(2, THERE, FORCED))
    driven.feed(ev.Drained(ok=True))
    (asked,) = [ask for ask in driven.of(ev.Ask) if ask.ask == "take"]
    driven.feed(ev.PeerAnswered(asked.round_id, THERE, ok=False, epoch=1, why="cannot take over here"))
    assert [(one.gate, one.why) for one in concluded(driven)] == [("takeover", "cannot take over here")]
    assert driven.lease.handover is None
    driven.feed(after=11.0)
    assert not concluded(driven)


def test_a_promotion_by_hand_is_remembered_as_the_highest_token():
    """A lower one is refused from then on, and the next claim is a claim like any other."""
    driven = by_hand(has_witness=False)
    assert driven.lease.seen == Token(1, HERE)
    assert not driven.lease.claim_by_hand
    assert driven.lease.own_epoch == 1
    driven.feed(ev.PeerAsked(1, THERE, "fence", Token(0, THERE)))
    assert not driven.of(ev.Answer)[0].ok


def test_the_own_counter_follows_the_highest_token_seen():
    """And never falls with it."""
    driven = Driven(Memory(own_epoch=3))
    driven.feed(ev.PeerAsked(1, THERE, "fence", Token(8, THERE)))
    assert driven.lease.own_epoch == 8
    driven = Driven(Memory(own_epoch=9))
    driven.feed(ev.PeerAsked(1, THERE, "fence", Token(8, THERE)))
    assert driven.lease.own_epoch == 9


def test_each_record_bears_a_later_stamp_by_the_wall_clock():
    """So that a read tells one write from the next, also when the wall clock stands still or falls."""
    driven = Driven().hold()
    driven.feed(ev.Clocks(driven.now - 50.0, 5000.0))
    first = driven.renewal().record.t
    assert first == pytest.approx(5000.15)
    driven.feed(ev.WriteDone(driven.write_id(), 2))
    driven.feed(ev.Clocks(driven.now - 50.0, 4000.0))
    second = driven.renewal().record.t
    assert 0 < second - first < 0.001


def test_what_is_open_is_bounded_and_the_oldest_is_forgotten():
    """Writes, reads and rounds of questions."""
    driven = Driven().hold()
    lease = driven.lease
    for _ in range(40):
        lease._write(lease.known, driven.now)
        lease._read()
        lease._ask("epoch", (THERE,), lease.seen, driven.now)
    assert (len(lease.open), len(lease.reads), len(lease.rounds)) == (16, 8, 32)
    last = lease._last_id - 2
    assert sorted(lease.open) == [last - 3 * n for n in reversed(range(16))]


def test_a_profile_that_the_roster_names_is_measured_against_at_once():
    """What was known before counts."""
    driven = Driven().hold()
    driven.feed(ev.Measured(0.1, 0.0))
    assert driven.lease.stretched is None
    driven.feed(ev.Configure((HERE, THERE), PROFILES["rapid"]))
    assert driven.lease.stretched is FAST


def test_spans_without_a_profile_are_renewed_four_times():
    """Of a record, and of what was remembered."""
    assert profile_of(record(span_ms=4000)).renew_s == profile_of(record(span_ms=4000)).margin_s == 1.0
    assert longer(FAST, 4.0).renew_s == longer(FAST, 4.0).margin_s == 1.0
    assert longer(FAST, FAST.span_s) is FAST
    assert longer(FAST, 1.6) is PROFILES["normal"]


def test_the_least_margin_covers_the_drift_of_both_clocks():
    """A x 0.01 / 0.99, not less, and P is above nothing."""
    with pytest.raises(LeasePolicyRefused):
        Profile("odd", 0.1, 99.0, 0.99)
    with pytest.raises(LeasePolicyRefused):
        Profile("odd", 0.1, 99.0, 1.0)
    assert Profile("odd", 0.1, 99.0, 1.001)
    with pytest.raises(LeasePolicyRefused):
        Profile("odd", 0.0, 0.6, 0.1)
    assert LeasePolicy(GROUP, HERE, (HERE,), FAST).changes_window_s == 300.0


def test_nobody_holds_what_was_released():
    """And a pair's member is silent two seconds after its wait, not before."""
    driven = Driven()
    driven.read(5, record(state="released"))
    assert group_state(driven.lease, driven.now).holder == ""
    driven.read(6, record(t=2.0))
    assert group_state(driven.lease, driven.now).holder == THERE
    pair = Driven(has_witness=False)
    assert "unreachable" not in group_state(pair.lease, pair.now + FAST.wait_s + 1.99).why
    assert "unreachable" in group_state(pair.lease, pair.now + FAST.wait_s + 2.01).why


def test_an_answer_from_before_the_claim_does_not_depose_the_new_holder():
    """It shows the past."""
    driven = claiming()
    driven.lease._read()
    old = max(driven.lease.reads)
    driven.feed(ev.WriteDone(driven.write_id(), 6))
    driven.feed(ev.ReadDone(old, 5, record(), 1))
    assert driven.lease.phase is Phase.HOLDING


def test_a_holder_by_hand_writes_itself_also_where_the_sequence_is_the_one_it_expects():
    """Nothing is open, so it is time."""
    driven = by_hand(has_witness=True)
    driven.lease.expect = 41
    driven.read(41, record(epoch=0))
    assert len(driven.of(ev.Write)) == 1


def waits(driven, seq=5, shown=None, connection=1) -> float:
    """How long it looks at an unchanged store before it claims."""
    driven.read(seq, shown, connection=connection)
    began = driven.now
    while not driven.of(ev.KeepEpoch):
        driven.read(seq, shown, after=0.1, connection=connection)
        assert driven.now < began + 10.0
    return driven.now - began


@pytest.mark.parametrize(
    ("memory", "shown", "expected_s"),
    [
        (Memory(), record(), 3.434),  # it may have been away while the span became a longer one
        (Memory(1, Token(1, THERE), 0.6), None, 3.434),  # and so where the store came back empty
        (Memory(1, Token(1, HERE), 0.6), record(HERE), 3.434),
        (Memory(), None, 0.707),  # a birth
    ],
)
def test_a_hub_that_has_seen_no_news_on_its_connection_waits_by_the_longest_there_is(memory, shown, expected_s):
    """The store may be an older copy, and show a span that nobody counts by any more."""
    driven = Driven(memory)
    driven.lease.watch.connection, driven.lease.watch.has_news = -1, False
    assert expected_s <= waits(driven, shown=shown) < expected_s + 0.11


def test_news_count_on_their_connection_only():
    """Something written since it began makes it sure; a new connection takes that away."""
    driven = Driven()
    driven.read(5, record(), connection=2)
    driven.read(6, record(t=2.0), connection=2)
    assert waits(driven, 6, record(t=2.0), connection=2) < 0.8
    driven = Driven()
    assert waits(driven, 6, record(), connection=2) > 3.4


def test_who_is_alone_waits_for_nobodys_longer_span():
    """There is no other hub that could count by it."""
    driven = Driven()
    driven.lease = Lease(LeasePolicy("core", HERE, (HERE,), FAST, auto="armed"), "a-1", Memory(), driven.now)
    assert waits(driven, shown=record(HERE, members=[HERE])) < 0.8


def test_a_claim_that_was_won_is_news_of_its_connection():
    """Who loses authority afterwards waits as long as everybody."""
    driven = Driven()
    driven.lease.watch.connection, driven.lease.watch.has_news = -1, False
    waits(driven, 0)
    driven.feed(ev.EpochKept(driven.of(ev.KeepEpoch)[0].epoch))
    driven.feed(ev.WriteDone(driven.write_id(), 1), after=0.01)
    assert driven.lease.watch.has_news


def test_a_claim_read_back_counts_by_the_span_that_the_others_know():
    """It names a longer profile; that it was its own record which told of it changes nothing."""
    driven = Driven()
    driven.lease.stretched = PROFILES["normal"]
    driven.read(5, record())
    while not driven.of(ev.KeepEpoch):
        driven.read(5, record(), after=0.1)
    driven.feed(ev.EpochKept(2))
    sent, (_, claim) = driven.now, driven.lease.open[driven.write_id()]
    assert claim.profile == "normal"
    driven.read(6, claim, after=0.1)
    assert driven.lease.held.until == pytest.approx(sent + 0.6)


def test_a_longer_span_that_is_read_during_a_promotion_by_hand_is_waited_for():
    """No compare-and-set stands behind it: the holder may count by what was read last."""
    driven = Driven()
    driven.read(5, record())
    driven.lease._read()
    read_id = max(driven.lease.reads)
    driven.feed(ev.Promote(1), after=1.6)
    assert driven.lease.claim_by_hand
    longer_one = record(span_ms=3000, t=2.0)
    driven.feed(ev.ReadDone(read_id, 6, longer_one, 1, False))
    driven.feed(ev.EpochKept(driven.lease.claim_epoch))
    assert driven.lease.held.act_from == pytest.approx(driven.now + profile_of(longer_one).wait_s)


def test_a_promotion_by_hand_waits_the_longest_where_nothing_new_was_seen():
    """Its own write shows that the store takes writes, not that it is no older copy."""
    driven = Driven()
    driven.lease.watch.connection, driven.lease.watch.has_news = -1, False
    driven.read(5, record())
    driven.feed(ev.Promote(1))
    driven.feed(ev.EpochKept(driven.lease.claim_epoch))
    driven.feed(ev.WriteDone(driven.write_id(), 6), after=0.01)
    assert driven.lease.held.act_from > driven.now + 3.4
    assert not driven.lease.watch.has_news


def test_it_is_no_birth_where_a_member_knows_of_an_epoch():
    """A blank disk and an emptied store are no proof that nobody acts."""
    driven = Driven(auto="shadow")
    driven.read(0, None)
    driven.read(0, None, after=0.4)
    (asked,) = driven.of(ev.Ask)
    driven.feed(ev.PeerAnswered(asked.round_id, THERE, True, 7, ""))
    for _ in range(60):
        driven.read(0, None, after=0.1)
        assert not driven.of(ev.KeepEpoch)
