"""The machine of one change of release, and the rollback matrix on the model."""

import pytest

from hubagent.core.release_book import Book, Change, committed, last_good, version_order
from hubagent.core.rollout import ENDS, IDLE, MOVES, Rollout, RolloutPolicy
from hubagent.core.rollout_events import (
    Begin,
    Check,
    Did,
    Failed,
    Look,
    Observed,
    Resume,
    Save,
    Say,
    Start,
    Stop,
    Switch,
)

POLICY = RolloutPolicy(gate_s=20, bake_s=2, stop_s=10, switch_s=5, poll_s=0.5)
STEPS = ["pre-check", "stop", "switch", "start", "gate", "bake", "commit"]
BACK_STEPS = ["back-stop", "back-switch", "back-start", "back-gate", "back-commit"]
FAULTS = ["crash before", "crash after", "error", "timeout"]


class Killed(Exception):
    """The agent died here."""


class Model:
    """A service and its releases as the outside sees them; faults strike at (step, fault), each once."""

    def __init__(self, *faults, running="1.1"):
        self.faults = list(faults)
        self.current, self.running, self.restarts, self.pid = "1.1", running, 0, 1
        self.book, self.now, self.alarms, self.trace = Book(), 0.0, [], []
        self.double = False

    def change(self, new="1.0"):
        """Run a change to its end, over all crashes."""
        core, event = Rollout("web", POLICY, self.book), Begin(Change(self.current, new, self.running is not None))
        for _ in range(5):
            try:
                return self.drive(core, event)
            except Killed:
                if self.book.open is None:
                    return core
                core, event = Rollout("web", POLICY, self.book), Resume(self.book.open.restart)
        raise AssertionError("it never ends")

    def drive(self, core, event):
        """Feed events and deadlines until the core has ended."""
        effects = core.handle(event, self.now)
        while True:
            answer = None
            for effect in effects:
                answer = self.carry_out(core, effect) or answer
            if core.outcome is not None:
                return core
            if answer is None:
                self.now = core.deadline()
                effects = core.tick(self.now)
            else:
                effects = core.handle(answer, self.now)

    def carry_out(self, core, effect):
        """Do one effect, or what the fault makes of it."""
        if isinstance(effect, Say):
            self.alarms += [effect] if effect.kind == "alert_raised" else []
            return None
        self.trace.append((core.state, type(effect).__name__))
        fault = self.strike(core.state, effect)
        if fault == "crash before":
            raise Killed
        if fault == "error":
            return Failed(effect.ticket, "eio")
        if fault == "timeout":
            return None
        event = self.do(core, effect)
        if fault == "crash after":
            raise Killed
        if fault == "unhealthy":
            return Observed(effect.ticket, "RUNNING", False, self.pid, self.restarts)
        return event

    def strike(self, state, effect):
        """The fault that is due at this effect, if any: at the step itself, or at the writing of its intent."""
        commits = state in ("commit", "back-commit")
        where = f"save {state}" if isinstance(effect, Save) and not commits else state
        found = next((one for one in self.faults if one[0] == where), None)
        lasts = found and (found[1] == "unhealthy" or (found[1] == "timeout" and isinstance(effect, Look)))
        if found and not lasts:  # one look that is lost is made up for by the next
            self.faults.remove(found)
        return found and found[1]

    def do(self, core, effect):
        """The effect on the world."""
        if isinstance(effect, Save):
            self.book = effect.book
        elif isinstance(effect, Switch):
            self.current = effect.version
        elif isinstance(effect, Stop):
            self.running = None
        elif isinstance(effect, Start):
            self.pid += self.running is None
            self.running = self.running or self.current
        elif isinstance(effect, Look):
            state = "RUNNING" if self.running else "FATAL"
            return Observed(effect.ticket, state, True if self.running else None, self.pid, self.restarts)
        else:
            assert isinstance(effect, Check)
        return Did(effect.ticket)


def test_a_rollback_that_holds_goes_step_by_step_and_journals_each():
    """Intent, then step, and the commit is one write."""
    model = Model()
    core = model.change()
    assert (core.state, core.outcome.ok, model.running, model.current) == ("done", True, "1.0", "1.0")
    steps = [step for step in model.trace if step[1] != "Look"]
    assert steps == [
        ("pre-check", "Check"),
        ("stop", "Save"), ("stop", "Stop"),
        ("switch", "Save"), ("switch", "Switch"),
        ("start", "Save"), ("start", "Start"),
        ("gate", "Save"), ("bake", "Save"), ("commit", "Save"),
    ]  # fmt: skip
    assert model.book.open is None
    assert (model.book.good, model.book.history[-1].result) == (["1.0"], "done")
    assert model.now >= POLICY.bake_s


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", [*STEPS, *(f"save {step}" for step in STEPS[1:-1])])
def test_the_matrix_ends_in_the_old_or_the_new_release(step, fault):
    """One fault at any step: one release runs, the link names it, nothing is left open, and it is not half done."""
    model = Model((step, fault))
    core = model.change()
    assert model.running == model.current
    assert model.running in ("1.0", "1.1")
    assert model.book.open is None
    assert core.state in ENDS or model.book.open is None
    held = (step, fault) == ("commit", "crash after")
    assert (model.running == "1.0") == held
    assert bool(model.alarms) == (core.state in ("restored", "alarm"))
    print(f"{step:16} {fault:13} → {model.running} {core.state}")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", [*BACK_STEPS, *(f"save {step}" for step in BACK_STEPS[:-1])])
def test_a_second_fault_on_the_way_back_ends_in_old_or_new_or_with_an_alarm(step, fault):
    """The new release fails its gate, and then the way back is struck as well: never none without an alarm."""
    model = Model(("gate", "unhealthy"), (step, fault))
    core = model.change()
    assert model.running == model.current or core.state == "alarm"
    assert model.running is not None or [one for one in model.alarms if one.severity == "critical"]
    assert model.alarms or model.book.pinned  # the pin is an alert of its own, and durable
    assert model.book.open is None


def test_an_unhealthy_release_is_rolled_back_at_the_absolute_deadline_and_pinned():
    """Boots clean, service dead: the gate says so after gate_s, and the old one runs again."""
    model = Model(("gate", "unhealthy"))
    core = model.change()
    assert (core.state, core.outcome.ok, core.outcome.gate, model.running) == ("restored", False, "gate", "1.1")
    assert POLICY.gate_s <= model.now < POLICY.gate_s + 2
    assert "1.0 did not hold" in model.book.pinned
    assert [one.severity for one in model.alarms] == ["warning"]


def test_a_crash_while_baking_is_seen_even_when_it_runs_again():
    """Another pid or one restart more between two looks is a crash."""
    core = Rollout("web", POLICY, Book())
    _to(core, "bake")
    effects = core.handle(Observed(core._ticket, "RUNNING", True, 8, 0), 1.0)
    assert core.state == "back-stop"
    assert any(isinstance(effect, Save) for effect in effects)


@pytest.mark.parametrize("state", ["BACKOFF", "EXITED", "FATAL", "STOPPED"])
def test_a_service_that_falls_during_the_gate_fails_it_at_once(state):
    """Nobody waits 20 s for a release that has crashed."""
    core = Rollout("web", POLICY, Book())
    _to(core, "gate")
    core.handle(Observed(core._ticket, state, None, None, 0), 1.0)
    assert core.state == "back-stop"


def test_a_late_answer_of_a_step_given_up_is_ignored():
    """Tickets tell it from the answer that is waited for."""
    core = Rollout("web", POLICY, Book())
    _to(core, "stop")
    late = core._ticket
    assert core.tick(POLICY.stop_s) != []
    assert (core.state, core.handle(Did(late), 11.0)) == ("back-start", [])


def test_a_service_that_did_not_run_is_only_switched():
    """Nothing is started that the operator had stopped."""
    model = Model(running=None)
    core = model.change()
    assert (core.state, model.running, model.current) == ("done", None, "1.0")
    assert {kind for _, kind in model.trace} == {"Check", "Save", "Switch"}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", ["pre-check", "switch", "save switch", "commit"])
def test_the_matrix_of_a_stopped_service(step, fault):
    """It stays stopped, and the link names the old or the new release."""
    model = Model((step, fault), running=None)
    model.change()
    assert model.running is None
    assert model.current == ("1.0" if (step, fault) == ("commit", "crash after") else "1.1")
    assert model.book.open is None


def test_a_failed_rollback_does_not_go_round():
    """Each end is an end: no state that follows the way back leads forward again."""
    back = {state for state in MOVES if state.startswith("back-")}
    reachable = set().union(*(MOVES[state] for state in back))
    assert reachable <= back | {"restored", "alarm"}
    assert all(MOVES[state] == frozenset() for state in ENDS)


def test_every_state_is_reachable_and_every_refused_move_asserts():
    """The table is the diagram."""
    assert set().union(*MOVES.values()) | {IDLE} == set(MOVES)
    core = Rollout("web", POLICY, Book())
    for state in set(MOVES) - MOVES[IDLE]:
        with pytest.raises(AssertionError):
            core._become(state, 0.0)


@pytest.mark.parametrize("bad", [{"gate_s": 0.01}, {"bake_s": -1}, {"poll_s": 0}, {"stop_s": 0}, {"switch_s": 0}])
def test_a_policy_checks_itself(bad):
    """A gate shorter than one look proves nothing."""
    with pytest.raises(AssertionError):
        RolloutPolicy(**bad)


def _to(core, state):
    """Walk a core forward to a state, everything going well."""
    effects = core.handle(Begin(Change("1.1", "1.0")), 0.0)
    while core.state != state or core._is_saving:
        answer = Observed(core._ticket, "RUNNING", True, 7, 0) if isinstance(effects[-1], Look) else Did(core._ticket)
        effects = core.handle(answer, 0.0)


@pytest.mark.parametrize(
    ("good", "current", "installed", "expected"),
    [
        (["1.0", "1.1"], "1.1", ["1.0", "1.1"], "1.0"),
        ([], "1.1", ["1.0", "1.1", "1.2"], "1.0"),
        ([], "1.10", ["1.2", "1.9", "1.10"], "1.9"),
        (["1.0"], "1.0", ["1.0", "1.1"], ""),
        (["0.9", "1.0"], "1.1", ["1.0", "0.9", "1.1"], "1.0"),
        (["1.0"], "1.1", ["1.1"], ""),
        ([], "", ["1.0"], ""),
    ],
)
def test_a_rollback_goes_to_the_newest_proven_release_or_else_to_an_older_one(good, current, installed, expected):
    """Never to the current one, never to what is not installed, never by itself to a newer one."""
    assert last_good(Book(good=good), current, installed) == expected


def test_what_was_rolled_away_from_is_good_no_more_until_it_is_chosen_again():
    """A second rollback does not bounce back to the release that was bad."""
    book = committed(Book(good=["1.0", "1.1"]), Change("1.1", "1.0"))
    assert (book.good, last_good(book, "1.0", ["1.0", "1.1"])) == (["1.0"], "")
    assert committed(book, Change("1.0", "1.1")).good == ["1.0", "1.1"]


def test_versions_are_ordered_as_people_read_them():
    """Numbers by value."""
    assert sorted(["1.10", "1.9", "2.0", "1.9.1"], key=version_order) == ["1.9", "1.9.1", "1.10", "2.0"]
