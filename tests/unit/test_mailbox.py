"""The mailbox between the threads: latest wins, everything else has a bound."""

from console import mailbox
from console.fleet import LiveSeen, LogSeen, RecordsSeen, RosterSeen, ServerChanged
from console.mailbox import Mailbox
from hubagent.wire.reports import Live, LogLines
from hubagent.wire.roster import Roster


def live(hub: str, seq: int) -> LiveSeen:
    """A summary."""
    return LiveSeen("central", Live(v=1, hub=hub, boot="b", seq=seq, t=0, version="", roster_v=0, severity="ok"))


def test_the_latest_summary_of_a_hub_wins():
    """A slow reader costs one report a hub."""
    box = Mailbox()
    for seq in range(100):
        box.put(live("alpha", seq))
        box.put(live("beta", seq))
    assert box.drain() == [live("alpha", 99), live("beta", 99)]
    assert box.drain() == []


def test_roster_and_servers_come_first():
    """The model knows who there is before it hears them."""
    box = Mailbox()
    roster = RosterSeen(Roster(1, "f", 1, [], [], []))
    for report in (live("alpha", 1), ServerChanged("central", "up"), roster):
        box.put(report)
    assert [type(report) for report in box.drain()] == [ServerChanged, RosterSeen, LiveSeen]


def test_records_and_lines_keep_their_order_and_their_bound():
    """The newest are kept."""
    box = Mailbox()
    for number in range(mailbox.RECORDS_MAX + 5):
        box.put(RecordsSeen("central", f"hub-{number}", ()))
    for number in range(mailbox.LOGS_MAX + 5):
        box.put(LogSeen(LogLines("alpha", "web", [str(number)])))
    taken = box.drain()
    assert len(taken) == mailbox.RECORDS_MAX + mailbox.LOGS_MAX
    assert taken[0].hub == "hub-5"
    assert taken[-1].lines.lines == [str(mailbox.LOGS_MAX + 4)]


def test_waiting_ends_when_something_is_there():
    """And says so."""
    box = Mailbox()
    assert not box.wait(0.0)
    box.put(live("alpha", 1))
    assert box.wait(0.0)
