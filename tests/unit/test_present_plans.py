"""From a key to a plan: what is sent to whom, what must be typed, and when it may not be sent."""

import pytest

from console.actions import FAILOVER, MAINTENANCE, RESTART, ROLLBACK
from console.fleet import DetailSeen, Fleet, LiveSeen, ServerChanged
from console.present.groups import group_views
from console.present.plans import Ask, Choice, Plan, faults, make_plan
from console.present.states import outlook
from console.present.views import Subject
from hubagent.wire.reports import Service
from tests.fakes.console_link import detail, group, live, small_fleet


@pytest.fixture
def fleet():
    one = Fleet(0.0)
    for report in small_fleet():
        one.apply(report, 100.0)
    return one


def plan(fleet, action, *subjects, now=100.5, **choice):
    return make_plan(action, Choice(subjects=subjects, **choice), fleet, outlook(fleet, now, 1e9))


def test_one_service_needs_no_typed_name(fleet):
    """R then y."""
    made = plan(fleet, RESTART, Subject("alpha", "web"))
    assert isinstance(made, Plan)
    assert (made.verb, made.typed) == ("restart", "")
    assert [(one.hub, one.args) for one in made.targets] == [("alpha", {"service": "web"})]


def test_several_hubs_need_their_count_typed(fleet):
    """A slip of the finger on forty hubs must not be one key."""
    made = plan(fleet, RESTART, Subject("alpha", "web"), Subject("beta", "web"))
    assert made.typed == "2"
    assert "stopping at the first failure" in made.effect


def test_a_hub_without_a_named_service_asks_which(fleet):
    """Its services are offered once its detail is known."""
    fleet.apply(DetailSeen("c", detail("alpha")), 100.0)
    assert plan(fleet, ROLLBACK, Subject("alpha")) == Ask("service", ("web",), ("alpha",))


def test_the_last_healthy_instance_needs_its_name_typed(fleet):
    """As far as this console knows: the other instance is down."""
    fleet.apply(DetailSeen("c", detail("alpha")), 100.0)
    fleet.apply(DetailSeen("c", detail("beta", services=[Service("web", "FATAL")])), 100.0)
    made = plan(fleet, RESTART, Subject("alpha", "web"))
    assert made.typed == "web"
    assert "last healthy" in made.warnings[0]


def test_a_failover_is_told_to_the_active_hub_and_goes_where_the_cursor_is(fleet):
    """Planned: the holder hands over; the group's name is typed."""
    made = plan(fleet, FAILOVER, Subject("edge"))
    (target,) = made.targets
    assert (made.verb, made.typed, target.hub) == ("failover", "core", "central")
    assert target.args == {"group": "core", "to": "edge"}


def test_a_failover_with_a_silent_holder_is_forced_and_says_what_is_unknown(fleet):
    """Told to the hub that shall become active."""
    fleet.apply(LiveSeen("c", live("edge", seq=9, groups=[group()])), 130.0)
    made = plan(fleet, FAILOVER, Subject("edge"), now=130.5)
    assert (made.verb, made.targets[0].hub, made.targets[0].args) == ("promote", "edge", {"group": "core"})
    assert "cannot know whether it is dead" in made.warnings[0]


@pytest.mark.parametrize(("heard", "missing"), [("edge", "active hub"), ("central", "standby")])
def test_a_console_that_has_just_connected_asks_for_patience_and_forces_nothing(heard, missing):
    """Who was not heard in its first seconds is no dead hub yet."""
    fleet = Fleet(99.0)
    for report in small_fleet():
        if not isinstance(report, LiveSeen) or report.live.hub == heard:
            fleet.apply(report, 100.0)
    assert f"no {missing} of core is heard yet" in plan(fleet, FAILOVER, Subject(heard))


@pytest.mark.parametrize(("now", "who", "role"), [(100.5, "?", "not heard yet"), (107.0, "nobody", "NO ACTIVE HUB")])
def test_no_active_hub_is_said_only_after_the_first_seconds(now, who, role):
    """A red word of a fleet that is well would be the first thing seen."""
    fleet = Fleet(99.0)
    fleet.apply(ServerChanged("central", "up", rtt_s=0.001), 100.0)
    fleet.apply(LiveSeen("central", live("edge", groups=[group()])), 100.0)
    (view,) = group_views(fleet, outlook(fleet, now, 1e9))
    assert (view.who, view.role) == (who, role)


def test_a_failover_to_a_stranger_or_to_itself_is_refused_in_words(fleet):
    """No command leaves for these."""
    assert "active already" in plan(fleet, FAILOVER, group="core", to="central")
    assert "no group" in plan(fleet, FAILOVER, group="nope")


def test_maintenance_switches_to_what_it_is_not(fleet):
    """Sent to the holder, who alone changes the record."""
    assert plan(fleet, MAINTENANCE, group="core").targets[0].args == {"group": "core", "on": True}


def test_a_plan_may_not_be_sent_on_old_data_without_a_link_or_to_another_boot(fleet):
    """Rechecked while shown and again when sent."""
    made = plan(fleet, RESTART, Subject("alpha", "web"))

    def fault(now):
        return faults(made, fleet, outlook(fleet, now, 1e9))

    assert fault(101.0) == ""
    assert "9s old" in fault(109.0)
    fleet.apply(LiveSeen("c", live("alpha", boot="b2")), 110.0)
    assert "restarted" in fault(110.5)
    for server in ("central", "edge"):
        fleet.apply(ServerChanged(server, "down", "x"), 111.0)
    assert "no hub server" in fault(111.0)
