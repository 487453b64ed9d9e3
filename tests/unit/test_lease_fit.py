"""A profile that does not fit gives way to a longer one; spans change so that nobody is ever misled."""

import pytest

from hubagent.core import lease_events as ev
from hubagent.core.lease_fit import OBSERVED_MIN, STEADY_S, RoundTrips, fitting, misfit, slow_s
from hubagent.core.lease_leader import Judgement, judge
from hubagent.core.lease_policy import PROFILES, Memory, Token, span_of
from hubagent.core.lease_view import group_state
from tests.unit.test_lease import HERE, THERE, Driven, record

FAST, NORMAL, RAPID, WAN = (PROFILES[name] for name in ("fast", "normal", "rapid", "wan"))


@pytest.mark.parametrize(
    ("profile", "round_trip_s", "lag_s", "fit"),
    [
        (RAPID, 0.04, 0.01, RAPID),
        (RAPID, 0.04, 0.011, FAST),
        (RAPID, 0.151, 0.0, NORMAL),
        (FAST, 0.0, 0.15, FAST),
        (FAST, 0.2, 0.3, WAN),
        (FAST, 9.0, 0.0, WAN),
        (WAN, 9.0, 0.0, WAN),
    ],
)
def test_the_shortest_profile_whose_renewals_are_answered_in_time_is_used(profile, round_trip_s, lag_s, fit):
    """Round trip + lag <= P; never a shorter one than asked for."""
    assert fitting(profile, round_trip_s, lag_s) is fit


def test_what_does_not_fit_is_said_as_an_inequality():
    """With all three figures."""
    said = "rapid does not fit here: round trip 0.040 s + loop lag 0.020 s > P = 0.05 s"
    assert misfit(RAPID, 0.04, 0.02) == said
    assert misfit(RAPID, 0.03, 0.02) == ""


def test_a_few_slow_answers_do_not_count_and_too_few_say_nothing():
    """One in twenty may be slow."""
    quick = [0.01] * (OBSERVED_MIN - 5)
    assert slow_s([0.4] * (OBSERVED_MIN - 1), FAST) == 0.0
    assert slow_s([*quick, *[0.4] * 5], FAST) == 0.4
    assert slow_s([*quick, 0.01, *[0.4] * 4], FAST) == 0.01


@pytest.mark.parametrize("profile", [RAPID, FAST, NORMAL, WAN])
def test_an_agent_that_was_frozen_again_and_again_still_renews_in_time(profile):
    """Each stop cost the lease whatever the renewals; one look in five may be such a stop, and all shorter ones count."""
    lost_s = profile.span_s - profile.renew_s
    frozen, slow = [lost_s] * 20, [lost_s - 0.001] * 4
    assert slow_s([*[0.01] * 80, *frozen], profile) == 0.01
    assert slow_s([*[0.01] * 79, *frozen, lost_s], profile) == lost_s
    assert slow_s([*[0.01] * 76, *frozen, *slow], profile) == lost_s - 0.001
    assert slow_s([*[0.01] * 77, *frozen, *slow[1:]], profile) == 0.01
    assert slow_s([lost_s] * OBSERVED_MIN, profile) == lost_s


def test_a_silent_wire_counts_once_however_many_requests_were_under_way():
    """The oldest one is measured; a wire that is slow all the time is measured again and again."""
    trips = RoundTrips(200)
    begun = [trips.begin(at) for at in (1.0, 1.2, 1.4)]
    for one in reversed(begun):
        trips.end(one, 1.5, is_answered=True)
    assert list(trips.seconds) == [0.5]
    trips.end(trips.begin(2.0), 9.0, is_answered=False)
    assert list(trips.seconds) == [0.5]
    first, second = trips.begin(10.0), trips.begin(10.15)
    trips.end(first, 10.25, is_answered=True)
    third = trips.begin(10.3)
    trips.end(second, 10.4, is_answered=True)
    trips.end(third, 10.6, is_answered=True)
    assert list(trips.seconds) == pytest.approx([0.5, 0.25, 0.3])


def test_a_holder_writes_a_longer_profile_at_once_and_counts_by_it_when_the_others_know():
    """The record first; P and A only after every member has acknowledged."""
    driven = Driven().hold()
    driven.feed(ev.Measured(0.3, 0.0), after=0.05)
    (write,) = driven.of(ev.Write)
    assert (write.record.profile, write.record.span_ms) == ("normal", 1600)
    assert any("fast does not fit here" in note.text for note in driven.of(ev.Note))
    driven.feed(ev.WriteDone(write.write_id, 2), after=0.01)
    (fence,) = driven.of(ev.Ask)
    assert (fence.ask, fence.span_s) == ("fence", NORMAL.wait_s)
    assert driven.lease.profile is FAST
    driven.feed(ev.PeerAnswered(fence.round_id, THERE, ok=True, epoch=1), after=0.01)
    assert driven.lease.profile is NORMAL
    state = group_state(driven.lease, driven.now)
    assert (state.role, "normal is used instead" in state.why) == ("ACTIVE", True)


def test_a_member_that_does_not_answer_holds_a_longer_span_up_for_one_wait_only():
    """It must have read the record by then, or it is gone."""
    driven = Driven().hold()
    driven.feed(ev.Measured(0.3, 0.0))
    driven.feed(ev.WriteDone(driven.write_id(), 2))
    ends = driven.now + NORMAL.wait_s
    seq = 2
    while driven.now < ends - 0.1:
        assert driven.lease.profile is FAST
        driven.feed(after=0.05)
        for write in driven.of(ev.Write):
            seq += 1
            driven.feed(ev.WriteDone(write.write_id, seq))
    driven.feed(after=0.2)
    assert driven.lease.profile is NORMAL


def test_a_shorter_profile_comes_back_after_a_steady_minute():
    """Not at the first good second, and not after a minute with a bad one in it."""
    driven = Driven()
    driven.feed(ev.Measured(0.3, 0.0))
    assert driven.lease.stretched is NORMAL
    driven.feed(ev.Measured(0.01, 0.0), after=STEADY_S - 1)
    driven.feed(ev.Measured(0.3, 0.0), after=0.5)
    driven.feed(ev.Measured(0.01, 0.0), after=STEADY_S - 1)
    assert driven.lease.stretched is NORMAL
    driven.feed(ev.Measured(0.01, 0.0), after=1.0)
    assert driven.lease.stretched is None
    assert [note.text for note in driven.of(ev.Note)] == ["fast fits again"]


def test_a_candidate_whose_machine_is_slow_waits_by_the_longer_profile_and_claims_with_it():
    """A longer wait is always safe."""
    driven = Driven()
    driven.feed(ev.Measured(0.3, 0.0))
    driven.read(5, record())
    began = driven.now
    while not driven.of(ev.KeepEpoch):
        driven.read(5, record(), after=0.1)
        assert driven.now < began + 3.0
    assert driven.now - began >= NORMAL.wait_s
    driven.feed(ev.EpochKept(driven.lease.claim_epoch))
    assert driven.of(ev.Write)[0].record.profile == "normal"


def test_a_shorter_span_counts_from_the_sending_of_the_record_that_names_it():
    """Who reads it waits a shorter time at once."""
    driven = Driven().hold()
    driven.feed(ev.Configure((HERE, THERE), RAPID), after=0.01)
    (hold,) = driven.of(ev.Hold)
    assert hold.deadline == pytest.approx(driven.now + RAPID.span_s)
    assert driven.lease.held.until == hold.deadline
    assert driven.of(ev.Write)[0].record.span_ms == 200


def test_members_on_their_way_into_the_record_are_asked_for_promises_as_well():
    """They could read it before this hub hears that it was stored."""
    driven = Driven().hold()
    driven.feed(ev.Configure((HERE, THERE, "c"), FAST))
    driven.feed(ev.WriteNotSent(driven.write_id()))
    driven.feed(after=0.26)
    (asked,) = [ask for ask in driven.of(ev.Ask) if ask.ask == "promise"]
    assert asked.members == (THERE, "c")


def test_the_span_that_a_fence_speaks_of_counts_for_the_wait():
    """The store may be an older copy than what its holder goes by."""
    driven = Driven()
    driven.read(5, record())
    driven.feed(ev.PeerAsked(1, THERE, "fence", Token(1, THERE), NORMAL.wait_s))
    assert driven.lease.profile is NORMAL
    driven.read(5, record(), connection=2)
    assert driven.lease.profile is NORMAL
    driven.read(6, record(t=2.0), after=NORMAL.span_s + 0.01, connection=2)
    assert driven.lease.profile is FAST


def test_a_new_connection_never_shortens_the_wait():
    """Only news on the same one does."""
    driven = Driven(Memory(seen=Token(1, THERE), span_s=1.6))
    driven.read(5, record())
    assert driven.lease.profile is NORMAL
    driven.read(6, record(t=2.0))
    assert driven.lease.profile is FAST


def test_services_are_never_told_to_stop_while_renewals_come_in_time():
    """A grace that a shorter profile has no room for is cut."""
    driven = Driven(demote_grace_s=0.3).hold()
    assert driven.lease.term_at(10.0) == pytest.approx(9.7)
    driven.lease.profile = RAPID
    assert driven.lease.term_at(10.0) == pytest.approx(9.9)


def test_the_span_of_a_wait_is_that_of_its_profile():
    """The wait itself where no profile has it, which is longer."""
    assert span_of(FAST.wait_s) == FAST.span_s
    assert span_of(5.0) == 5.0


REPLICAS = [{"name": "b", "current": True}, {"name": "c", "current": True}]


@pytest.mark.parametrize(
    ("cluster", "degraded", "move_to"),
    [
        ({}, "", ""),
        ({"leader": "a"}, "", ""),
        ({"leader": "b", "replicas": [{"name": "a", "current": True}]}, "", ""),
        ({"leader": "", "replicas": REPLICAS}, "has no leader", ""),
        ({"leader": "a", "replicas": REPLICAS}, "led by a", "b"),
        ({"leader": "a", "replicas": [{"name": "b", "current": False}, REPLICAS[1]]}, "led by a", "c"),
        ({"leader": "a", "replicas": [REPLICAS[0] | {"offline": True}]}, "no other replica is ready", ""),
        ({"leader": "a", "replicas": [{"name": "a2", "current": True}]}, "no other replica is ready", ""),
        ({"leader": "a", "replicas": ["junk"]}, "", ""),
    ],
)
def test_the_leader_belongs_on_another_machine(cluster, degraded, move_to):
    """Moved to a replica that is ready, said while it is not; one server alone has nobody to move to."""
    judged = judge(cluster, {"a", "a2"})
    assert judged.move_to == move_to
    assert degraded in judged.degraded
    assert bool(degraded) == (judged != Judgement())
