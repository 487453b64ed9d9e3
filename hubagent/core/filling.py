"""Everything on a hub that fills, and what is claimed of it; the work is spread so that no step takes long."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hubagent.core.forecast import Claim, Forecaster, narrowest
from hubagent.wire.reports import Forecast

FILLS_MAX = 32  # things watched at once; further ones are measured, but nothing is claimed of them
ROUND_S = 60.0  # each thing is forecast once in this time
CLAIMS_FOR_ALARM = 3  # in a row
WIDE = 4.0  # an interval that ends later than this many times its middle shows its low end only
GONE_S = 120.0  # no figure for this long: unmounted


@dataclass(frozen=True, slots=True)
class Used:
    """How full one thing is; `feed_s` is how often its forecaster takes the mean of what came."""

    used: float
    limit: float
    feed_s: float


@dataclass(frozen=True, slots=True)
class FillingBegan:
    """Three claims in a row: worth an alert."""

    what: str
    forecast: Forecast
    text: str


@dataclass(frozen=True, slots=True)
class FillingEnded:
    """An alert that does not hold any more; withdrawn visibly."""

    what: str
    text: str


Effect = FillingBegan | FillingEnded


@dataclass(slots=True)
class _Fill:
    forecaster: Forecaster
    feed_s: float
    sum: float = 0.0
    time_sum: float = 0.0
    n: int = 0
    limit: float = 0.0
    feed_at: float = 0.0
    due: float = 0.0
    seen_at: float = 0.0
    claim: Claim | None = None
    claimed_at: float = 0.0
    in_a_row: int = 0
    told: bool = False

    def feed(self, use: Used, now: float) -> None:
        self.sum, self.time_sum, self.n = self.sum + use.used, self.time_sum + now, self.n + 1
        self.limit, self.seen_at = use.limit, now
        if now >= self.feed_at:
            self.forecaster.add(self.time_sum / self.n, self.sum / self.n)
            self.sum, self.time_sum, self.n = 0.0, 0.0, 0
            self.feed_at = max(self.feed_at + self.feed_s, now)


@dataclass(slots=True)
class Filling:
    """Fed once a second; takes at most one step of one forecast each time (a few milliseconds)."""

    _fills: dict[str, _Fill] = field(default_factory=dict)
    _work: tuple[str, float, Iterator[Claim | None], list[Claim | None]] | None = None

    def handle(self, uses: Mapping[str, Used], now: float) -> list[Effect]:
        """Take how full everything is; give what began and what ended."""
        for what, use in uses.items():
            if what in self._fills or len(self._fills) < FILLS_MAX:
                self._fill(what, use, now).feed(use, now)
        gone = [what for what, fill in self._fills.items() if now - fill.seen_at > GONE_S]
        ended: list[Effect] = []
        for what in gone:
            ended += _ended(what, self._fills.pop(what), "not measured any more")
        return ended + self._step(now)

    def tick(self, now: float) -> list[Effect]:
        """Nothing: time passes with the figures."""
        return []

    def deadline(self) -> float | None:
        """None: time passes with the figures."""
        return None

    def forecasts(self, now: float) -> list[Forecast]:
        """What is claimed now, the soonest first."""
        found = [_shown(what, fill, now) for what, fill in self._fills.items() if fill.claim]
        return sorted(found, key=lambda forecast: forecast.low_s)

    def _fill(self, what: str, use: Used, now: float) -> _Fill:
        fill = self._fills.get(what)
        if fill is None:
            # The first round of each begins at its own second of the minute.
            fill = _Fill(Forecaster(use.feed_s), use.feed_s, feed_at=now + use.feed_s, due=now + len(self._fills) * 4.0)
            self._fills[what] = fill
        return fill

    def _step(self, now: float) -> list[Effect]:
        """One ring of one forecast; the whole of it is judged when its last ring has spoken."""
        if self._work is None:
            what = min(self._fills, key=lambda name: self._fills[name].due, default=None)
            if what is None or self._fills[what].due > now:
                return []
            fill = self._fills[what]
            fill.due = now + ROUND_S if fill.feed_s >= ROUND_S else now + max(fill.feed_s, 4.0)
            self._work = what, now, fill.forecaster.claims(now, fill.limit), []
        what, since, steps, claims = self._work
        try:
            claims.append(next(steps))
        except StopIteration:
            self._work = None
            return self._judge(what, narrowest(claims), since, now)
        return []

    def _judge(self, what: str, claim: Claim | None, since: float, now: float) -> list[Effect]:
        fill = self._fills.get(what)
        if fill is None:
            return []
        fill.claim, fill.claimed_at = claim, since
        if claim is None:
            return _ended(what, fill, "no longer filling")
        fill.in_a_row += 1
        if fill.in_a_row < CLAIMS_FOR_ALARM or fill.told:
            return []
        fill.told = True
        forecast = _shown(what, fill, now)
        return [FillingBegan(what, forecast, f"{what}: {words(forecast)}")]


def _ended(what: str, fill: _Fill, why: str) -> list[Effect]:
    told, fill.in_a_row, fill.told = fill.told, 0, False
    return [FillingEnded(what, f"{what}: {why}")] if told else []


def _shown(what: str, fill: _Fill, now: float) -> Forecast:
    """A claim with the time that has passed since taken off; a wide one shows its low end only."""
    claim = fill.claim
    assert claim is not None
    low, mid, high = (round(max(end - (now - fill.claimed_at), 0.0), 1) for end in (claim.low, claim.mid, claim.high))
    if claim.high > WIDE * claim.mid:
        return Forecast(what, low, rate=claim.rate)
    return Forecast(what, low, mid, high, claim.rate)


def words(forecast: Forecast) -> str:
    """A forecast as a person reads it; never one time without its interval."""
    if forecast.mid_s is None or forecast.high_s is None:
        return f"full not before {span(forecast.low_s)}"
    return f"full in {span(forecast.mid_s)} ({span(forecast.low_s)} – {span(forecast.high_s)})"


def span(seconds: float) -> str:
    """A time in its two largest units."""
    for unit, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            rest = int(seconds % size) // part
            return f"{int(seconds // size)} {unit} {rest} {below}" if rest else f"{int(seconds // size)} {unit}"
    return f"{seconds:.0f} s"
