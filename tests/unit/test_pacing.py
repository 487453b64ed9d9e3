"""Slow links hear less often, are told so, and news does not wait."""

from hubagent.core.pacing import CHANGE_SECONDS_MIN, LATE_SECONDS, QUICK_BYTES_PER_S, SLOW_BYTES_PER_S, Beat, Pace


def said(pace: Pace, server: str, *, seconds: int = 20) -> list[int]:
    """The seconds in which this server hears from us."""
    return [second for second in range(seconds) if pace.is_due(server, float(second), is_news=False)]


def test_a_link_without_a_measured_rate_hears_each_second():
    """Nothing is known against it."""
    pace = Pace()
    pace.judge({"central": None})
    assert said(pace, "central") == list(range(20))
    assert pace.interval_s("central") == 1.0


def test_a_slow_link_hears_once_in_five_seconds_and_the_other_each_second():
    """Each link by itself."""
    pace = Pace()
    pace.judge({"central": SLOW_BYTES_PER_S - 1.0, "edge": 1e6})
    assert said(pace, "central") == [0, 5, 10, 15]
    assert said(pace, "edge") == list(range(20))
    assert (pace.interval_s("central"), pace.interval_s("edge")) == (5.0, 1.0)


def test_news_goes_over_a_slow_link_at_once():
    """A change of state does not wait four seconds."""
    pace = Pace()
    pace.judge({"central": 8000.0})
    assert pace.is_due("central", 0.0, is_news=False)
    assert not pace.is_due("central", 1.0, is_news=False)
    assert pace.is_due("central", 1.1, is_news=True)
    assert not pace.is_due("central", 5.0, is_news=False)


def test_a_link_between_slow_and_quick_stays_what_it_was():
    """No flapping about one limit."""
    pace, between = Pace(), (SLOW_BYTES_PER_S + QUICK_BYTES_PER_S) / 2
    pace.judge({"central": between})
    assert pace.interval_s("central") == 1.0
    pace.judge({"central": 8000.0})
    pace.judge({"central": between})
    assert pace.interval_s("central") == 5.0
    pace.judge({"central": 1e6})
    assert pace.interval_s("central") == 1.0


def test_a_hub_that_speaks_less_often_anyway_is_not_made_quicker():
    """The longer interval holds."""
    pace = Pace(10.0)
    pace.judge({"central": 8000.0})
    assert pace.interval_s("central") == 10.0


def test_the_summary_of_a_second_goes_out_with_its_sample():
    """Early or late; samples more often than summaries make no more of them."""
    beat = Beat(1.0, 100.0)
    assert beat.take(100.0) is False
    for now in (100.98, 101.98, 103.02):
        assert beat.take(now - 0.01) is None
        beat.sampled()
        assert beat.take(now) is False
    beat.sampled()
    assert beat.take(103.4) is None
    assert beat.take(103.9) is None  # that sample was too early to count, and is not kept for later


def test_without_a_sample_the_summary_goes_out_at_its_second():
    """A stuck sensor does not silence the hub; a late one is waited for a little."""
    beat = Beat(1.0, 100.0)
    beat.take(100.0)
    assert beat.deadline() == 101.0
    beat.sampled()
    assert beat.take(101.0) is False
    assert beat.deadline() == 102.0 + LATE_SECONDS
    assert beat.take(102.04) is None
    assert beat.take(102.0 + LATE_SECONDS) is False
    assert beat.deadline() == 103.0 + LATE_SECONDS


def test_changes_close_together_share_a_summary_and_do_not_shift_the_second():
    """The first goes out at once, the others a tenth of a second after it."""
    beat = Beat(1.0, 100.0)
    beat.take(100.0)
    beat.changed()
    assert beat.deadline() == 100.0 + CHANGE_SECONDS_MIN
    assert beat.take(100.05) is None
    assert beat.take(100.3) is True
    beat.changed()
    assert beat.take(100.35) is None
    assert beat.take(100.4) is True
    assert beat.deadline() == 101.0


def test_a_change_that_the_seconds_summary_says_is_not_said_again():
    """It is news all the same: a slow link hears of it."""
    beat = Beat(1.0, 100.0)
    beat.take(100.0)
    beat.changed()
    beat.sampled()
    assert beat.take(101.0) is True
    assert beat.take(101.5) is None
