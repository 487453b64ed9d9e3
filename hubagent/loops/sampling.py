"""Measures the machine at a steady pace, and hands on rows, alerts and forecasts."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from hubagent.clock import Clock
from hubagent.core.alerts import (
    Acknowledged,
    AlertCleared,
    AlertPolicy,
    AlertRaised,
    Alerts,
    Measured,
    PoliciesChanged,
    with_defaults,
)
from hubagent.core.filling import Filling, FillingBegan, Used
from hubagent.core.host_figures import detail_host, live_host, row_of
from hubagent.core.sampling import Sample, Sampler
from hubagent.counters import Counters
from hubagent.wire.reports import OK, WARNING, AgentFigures, Alert, Detail, Forecast

DISK_FEED_S = 60.0  # the forecaster's rings then reach back 3.2 h to 8.5 d
SPOOL_FEED_S = 1.0  # a spool fills in minutes: 3.2 min to 3.4 h
SPOOL = "spool"
LAG_STEP_S = (
    0.5  # how often the loop's delay is looked at: a longer stall cannot hide, and a wake costs 0.02 % of a core
)
LAG_WINDOW_S = 60.0
START_S = 10.0  # imports and first connections are late by nature; nobody needs an alert for them


class Host(Protocol):
    """What is asked of the machine."""

    def read(self, now: float) -> Counters:
        """All counters at the monotonic moment `now`; never blocks for long."""
        ...


class Recorder(Protocol):
    """What is asked of the recorder."""

    def sample(self, columns: tuple[str, ...], row: list[float | int | None]) -> None:
        """Take one row of metrics."""
        ...

    def event(
        self,
        kind: str,
        severity: str,
        text: str,
        *,
        data: dict[str, Any] | None = None,
        actor: str | None = None,
        cmd_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Take one event."""
        ...


class LoopLag:
    """How late the event loop is, by looks on a steady grid; a stall counts for each look that it swallowed."""

    def __init__(self, step_s: float = LAG_STEP_S) -> None:
        self._step = step_s
        self._looks: deque[float] = deque(maxlen=max(round(LAG_WINDOW_S / step_s), 1))
        self._longest = 0.0

    def late(self, seconds: float) -> None:
        """Take how late one look was, and the looks that were missed behind it."""
        self._longest = max(self._longest, seconds)
        for missed in range(min(int(seconds / self._step) + 1, self._looks.maxlen or 1)):
            self._looks.append(seconds - missed * self._step)

    def take_longest(self) -> float:
        """The longest delay since this was last asked."""
        longest, self._longest = self._longest, 0.0
        return longest

    def p99(self) -> float | None:
        """The 99th percentile of the last minute."""
        if not self._looks:
            return None
        return sorted(self._looks)[math.ceil(len(self._looks) * 0.99) - 1]


class Sampling:
    """One sample each interval, on a grid that does not drift; a missed moment is left out, not caught up."""

    def __init__(
        self,
        host: Host,
        recorder: Recorder,
        clock: Clock,
        interval_s: float = 1.0,
        thresholds: Sequence[AlertPolicy] = (),
        own: Callable[[], AgentFigures] = AgentFigures,
        spool: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._host, self._recorder, self._clock = host, recorder, clock
        self._own, self._spool = own, spool
        self._sampler, self._filling = Sampler(), Filling()
        self._alerts = Alerts(with_defaults(thresholds))
        self._looks = max(round(interval_s / LAG_STEP_S), 1)  # in each interval
        self._pause = interval_s / self._looks
        self._lag = LoopLag(self._pause)
        self._columns: tuple[str, ...] = ()
        self.on_sample: Callable[[], None] = lambda: None
        self._filling_alerts: dict[str, Alert] = {}
        self.latest: Sample | None = None
        self.agent = AgentFigures()

    async def run(self) -> None:
        """Measure until cancelled: each look measures the loop's lag, each few looks one sample."""
        started, look = self._clock.monotonic(), 0
        while True:
            if look % self._looks == 0:
                self.step()
            look = next_look(started, self._pause, look, self._clock.monotonic())
            moment = started + look * self._pause
            await asyncio.sleep(moment - self._clock.monotonic())
            if look * self._pause >= START_S:
                self._lag.late(max(self._clock.monotonic() - moment, 0.0))

    def step(self) -> Sample:
        """Take one sample now, and do everything that follows from it."""
        now, t = self._clock.monotonic(), self._clock.wall()
        sample = self.latest = self._sampler.observe(self._host.read(now))
        self.agent = self._agent_figures(sample)
        row = row_of(sample, self.agent, round(self._lag.take_longest(), 6))
        columns = tuple(row)
        if columns != self._columns:
            self._columns = columns
        # The same tuple each time lets whoever keeps chunks see at a glance that nothing changed.
        self._recorder.sample(self._columns, list(row.values()))
        self._follow_alerts(row, now, t)
        self._follow_filling(sample, now, t)
        self.on_sample()
        return sample

    def alerts(self) -> list[Alert]:
        """What is raised, thresholds and things that fill, worst first."""
        return [*self._alerts.raised(), *self._filling_alerts.values()]

    def forecasts(self) -> list[Forecast]:
        """What will be full, the soonest first; disks by their mount, and `spool`."""
        return self._filling.forecasts(self._clock.monotonic())

    def acknowledge(self, name: str, actor: str) -> bool:
        """An operator has seen this alert; False where none of that name is raised."""
        if all(alert.name != name for alert in self.alerts()):
            return False
        self._alerts.handle(Acknowledged(name, actor), self._clock.monotonic())
        known = self._filling_alerts.get(name)
        if known is not None:
            self._filling_alerts[name] = Alert(known.name, known.severity, known.text, known.since, actor)
        return True

    def set_thresholds(self, thresholds: Sequence[AlertPolicy]) -> None:
        """Watch these from now on; alerts of policies that are left out are cleared."""
        event = PoliciesChanged(with_defaults(thresholds))
        self._record_alerts(self._alerts.handle(event, self._clock.monotonic()))

    def live_host(self) -> dict[str, Any]:
        """The machine's fields of Live (cpu, mem, load1, disk); none before the first sample."""
        if self.latest is None:
            return {}
        return live_host(self.latest, {forecast.what: forecast for forecast in self.forecasts()})

    def detail_host(self, detail: Detail) -> Detail:
        """The detail with the machine's figures, the agent's own among them."""
        if self.latest is None:
            return detail
        return detail_host(self.latest, detail, round(self._clock.boottime(), 1))

    def _agent_figures(self, sample: Sample) -> AgentFigures:
        own = self._own()
        return AgentFigures(
            cpu=_rounded(sample.own_cpu, 5),
            rss=sample.own_rss,
            loop_lag_p99=_rounded(self._lag.p99(), 6),
            fsync_p99=_rounded(own.fsync_p99, 6),
            rtt_p99={dest: _rounded(rtt, 6) for dest, rtt in own.rtt_p99.items()},
        )

    def _follow_alerts(self, row: Mapping[str, float | None], now: float, t: float) -> None:
        self._record_alerts(self._alerts.handle(Measured(row, t), now))

    def _record_alerts(self, effects: Sequence[AlertRaised | AlertCleared]) -> None:
        for effect in effects:
            data = {"name": effect.name, "column": effect.column, "value": effect.value}
            if isinstance(effect, AlertRaised):
                self._recorder.event("alert_raised", effect.severity, effect.text, data=data)
            else:
                self._recorder.event("alert_cleared", OK, effect.text, data=data)

    def _follow_filling(self, sample: Sample, now: float, t: float) -> None:
        for effect in self._filling.handle(self._uses(sample), now):
            name = f"filling {effect.what}"
            if isinstance(effect, FillingBegan):
                self._filling_alerts[name] = Alert(name, WARNING, effect.text, t)
                forecast = effect.forecast
                data = {"name": name, "low_s": forecast.low_s, "mid_s": forecast.mid_s, "high_s": forecast.high_s}
                self._recorder.event("alert_raised", WARNING, effect.text, data=data)
            else:
                self._filling_alerts.pop(name, None)
                self._recorder.event("alert_cleared", OK, effect.text, data={"name": name})

    def _uses(self, sample: Sample) -> dict[str, Used]:
        uses = {
            disk.mount: Used(disk.used, disk.used + disk.available, DISK_FEED_S)
            for disk in sample.disks
            if disk.used is not None and disk.available is not None
        }
        if self._spool is not None:
            used, budget = self._spool()
            uses[SPOOL] = Used(used, budget, SPOOL_FEED_S)
        return uses


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def next_look(started: float, pause: float, look: int, now: float) -> int:
    """The first look of the grid after `now`; never the one just had."""
    return max(look, math.floor((now - started) / pause)) + 1
