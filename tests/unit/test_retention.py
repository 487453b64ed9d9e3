"""What may be released, what is shed, and when the first loss comes."""

import pytest

from hubagent.core.retention import MARKS, Figures, Keeping, Plan, RetentionPolicy, drain_s, loss_s, plan

MIB = 1 << 20
POLICY = RetentionPolicy(budget_bytes=100 * MIB, reserve_bytes=10 * MIB, keep_s=60)


def test_chunk_is_released_only_when_it_is_old_enough_and_a_later_check_saw_it():
    """Acked at least keep ago, and a check read after that time still saw n′ ≥ n."""
    keeping = Keeping(60, (0, 0), (0, 0), 0)
    keeping.acked((7, 1), 0)
    keeping.acked((7, 2), 30)
    assert keeping.checked((7, 2), 59) == (0, 0)
    assert keeping.checked((7, 2), 60) == (7, 1)
    assert keeping.checked((7, 1), 200) == (7, 1)
    assert keeping.checked((7, 2), 201) == (7, 2)


def test_doubt_about_the_stream_starts_the_clock_anew():
    """A lost tail or another lineage voids what was acknowledged before."""
    keeping = Keeping(60, (0, 0), (0, 0), 0)
    keeping.acked((7, 5), 0)
    keeping.doubted((7, 5))
    assert keeping.checked((7, 5), 1000) == (0, 0)
    keeping.acked((7, 5), 1000)
    assert keeping.checked((7, 5), 1060) == (7, 5)


def test_restart_counts_what_was_acknowledged_as_acknowledged_now():
    """Times do not survive a restart; the safe side does."""
    keeping = Keeping(60, (7, 9), (7, 2), 500)
    assert keeping.released == (7, 2)
    assert keeping.checked((7, 9), 559) == (7, 2)
    assert keeping.checked((7, 9), 560) == (7, 9)


def test_marks_stay_few_and_never_release_early():
    """Memory does not grow with the backlog."""
    keeping = Keeping(60, (0, 0), (0, 0), 0)
    for number in range(10_000):
        keeping.acked((7, number), number * 0.1)
    assert len(keeping._marks) < 2000
    released = keeping.checked((7, 9_999), 999.9)[1]
    assert released * 0.1 <= 999.9 - 60


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (Figures(50 * MIB, 1 * MIB, 40 * MIB, 0, 0), Plan()),
        (Figures(95 * MIB, 1 * MIB, 90 * MIB, 0, 20 * MIB), Plan(release_met=5 * MIB)),
        (Figures(95 * MIB, 1 * MIB, 90 * MIB, 0, 2 * MIB), Plan(release_met=2 * MIB, shed_met=3 * MIB)),
        (Figures(95 * MIB, 8 * MIB, 80 * MIB, 8 * MIB, 0), Plan(release_evt=5 * MIB)),
        (Figures(60 * MIB, 20 * MIB, 0, 12 * MIB, 0), Plan(release_evt=10 * MIB)),
        (Figures(60 * MIB, 10 * MIB, 0, 0, 0), Plan(refuse_events=True)),
        (Figures(60 * MIB, 20 * MIB, 0, 0, 0), Plan(refuse_events=True, refuse_all=True)),
    ],
    ids=["room", "early release", "shed the rest", "events too", "share", "events refused", "commands refused"],
)
def test_plan_releases_first_then_sheds_metrics_and_refuses_events(figures, expected):
    """evt has 10 % of its own and is never shed."""
    assert plan(figures, POLICY) == expected


def test_time_to_loss_counts_the_room_and_what_may_be_released():
    """At the present rate; never where the backlog shrinks."""
    figures = Figures(50 * MIB, 0, 50 * MIB, 0, 10 * MIB)
    assert loss_s(figures, POLICY, 1 * MIB, 0) == 50
    assert loss_s(figures, POLICY, 1 * MIB, 2 * MIB) is None
    assert drain_s(10, 1, 2) == 10
    assert drain_s(10, 2, 1) is None
    assert drain_s(0, 2, 1) == 0


def test_impossible_policies_are_refused():
    """A policy checks itself when built."""
    with pytest.raises(AssertionError):
        RetentionPolicy(budget_bytes=10, reserve_bytes=6)


def test_what_was_released_and_not_yet_deleted_stays_when_the_server_lost_it():
    """A lost tail takes the release back as far as it can."""
    keeping = Keeping(60, (7, 9), (7, 8), 0)
    keeping.doubted((7, 3))
    assert keeping.released == (7, 3)


def test_full_disk_makes_room_within_the_file_whatever_the_budget_allows():
    """The reserve again, or half of a small file."""
    policy = RetentionPolicy(budget_bytes=1000, reserve_bytes=100)
    figures = Figures(used=500, evt=10, met=480, evt_acked=0, met_acked=0, file=520)
    assert plan(figures, policy).shed_met == 0
    assert plan(figures, policy, disk_is_full=True).shed_met == 80
    small = Figures(used=100, evt=0, met=100, evt_acked=0, met_acked=0, file=100)
    assert plan(small, policy, disk_is_full=True).shed_met == 50
    over = Figures(used=950, evt=0, met=950, evt_acked=0, met_acked=0, file=2000)
    assert plan(over, policy, disk_is_full=True).shed_met == 50  # the budget is the lower limit here


def test_figures_of_the_policy_are_those_of_the_design():
    """2 GiB, 64 MiB kept back, half an hour; looked at twice in that time, but not more than each 5 s."""
    policy = RetentionPolicy()
    assert (policy.budget_bytes, policy.reserve_bytes, policy.keep_s) == (2 << 30, 64 << 20, 1800.0)
    assert policy.check_s == 900.0
    assert RetentionPolicy(keep_s=8.0).check_s == 5.0
    assert RetentionPolicy(keep_s=12.0).check_s == 6.0


def test_memory_of_acknowledgements_is_bounded_and_never_releases_early():
    """One mark for each 64th of the time; what comes within it counts as acknowledged at the latest of them."""
    keeping = Keeping(64.0, (0, 0), (0, 0), 0.0)
    keeping.acked((7, 1), 0.0)
    keeping.acked((7, 2), 0.9)  # the same mark, moved to the later time
    keeping.acked((7, 3), 1.0)  # one of its own
    assert keeping.checked((7, 9), 64.8) == (0, 0)
    assert keeping.checked((7, 9), 64.9) == (7, 2)
    assert keeping.checked((7, 9), 65.0) == (7, 3)


def test_many_acknowledgements_keep_few_marks():
    """The backlog may be of any length."""
    keeping = Keeping(64.0, (0, 0), (0, 0), 0.0)
    for n in range(10_000):
        keeping.acked((7, n), n / 100)
    assert len(keeping._marks) <= 101


def test_restart_with_everything_released_has_nothing_to_release():
    """And one with more acknowledged counts it from now."""
    assert len(Keeping(60, (7, 5), (7, 5), 0.0)._marks) == 0
    keeping = Keeping(60, (7, 6), (7, 5), 10.0)
    assert keeping.checked((7, 6), 69.9) == (7, 5)
    assert keeping.checked((7, 6), 70.0) == (7, 6)


def test_plan_asks_for_nothing_where_nothing_is_said():
    """Its defaults; and a file's size is unknown until it is looked at."""
    assert Plan() == Plan(0, 0, 0, False, False)
    assert Figures(1, 2, 3, 4, 5).file == 0


def test_loss_and_drain_are_told_from_the_rates():
    """Room by growth; owed by what is left of the way out."""
    policy = RetentionPolicy(budget_bytes=1000, reserve_bytes=100)
    figures = Figures(used=500, evt=200, met=300, evt_acked=20, met_acked=30)
    assert loss_s(figures, policy, 10.0, 0.0) == 45.0
    assert loss_s(figures, policy, 10.0, 10.0) is None
    assert loss_s(figures, policy, 10.5, 10.0) == 900.0
    assert loss_s(Figures(2000, 0, 2000, 0, 0), policy, 10.0, 0.0) == 0.0
    assert drain_s(100, 5.0, 15.0) == 10.0
    assert drain_s(100, 5.0, 5.0) is None
    assert drain_s(0, 5.0, 5.0) == 0.0


def test_acknowledged_metrics_are_never_counted_as_shed():
    """Only what some destination lacks can be shed, and only as much as there is."""
    policy = RetentionPolicy(budget_bytes=1000, reserve_bytes=100)
    assert plan(Figures(2000, 100, 1900, 0, 300), policy).release_met == 300
    assert plan(Figures(2000, 100, 1900, 0, 300), policy).shed_met == 800
    assert plan(Figures(3000, 100, 1000, 0, 300), policy).shed_met == 700
    assert plan(Figures(900, 0, 900, 0, 0), policy) == Plan()


def test_acknowledged_events_go_only_where_more_than_their_share_or_the_room_is_missing():
    """What acknowledged metrics give is given first; nothing is released twice."""
    policy = RetentionPolicy(budget_bytes=1000, reserve_bytes=100)
    assert plan(Figures(1000, 50, 950, 50, 80), policy) == Plan(release_evt=20, release_met=80)
    assert plan(Figures(1000, 50, 950, 50, 100), policy) == Plan(release_met=100)
    assert plan(Figures(500, 150, 350, 150, 0), policy) == Plan(release_evt=50)
    assert plan(Figures(500, 90, 410, 90, 0), policy) == Plan()


def test_a_mark_ends_a_share_after_its_first_acknowledgement_however_fast_the_others_come():
    """Else a busy lane would keep one mark for ever, and release nothing."""
    keeping = Keeping(MARKS * 1.0, (0, 0), (0, 0), 0)
    for n in range(1, 40):
        keeping.acked((7, n), n * 0.25)
    assert keeping.checked((7, 39), MARKS + 1.5) == (7, 4)
