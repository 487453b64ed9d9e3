"""The confirmation and what follows it: no wished-for state, no accident."""

from concurrent.futures import Future

import pytest

from console.actions import FAILOVER, RESTART
from console.dispatch import RESULT_SECONDS, Dispatch
from console.errors import NotAnswering, OutcomeUnknown
from console.fleet import Fleet, LiveSeen
from console.lock import Lock
from console.preflight import CANCEL, ON_CANCEL, ON_SEND, SEND, STAY, Preflight
from console.present.plans import Plan, Target
from hubagent.wire.commands import Gate, Reply
from hubagent.wire.reports import Result
from tests.fakes.console_link import live

GREEN = [Gate("a", True, "ok")]
RED = [Gate("a", True, "ok"), Gate("last-instance", False, "0")]


def preflight(action=RESTART, typed="", gates=GREEN, **more):
    plan = Plan(action, action.verb, (Target("alpha", {"service": "web"}, "web@alpha"),), "effect", typed)
    one = Preflight(plan, opened_at=10.0, **more)
    if gates is not None:
        one.gates("alpha", gates)
    return one


def press(one, *keys, now=11.0):
    return [one.press(key, now) for key in keys][-1]


def test_it_opens_on_cancel_and_enter_cancels():
    """A reflex does no harm."""
    one = preflight()
    assert one.focus == ON_CANCEL
    assert press(one, "enter") == CANCEL


def test_keys_within_the_first_300_ms_are_dropped():
    """They were meant for the screen before; only leaving, which is safe, is heard at once."""
    one = preflight()
    assert press(one, "y", "enter", now=10.29) == STAY
    assert press(one, "escape", now=10.29) == CANCEL
    assert press(one, "y", now=10.31) == SEND


def test_a_failover_is_sent_only_when_its_name_was_typed():
    """`y` is a letter like any other here; a complete name moves the focus."""
    one = preflight(FAILOVER, typed="core")
    assert press(one, "y", "enter") == STAY
    assert press(one, "backspace", *"core") == STAY
    assert one.focus == ON_SEND
    assert press(one, "enter") == SEND


@pytest.mark.parametrize("gates", [None, RED])
def test_nothing_is_sent_before_every_gate_is_green(gates):
    """Asked and not answered is not green."""
    one = preflight(gates=gates)
    assert press(one, "y") == STAY
    assert one.off


def test_a_button_that_goes_off_loses_the_focus():
    """Data that goes old stops the finger."""
    one = preflight()
    press(one, "tab")
    assert one.focus == ON_SEND
    one.tick("the data of alpha is 9s old")
    assert one.focus == ON_CANCEL
    assert press(one, "y") == STAY


def test_forcing_needs_the_role_a_reason_and_the_gates_name():
    """And names exactly the gates that failed."""
    assert press(preflight(gates=RED), "f", "y") == STAY
    one = preflight(gates=RED, may_force=True)
    press(one, "f")
    assert press(one, "enter", *"disk", "space", *"full", "enter") == STAY
    assert press(one, *"last-instance", "enter") == SEND
    assert one.args({"service": "web"}) == {"service": "web", "force": ["last-instance"]}
    assert one.reason == "disk full"


class Sending:
    """What a link would return, by hand."""

    def __init__(self, hubs=("alpha",)):
        targets = tuple(Target(hub, {}, f"web@{hub}") for hub in hubs)
        self.futures = {}
        self.fleet = Fleet(0.0)
        self.fault = ""
        self.dispatch = Dispatch(Plan(RESTART, "restart", targets, ""), self.send, lambda *_: self.fault)

    def send(self, target):
        """Remembers the future."""
        self.futures[target.hub] = Future()
        return self.futures[target.hub]

    def accept(self, hub="alpha", cmd_id="c1", state="accepted", **more):
        """The hub replies."""
        self.futures[hub].set_result(Reply(cmd_id, state, **more))

    def result(self, state, hub="alpha", cmd_id="c1", seq=1):
        """The hub says what became of it."""
        self.fleet.apply(LiveSeen("c", live(hub, seq, results=[Result(cmd_id, state, why="because")])), 1.0)

    def states(self, now):
        """One look, and the state of every row."""
        self.dispatch.tick(self.fleet, now)
        return [row.state for row in self.dispatch.rows]


def test_done_is_said_only_by_the_hub():
    """Sending, under way, and then what the hub reports."""
    one = Sending()
    assert one.states(1.0) == ["sending"]
    one.accept()
    assert one.states(2.0) == ["under way"]
    one.result("done")
    assert one.states(3.0) == ["done"]


def test_a_refusal_names_its_gate():
    """So that a person knows what to do."""
    one = Sending()
    one.states(1.0)
    one.accept(state="refused", gate="last-instance", why="nobody else")
    assert one.states(2.0) == ["failed"]
    assert one.dispatch.rows[0].why == "refused, gate last-instance: nobody else"


@pytest.mark.parametrize(
    ("error", "state"), [(NotAnswering("alpha"), "failed"), (OutcomeUnknown("restart", "c1", 5.0), "unknown")]
)
def test_no_answer_is_failed_only_where_nothing_was_sent(error, state):
    """Otherwise it is unknown, and a late word still counts."""
    one = Sending()
    one.states(1.0)
    one.futures["alpha"].set_exception(error)
    assert one.states(2.0) == [state]
    one.result("done")
    assert one.states(3.0) == ["done" if state == "unknown" else "failed"]


def test_an_accepted_command_without_a_word_becomes_unknown():
    """Never done, never failed."""
    one = Sending()
    one.states(1.0)
    one.accept()
    one.states(2.0)
    assert one.states(2.0 + RESULT_SECONDS) == ["unknown"]


def test_hubs_go_one_after_the_other_and_the_first_failure_stops_the_rest():
    """A bad restart must not reach every hub."""
    one = Sending(("alpha", "beta", "gamma"))
    assert one.states(1.0) == ["sending", "waiting", "waiting"]
    one.accept("alpha", "c1")
    one.result("done")
    assert one.states(2.0) == ["done", "sending", "waiting"]
    one.accept("beta", "c2", state="refused", gate="x", why="y")
    assert one.states(3.0) == ["done", "failed", "not sent"]


def test_a_target_that_is_no_longer_right_is_not_sent():
    """Looked at again immediately before it leaves."""
    one = Sending()
    one.fault = "the agent of alpha restarted since this opened"
    assert one.states(1.0) == ["not sent"]
    assert not one.futures


def test_the_console_unlocks_when_a_hub_noted_it_and_locks_itself():
    """Audited first; a refusal says why."""
    lock, asked = Lock(), Future()
    lock.ask(asked, 900.0)
    assert not lock.tick(10.0)
    asked.set_result(Reply("c", "accepted"))
    assert lock.tick(11.0)
    assert (lock.is_unlocked, lock.until) == (True, 911.0)
    assert not lock.tick(910.0)
    assert lock.tick(911.0)
    assert not lock.is_unlocked
