"""Every state of a hub, and what is everybody's trouble rather than one hub's."""

import pytest

from console.fleet import Fleet, LiveSeen, ServerChanged
from console.present.causes import causes
from console.present.filters import Filter
from console.present.hosts import FOLD, Fleetwide, hub_row, totals
from console.present.states import RANK, hub_state, outlook
from console.present.views import Order
from hubagent.wire.reports import DiskUse, Result
from tests.fakes.console_link import group, lane, live

UP = (ServerChanged("central", "up"), ServerChanged("edge", "up"))


def fleet_of(*lives, servers=UP, now=100.0):
    fleet = Fleet(0.0)
    for report in servers:
        fleet.apply(report, 0.0)
    for one in lives:
        fleet.apply(LiveSeen("central", one), now)
    return fleet


def state_of(one, *, now=100.0, servers=UP):
    fleet = fleet_of(one, servers=servers)
    return hub_state(fleet.hub(one.hub), outlook(fleet, now, 1e9))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "OK"),
        ({"severity": "critical", "why": "disk full"}, "CRIT"),
        ({"severity": "warning", "why": "web BACKOFF"}, "WARN"),
        ({"severity": "doomed"}, "UNKN"),
        ({"lanes": [lane("edge", state="BUFFERING")]}, "BUFF"),
        ({"lanes": [lane("edge", state="SHEDDING")]}, "CRIT"),
        ({"lanes": [lane("edge", state="FENCED")]}, "CRIT"),
        ({"lanes": [lane("edge", state="DRAINING", chunks=9)]}, "OK"),
        ({"results": [Result("c", "accepted")]}, "BUSY"),
        ({"groups": [group(maintenance=True)]}, "MUTE"),
    ],
)
def test_a_hub_has_the_worst_state_that_is_true(changes, word):
    """One word for each hub."""
    assert state_of(live("a", **changes)).word == word


@pytest.mark.parametrize(("after", "word"), [(2.0, "OK"), (4.0, "OLD"), (16.0, "LOST")])
def test_green_that_is_old_is_not_green(after, word):
    """Stale green is the worst lie."""
    assert state_of(live("a"), now=100.0 + after).word == word


def test_a_slow_link_that_says_so_is_not_old():
    """Age is judged by the interval that the hub announced."""
    assert state_of(live("a", interval_s=5.0), now=110.0).word == "OK"


def test_without_any_server_nobody_is_called_lost():
    """The console cannot know; the data is old, and the line above says why."""
    down = (ServerChanged("central", "down", "gone"), ServerChanged("edge", "down", "gone"))
    assert state_of(live("a"), now=160.0, servers=down).word == "OLD"
    fleet = fleet_of(live("a"), servers=down)
    (cause,) = causes(fleet, outlook(fleet, 160.0, 1e9))
    assert "no hub server reachable" in cause.text


def test_a_dead_server_is_one_line_and_no_hub_turns_buff_for_it():
    """With dual delivery a dead server makes every hub buffer: the server is the trouble."""
    stuck = [lane("central"), lane("edge", state="BUFFERING", loss_s=11_000.0)]
    lives = [live(f"h{i}", lanes=stuck, severity="warning", why="buffering for edge") for i in range(20)]
    fleet = fleet_of(*lives, servers=(UP[0], ServerChanged("edge", "down", "timeout")))
    look = outlook(fleet, 100.5, 1e9)
    assert look.shared == {"edge"}
    assert totals(fleet, look)["OK"] == 20
    assert causes(fleet, look) == []


def test_a_hub_turns_buff_when_its_loss_is_less_than_an_hour_away():
    """Then it is its own trouble, whoever the cause is."""
    stuck = [lane("edge", state="BUFFERING", loss_s=1800.0)]
    assert state_of(live("a", lanes=stuck), servers=(UP[0], ServerChanged("edge", "down", "x"))).word == "BUFF"


def test_hubs_with_one_trouble_are_one_line_whatever_their_figures():
    """`full in 7 min` and `full in 9 min` are one cause."""
    lives = [live(f"h{i}", severity="critical", why=f"disk full in {i} min") for i in range(3)]
    fleet = fleet_of(*lives, live("ok"))
    (cause,) = causes(fleet, outlook(fleet, 101.0, 1e9))
    assert (cause.word, len(cause.hubs)) == ("CRIT", 3)


def test_totals_sum_to_the_fleet():
    """No hub is counted twice or not at all."""
    lives = [live(f"h{i}", severity=("ok", "warning", "critical", "odd")[i % 4]) for i in range(13)]
    fleet = fleet_of(*lives)
    assert sum(totals(fleet, outlook(fleet, 101.0, 1e9)).values()) == 13


def test_rows_come_worst_first_and_the_healthy_fold_into_a_count():
    """The eye finds trouble at the top."""
    fleet = fleet_of(
        live("a"), live("b", severity="warning", why="x"), live("c", severity="critical", why="y"), live("d")
    )
    look, view = outlook(fleet, 101.0, 1e9), Fleetwide()
    assert view.keys(fleet, look, Order("state")) == ["c", "b", "a", "d"]
    assert view.keys(fleet, look, Order("state", is_folded=True)) == ["c", "b", FOLD]
    assert view.row(fleet, FOLD, look).cells[1].text == "2"


@pytest.mark.parametrize(
    ("text", "kept"),
    [("b", ["b"]), ("!b", ["a"]), ("site=x", ["a"]), ("!site=x", ["b"]), ("state=warn", ["b"]), ("a site=y", [])],
)
def test_a_filter_takes_text_inverse_and_labels(text, kept):
    """All terms must hold."""
    fleet = fleet_of(live("a"), live("b", severity="warning", why="w"))
    fleet.hubs["a"].labels = {"site": "x"}
    view = Fleetwide()
    assert view.keys(fleet, outlook(fleet, 101.0, 1e9), Order("hub", filter=Filter(text))) == kept


def test_a_full_disk_forecast_and_missing_figures_are_shown_as_they_are():
    """A missing sensor is a dash, never a zero."""
    fleet = fleet_of(live("a", cpu=None, mem=None, disk=DiskUse("/var", 0.97, 420.0)))
    cells = [cell.text for cell in Fleetwide().row(fleet, "a", outlook(fleet, 101.0, 1e9)).cells]
    assert cells[3:6] == ["-", "-", "97"]
    assert "/var full in 7m" in cells[8]


def test_the_rank_of_states_is_worst_first():
    """LOST stands above WARN: nobody knows how bad it is."""
    assert sorted(RANK, key=RANK.__getitem__)[:2] == ["CRIT", "LOST"]


@pytest.mark.parametrize(("after", "role"), [(1.0, "ACTIVE"), (4.0, "active?"), (30.0, "active?")])
def test_a_silent_hub_is_not_called_active(after, role):
    """Another may have taken over: two ACTIVE in one view would be the worst lie."""
    one = fleet_of(live("a", groups=[group("ACTIVE")])).hub("a")
    fleet = fleet_of(live("b", groups=[group("ACTIVE")]), now=100.0 + after)
    row = hub_row(fleet, one, outlook(fleet, 100.0 + after, 1e9))
    assert row.cells[2].text == role


@pytest.mark.parametrize(
    ("others", "role"),
    [
        ([group("ACTIVE", epoch=8)], "active?"),
        ([group("STANDBY", epoch=8)], "ACTIVE"),
        ([group("ACTIVE", epoch=7)], "ACTIVE"),
        ([group("ACTIVE", "other", epoch=8)], "ACTIVE"),
    ],
)
def test_a_hub_that_another_has_followed_is_not_called_active_for_one_second_more(others, role):
    """Its last word is older than the higher epoch that was heard since, however fresh it still looks."""
    fleet = fleet_of(live("a", groups=[group("ACTIVE")]), live("b", groups=others))
    assert hub_row(fleet, fleet.hub("a"), outlook(fleet, 100.5, 1e9)).cells[2].text == role


def test_a_hub_that_is_followed_in_one_of_its_groups_is_active_in_the_other():
    """The weightiest role that is still true."""
    both = [group("ACTIVE"), group("ACTIVE", "other")]
    fleet = fleet_of(live("a", groups=both), live("b", groups=[group("ACTIVE", epoch=8)]))
    assert hub_row(fleet, fleet.hub("a"), outlook(fleet, 100.5, 1e9)).cells[2].text == "ACTIVE"
