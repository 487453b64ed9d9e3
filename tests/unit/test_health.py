"""Promises of the health verdict: hysteresis both ways, start grace, one question at a time."""

import pytest

from hubagent.core.health import Answered, Begun, Check, Ended, Health, ProbePolicy, Turned

TCP = ProbePolicy("tcp", ("127.0.0.1:1",), interval_s=2.0, timeout_s=1.0, for_n=3, grace_s=5.0)
HTTP = ProbePolicy("http", ("http://127.0.0.1:1/",), interval_s=2.0, for_n=1, grace_s=0.0)


def begun(*policies, now=0.0) -> Health:
    health = Health(policies)
    health.handle(Begun(), now)
    return health


def answer(health, ok, now, probe=0, why=""):
    """Answer one probe of the present run; what came of it."""
    return health.handle(Answered(health._run, probe, ok, why), now)


def test_every_probe_is_asked_at_once_and_again_only_after_its_answer():
    """A probe that hangs is not asked a second time."""
    health = Health((TCP, HTTP))
    assert health.handle(Begun(), 0.0) == [Check(1, 0), Check(1, 1)]
    assert health.tick(100.0) == []
    answer(health, True, 100.0)
    assert health.deadline() == 102.0
    assert health.tick(102.0) == [Check(1, 0)]


def test_the_first_good_answer_after_a_start_is_a_verdict():
    """There is nothing yet to hold against it."""
    assert answer(begun(TCP), True, 0.1) == [Turned(True)]


def test_until_the_first_verdict_it_is_asked_more_often():
    """A start costs no whole interval."""
    health = begun(TCP)
    answer(health, False, 1.0)
    assert health.deadline() == 1.25


def test_failures_within_the_start_grace_do_not_count():
    """It is not unhealthy, it has not come up."""
    health = begun(TCP)
    for now in (1.0, 2.0, 3.0, 4.0):
        assert answer(health, False, now) == []
    assert health.healthy is None
    assert [answer(health, False, now) for now in (6.0, 7.0)] == [[], []]
    assert answer(health, False, 8.0, why="refused") == [Turned(False, "tcp: refused")]


def test_it_takes_n_answers_in_a_row_to_turn_either_way():
    """A single answer that contradicts changes nothing."""
    health = begun(TCP)
    answer(health, True, 0.0)
    answer(health, False, 10.0)
    answer(health, False, 12.0)
    assert answer(health, True, 14.0) == []
    assert [answer(health, False, now)[:1] for now in (16.0, 18.0)] == [[], []]
    assert answer(health, False, 20.0) == [Turned(False)]
    assert [answer(health, True, now) for now in (22.0, 24.0)] == [[], []]
    assert answer(health, True, 26.0) == [Turned(True)]


def test_a_question_that_could_not_be_asked_says_nothing():
    """A lost NATS link is not the service's illness."""
    health = begun(TCP)
    answer(health, True, 0.0)
    for now in (10.0, 12.0, 14.0, 16.0):
        assert answer(health, None, now, why="not connected") == []
    assert health.healthy is True
    assert health.why == "tcp: not connected"


def test_one_ill_probe_of_two_is_ill():
    """Healthy means that each says so."""
    health = begun(TCP, HTTP)
    assert answer(health, True, 0.0, probe=0) == []
    assert answer(health, True, 0.0, probe=1) == [Turned(True)]
    assert answer(health, False, 2.0, probe=1, why="HTTP 500") == [Turned(False, "http: HTTP 500")]


def test_answers_of_an_earlier_process_mean_nothing():
    """Late is not now."""
    health = begun(TCP)
    late = Answered(1, 0, ok=True)
    assert health.handle(Ended(), 1.0) == []
    health.handle(Begun(), 1.0)
    assert health.handle(late, 1.1) == []


def test_without_a_process_there_is_no_verdict():
    """An ended service is not unhealthy: its state says what it is."""
    health = begun(TCP)
    answer(health, True, 0.0)
    assert health.handle(Ended(), 1.0) == [Turned(None)]
    assert health.deadline() is None


@pytest.mark.parametrize(
    "settings",
    [{"kind": "ping"}, {"target": ()}, {"interval_s": 0.0}, {"timeout_s": 0.0}, {"for_n": 0}, {"grace_s": -1.0}],
)
def test_a_probe_policy_that_makes_no_sense_is_refused(settings):
    """A policy checks itself when built."""
    with pytest.raises(ValueError, match="a probe needs"):
        ProbePolicy(**({"kind": "tcp", "target": ("127.0.0.1:1",)} | settings))
