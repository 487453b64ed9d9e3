"""The lease core, move by move: what it asks for and what it refuses."""

import itertools

import pytest

from hubagent.core import lease_events as ev
from hubagent.core.lease import Lease
from hubagent.core.lease_policy import PROFILES, LeasePolicy, LeasePolicyRefused, Memory, Profile, Token, profile_of
from hubagent.core.lease_state import MOVES, Phase
from hubagent.core.lease_view import group_state
from hubagent.wire.leases import LeaseRecord

FAST = PROFILES["fast"]
GROUP, HERE, THERE = "core", "a", "b"


def policy(**changes) -> LeasePolicy:
    fields = {"auto": "armed", **changes}
    return LeasePolicy(GROUP, HERE, (HERE, THERE), FAST, **fields)


def record(holder=THERE, epoch=1, **changes) -> LeaseRecord:
    fields = {"state": "held", "t": 1.0, "auto": "armed", "members": [HERE, THERE], "span_ms": 600, **changes}
    return LeaseRecord(group=GROUP, profile="fast", epoch=epoch, holder=holder, boot=f"{holder}-1", **fields)


class Driven:
    """A lease whose effects are looked at one by one."""

    def __init__(self, memory=None, **changes):
        self.now = 100.0
        self.lease = Lease(policy(**changes), "a-1", memory or Memory(), self.now)
        self.effects = []
        self.watching()

    def watching(self, connection=1):
        """It has seen somebody write over this connection, so that what it is shown is no older copy."""
        watch = self.lease.watch
        watch.connection, watch.seq, watch.has_news = connection, 1 << 30, True

    def feed(self, event=None, after=0.0):
        """Let time pass, hand in the event, and return what was asked for."""
        self.now += after
        self.effects = []
        if event is not None and not isinstance(event, ev.Pulse):
            self.effects += self.lease.handle(ev.Pulse(self.now), self.now)
        if event is not None:
            self.effects += self.lease.handle(event, self.now)
        if event is None or isinstance(event, ev.Pulse | ev.Clocks):
            self.effects += self.lease.tick(self.now)
        return self.effects

    def of(self, kind):
        """The effects of one kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def read(self, seq, shown, after=0.0, connection=1, foreign=False):
        """Answer the newest read."""
        self.lease._read()
        return self.feed(ev.ReadDone(max(self.lease.reads), seq, shown, connection, foreign), after)

    def write_id(self):
        """The newest write still open."""
        return max(self.lease.open)

    def hold(self):
        """Become holder of an empty store."""
        self.read(0, None)
        for _ in range(6):
            self.read(0, None, after=0.12)
        epoch = self.of(ev.KeepEpoch)[0].epoch
        self.feed(ev.EpochKept(epoch))
        self.feed(ev.WriteDone(self.write_id(), 1), after=0.01)
        assert self.lease.phase is Phase.HOLDING
        return self

    def renewal(self):
        """Bring it to its next renewal, and return the write."""
        self.feed(ev.Pulse(self.now), after=0.15)
        return self.of(ev.Write)[0]


@pytest.mark.parametrize(("name", "span"), [("rapid", 0.253), ("fast", 0.707), ("normal", 1.818), ("wan", 3.434)])
def test_the_wait_follows_from_span_and_margin(name, span):
    """W = (A + m) x 1.01."""
    assert PROFILES[name].wait_s == pytest.approx(span, abs=0.001)


@pytest.mark.parametrize(
    ("p", "a", "m", "shown"),
    [(0.3, 0.6, 0.1, "A >= 3 P"), (0.7, 0.6, 0.1, "0 < P < A"), (0.1, 0.6, 0.001, "m > A x 0.01")],
)
def test_impossible_timings_show_their_inequality(p, a, m, shown):
    """The message names the rule and the figures."""
    with pytest.raises(LeasePolicyRefused, match=shown):
        Profile("odd", p, a, m)


def test_a_policy_refuses_what_cannot_work():
    """A demote grace that leaves no room, a member twice, a hub that is no member, an unknown word."""
    for changes, shown in (({"demote_grace_s": 0.4}, "A - 2 P"), ({"auto": "maybe"}, "off, shadow, armed")):
        with pytest.raises(LeasePolicyRefused, match=shown):
            policy(**changes)
    for members in (("a", "a"), ("b",)):
        with pytest.raises(LeasePolicyRefused, match="must name"):
            LeasePolicy(GROUP, HERE, members, FAST)


def test_the_span_of_the_record_counts_not_the_profile_of_the_config():
    """Two configs must never make two holders."""
    assert profile_of(record(span_ms=3000)).wait_s > 3.0


@pytest.mark.parametrize(("phase", "word"), list(itertools.product(Phase, sorted({word for _, word in MOVES}))))
def test_only_the_moves_of_the_table_are_made(phase, word):
    """Every row leads where it says, every other move is a broken invariant."""
    lease = Lease(policy(), "a-1", Memory(), 0.0)
    lease.phase = phase
    if (phase, word) in MOVES:
        lease._move(word)
        assert lease.phase is MOVES[phase, word]
    else:
        with pytest.raises(KeyError):
            lease._move(word)


def test_a_fresh_candidate_waits_one_full_w_from_the_receipt_of_its_first_read():
    """Nothing before, the claim at once when it is over."""
    driven = Driven()
    driven.read(5, record())
    for _ in range(6):
        driven.read(5, record(), after=0.115)
        assert not driven.of(ev.KeepEpoch)
    driven.feed(after=0.707 - 6 * 0.115 + 0.001)
    assert driven.of(ev.KeepEpoch) == [ev.KeepEpoch(2, 0.6)]


def test_a_new_sequence_begins_the_wait_afresh():
    """A renewal that is seen is a sign of life."""
    driven = Driven()
    driven.read(5, record())
    driven.read(6, record(t=2.0), after=0.6)
    driven.read(6, record(t=2.0), after=0.2)
    assert not driven.of(ev.KeepEpoch)


def test_a_new_connection_begins_the_wait_afresh():
    """The store behind it may be an older copy."""
    driven = Driven()
    driven.read(5, record())
    driven.read(5, record(), after=0.6, connection=2)
    driven.read(5, record(), after=0.2, connection=2)
    assert not driven.of(ev.KeepEpoch)


def test_nothing_is_written_before_the_epoch_is_on_disk():
    """And a disk that fails makes the hub refuse to act."""
    driven = Driven()
    for _ in range(9):
        driven.read(5, record(), after=0.1)
        assert not driven.of(ev.Write)
    assert driven.lease.phase is Phase.CLAIMING
    driven.feed(ev.EpochKept(2, "disk full"))
    assert driven.lease.phase is Phase.STANDBY
    assert "disk full" in group_state(driven.lease, driven.now).why


def test_the_epoch_is_above_everything_known():
    """The record, the own counter, what any member has seen: a rolled-back store cannot bring it down."""
    driven = Driven(Memory(own_epoch=7))
    driven.feed(ev.PeerAsked(1, THERE, "fence", Token(9, THERE)))
    for _ in range(9):
        driven.read(1, record(epoch=3), after=0.1)
    assert driven.lease.claim_epoch == 10


def test_authority_counts_from_sending():
    """A confirmation that comes late extends by what is left of the span."""
    driven = Driven().hold()
    driven.renewal()
    sent = driven.now
    driven.feed(ev.WriteDone(driven.write_id(), 2), after=0.1)
    assert driven.lease.held.until == pytest.approx(sent + 0.6)


def test_a_claim_confirmed_after_its_span_gives_no_authority():
    """Late by more than A: nothing."""
    driven = Driven()
    for _ in range(9):
        driven.read(5, record(), after=0.1)
    driven.feed(ev.EpochKept(2))
    driven.feed(ev.WriteDone(driven.write_id(), 6), after=0.61)
    assert driven.lease.phase is Phase.STANDBY
    assert not driven.of(ev.Promoted)


def test_a_renewal_without_an_answer_extends_nothing_and_the_loop_does_not_wait_for_it():
    """The holder steps down at its deadline, with the renewal still open."""
    driven = Driven().hold()
    until = driven.lease.held.until
    for _ in range(3):
        driven.feed(ev.Pulse(driven.now), after=0.15)
    assert driven.lease.held.until == until
    assert driven.lease.deadline() <= until
    driven.feed(after=0.2)
    assert driven.of(ev.Demoted)
    assert driven.lease.phase is Phase.STANDBY


def test_a_lapsed_holder_does_not_renew_and_a_late_answer_changes_nothing():
    """The first act after a pause is a check."""
    driven = Driven().hold()
    driven.renewal()
    write_id = driven.write_id()
    driven.feed(ev.WriteDone(write_id, 2), after=1.0)
    assert driven.of(ev.Demoted)
    assert not driven.of(ev.Write)


def test_an_unknown_renewal_is_looked_up_and_counts_from_its_sending():
    """The read that shows it is its confirmation."""
    driven = Driven().hold()
    write = driven.renewal()
    sent = driven.now
    driven.feed(ev.WriteUnknown(write.write_id))
    driven.read(2, write.record, after=0.1)
    assert driven.lease.held.until == pytest.approx(sent + 0.6)
    assert driven.lease.expect == 2


def test_a_mismatch_costs_authority_at_once_and_no_promise_is_asked():
    """Somebody else wrote."""
    driven = Driven().hold()
    driven.renewal()
    driven.feed(ev.WriteRefused(driven.write_id()))
    assert driven.of(ev.Demoted)
    assert driven.of(ev.Hold)[0].deadline <= driven.now
    assert not [ask for ask in driven.of(ev.Ask) if ask.ask == "promise"]


def test_an_unreachable_store_makes_the_holder_ask_all_others_for_promises():
    """And only the word of all of them extends, counted from the asking."""
    driven = Driven().hold()
    driven.renewal()
    driven.feed(ev.WriteNotSent(driven.write_id()))
    driven.feed(ev.Pulse(driven.now), after=0.15)
    asked = next(ask for ask in driven.of(ev.Ask) if ask.ask == "promise")
    assert asked.members == (THERE,)
    sent = driven.now
    driven.feed(ev.PeerAnswered(asked.round_id, THERE, ok=True, epoch=1), after=0.05)
    assert driven.lease.held.until == pytest.approx(sent + 0.6)


def test_authority_by_promise_is_said_once_the_last_renewal_no_longer_carries_it():
    """An answer that is late, but within the span, is no reason to call the witness unreachable."""
    driven = Driven().hold()
    driven.renewal()
    confirmed = driven.lease.held.confirmed_sent
    driven.feed(ev.WriteNotSent(driven.write_id()))
    said = []
    while driven.now < confirmed + 1.0:
        driven.feed(ev.Pulse(driven.now), after=0.05)
        asked = next((ask for ask in driven.of(ev.Ask) if ask.ask == "promise"), None)
        if asked:
            driven.feed(ev.PeerAnswered(asked.round_id, THERE, ok=True, epoch=1))
            said += [note.text for note in driven.of(ev.Note)]
            role = group_state(driven.lease, driven.now).role
            assert role == ("ACTIVE by promise" if driven.now >= confirmed + 0.6 else "ACTIVE")
    assert said == ["witness unreachable: active by promise of the other members"]


def test_a_refused_promise_extends_nothing():
    """The holder lapses."""
    driven = Driven().hold()
    until = driven.lease.held.until
    driven.renewal()
    driven.feed(ev.WriteNotSent(driven.write_id()))
    driven.feed(ev.Pulse(driven.now), after=0.15)
    asked = next(ask for ask in driven.of(ev.Ask) if ask.ask == "promise")
    driven.feed(ev.PeerAnswered(asked.round_id, THERE, ok=False, epoch=1), after=0.05)
    assert driven.lease.held.until == until


def test_a_promise_binds_for_w():
    """The candidate that gave it does not claim before."""
    driven = Driven()
    driven.read(5, record())
    driven.read(5, record(), after=0.6)
    assert driven.feed(ev.PeerAsked(1, THERE, "promise", Token(1, THERE), 0.707)) == [ev.Answer(1, True, 1, "")]
    for _ in range(6):
        driven.read(5, record(), after=0.115)
        assert not driven.of(ev.KeepEpoch)
    driven.read(5, record(), after=0.1)
    assert driven.of(ev.KeepEpoch)


def test_a_promise_is_refused_while_a_claim_is_open_or_another_holder_is_seen():
    """The two rules of design 4, and strangers get none."""
    driven = Driven()
    driven.read(5, record(holder=THERE, epoch=4))
    driven.feed(ev.PeerAsked(1, THERE, "promise", Token(3, THERE), 0.707))
    assert not driven.of(ev.Answer)[0].ok
    driven.feed(ev.PeerAsked(2, "stranger", "promise", Token(9, "stranger"), 0.707))
    assert not driven.of(ev.Answer)[0].ok
    for _ in range(9):
        driven.read(5, record(epoch=4), after=0.1)
    assert driven.lease.phase is Phase.CLAIMING
    driven.feed(ev.PeerAsked(3, THERE, "promise", Token(4, THERE), 0.707))
    assert driven.of(ev.Answer)[0].why == "a claim of its own is open"


def test_a_holder_yields_to_a_higher_token_and_refuses_a_lower_one():
    """The acknowledgement waits until the token is on disk."""
    driven = Driven().hold()
    driven.feed(ev.PeerAsked(1, THERE, "fence", Token(1, THERE)))
    assert [type(effect) for effect in driven.effects if not isinstance(effect, ev.Note)][:4] == [
        ev.Hold, ev.Demoted, ev.Remember, ev.Answer,
    ]  # fmt: skip
    driven.feed(ev.PeerAsked(2, THERE, "fence", Token(0, THERE)))
    assert not driven.of(ev.Answer)[0].ok


def test_the_fast_path_is_for_the_named_successor_that_saw_the_epoch_live():
    """On one connection: draining, then released."""
    driven = Driven()
    driven.read(5, record(state="draining", successor=HERE))
    driven.read(6, record(state="released", successor=HERE, t=2.0), after=0.05)
    assert driven.of(ev.KeepEpoch)


@pytest.mark.parametrize(
    ("memory", "connection", "successor"),
    [(Memory(seen=Token(5, "b")), 1, HERE), (Memory(), 2, HERE), (Memory(), 1, THERE), (Memory(), 1, "")],
    ids=["a higher epoch was seen", "a new connection", "another successor", "no successor"],
)
def test_the_fast_path_is_closed_otherwise(memory, connection, successor):
    """An old release that a rolled-back store shows again is no invitation."""
    driven = Driven(memory)
    driven.read(5, record(state="draining", successor=successor))
    driven.read(6, record(state="released", successor=successor, t=2.0), after=0.05, connection=connection)
    assert not driven.of(ev.KeepEpoch)


def test_priority_waits_longer():
    """Member k waits W + k P; the holder itself does not count."""
    driven = Driven()
    driven.lease.policy = LeasePolicy(GROUP, HERE, ("b", "c", HERE), FAST, auto="armed")
    driven.read(5, record(members=["b", "c", HERE]))
    assert driven.lease._expires_at() == pytest.approx(driven.now + FAST.wait_s + FAST.renew_s)


def test_a_pulse_that_came_is_known_before_a_renewal_is_decided():
    """The clocks are told first: the age of the pulse before must not cost a renewal."""
    driven = Driven().hold()
    driven.now += 0.4
    known = [ev.Clocks(driven.now - 50.0, 1.8e9), ev.Pulse(driven.now)]
    assert [driven.lease.handle(event, driven.now) for event in known] == [[], []]
    (write,) = [effect for effect in driven.lease.tick(driven.now) if isinstance(effect, ev.Write)]
    assert write.record.epoch == driven.lease.held.token.epoch


def test_no_renewal_without_a_pulse_of_the_main_loop():
    """After A/2 without one."""
    driven = Driven().hold()
    for _ in range(3):
        driven.feed(after=0.15)
    assert not driven.of(ev.Write)


def test_a_foreign_message_counts_as_no_record_and_waits_like_any_other():
    """Somebody without the holder's key wrote: no holder is believed, and no time is saved."""
    driven = Driven(Memory(seen=Token(1, THERE)))
    driven.read(5, None, foreign=True)
    driven.read(5, None, after=0.6, foreign=True)
    assert not driven.of(ev.KeepEpoch)


def test_a_switchover_too_soon_is_refused_by_name_and_may_be_forced_by_name():
    """The minimum hold delays planned changes only."""
    driven = Driven().hold()
    driven.feed(ev.Switchover(1, THERE))
    assert driven.of(ev.Concluded)[0].outcome.gate == "minimum-hold"
    driven.feed(ev.Switchover(2, THERE, frozenset({"minimum-hold"})))
    assert driven.lease.phase is Phase.DRAINING
    assert driven.of(ev.Write)[0].record.state == "draining"


def test_release_is_written_only_after_the_services_stopped_and_authority_ended():
    """draining announces; drained, then released."""
    driven = Driven().hold()
    driven.feed(ev.Switchover(2, THERE, frozenset({"minimum-hold"})))
    driven.feed(ev.WriteDone(driven.write_id(), 2))
    assert driven.of(ev.Drain) == [ev.Drain(THERE)]
    driven.feed(ev.Drained(ok=True), after=0.05)
    assert not driven.lease.has_authority(driven.now)
    assert driven.of(ev.Write)[0].record.state == "released"
    driven.feed(ev.WriteDone(driven.write_id(), 3))
    driven.read(4, record(epoch=2, t=9.0))
    assert driven.of(ev.Concluded)[0].outcome.ok


def test_services_that_do_not_stop_bring_the_switchover_back():
    """The holder goes on, and says at which step it failed."""
    driven = Driven().hold()
    driven.feed(ev.Switchover(2, THERE, frozenset({"minimum-hold"})))
    driven.feed(ev.WriteDone(driven.write_id(), 2))
    driven.feed(ev.Drained(ok=False, why="web does not stop"))
    assert driven.of(ev.Concluded)[0].outcome.gate == "drain"
    assert driven.lease.phase is Phase.HOLDING
    assert driven.of(ev.Promoted)


def test_changed_members_are_written_by_the_holder_only():
    """Members and profile live in the record."""
    driven = Driven().hold()
    driven.feed(ev.Configure((HERE, THERE, "c"), PROFILES["normal"]))
    written = driven.of(ev.Write)[0].record
    assert (written.members, written.span_ms) == ([HERE, THERE, "c"], 1600)
    standby = Driven()
    standby.feed(ev.Configure((HERE, THERE, "c"), PROFILES["normal"]))
    assert not standby.of(ev.Write)


@pytest.mark.parametrize(
    ("seen", "role", "why"),
    [
        (None, "UNKNOWN", "has not been read"),
        (record(auto="shadow"), "STANDBY", "automatic failover off: shadow"),
        (record(maintenance=True), "STANDBY", "automatic failover off: maintenance"),
        (record(), "STANDBY", ""),
    ],
)
def test_a_standby_says_in_words_why_it_would_not_take_over(seen, role, why):
    """The states of design 4."""
    driven = Driven()
    if seen:
        driven.read(5, seen)
    state = group_state(driven.lease, driven.now)
    assert state.role == role
    assert why in state.why
