"""At most one valid authority at any true time, whatever happens; and leases broken on purpose are caught."""

import os

import pytest

from hubagent.core import lease_events as ev
from hubagent.core.lease import Lease
from hubagent.core.lease_policy import PROFILES
from tests.support import lease_faults as faults
from tests.support.lease_mutants import BROKEN, BelievesAnOldCopy, BelievesWhatIsShownFirst, PromiseAfterMismatch
from tests.support.lease_world import Broken, World

pytestmark = pytest.mark.timeout(1500)  # two thousand seeds in make test

SEEDS = int(os.environ.get("HUBDECK_SEEDS", "200"))
DEPTH = 2
SEEDS_TO_CATCH = 400
ALWAYS = (68, 152, 156, 12, 27)  # seeds that once found an overlap ...
ALWAYS_CHANGING = (22217,)  # ... and while profiles changed
SLICES = 4


def _hubs(seed: int) -> tuple[str, ...]:
    return ("a", "b", "c") if seed % 4 == 0 else ("a", "b")


@pytest.mark.parametrize("part", range(SLICES))
def test_no_two_hubs_act_at_once_under_seeded_faults(part):
    """Pauses, drift, loss, delay, duplicates, cuts, rollbacks, restarts, sleeps: safe always, settled afterwards."""
    for seed in (*ALWAYS, *range(SEEDS))[part::SLICES]:
        faults.seeded(seed, Lease, hubs=_hubs(seed))


@pytest.mark.parametrize("part", range(SLICES))
def test_no_two_hubs_act_at_once_while_profiles_change(part):
    """The same with a roster that changes, and hubs that find their profile too short or good again."""
    for seed in (*ALWAYS_CHANGING, *range(SEEDS))[part::SLICES]:
        faults.seeded(seed, Lease, hubs=_hubs(seed), kinds=faults.CHANGING)


def test_an_older_copy_of_the_store_with_a_shorter_span_is_not_believed():
    """The wait follows the longest span that may still be counted by."""
    old_copy(Lease)
    with pytest.raises(Broken):
        old_copy(BelievesAnOldCopy)


def old_copy(lease_class) -> None:
    """Rapid, then normal; then the store goes back to rapid just when nobody hears the holder any more."""
    world = World(0, ("a", "b"), lease_class, profile="rapid").start()
    world.run_until(lambda: world.acting() == ["a"], 2.0)
    for hub in world.hubs.values():
        hub.feed(ev.Configure(("a", "b"), PROFILES["normal"]))
    world.run(1.0)
    for other in ("b", "store"):
        world.cut("a", other)
    world.rows.roll_back(world.rows.seq - 1)
    world.run(5.0)
    assert world.acting() == ["b"]


@pytest.mark.parametrize("is_down", [True, False], ids=["down", "cut off"])
def test_who_was_away_while_the_span_grew_waits_by_the_longest_there_is(is_down):
    """What an older copy of the store shows is no news, however long it is shown."""
    assert faults.away_while_the_span_grew(Lease, is_down=is_down).acting() == ["b"]
    with pytest.raises(Broken):
        faults.away_while_the_span_grew(BelievesWhatIsShownFirst, is_down=is_down)


@pytest.mark.parametrize("spacing", faults.SPACINGS)
def test_no_two_hubs_act_at_once_in_every_small_schedule(spacing):
    """Every pair of faults at this spacing, with the slowest holder and the fastest candidate."""
    for at, steps in faults.schedules(DEPTH):
        if at == spacing:
            faults.settle(faults.enumerated(spacing, steps, Lease))


@pytest.mark.parametrize(("broken", "kinds", "network"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_lease_is_caught(broken, kinds, network):
    """Each wrong decision leads to two hubs that act, or to one token with two lives."""
    for seed in range(SEEDS_TO_CATCH):
        try:
            faults.pointed(seed, broken, kinds, network)
        except Broken:
            return
    pytest.fail(f"{broken.__name__} passed {SEEDS_TO_CATCH} seeds")


def test_promises_after_a_mismatch_are_caught():
    """A member that the holder does not know of may take an emptied store: no promise of others speaks for it."""
    faults.late_member(Lease)
    with pytest.raises(Broken):
        faults.late_member(PromiseAfterMismatch)


@pytest.mark.parametrize("seed", range(10))
def test_a_lying_store_never_makes_one_token_two_holders(seed):
    """A store that confirms every write may make two holders; executors still tell them apart, and never go back."""
    world = World(seed, ("a", "b"), drift=0.01)
    world.is_checked, world.rows.is_lying = False, True
    world.start()
    for _ in range(10):
        world.run(world.random.uniform(0.1, 1.0))
        world.random.choice((faults.pause, faults.restart, faults.store_back))(world)
    assert world.tokens  # the world itself fails on a token used twice, or one that falls


def test_loss_of_the_link_between_hubs_changes_nothing():
    """Both still reach the store: no takeover, no demotion."""
    world = World(1).start()
    world.run(2.0)
    world.cut("a", "b")
    world.run(10.0)
    assert [name for _, name in world.changes] == ["a"]


def test_loss_of_the_witness_changes_nothing():
    """The holder goes on by promise, and by the store again afterwards."""
    world = World(2, drift=0.01).start()
    world.run(2.0)
    world.rows.go_down()
    world.run(10.0)
    assert world.acting() == ["a"]
    world.rows.come_up()
    world.run(5.0)
    assert [name for _, name in world.changes] == ["a"]


def test_a_holder_cut_from_the_store_alone_stays():
    """The standby reaches the store but has promised (fault N15)."""
    world = World(3).start()
    world.run(2.0)
    world.cut("a", "store")
    world.run(10.0)
    assert world.acting() == ["a"]
    assert len(world.changes) == 1


def test_an_isolated_holder_stops_before_the_standby_acts():
    """Fault N13: fenced by its own deadline, replaced within the budget."""
    world = World(4, drift=0.01).start()
    world.run(2.0)
    world.cut("a", "b")
    world.cut("a", "store")
    cut = world.now
    world.run_until(lambda: world.acting() == ["b"], 2.0)
    assert world.now - cut < 1.0


def test_a_full_partition_leaves_nobody_with_authority():
    """Fault N17."""
    world = World(5).start()
    world.run(2.0)
    for pair in (("a", "b"), ("a", "store"), ("b", "store")):
        world.cut(*pair)
    world.run(3.0)
    assert world.acting() == []


def test_a_hung_main_loop_loses_the_lease():
    """Renewals stop half a span after the last pulse, and the other hub takes over."""
    world = World(6).start()
    world.run(2.0)
    world.hubs["a"].is_hung = True
    world.run(3.0)
    assert world.acting() == ["b"]


def test_shadow_records_what_it_would_have_done_and_does_nothing():
    """A shadow group is started by its first member, and never moved by itself."""
    world = World(7, auto="shadow").start()
    world.run(2.0)
    assert world.acting() == ["a"]
    world.hubs["a"].stop()
    world.run(5.0)
    assert world.acting() == []
    said = [note for note in world.hubs["b"].notes if note.startswith("would have failed over, because a has not")]
    assert len(said) == 1


def test_maintenance_stops_automatic_failover_and_lets_a_person_promote():
    """Set by the holder, read by the standby."""
    world = World(8).start()
    world.run(2.0)
    world.hubs["a"].feed(ev.SetMaintenance(1, on=True))
    world.run(1.0)
    assert world.hubs["a"].concluded[-1].outcome.ok
    world.hubs["a"].stop()
    world.run(5.0)
    assert world.acting() == []
    world.hubs["b"].feed(ev.Promote(2))
    world.run(2.0)
    assert world.acting() == ["b"]
    assert world.hubs["b"].concluded[-1].outcome.ok


def test_promotion_by_hand_over_a_living_holder_waits_until_it_has_lapsed():
    """The record changes hands at once, the acting only afterwards: never two."""
    world = World(9, drift=0.01).start()
    world.run(2.0)
    world.pause("a", 5.0)
    world.hubs["b"].feed(ev.Promote(1))
    world.run(3.0)
    assert world.acting() == ["b"]


def test_a_plain_pair_acts_only_by_hand_and_the_old_holder_yields_to_the_higher_epoch():
    """No witness: nobody promotes itself; a person may, and the fence reaches the old one when it can."""
    world = World(10, has_witness=False).start()
    world.run(5.0)
    assert world.acting() == []
    world.hubs["a"].feed(ev.Promote(1))
    world.run(1.0)
    assert world.acting() == ["a"]
    world.is_checked = False  # an operator may make two where the hubs cannot hear each other: said so beforehand
    world.cut("a", "b")
    world.run(5.0)
    world.hubs["b"].feed(ev.Promote(2))
    world.run(2.0)
    assert world.hubs["b"].lease.held.not_fenced == {"a"}
    world.heal()
    world.run(3.0)
    assert world.acting() == ["b"]
    assert world.hubs["b"].lease.held.not_fenced == set()


def test_a_restarted_holder_of_a_pair_goes_on_only_with_the_word_of_the_other():
    """It cannot know alone whether somebody was promoted meanwhile."""
    world = World(11, has_witness=False).start()
    world.hubs["a"].feed(ev.Promote(1))
    world.run(1.0)
    world.cut("a", "b")
    world.restart("a", 0.5)
    world.run(5.0)
    assert world.acting() == []
    world.heal()
    world.run(3.0)
    assert world.acting() == ["a"]


def test_a_pair_switches_over_on_request():
    """Drained here, taken there, with a higher epoch."""
    world = World(12, has_witness=False).start()
    world.hubs["a"].feed(ev.Promote(1))
    world.run(1.0)
    world.hubs["a"].feed(ev.Switchover(2, "b", frozenset({"minimum-hold"})))
    world.run(2.0)
    assert world.acting() == ["b"]
    assert world.hubs["a"].concluded[-1].outcome.ok


def test_a_switchover_to_a_dead_successor_fails_and_says_who_took_over():
    """Followed to the end: the lease comes back, the outcome says failed."""
    world = World(13).start()
    world.run(2.0)
    world.hubs["b"].stop()
    world.hubs["a"].feed(ev.Switchover(1, "b", frozenset({"minimum-hold"})))
    world.run(6.0)
    assert world.acting() == ["a"]
    outcome = world.hubs["a"].concluded[-1].outcome
    assert not outcome.ok
    assert outcome.gate == "takeover"


def test_a_suspended_machine_finds_its_authority_void():
    """TILT: boottime jumped against monotonic, so it drops authority, though the span was not over (fault T5)."""
    world = World(14, profile="wan").start()
    world.run(6.0)
    world.sleep("a", 0.8)
    world.run(1.0)
    assert any("clocks jumped" in note for note in world.hubs["a"].notes)


@pytest.mark.parametrize("profile", ["rapid", "fast", "normal", "wan"])
def test_every_profile_takes_over_within_the_budget(profile):
    """Crash to new authority: W, a rank of none, and a poll; never above 5 s."""
    world = World(15, profile=profile, demote_grace_s=0.05).start()
    world.run_until(lambda: world.acting() == ["a"], 6.0)
    world.run(3.0)
    world.hubs["a"].stop()
    died = world.now
    world.run_until(lambda: world.acting() == ["b"], 5.0)
    assert world.now - died < world.profile.wait_s + 2 * world.profile.renew_s
