"""Promises of one service's supervision: every row of its table, and every refused move."""

import pytest

from hubagent.core.health import ProbePolicy
from hubagent.core.service_policy import ServicePolicy
from hubagent.core.supervision import (
    BACKOFF,
    EXITED,
    FATAL,
    MOVES,
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    Adopted,
    Changed,
    Exited,
    HealthTurned,
    NothingToStop,
    Spawn,
    SpawnFailed,
    Started,
    Stop,
    Supervision,
    Unwanted,
    Wanted,
    exit_text,
)

PROBE = ProbePolicy("tcp", ("127.0.0.1:1",))


def supervision(**settings) -> Supervision:
    settings = {"start_s": 1.0, "backoff_min_s": 0.5, "backoff_max_s": 4.0, "crash_exits": 3} | settings
    return Supervision(ServicePolicy("web", ("web",), **settings))


def feed(one, *steps):
    """Feed (time, event) pairs; an event None is a tick. The effects of the last step."""
    effects = []
    for now, event in steps:
        effects = one.tick(now) if event is None else one.handle(event, now)
    return effects


UP = ((0.0, Wanted()), (0.0, Started(7)), (1.0, None))
# How each state is reached from nothing.
WAYS = {
    STOPPED: (),
    STARTING: UP[:2],
    RUNNING: UP,
    BACKOFF: (*UP, (2.0, Exited(7, code=1))),
    STOPPING: (*UP, (2.0, Unwanted())),
    EXITED: (*UP, (2.0, Exited(7, code=0))),  # of a manual one
    FATAL: ((0.0, Wanted()), (0.0, SpawnFailed("no such file"))),  # with a budget of one
}
SETTINGS = {EXITED: {"run": "manual"}, FATAL: {"crash_exits": 1}}
# Row by row: state, event, next state, what else is done.
ROWS = [
    (STOPPED, Wanted(), STARTING, [Spawn()]),
    (STOPPED, Adopted(9, 0.5), STARTING, []),
    (STOPPED, Unwanted(), STOPPED, []),
    (STARTING, Unwanted(), STOPPING, [Stop(10.0)]),
    (STARTING, Exited(7, code=1), BACKOFF, []),
    (STARTING, Wanted(), STARTING, []),
    (RUNNING, Unwanted(grace_s=0.1), STOPPING, [Stop(0.1)]),
    (RUNNING, Exited(7, code=1), BACKOFF, []),
    (RUNNING, Exited(7, signal=9), BACKOFF, []),
    (RUNNING, Exited(8, code=1), RUNNING, []),  # another process's end
    (RUNNING, SpawnFailed("late"), RUNNING, []),
    (RUNNING, Wanted(), RUNNING, []),
    (RUNNING, NothingToStop(), RUNNING, []),
    (BACKOFF, Wanted(), STARTING, [Spawn()]),
    (BACKOFF, Unwanted(), STOPPED, []),
    (BACKOFF, Adopted(9), STARTING, []),
    (BACKOFF, Started(7), BACKOFF, []),  # said of a process that has ended
    (STOPPING, Wanted(), STOPPING, []),
    (STOPPING, Unwanted(grace_s=0.1), STOPPING, [Stop(0.1)]),
    (STOPPING, Exited(7, signal=15, asked=True), STOPPED, []),
    (STOPPING, NothingToStop(), STOPPED, []),
    (EXITED, Wanted(), STARTING, [Spawn()]),
    (EXITED, Unwanted(), STOPPED, []),
    (EXITED, Exited(7, code=1), EXITED, []),
    (FATAL, Wanted(), STARTING, [Spawn()]),
    (FATAL, Unwanted(), STOPPED, []),
    (FATAL, Exited(7, code=1), FATAL, []),
]


@pytest.mark.parametrize(("state", "event", "after", "done"), ROWS)
def test_each_event_moves_each_state_as_the_table_says(state, event, after, done):
    """One row of the table."""
    one = supervision(**SETTINGS.get(state, {}))
    feed(one, *WAYS[state])
    assert one.state == state
    effects = one.handle(event, 2.5)
    assert after == one.state
    assert done == [effect for effect in effects if not isinstance(effect, Changed)]


@pytest.mark.parametrize(("before", "after"), [(a, b) for a in MOVES for b in MOVES if b not in MOVES[a]])
def test_a_move_that_the_table_does_not_name_stops_the_process(before, after):
    """A broken invariant is no state to go on from."""
    one = supervision()
    one.state = before
    with pytest.raises(AssertionError):
        one._become(after, "")


def test_every_move_of_the_table_is_made_by_some_event():
    """The table allows nothing that never happens."""
    made = set()
    stories = [
        *(((state, [*WAYS[state], (2.5, event)])) for state, event, _, _ in ROWS),
        (STOPPED, UP),
        (BACKOFF, [*WAYS[BACKOFF], (9.0, None)]),
        (STOPPING, [*WAYS[STOPPING], (2.1, Wanted()), (2.2, Exited(7))]),
        (FATAL, WAYS[FATAL]),
        (EXITED, WAYS[EXITED]),
    ]
    for state, steps in stories:
        made |= _moves(supervision(**SETTINGS.get(state, {})), steps)
    made |= _moves(supervision(crash_exits=1), [*UP, (2.0, Exited(7, code=1))])
    made |= _moves(supervision(run="manual"), [*UP[:2], (0.1, Exited(7, code=0))])
    for steps in (UP[:2], UP):
        made |= _moves(supervision(run="active", group="core"), [*steps, (2.0, Exited(7, signal=9, asked=True))])
    assert {(a, b) for a, after in MOVES.items() for b in after} == made


def _moves(one, steps):
    found = set()
    for step in steps:
        found |= {(effect.before, effect.after) for effect in feed(one, step) if isinstance(effect, Changed)}
    return found


def test_it_runs_once_it_stayed_up_and_its_probes_say_well():
    """Start proof needs both; neither alone is enough."""
    one = supervision(probes=(PROBE,))
    feed(one, (0.0, Wanted()), (0.0, Started(7)), (1.5, None))
    assert one.state == STARTING
    feed(one, (2.0, HealthTurned(True)))
    assert one.state == RUNNING
    early = supervision(probes=(PROBE,))
    feed(early, (0.0, Wanted()), (0.0, Started(7)), (0.5, HealthTurned(True)))
    assert early.state == STARTING
    assert early.deadline() == 1.0


def test_back_off_doubles_up_to_its_bound_and_jitter_only_shortens():
    """P7: 0.5, 1, 2, 4, 4 s; a jitter of 1 takes a quarter."""
    one = supervision(crash_exits=99, crash_window_s=1e9)
    feed(one, (0.0, Wanted()))
    delays = []
    now = 0.0
    for _ in range(5):
        feed(one, (now, SpawnFailed("no")))
        delays.append(one.deadline() - now)
        now = one.deadline()
        feed(one, (now, None))
    assert delays == [0.5, 1.0, 2.0, 4.0, 4.0]
    feed(one, (now, SpawnFailed("no", jitter=1.0)))
    assert one.deadline() - now == 3.0


def test_back_off_is_reset_only_after_proven_health():
    """A process that ran for less than the window did not prove anything."""
    one = supervision(crash_exits=99, crash_window_s=60.0)
    feed(one, (0.0, Wanted()), (0.0, Started(1)), (1.0, None), (2.0, Exited(1, code=1)), (2.5, None))
    feed(one, (2.5, Started(2)), (3.5, None), (50.0, None), (50.0, Exited(2, code=1)))
    assert one.deadline() == 51.0
    feed(one, (51.0, None), (51.0, Started(3)), (52.0, None), (112.0, None), (113.0, Exited(3, code=1)))
    assert one.deadline() == 113.5


def test_an_unhealthy_service_proves_nothing():
    """Running for long with probes that fail does not reset the back-off."""
    one = supervision(crash_exits=99, probes=(PROBE,))
    feed(one, (0.0, Wanted()), (0.0, SpawnFailed("no")), (0.5, None), (0.5, Started(2)), (1.5, HealthTurned(True)))
    feed(one, (2.0, HealthTurned(False)), (100.0, None), (101.0, Exited(2, code=1)))
    assert one.deadline() == 102.0


def test_living_two_seconds_and_dying_is_a_crash_loop_too():
    """Three ends within the window are FATAL, with the exit codes kept."""
    one = supervision(crash_exits=3)
    now = 0.0
    feed(one, (now, Wanted()))
    for pid in (1, 2, 3):
        feed(one, (now, Started(pid)), (now + 1, None))
        assert one.state == RUNNING
        feed(one, (now + 2, Exited(pid, code=3, up_s=2.0)))
        now = one.deadline() or now
        feed(one, (now, None))
    assert one.state == FATAL
    assert list(one.exits) == ["exit 3 after 2.0 s"] * 3
    assert one.deadline() is None


def test_fatal_is_left_on_request_only_and_with_a_new_budget():
    """Somebody looked at it."""
    one = supervision(crash_exits=2)
    feed(one, (0.0, Wanted()), (0.0, SpawnFailed("no")), (0.5, None), (0.5, SpawnFailed("no")))
    assert one.state == FATAL
    feed(one, (100.0, None))
    assert one.state == FATAL
    feed(one, (101.0, Wanted()), (101.0, SpawnFailed("no")))
    assert one.state == BACKOFF


def test_ends_outside_the_window_do_not_count():
    """One crash in an hour is no loop."""
    one = supervision(crash_exits=2, crash_window_s=60.0)
    feed(one, (0.0, Wanted()), (0.0, SpawnFailed("no")), (61.0, None), (61.0, SpawnFailed("no")))
    assert one.state == BACKOFF


def test_a_service_wanted_again_while_it_stops_starts_when_it_has_stopped():
    """A restart never has two at once."""
    one = supervision()
    feed(one, *UP, (2.0, Unwanted()), (2.0, Wanted()))
    assert one.state == STOPPING
    effects = feed(one, (3.0, Exited(7, signal=15, asked=True)))
    assert [Changed(STOPPING, STARTING, "signal 15 after 0.0 s"), Spawn()] == effects


def test_an_exit_told_before_its_start_is_not_mixed_up_with_the_next_start():
    """The reply of a start may be handled after the end of what it started."""
    one = supervision()
    feed(one, (0.0, Wanted()), (0.1, Exited(7, code=1)), (0.7, None), (0.8, Started(7)))
    assert one.pid is None
    feed(one, (0.9, Started(8)))
    assert one.pid == 8


def test_an_active_service_ended_by_its_deadline_waits_to_be_wanted_again():
    """Restarting it would need an authority that has just ended."""
    one = supervision(run="active", group="core")
    feed(one, *UP, (2.0, Exited(7, signal=9, asked=True)))
    assert (one.state, one.wanted) == (STOPPED, False)


def test_an_adopted_process_counts_the_time_it_was_up():
    """Found running for long, it is RUNNING at once, without a second start."""
    one = supervision()
    effects = feed(one, (100.0, Adopted(7, up_s=50.0)))
    assert one.state == RUNNING
    assert Spawn() not in effects
    assert one.started_at == 50.0


def test_words_of_an_exit():
    """Code, signal or neither, and how long it lived."""
    assert exit_text(Exited(1, code=3, up_s=2.04)) == "exit 3 after 2.0 s"
    assert exit_text(Exited(1, signal=9)) == "signal 9 after 0.0 s"
    assert exit_text(Exited(1)) == "exit code unknown after 0.0 s"


@pytest.mark.parametrize(
    "settings",
    [
        {"argv": ()},
        {"unit": "web.service"},
        {"run": "sometimes"},
        {"run": "active"},
        {"argv": (), "unit": "web.service", "run": "active", "group": "core"},
        {"backoff_min_s": 2.0, "backoff_max_s": 1.0},
        {"crash_exits": 0},
        {"grace_s": 0.0},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(settings):
    """A policy checks itself when built."""
    with pytest.raises(ValueError, match="service web"):
        ServicePolicy(**({"name": "web", "argv": ("web",)} | settings))
