"""When something that fills will be full: rings of blocks, a forecast that tests itself on its own past first.

No forecast is given without its interval, and none at all where the past does not bear it out (design: prediction).
Memory is constant: four rings of 48 blocks of four doubles. Time and values may have any unit.
"""

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

BLOCKS_MAX = 48
BLOCKS_MIN = 16  # fewer bear no forecast
BASE_SAMPLES = 4  # samples of a base summary
SPANS = (1, 4, 16, 64)  # base summaries of a block, for each ring
WINDOW_MIN = 5  # blocks
GROUPS_MAX = 12  # a slope is the median over all pairs of at most this many group means
SEGMENT_FAVOUR = 0.65
ERROR_QUANTILE = 0.7
HALF_WIDTH_MIN = 0.03  # of the slope
REACH = 1.0  # how far ahead a ring may claim, in its own windows
NEW_TERRITORY = 0.1  # of the older range
SEGMENT_PASSES = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """Time to full from now: the middle and the interval; `rate` is growth per unit of time."""

    low: float
    mid: float
    high: float
    rate: float

    @property
    def spread(self) -> float:
        """Relative width of the interval; the narrowest claim is the one shown."""
        return (self.high - self.low) / max(self.mid, 1e-9)


@dataclass(slots=True)
class Ring:
    """At most 48 blocks of one span: mean time, robust mean, high and low of each."""

    span: int
    times: "array[float]" = field(default_factory=lambda: array("d"))
    means: "array[float]" = field(default_factory=lambda: array("d"))
    highs: "array[float]" = field(default_factory=lambda: array("d"))
    lows: "array[float]" = field(default_factory=lambda: array("d"))
    _n: int = 0
    _open: tuple[float, float, float, float] = (0.0, 0.0, -math.inf, math.inf)

    def add(self, time: float, mean: float, high: float, low: float) -> None:
        """Take one base summary; the oldest block leaves when the ring is full."""
        self._n += 1
        sum_time, sum_mean, top, bottom = self._open
        self._open = sum_time + time, sum_mean + mean, max(top, high), min(bottom, low)
        if self._n < self.span:
            return
        sum_time, sum_mean, top, bottom = self._open
        for column, value in (
            (self.times, sum_time / self.span), (self.means, sum_mean / self.span), (self.highs, top), (self.lows, bottom),
        ):  # fmt: skip
            column.append(value)
            if len(column) > BLOCKS_MAX:
                del column[0]
        self._n, self._open = 0, (0.0, 0.0, -math.inf, math.inf)


class Forecaster:
    """One thing that may fill. `interval` is the time between two samples."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._rings = tuple(Ring(span) for span in SPANS)
        self._base: list[tuple[float, float]] = []

    def add(self, time: float, value: float) -> None:
        """Take one sample."""
        self._base.append((time, value))
        if len(self._base) < BASE_SAMPLES:
            return
        values = sorted(value for _, value in self._base)
        when = sum(time for time, _ in self._base) / BASE_SAMPLES
        self._base.clear()
        # Second largest and second smallest: one stray sample is no peak.
        for ring in self._rings:
            ring.add(when, (values[1] + values[2]) / 2, values[2], values[1])

    def claims(self, now: float, limit: float) -> Iterator[Claim | None]:
        """Each ring's claim in turn, at most a few milliseconds of work for each step; None where it has none."""
        for ring in self._rings:
            window = BLOCKS_MAX * ring.span * BASE_SAMPLES * self._interval
            yield _claim(ring, now, limit, window) if self._is_new_territory(ring) else None

    def _is_new_territory(self, ring: Ring) -> bool:
        """Tell whether the last quarter of a ring went above all that is older, in any ring; cheap, so asked first."""
        n = len(ring.times)
        if n < BLOCKS_MIN:
            return False
        start = n - n // 4
        since, top = ring.times[start], max(ring.highs[start:])
        older = [
            (high, low)
            for one in self._rings
            for time, high, low in zip(one.times, one.highs, one.lows, strict=True)
            if time < since
        ]
        highest, lowest = max(high for high, _ in older), min(low for _, low in older)
        return top > highest + NEW_TERRITORY * (highest - lowest)


def narrowest(claims: Sequence[Claim | None]) -> Claim | None:
    """The claim that is shown of several."""
    return min((claim for claim in claims if claim), key=lambda claim: claim.spread, default=None)


def median(values: Iterable[float]) -> float:
    """The middle value, without the types that the module `statistics` is able to take and pays for."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Median of the slopes of all pairs of at most twelve equal group means."""
    times, values = _thinned(times), _thinned(values)
    return median(
        (values[j] - values[i]) / (times[j] - times[i]) for i in range(len(times)) for j in range(i + 1, len(times))
    )


def _thinned(column: Sequence[float]) -> Sequence[float]:
    n = len(column)
    if n <= GROUPS_MAX:
        return column
    edges = [n * group // GROUPS_MAX for group in range(GROUPS_MAX + 1)]
    return [sum(column[start:end]) / (end - start) for start, end in pairwise(edges)]


def segment_start(times: Sequence[float], values: Sequence[float]) -> int:
    """Where the last straight piece begins: split while two lines fit so much better than one."""
    n, start = len(times), 0
    sums = _PrefixSums(times, values)
    for _ in range(SEGMENT_PASSES):
        m = n - start
        whole = sums.squared_error(start, n)
        if m < 2 * WINDOW_MIN or whole <= sums.noise:
            break
        best, at = min(
            (sums.squared_error(start, split) + sums.squared_error(split, n), split)
            for split in range(start + WINDOW_MIN, n - WINDOW_MIN + 1)
        )
        if m * math.log(whole / max(best, sums.noise)) <= 8 * math.log(m):
            break
        start = at
    return start


class _PrefixSums:
    """Squared error of a straight line over any piece, each in constant time."""

    def __init__(self, times: Sequence[float], values: Sequence[float]) -> None:
        t0, v0 = times[0], values[0]  # sums of squares far from 0 would cancel
        st = sv = stt = stv = svv = 0.0
        self._sums = [(st, sv, stt, stv, svv)]
        for time, value in zip(times, values, strict=True):
            t, v = time - t0, value - v0
            st, sv, stt, stv, svv = st + t, sv + v, stt + t * t, stv + t * v, svv + v * v
            self._sums.append((st, sv, stt, stv, svv))
        self.noise = 1e-12 * svv + 1e-300

    def squared_error(self, start: int, end: int) -> float:
        first, last, n = self._sums[start], self._sums[end], end - start
        st, sv, stt, stv, svv = (b - a for a, b in zip(first, last, strict=True))
        tt, tv, vv = stt - st * st / n, stv - st * sv / n, svv - sv * sv / n
        return max(vv - tv * tv / tt, 0.0) if tt > 0 else max(vv, 0.0)


def _windows(times: Sequence[float], values: Sequence[float]) -> list[int]:
    """First blocks of the candidates: all, half, quarter, eighth, and last the last straight segment."""
    n = len(times)
    return [n - max(n // part, WINDOW_MIN) for part in (1, 2, 4, 8)] + [segment_start(times, values)]


def _slopes(times: Sequence[float], values: Sequence[float]) -> list[float]:
    starts = _windows(times, values)
    known = {start: slope(times[start:], values[start:]) for start in set(starts)}
    return [known[start] for start in starts]


def _backtest(times: Sequence[float], values: Sequence[float]) -> list[list[tuple[float, float]]]:
    """For each candidate its (error, weight) at past origins: the slope that it gave against what came then."""
    n = len(times)
    horizons = (max(n // 8, 1), max(n // 4, 1))
    first, step = max(n // 4, 9), max(n // 20, 1)
    found: list[list[tuple[float, float]]] = [[] for _ in range(5)]
    told: dict[int, list[float]] = {}
    for horizon in horizons:
        for origin in range(n - 1 - horizon, first - 1, -step):
            if origin not in told:
                told[origin] = _slopes(times[: origin + 1], values[: origin + 1])
            came = _rate_between(times, values, origin, origin + horizon)
            weight = 0.5 ** ((n - 1 - origin - horizon) / (n / 4))
            for errors, gave in zip(found, told[origin], strict=True):
                errors.append((abs(came - gave), weight))
    return found


def _rate_between(times: Sequence[float], values: Sequence[float], a: int, b: int) -> float:
    rise = (values[b - 1] + values[b]) - (values[a - 1] + values[a])
    return rise / ((times[b - 1] + times[b]) - (times[a - 1] + times[a]))


def _weighted_mean(errors: list[tuple[float, float]]) -> float:
    return sum(error * weight for error, weight in errors) / sum(weight for _, weight in errors)


def _weighted_quantile(errors: list[tuple[float, float]], part: float) -> float:
    left = part * sum(weight for _, weight in errors)
    for error, weight in sorted(errors):
        left -= weight
        if left <= 0:
            return error
    return max(error for error, _ in errors)


def _claim(ring: Ring, now: float, limit: float, window: float) -> Claim | None:
    """What one ring may claim: its best candidate's slope, as wide as that candidate has been wrong."""
    times, values = list(ring.times), list(ring.means)
    backtest = _backtest(times, values)
    if not backtest[0]:
        return None
    favour = (1.0, 1.0, 1.0, 1.0, SEGMENT_FAVOUR)
    costs = [_weighted_mean(errors) * part for errors, part in zip(backtest, favour, strict=True)]
    best = costs.index(min(costs))
    start = _windows(times, values)[best]
    k = slope(times[start:], values[start:])
    if k <= 0:
        return None
    width = max(_weighted_quantile(backtest[best], ERROR_QUANTILE), HALF_WIDTH_MIN * k)
    level = median(value - k * (time - now) for time, value in zip(times[start:], values[start:], strict=True))
    over = (high - level - k * (time - now) for time, high in zip(times[start:], ring.highs[start:], strict=True))
    top = max(0.0, median(over))
    return _within(limit - level, top, k, width, REACH * window)


def _within(room: float, top: float, k: float, width: float, reach: float) -> Claim | None:
    if k <= width:
        return None  # "or never": that is no claim
    low, mid, high = max(room - top, 0.0) / (k + width), max(room - top, 0.0) / k, max(room, 0.0) / (k - width)
    return Claim(low, mid, high, k) if mid <= reach else None
