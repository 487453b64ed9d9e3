"""The console's model: reports in, one truth out, every collection bounded."""

from console.fleet import (
    EVENTS_MAX,
    HUBS_MAX,
    LOG_LINES_MAX,
    DetailSeen,
    Fleet,
    LiveSeen,
    LogSeen,
    RecordsSeen,
    RosterSeen,
    ServerChanged,
)
from hubagent.wire.chunk import Record
from hubagent.wire.reports import LogLines, Result
from hubagent.wire.roster import Hub as RosterHub
from hubagent.wire.roster import Roster
from tests.fakes.console_link import detail, live


def record(kind="note", mono=1.0, t=100.0, **more):
    return Record(**{"t": t, "mono": mono, "boot": "b1", "kind": kind, "severity": "ok", "text": "x", **more})


def fleet_of(*reports, now=10.0):
    fleet = Fleet(0.0)
    for report in reports:
        fleet.apply(report, now)
    return fleet


def test_the_second_servers_copy_changes_nothing():
    """The same summary over the other server neither counts nor makes the hub look fresher."""
    fleet = fleet_of(LiveSeen("central", live("a", seq=5)))
    assert fleet.apply(LiveSeen("edge", live("a", seq=5)), 99.0) == set()
    assert fleet.hub("a").seen_at == 10.0
    assert list(fleet.hub("a").cpu) == [0.12]


def test_a_restarted_agent_is_heard_although_its_numbers_begin_again():
    """Sequence numbers belong to a boot."""
    fleet = fleet_of(LiveSeen("central", live("a", seq=500)))
    assert fleet.apply(LiveSeen("central", live("a", seq=1, boot="b2")), 11.0) == {"a"}


def test_age_counts_from_receipt_and_is_none_for_a_hub_never_heard():
    """The hub's own clock plays no part."""
    fleet = fleet_of(LiveSeen("central", live("a", t=1.0)))
    assert fleet.hub("a").age(12.5) == 2.5
    assert fleet.hub("nobody").age(12.5) is None


def test_an_outage_lasts_from_the_loss_through_every_attempt_to_connect():
    """Connecting again does not reset `down since`."""
    fleet = fleet_of(ServerChanged("edge", "up"))
    fleet.apply(ServerChanged("edge", "down", "refused"), 20.0)
    fleet.apply(ServerChanged("edge", "connecting", "refused"), 25.0)
    assert fleet.servers["edge"].since == 20.0
    fleet.apply(ServerChanged("edge", "up"), 30.0)
    assert fleet.servers["edge"].since == 30.0
    assert fleet.has_link()


def test_a_record_from_both_servers_is_one_event():
    """Records are told apart by boot and monotonic time, not by the server they came from."""
    fleet = fleet_of(RecordsSeen("central", "a", (record(),)), RecordsSeen("edge", "a", (record(), record(mono=2.0))))
    assert [event.record.mono for event in fleet.events] == [1.0, 2.0]


def test_events_stand_in_the_order_of_their_time():
    """A hub that reports late does not push its past to the top."""
    fleet = fleet_of(
        RecordsSeen("central", "a", (record(t=50.0),)),
        RecordsSeen("central", "b", (record(t=20.0), record(t=60.0, mono=2.0))),
    )
    assert [event.record.t for event in fleet.events] == [20.0, 50.0, 60.0]
    assert fleet.records_from == 20.0


def test_a_result_is_believed_from_summary_or_record_and_a_final_one_beats_accepted():
    """The event is the record, the summary is the news."""
    fleet = fleet_of(LiveSeen("c", live("a", results=[Result("c1", "accepted")])))
    assert fleet.result("a", "c1").state == "accepted"
    done = record("command_result", cmd_id="c1", data={"state": "done"}, text="restart web done")
    fleet.apply(RecordsSeen("c", "a", (done,)), 11.0)
    assert fleet.result("a", "c1").state == "done"
    assert fleet.result("a", "other") is None


def test_the_roster_names_hubs_that_were_never_heard_and_removes_those_it_drops():
    """A hub missing from the screen would be the worst lie."""
    fleet = fleet_of(RosterSeen(roster("a", "b")))
    assert set(fleet.hubs) == {"a", "b"}
    fleet.apply(RosterSeen(roster("a")), 11.0)
    assert set(fleet.hubs) == {"a"}
    assert fleet.name == "demo"


def test_detail_of_an_older_moment_is_ignored():
    """Two servers may deliver in any order."""
    fleet = fleet_of(DetailSeen("c", detail("a", seq=9)))
    assert fleet.apply(DetailSeen("e", detail("a", seq=8)), 11.0) == set()


def test_every_collection_has_a_bound():
    """A fleet that talks too much costs its oldest, never the console."""
    fleet = Fleet(0.0)
    fleet.apply(RecordsSeen("c", "a", tuple(record(mono=float(i), t=float(i)) for i in range(EVENTS_MAX + 50))), 1.0)
    fleet.apply(LogSeen(LogLines("a", "web", [str(i) for i in range(LOG_LINES_MAX + 50)])), 1.0)
    for i in range(HUBS_MAX + 5):
        fleet.apply(LiveSeen("c", live(f"h{i}")), 1.0)
    assert (len(fleet.events), len(fleet.logs), len(fleet.hubs)) == (EVENTS_MAX, LOG_LINES_MAX, HUBS_MAX)
    assert fleet.hubs_refused == 5
    assert fleet.logs_total == LOG_LINES_MAX + 50


def roster(*hubs):
    return Roster(1, "demo", 1, [RosterHub(one, "U", "V") for one in hubs], [], [])
