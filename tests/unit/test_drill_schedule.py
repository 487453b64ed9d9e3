"""When a scheduled drill is due, and what each hub makes of its slot."""

import calendar

import pytest

from hubagent.core.authorise import args_fault
from hubagent.core.drill_schedule import SLOT_S, due, slot_until
from hubagent.core.outcome import Outcome
from hubagent.edges.drill_book import DrillBook
from hubagent.errors import StoreFailed
from hubagent.loops.drill_schedule import Schedules
from hubagent.wire.drills import DAYS, Schedule, parse
from hubagent.wire.reports import DrillSchedule
from tests.fakes.clock import FakeClock
from tests.fakes.recorder import FakeRecorder


def at(text):
    """Unix seconds of `2026-11-24 03:30:00`, in UTC."""
    day, _, clock = text.partition(" ")
    return float(calendar.timegm((*map(int, day.split("-")), *map(int, clock.split(":")), 0, 0, 0)))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("daily 00:00", Schedule(None, 0)),
        ("daily 23:59", Schedule(None, 86_340)),
        ("monday 03:30", Schedule(0, 12_600)),
        ("sunday 03:30", Schedule(6, 12_600)),
    ],
)
def test_words_that_mean_a_schedule(words, expected):
    """A day and a time."""
    assert parse(words) == expected


@pytest.mark.parametrize(
    "words",
    ["", "off", "daily", "03:30", "daily 24:00", "daily 3:30", "daily 03:60", "Daily 03:30", "sun 03:30",
     "daily  03:30", " daily 03:30", "daily 03:30\n", "daily 03:30 UTC", "daily ٠٣:٣٠", "hourly 03:30"],
)  # fmt: skip
def test_words_that_mean_nothing(words):
    """One form only, so that nobody has to guess."""
    assert parse(words) is None


@pytest.mark.parametrize(
    ("words", "now", "slot"),
    [
        ("daily 03:30", "2026-11-24 03:30:00", "2026-11-24 03:30:00"),
        ("daily 03:30", "2026-11-24 03:29:59", "2026-11-23 03:30:00"),
        ("daily 03:30", "2027-01-01 00:00:00", "2026-12-31 03:30:00"),
        ("tuesday 03:30", "2026-11-24 03:30:00", "2026-11-24 03:30:00"),  # a Tuesday
        ("tuesday 03:30", "2026-11-24 03:29:59", "2026-11-17 03:30:00"),
        ("wednesday 03:30", "2026-11-24 12:00:00", "2026-11-18 03:30:00"),
        ("monday 23:59", "2026-11-24 00:00:00", "2026-11-23 23:59:00"),
        ("thursday 03:30", "2028-03-01 00:00:00", "2028-02-24 03:30:00"),  # over a leap day
    ],
)
def test_the_last_slot(words, now, slot):
    """Days and weeks of UTC, which knows no summer time."""
    assert slot_until(parse(words), at(now)) == at(slot)


def test_every_weekday_has_its_own_slot_in_a_week():
    """Seven days, seven slots, each on the day it names."""
    begin = at("2026-11-23 12:00:00")  # a Monday
    slots = [slot_until(parse(f"{day} 12:00"), begin + 6.5 * 86_400) for day in DAYS]
    assert slots == [begin + n * 86_400 for n in range(7)]


def test_a_slot_is_due_once_and_only_just_after_it_came():
    """Not before, not after it was decided, and not when it was missed."""
    schedule, slot = parse("daily 03:30"), at("2026-11-24 03:30:00")
    before = slot - 1.0
    assert due(schedule, before, slot - 0.1) is None
    assert due(schedule, before, slot) == slot
    assert due(schedule, before, slot + SLOT_S - 0.1) == slot
    assert due(schedule, before, slot + SLOT_S) is None
    assert due(schedule, slot, slot + 1.0) is None
    assert due(schedule, slot + 5.0, slot + 6.0) is None


def test_a_clock_that_is_set_back_over_a_slot_makes_no_second_one():
    """The slot that was decided stays decided."""
    schedule, slot = parse("daily 03:30"), at("2026-11-24 03:30:00")
    assert due(schedule, slot, slot - 20.0) is None
    assert due(schedule, slot, slot + 0.5) is None
    assert due(schedule, slot, slot + 86_400.5) == slot + 86_400


DONE = Outcome(True)


class Slots:
    """One hub's schedules with a clock that is moved by hand."""

    def __init__(self, path, outcome=DONE, *, is_active=True):
        self.path, self.outcome, self.is_active = path, outcome, is_active
        self.recorder, self.asked = FakeRecorder(), []
        self.clock = FakeClock(wall=at("2026-11-24 03:00:00"))
        self.start()

    def start(self):
        """The agent starts, or starts again."""
        self.book = DrillBook(self.path / "drills.json")
        self.loop = Schedules(self.book, self.order, lambda group: self.is_active, self.recorder, self.clock)

    async def order(self, verb, args, actor, reason):
        """What a hub's commands would do."""
        self.asked.append((verb, dict(args), actor, reason))
        return self.outcome

    async def at(self, text):
        """It is so late now; what is due is run."""
        self.clock.advance(at(text) - self.clock.wall())
        for group, planned in self.loop.due():
            await self.loop.drill(group, planned)
        return len(self.asked)


async def test_the_active_hub_runs_a_slot_once_through_the_same_gates_also_after_a_restart(tmp_path):
    """As an order of its own, no gate forced, in the name of whoever set it."""
    hub = Slots(tmp_path)
    await hub.loop.set("core", "daily 03:30", "cut", "ana")
    assert await hub.at("2026-11-24 03:29:59") == 0
    assert await hub.at("2026-11-24 03:30:00") == 1
    hub.start()
    assert await hub.at("2026-11-24 03:30:09") == 1
    assert hub.asked == [("drill", {"group": "core", "kind": "cut"}, "schedule:ana", "scheduled")]
    assert await hub.at("2026-11-25 03:30:00") == 2


async def test_a_standby_that_becomes_active_in_the_slot_runs_no_second_drill(tmp_path):
    """The drill itself made it active: its own slot is decided already."""
    hub = Slots(tmp_path, is_active=False)
    await hub.loop.set("core", "daily 03:30", "freeze", "ana")
    assert await hub.at("2026-11-24 03:30:00") == 0
    hub.is_active = True
    assert await hub.at("2026-11-24 03:30:05") == 0
    assert await hub.at("2026-11-25 03:30:00") == 1


async def test_a_slot_that_was_missed_or_lay_before_the_schedule_is_not_made_up_for(tmp_path):
    """The agent was away, or the schedule was set just after."""
    hub = Slots(tmp_path)
    await hub.loop.set("core", "daily 03:30", "freeze", "ana")
    assert await hub.at("2026-11-24 03:31:00") == 0
    await hub.at("2026-11-25 03:29:00")
    hub.clock.advance(65.0)
    hub.start()
    assert await hub.at("2026-11-25 03:30:06") == 0
    await hub.loop.set("core", "daily 03:30", "freeze", "ana")
    assert await hub.at("2026-11-25 03:30:07") == 0


async def test_a_gate_that_does_not_pass_skips_the_slot_and_a_drill_record_says_why(tmp_path):
    """A drill that was run and not passed has its own record already."""
    hub = Slots(tmp_path, Outcome(False, "core is shadow", "armed"))
    await hub.loop.set("core", "tuesday 03:30", "freeze", "ana")
    await hub.at("2026-11-24 03:30:00")
    said = hub.recorder.events[-1]
    assert (said.kind, said.actor) == ("drill", "schedule:ana")
    assert said.text == "core: scheduled drill freeze skipped: armed: core is shadow"
    assert (said.data["skipped"], said.data["passed"], said.data["gate"]) == (True, False, "armed")
    hub.outcome, count = Outcome(False, "no other hub took over", "drill"), len(hub.recorder.events)
    assert await hub.at("2026-12-01 03:30:00") == 2
    assert len(hub.recorder.events) == count


async def test_a_slot_that_cannot_be_written_down_is_skipped(tmp_path):
    """It might be run twice: a drill can kill the agent that decided it."""
    hub = Slots(tmp_path)
    await hub.loop.set("core", "daily 03:30", "freeze", "ana")
    (tmp_path / "drills.json").unlink()
    tmp_path.joinpath("drills.tmp").mkdir()
    assert await hub.at("2026-11-24 03:30:00") == 0
    assert "skipped: store" in hub.recorder.events[-1].text
    assert await hub.at("2026-11-24 03:30:01") == 0
    with pytest.raises(StoreFailed):
        await hub.loop.set("core", "off", "freeze", "ana")
    assert hub.loop.shown("core").at == "daily 03:30"


async def test_a_schedule_is_kept_shown_and_forgotten(tmp_path):
    """Over a restart; who set it is told too."""
    hub = Slots(tmp_path)
    await hub.loop.set("core", "daily 03:30", "cut", "ana")
    hub.start()
    assert hub.loop.shown("core") == DrillSchedule("daily 03:30", "cut", "ana")
    await hub.loop.set("core", "off", "cut", "ben")
    hub.start()
    assert hub.loop.shown("core") is None
    assert await hub.at("2026-11-24 03:30:00") == 0
    assert hub.recorder.events[-1].text == "core: no drill is scheduled any more"


@pytest.mark.parametrize("at_words", ["off", "daily 03:30", "sunday 23:59"])
def test_a_command_that_says_when(at_words):
    """A group, a time, perhaps a kind."""
    assert args_fault("schedule", {"group": "core", "at": at_words}) == ""
    assert args_fault("schedule", {"group": "core", "at": at_words, "kind": "cut"}) == ""


@pytest.mark.parametrize(
    "changes", [{"at": "soon"}, {"at": 7}, {"at": ["off"]}, {"at": None}, {"kind": "flood"}, {"group": "a b"}]
)
def test_a_command_whose_words_mean_nothing_is_refused(changes):
    """Before anything is kept."""
    assert args_fault("schedule", {"group": "core", "at": "off"} | changes)
