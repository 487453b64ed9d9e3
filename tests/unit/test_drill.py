"""The drilled hub's own part: countdown, strike, what counts as passed, and what is never taken for it."""

import dataclasses

import pytest

from console.actions import drill_effect
from hubagent.core.drill import (
    MOVING,
    Abort,
    Drill,
    DrillPlan,
    DrillPolicy,
    Looked,
    Scored,
    Strike,
    Undo,
    phases,
)
from hubagent.wire.drills import KINDS

POLICY = DrillPolicy(countdown_s=3.0, hold_s=3.0, limit_s=30.0)
PLAN = DrillPlan("core", "kill-agent", "ana", epoch=7, strike_at=103.0, lost_before=5)
TOLD = phases(8, 103.0, 103.4, 103.42, 103.5)
BACK = Looked("STANDBY", 8, is_drained=True, lost=5, phases=TOLD)
BEFORE = Looked("ACTIVE", 7, is_drained=True, lost=5, phases={})


def struck(plan=PLAN):
    """A drill that has just struck."""
    one = Drill(plan, POLICY)
    assert one.handle(BEFORE, 103.0) == [Strike(plan.kind)]
    return one


def score_of(effects):
    (effect,) = effects
    assert isinstance(effect, Scored)
    return effect.score


def test_it_strikes_once_and_at_its_time():
    """Not before; the deadline says when."""
    one = Drill(PLAN, POLICY)
    assert one.handle(BEFORE, 102.9) == []
    assert one.deadline() == 103.0
    assert one.tick(103.0) == [Strike("kill-agent")]
    assert one.tick(103.1) == []


def test_a_takeover_measured_by_the_successor_passes_with_every_phase():
    """Drained and standing by, after what was struck is back."""
    one = struck()
    assert one.handle(BACK, 104.0) == []  # it looks well, but nothing was undone yet
    score = score_of(one.handle(BACK, 107.0))
    assert score.passed
    assert (score.took_s, score.detection_s, score.decision_s, score.takeover_s) == (0.5, 0.4, 0.02, 0.08)
    assert (score.catch_up_s, score.way_back_s, score.lost) == (4.0, 4.0, 0)
    assert one.handle(BACK, 108.0) == []
    assert one.deadline() is None


def test_an_abort_in_the_countdown_does_nothing_and_proves_nothing():
    """Called off before the strike."""
    one = Drill(PLAN, POLICY)
    score = score_of(one.handle(Abort("ana"), 101.0))
    assert not score.passed
    assert "before anything was done" in score.text
    assert one.tick(103.5) == []


def test_an_abort_after_the_strike_undoes_it_and_the_drill_is_followed_to_its_end():
    """What moved has moved: it is scored, and not passed."""
    one = struck()
    assert one.handle(Abort("ana"), 103.5) == [Undo()]
    score = score_of(one.handle(BACK, 107.0))
    assert (score.passed, score.why) == (False, "called off by ana")


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ({"role": "ACTIVE", "epoch": 8, "phases": {}}, "no other hub took over"),
        ({"lost": 9}, "4 records were lost"),
        ({"phases": phases(8, 103.0, 108.5, 108.6, 108.7)}, "the takeover took 5.7 s"),
    ],
)
def test_what_is_no_pass(seen, why):
    """One condition each, in words."""
    score = score_of(struck().handle(dataclasses.replace(BACK, **seen), 110.0))
    assert not score.passed
    assert why in score.why


@pytest.mark.parametrize(
    "seen", [{"is_drained": False}, {"phases": {}}, {"role": "NO AUTHORITY"}, {"phases": {"epoch": 7, "took_s": 0.1}}]
)
def test_what_is_not_over_yet_is_waited_for_until_the_limit(seen):
    """Then it is not passed."""
    one = struck()
    assert one.handle(dataclasses.replace(BACK, **seen), 110.0) == []
    score = score_of(one.tick(133.0))
    assert not score.passed
    assert "within 30 s" in score.why


def test_a_struck_server_must_move_nothing():
    """The lease is at the witness, and the records go to the other server."""
    plan = dataclasses.replace(PLAN, kind="kill-server")
    assert score_of(struck(plan).handle(BEFORE, 107.0)).passed
    moved = dataclasses.replace(BACK, epoch=8)
    assert "the group moved" in score_of(struck(plan).handle(moved, 107.0)).why


def test_a_cut_is_undone_later_than_the_rest_and_moves_the_group():
    """Nothing is as before until the links are dialled again, however well it looks; then it is scored as the others."""
    one = struck(dataclasses.replace(PLAN, kind="cut"))
    assert one.handle(Abort("ana"), 103.5) == [Undo()]
    one = struck(dataclasses.replace(PLAN, kind="cut"))
    assert one.handle(BACK, 108.9) == []
    score = score_of(one.handle(BACK, 109.1))
    assert score.passed
    assert (score.took_s, score.way_back_s) == (0.5, 6.1)


def test_a_cut_outlasts_the_slowest_takeover_that_passes():
    """Otherwise the struck hub could come back before anybody took over."""
    with pytest.raises(AssertionError, match="cut_s must lie between 5"):
        DrillPolicy(cut_s=5.0)


def test_one_that_killed_its_own_agent_goes_on_after_the_restart():
    """Begun again as struck: it does not strike twice."""
    one = Drill(PLAN, POLICY, is_struck=True)
    assert score_of(one.handle(BACK, 107.0)).passed


def test_phases_are_never_negative():
    """A message that was slow may tell of a strike that seems to lie in the future."""
    assert phases(8, 103.0, 102.9, 102.95, 102.99) == {
        "epoch": 8, "detection_s": 0.0, "decision_s": 0.0, "takeover_s": 0.0, "took_s": 0.0,
    }  # fmt: skip


def test_what_the_console_says_of_a_drill_are_the_policys_own_seconds():
    """Whoever confirms one is told how long it lasts; the console sees no core, so this holds the two together."""
    policy = DrillPolicy()
    for kind in KINDS:
        words = drill_effect(kind)
        assert f"countdown of {policy.countdown_s:g} s" in words
        assert kind == "kill-server" or f" {policy.undone_after_s(kind):g} s later" in words
        assert ("nothing may move" in words) == (kind not in MOVING)
