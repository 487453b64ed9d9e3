"""The guard gates of a drill, and what makes the member that would take over not ready."""

import dataclasses

import pytest

from hubagent.core import preflight
from hubagent.core.preflight import GroupFacts, PeerFacts
from hubagent.loops.drills import _peer_fault
from hubagent.wire.reports import GroupState, Lane, Live

ACTIVE = GroupState("core", "ACTIVE", 7, holder="central", auto="armed", witness="ok")
CALM = GroupFacts("core", "central", ("central", "edge"), ACTIVE, peer_age_s=0.4, handed_over=True, held_s=3600.0)
READY = PeerFacts("STANDBY", "")


def failed(facts=CALM, peer=READY, impossible="", busy=""):
    return [one.name for one in preflight.drill(facts, peer, impossible, busy) if not one.passed]


def test_a_calm_armed_group_may_be_drilled():
    """Nothing stands against it."""
    assert failed() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"auto": "shadow"}, "armed"),
        ({"auto": "off"}, "armed"),
        ({"witness": "unreachable"}, "witness-ok"),
        ({"witness": ""}, "witness-ok"),
        ({"not_fenced": ["edge"]}, "all-fenced"),
        ({"maintenance": True}, "no-maintenance"),
        ({"role": "STANDBY"}, "lease-held"),
    ],
)
def test_the_state_of_the_group_stands_against_it(changes, expected):
    """One gate each."""
    state = GroupState(**{name: getattr(ACTIVE, name) for name in ACTIVE.__struct_fields__} | changes)
    assert failed(dataclasses.replace(CALM, state=state)) == [expected]


def test_everything_else_that_stands_against_it():
    """By name."""
    assert failed(peer=PeerFacts()) == ["peer-ready"]
    assert failed(impossible="no rights") == ["drill-possible"]
    assert failed(busy="freeze by ana") == ["no-drill"]
    assert failed(dataclasses.replace(CALM, is_drained=False)) == ["drained"]
    assert failed(dataclasses.replace(CALM, held_s=3.0)) == ["minimum-hold"]
    assert failed(dataclasses.replace(CALM, changes=3)) == ["few-changes"]
    assert failed(dataclasses.replace(CALM, members=("edge",))) == ["group-known"]


def live(state="LIVE", **group):
    lanes = [Lane("central", "evt", state, 0, 0)]
    said = GroupState("core", "STANDBY", 7, auto="armed", **group)
    return Live(v=1, hub="edge", boot="b", seq=1, t=0.0, version="1", roster_v=1, severity="ok", lanes=lanes,
                groups=[said])  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "role", "age_s", "words"),
    [
        (live(), "STANDBY", 0.5, ""),
        (live(), "STANDBY", 9.0, "last heard"),
        (live(), "NO AUTHORITY", 0.5, "is NO AUTHORITY"),
        (live(why="automatic failover off: this hub is in maintenance"), "STANDBY", 0.5, "in maintenance"),
        (live("DRAINING"), "STANDBY", 0.5, "still owes records to central"),
    ],
)
def test_a_member_that_could_not_take_over_is_not_ready(seen, role, age_s, words):
    """In words; empty where it is."""
    fault = _peer_fault("edge", seen, role, age_s, CALM)
    assert words in fault
    assert bool(words) == bool(fault)
