"""Forecasts: right with an interval where growth is steady, silent where it is not."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubagent.core.filling import FILLS_MAX, Filling, FillingBegan, Used, span, words
from hubagent.core.forecast import BLOCKS_MAX, Claim, Forecaster, narrowest, segment_start, slope
from hubagent.wire.reports import Forecast


def claim_of(values, limit: float) -> Claim | None:
    """What is claimed after these values, one a minute."""
    forecaster = Forecaster(60.0)
    for minute, value in enumerate(values):
        forecaster.add(minute * 60.0, value)
    return narrowest(list(forecaster.claims((len(values) - 1) * 60.0, limit)))


def test_steady_growth_is_claimed_with_the_true_time_inside_the_interval():
    """Ten of ten seeds of a noisy line at 70 % of its way."""
    for seed in range(10):
        noise = random.Random(seed)
        claim = claim_of([100 + minute + noise.gauss(0, 2) for minute in range(600)], 1000.0)
        assert claim is not None
        true = (1000 - 100 - 599) * 60
        assert claim.low * 0.95 <= true <= claim.high * 1.05
        assert claim.low <= claim.mid <= claim.high


def test_a_rate_change_is_followed_by_the_last_segment():
    """Flat for hours, then a leak: the leak's rate counts."""
    values = [100.0] * 400 + [100.0 + 3 * minute for minute in range(200)]
    claim = claim_of(values, 1000.0)
    assert claim is not None
    assert claim.rate * 60 == pytest.approx(3.0, rel=0.1)


def test_a_stray_outlier_does_not_move_the_claim():
    """One wild sample in an hour is no peak."""
    clean = [100.0 + minute for minute in range(600)]
    dirty = [value * (5 if minute % 60 == 30 else 1) for minute, value in enumerate(clean)]
    assert claim_of(dirty, 1000.0).mid == pytest.approx(claim_of(clean, 1000.0).mid, rel=0.1)


@pytest.mark.parametrize("shape", ["flat", "falling", "noise", "sawtooth", "short"])
def test_what_does_not_grow_is_never_claimed(shape):
    """No claim, nothing shown."""
    noise = random.Random(1)
    values = {
        "flat": [100.0] * 1000,
        "falling": [1000.0 - minute * 0.5 for minute in range(1000)],
        "noise": [100 + noise.gauss(0, 5) for _ in range(1000)],
        "sawtooth": [100.0 + minute % 60 for minute in range(1000)],
        "short": [100.0 + minute for minute in range(60)],
    }[shape]
    assert claim_of(values, 1200.0) is None


def test_a_slow_walk_is_rarely_claimed():
    """Fewer than one in twenty evaluations of series that have no trend."""
    claims = evaluations = 0
    for seed in range(5):
        step, value, forecaster = random.Random(seed), 100.0, Forecaster(60.0)
        for minute in range(2000):
            value += step.gauss(0, 1)
            forecaster.add(minute * 60.0, value)
            if minute > 100 and minute % 60 == 0:
                evaluations += 1
                claims += narrowest(list(forecaster.claims(minute * 60.0, 400.0))) is not None
    assert claims / evaluations < 0.05


def test_memory_is_bounded_however_long_it_is_fed():
    """Four rings of 48 blocks."""
    forecaster = Forecaster(1.0)
    for second in range(20_000):
        forecaster.add(float(second), float(second))
    assert [len(ring.times) for ring in forecaster._rings] == [BLOCKS_MAX] * 4
    assert forecaster._base == []


@given(st.lists(st.floats(-1e15, 1e15), min_size=64, max_size=400), st.floats(-1e15, 1e16))
@settings(max_examples=30, deadline=None)
def test_any_series_gives_an_ordered_interval_or_nothing(values, limit):
    """Whatever is measured, no exception and no time without its interval."""
    claim = claim_of(values, limit)
    assert claim is None or 0 <= claim.low <= claim.mid <= claim.high < float("inf")


def test_slope_is_the_median_of_pairs():
    """One of five points far off does not bend it."""
    assert slope([0, 1, 2, 3, 4], [0, 2, 4, 100, 8]) == pytest.approx(2.0)


def test_the_last_segment_begins_where_the_line_breaks():
    """A straight line has none."""
    times = [float(n) for n in range(40)]
    assert segment_start(times, [2 * time for time in times]) == 0
    assert segment_start(times, [0.0] * 25 + [3.0 * n for n in range(15)]) in (24, 25)


def run(filling: Filling, use, seconds: range) -> list:
    """Feed one thing once a second; give (second, effect name)."""
    told = []
    for second in seconds:
        effects = filling.handle({"/var": Used(use(second), 1e6, 1.0)}, float(second))
        told += [(second, type(effect).__name__) for effect in effects]
    return told


def test_three_claims_in_a_row_begin_an_alert_and_its_end_is_told():
    """Shown from the first claim, told from the third."""
    filling = Filling()
    told = run(filling, lambda second: 5000.0 * second, range(120))
    assert [name for _, name in told] == ["FillingBegan"]
    (forecast,) = filling.forecasts(119.0)
    assert forecast.low_s <= 81 <= forecast.high_s
    assert [name for _, name in run(filling, lambda _: 100.0, range(120, 160))] == ["FillingEnded"]
    assert filling.forecasts(160.0) == []


def test_a_thing_that_is_gone_is_forgotten():
    """An unmounted disk fills no more."""
    filling = Filling()
    run(filling, lambda second: 5000.0 * second, range(120))
    effects = [effect for second in range(120, 300) for effect in filling.handle({}, float(second))]
    assert [effect.text for effect in effects] == ["/var: not measured any more"]
    assert filling.forecasts(300.0) == []


def test_more_things_than_the_bound_are_left_out():
    """A host with a thousand mounts forecasts the first ones."""
    filling = Filling()
    filling.handle({f"/{n}": Used(1.0, 2.0, 60.0) for n in range(FILLS_MAX + 10)}, 0.0)
    assert len(filling._fills) == FILLS_MAX


def test_a_wide_interval_is_shown_as_not_before():
    """A high end beyond four times the middle says nothing worth a number."""
    filling = Filling()
    filling.handle({"/": Used(1.0, 2.0, 60.0)}, 0.0)
    fill = filling._fills["/"]
    fill.claim, fill.claimed_at = Claim(100.0, 200.0, 900.0, 1.0), 0.0
    assert filling.forecasts(40.0) == [Forecast("/", 60.0, None, None, 1.0)]
    assert words(filling.forecasts(40.0)[0]) == "full not before 1 m"


def test_words_always_give_the_interval():
    """Never a single time."""
    assert words(Forecast("/", 9600.0, 11400.0, 14400.0)) == "full in 3 h 10 m (2 h 40 m – 4 h)"
    assert isinstance(FillingBegan("/", Forecast("/", 1.0), "x").forecast, Forecast)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (61, "1 m 1 s"), (3600, "1 h"), (90000, "1 d 1 h")]
)
def test_spans_are_said_in_two_units(seconds, said):
    """Two figures are all an estimate can bear."""
    assert span(seconds) == said
