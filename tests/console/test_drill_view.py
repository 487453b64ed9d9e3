"""Drills and maintenance as the console shows and sends them."""

from console.actions import DRILL, MAINTENANCE, command_line
from console.fleet import Fleet, LiveSeen
from console.present.groups import Groups, group_views
from console.present.plans import Ask, Choice, Plan, make_plan
from console.present.states import hub_state, outlook
from hubagent.wire.reports import DrillNotice, DrillSchedule, Proof
from tests.console.test_screens import press
from tests.fakes.console_link import group, live, small_fleet


def fleet_with(**changes):
    """The demo's fleet; what edge says of the group is changed."""
    fleet = Fleet(0.0)
    for report in small_fleet():
        fleet.apply(report, 100.0)
    fleet.apply(LiveSeen("c", live("edge", seq=9, groups=[group(**changes)])), 100.0)
    return fleet


def look(fleet):
    return outlook(fleet, 100.5, 1_800_000_000.0)


def words(row):
    return " ".join(span.text for span in row.cells)


def test_the_groups_view_shows_the_proof_and_the_trend():
    """As one member remembers it, also to a console that saw no record of it."""
    fleet = fleet_with(proven=Proof(1_800_000_000.0 - 12 * 86_400, 0.9), trend=[0.5, 0.7, 0.9])
    row = words(Groups().row(fleet, "core", look(fleet)))
    assert "last proven failover: 12d ago" in row
    assert "0.9" in row
    fleet = fleet_with()
    assert "never proven by a drill" in words(Groups().row(fleet, "core", look(fleet)))


def test_a_drill_under_way_is_the_first_thing_said_of_a_group():
    """Kind, hub and operator."""
    fleet = fleet_with(drill=DrillNotice("freeze", "ben", 2.2))
    (view,) = group_views(fleet, look(fleet))
    assert view.why == "DRILL freeze on edge by ben, strikes in 2 s"


def test_the_next_drill_is_said_in_the_row_of_a_calm_group_also_where_the_members_differ():
    """UTC said in words."""
    planned = DrillSchedule("sunday 03:30", "cut", "ana")
    fleet = fleet_with(schedule=planned)
    assert "drill schedules of the members differ" in words(Groups().row(fleet, "core", look(fleet)))
    fleet.apply(LiveSeen("c", live("central", seq=9, groups=[group("ACTIVE", schedule=planned)])), 100.0)
    assert words(Groups().row(fleet, "core", look(fleet))).endswith("; drill cut sunday 03:30 UTC")


def test_the_drill_key_asks_for_the_kind_and_tells_the_active_hub():
    """The group's name is typed; what is shown can be typed in a shell."""
    fleet = fleet_with()
    asked = make_plan(DRILL, Choice(group="core"), fleet, look(fleet))
    assert asked == Ask("kind", ("kill-agent", "freeze", "kill-server", "cut"))
    plan = make_plan(DRILL, Choice(group="core", to="freeze"), fleet, look(fleet))
    assert isinstance(plan, Plan)
    assert (plan.verb, plan.typed, plan.targets[0].hub) == ("drill", "core", "central")
    assert plan.targets[0].args == {"group": "core", "kind": "freeze"}
    assert plan.how == "hubdeck drill core --kind freeze"


def test_a_hub_in_maintenance_is_said_in_its_row_and_its_group():
    """Who, and what it means."""
    fleet = fleet_with()
    fleet.apply(LiveSeen("c", live("edge", seq=10, maintenance="ana", groups=[group()])), 100.0)
    state = hub_state(fleet.hub("edge"), look(fleet))
    assert (state.word, state.why) == ("MUTE", "in maintenance by ana: never active by itself")
    (view,) = group_views(fleet, look(fleet))
    assert "in maintenance: edge by ana" in view.why
    plan = make_plan(MAINTENANCE, Choice(group="edge"), fleet, look(fleet))
    assert plan.targets[0].args == {"on": False}
    assert command_line(MAINTENANCE, "edge", {"on": False}) == "hubdeck maintenance --hub edge --off"


async def test_x_asks_for_the_kind_then_the_name_and_ctrl_x_calls_it_off(make_app, link, clock):
    """Through the preflight like every change; the abort is a command of its own to the same hub."""
    link.role = "admin"
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await press(app, pilot)
        assert "which kind?" in await press(app, pilot, "6", "X")
        text = await press(app, pilot, "down", "enter")
        assert "DRILL freeze on central" in text
        clock.advance(0.5)
        text = await press(app, pilot, *"core", "enter")
        assert link.sent[0][:3] == ("central", "drill", {"group": "core", "kind": "freeze"})
        assert "ctrl+x calls the drill off" in text
        await press(app, pilot, "ctrl+x")
        assert link.sent[1][:3] == ("central", "abort", {"group": "core"})
