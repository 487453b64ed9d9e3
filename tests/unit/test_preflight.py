"""The gates of each action, in an operator's words."""

import dataclasses

import pytest

from hubagent.core import preflight
from hubagent.core.preflight import GroupFacts, ReleaseFacts
from hubagent.wire.reports import GroupState, Service

WEB = Service("web", "RUNNING", healthy=True)
SCHEDULER = Service("scheduler", "RUNNING", run="active", group="core", healthy=True)
ACTIVE = GroupState("core", "ACTIVE", 7, holder="central")
STANDBY = GroupState("core", "STANDBY", 7, holder="edge")
CALM = GroupFacts(
    "core", "central", ("central", "edge"), ACTIVE, peer_age_s=0.4, handed_over=True, skew_s=0.01, held_s=3600.0,
    last_drill_s=86_400.0,
)  # fmt: skip


def failed(gates):
    """The names of what failed; each has words."""
    assert len({gate.name for gate in gates}) == len(gates)
    for gate in gates:
        assert gate.value
        assert bool(gate.why) == (not gate.passed)
    return [gate.name for gate in gates if not gate.passed]


def test_a_restart_of_a_running_service_passes():
    """Nothing stands against it."""
    assert failed(preflight.restart("web", WEB)) == []


@pytest.mark.parametrize("build", [preflight.restart, preflight.start, preflight.stop])
def test_a_service_that_is_not_here_is_refused(build):
    """By name."""
    assert failed(build("api", None)) == ["service-known"]


def test_an_active_service_is_touched_on_the_active_hub_only():
    """The standby refuses and says where it runs."""
    assert failed(preflight.restart("scheduler", SCHEDULER, [ACTIVE])) == []
    gates = preflight.restart("scheduler", SCHEDULER, [STANDBY])
    assert failed(gates) == ["lease-held"]
    assert gates[-1].why == "scheduler runs only on the active hub of core; here the role is STANDBY"
    assert failed(preflight.restart("scheduler", SCHEDULER, [])) == ["lease-held"]


def test_the_last_healthy_instance_is_a_gate_only_where_it_is_known():
    """None is not zero: what this hub cannot know it does not claim."""
    assert "last-healthy-instance" not in [gate.name for gate in preflight.restart("web", WEB)]
    assert failed(preflight.restart("web", WEB, (), 0)) == ["last-healthy-instance"]
    assert failed(preflight.restart("web", WEB, (), 2)) == []


@pytest.mark.parametrize(
    ("state", "start", "stop"),
    [
        ("RUNNING", ["not-running"], []),
        ("STARTING", ["not-running"], []),
        ("BACKOFF", [], []),
        ("FATAL", [], []),
        ("STOPPED", [], ["running"]),
        ("EXITED", [], ["running"]),
    ],
)
def test_start_and_stop_look_at_the_state(state, start, stop):
    """What is so already is refused in words."""
    service = Service("web", state)
    assert (failed(preflight.start("web", service)), failed(preflight.stop("web", service))) == (start, stop)


@pytest.mark.parametrize(
    ("facts", "named", "expected"),
    [
        (ReleaseFacts("1.1", "1.0", ["1.0", "1.1"]), False, []),
        (None, False, ["release-present"]),
        (ReleaseFacts("1.0", "", ["1.0"]), False, ["release-present"]),
        (ReleaseFacts("1.1", "0.9", ["1.0", "1.1"]), True, ["release-present"]),
        (ReleaseFacts("1.1", "1.1", ["1.0", "1.1"]), True, ["release-differs"]),
        (ReleaseFacts("1.1", "1.0", ["1.0", "1.1"], "1.0 did not hold"), False, ["not-pinned"]),
        (ReleaseFacts("1.1", "1.0", ["1.0", "1.1"], "1.0 did not hold"), True, []),
    ],
)
def test_a_rollback_needs_a_release_to_go_to(facts, named, expected):
    """Installed, another one, and not pinned unless a person names it."""
    assert failed(preflight.rollback("web", WEB, facts, named=named)) == expected


@pytest.mark.parametrize(
    ("changes", "to", "expected"),
    [
        ({}, "edge", []),
        ({}, "", []),
        ({}, "gamma", ["target-is-member"]),
        ({}, "central", ["target-is-member"]),
        ({"state": STANDBY}, "edge", ["lease-held"]),
        ({"state": None}, "edge", ["group-known"]),
        ({"members": ("edge",)}, "edge", ["group-known"]),
        ({"peer_age_s": None}, "edge", ["peer-fresh"]),
        ({"peer_age_s": 9.0}, "edge", ["peer-fresh"]),
        ({"handed_over": False, "owed_chunks": 12}, "edge", ["spool-handed-over"]),
        ({"handed_over": None}, "edge", []),
        ({"disk_full_s": 60.0}, "edge", ["disk-forecast"]),
        ({"skew_s": -9.0}, "edge", ["clocks-sane"]),
        ({"held_s": 5.0}, "edge", ["minimum-hold"]),
        ({"changes": 3}, "edge", ["few-changes"]),
        ({"state": GroupState("core", "ACTIVE", 7, maintenance=True)}, "edge", ["no-maintenance"]),
    ],
)
def test_a_switchover_has_a_gate_for_each_thing_that_could_go_wrong(changes, to, expected):
    """One condition each, and it is named."""
    assert failed(preflight.failover(dataclasses.replace(CALM, **changes), to)) == expected


def test_a_standby_says_whom_to_ask():
    """The refusal names the active hub."""
    gates = preflight.failover(dataclasses.replace(CALM, state=STANDBY), "edge")
    assert next(gate.why for gate in gates if not gate.passed) == "central is STANDBY; ask the active hub, edge"


def test_active_by_promise_is_active():
    """The witness may be away."""
    state = GroupState("core", "ACTIVE by promise", 7)
    assert failed(preflight.failover(dataclasses.replace(CALM, state=state), "edge")) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": STANDBY, "peer_age_s": None}, []),
        ({"state": STANDBY, "peer_age_s": 30.0}, []),
        ({"state": STANDBY}, ["holder-silent"]),
        ({"state": ACTIVE, "peer_age_s": None}, ["not-active-yet"]),
        ({"state": None}, ["group-known"]),
    ],
)
def test_a_promotion_is_for_when_the_holder_is_silent(changes, expected):
    """Where it is heard, a switchover loses nothing."""
    assert failed(preflight.promote(dataclasses.replace(CALM, **changes))) == expected


def test_arming_needs_a_passed_drill_and_disarming_does_not():
    """Shadow and off are always safe to choose."""
    fresh = dataclasses.replace(CALM, last_drill_s=None)
    assert failed(preflight.arm(fresh, "armed")) == ["drill-passed"]
    assert failed(preflight.arm(dataclasses.replace(CALM, last_drill_s=90 * 86_400.0), "armed")) == ["drill-passed"]
    assert failed(preflight.arm(fresh, "shadow")) == []
    assert failed(preflight.arm(CALM, "armed")) == []
    assert failed(preflight.arm(CALM, "maybe")) == ["auto-known"]


@pytest.mark.parametrize("build", [preflight.maintenance, preflight.demote])
def test_what_only_the_holder_may_change_is_refused_elsewhere(build):
    """The lease is a gate."""
    assert failed(build(CALM)) == []
    assert failed(build(dataclasses.replace(CALM, state=STANDBY))) == ["lease-held"]
    assert failed(build(dataclasses.replace(CALM, state=None))) == ["group-known"]


def test_a_forced_gate_does_not_refuse_but_some_are_never_forced():
    """Force is by name, and not for what there is nothing behind."""
    gates = [preflight.gate("peer-fresh", False, "old", "new", "old"), preflight.no_other_action("restart web by ana")]
    assert preflight.refusal(gates).name == "peer-fresh"
    assert preflight.refusal(gates, frozenset({"peer-fresh", "no-other-action"})).name == "no-other-action"
    assert preflight.refusal(gates[:1], frozenset({"peer-fresh"})) is None
