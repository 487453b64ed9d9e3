"""Samples: rates from two readings, and what the loop does with them."""

import asyncio

import pytest

from hubagent.clock import SystemClock
from hubagent.core.alerts import AlertPolicy
from hubagent.core.host_figures import row_of
from hubagent.core.sampling import Sample, Sampler, rate, sample_between
from hubagent.counters import Counters, CpuTimes, DiskCounters, NicCounters
from hubagent.loops.sampling import LoopLag, Sampling, next_look
from hubagent.wire.columns import describe
from hubagent.wire.reports import AgentFigures, Detail
from tests.fakes.clock import FakeClock
from tests.fakes.host import GIB, FakeHost, counters
from tests.fakes.recorder import FakeRecorder
from tests.support.waiting import until


def test_first_sample_has_levels_and_no_rates():
    """Rates need two readings; levels do not."""
    sample = Sampler().observe(counters(at=5.0))
    assert (sample.cpu, sample.nics[0].rx_rate, sample.disks[0].read_rate) == (None, None, None)
    assert (sample.mem_used, sample.disks[0].used, sample.processes) == (2 * GIB, 40 * GIB, 100)


def test_rates_are_growth_per_second_and_cpu_a_share_of_the_ticks():
    """Two readings two seconds apart."""
    old = counters(at=10.0)
    new = counters(
        at=12.0,
        cpu=CpuTimes(None, 150.0, 1200.0),
        cores=(CpuTimes(0, 60.0, 600.0), CpuTimes(1, 100.0, 600.0)),
        nics=(NicCounters("eth0", 10_500, 24_000, 3),),
        disks=(DiskCounters("/", 100 * GIB, 40 * GIB, 60 * GIB, 3000, 2000),),
        pressure_cpu_s=1.5,
        own_cpu_s=0.51,
    )
    sample = sample_between(old, new)
    assert sample.cpu == 0.25
    assert sample.cores == ((0, 0.1), (1, 0.5))
    assert (sample.nics[0].rx_rate, sample.nics[0].tx_rate, sample.nics[0].errors) == (250.0, 2000.0, 3)
    assert (sample.disks[0].read_rate, sample.disks[0].write_rate) == (1000.0, 0.0)
    assert sample.pressure_cpu == 0.25
    assert sample.own_cpu == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("old", "new", "seconds"), [(None, 1, 1.0), (1, None, 1.0), (5, 4, 1.0), (1, 2, 0.0), (1, 2, -1.0)]
)
def test_no_rate_where_a_counter_is_missing_fell_or_no_time_passed(old, new, seconds):
    """A wrapped counter must not become a huge or negative rate."""
    assert rate(old, new, seconds) is None


def test_missing_sensors_stay_none_and_never_become_zero():
    """An empty reading gives an empty sample."""
    sample = sample_between(Counters(at=1.0), Counters(at=2.0))
    assert sample == Sample(at=2.0)
    values = row_of(sample, AgentFigures())
    assert set(values.values()) == {None}


def test_disk_ratio_is_of_what_can_be_had_as_df_shows_it():
    """Space reserved for root counts neither as used nor as free."""
    disk = DiskCounters("/", 100, 45, 45)
    assert sample_between(Counters(at=1.0), Counters(at=2.0, disks=(disk,))).disks[0].ratio == 0.5


def test_a_core_or_disk_that_appears_has_no_rate_yet():
    """Hot-plugged things begin with None."""
    sample = sample_between(Counters(at=1.0), counters(at=2.0))
    assert sample.cores == ((0, None), (1, None))
    assert sample.disks[0].write_rate is None


def test_every_column_of_a_row_is_described():
    """Nothing is written that `wire/columns.py` does not list."""
    sample = sample_between(counters(at=1.0), counters(at=2.0))
    row = row_of(sample, AgentFigures(rtt_p99={"central": 0.001}), 0.0)
    assert [column for column in row if describe(column) is None] == []
    assert "agent.rtt_p99[central]" in row


def make(interval_s: float = 1.0, **options):
    """A sampling loop over fakes."""
    host, recorder, clock = FakeHost(), FakeRecorder(), FakeClock()
    return Sampling(host, recorder, clock, interval_s, **options), host, recorder, clock


def test_each_step_hands_one_row_with_stable_columns_to_the_recorder():
    """A change of the set alone changes the columns."""
    sampling, host, recorder, clock = make()
    for _ in range(2):
        sampling.step()
        clock.advance(1.0)
    host.set(disks=())
    sampling.step()
    first, second, third = (columns for columns, _ in recorder.samples)
    assert first == second
    assert set(first) - set(third) == {f"disk[/].{name}" for name in ("total", "used", "ratio", "read", "written")}
    assert all(len(columns) == len(row) for columns, row in recorder.samples)


def test_a_full_disk_is_raised_recorded_and_cleared():
    """Built-in thresholds work without any config."""
    sampling, host, recorder, clock = make()
    host.set(disks=(DiskCounters("/var", 100 * GIB, 95 * GIB, 5 * GIB),))
    for _ in range(32):
        sampling.step()
        clock.advance(1.0)
    assert [(alert.name, alert.severity) for alert in sampling.alerts()] == [("disk-filling /var", "warning")]
    assert sampling.acknowledge("disk-filling /var", "ada")
    assert sampling.alerts()[0].acked_by == "ada"
    host.set(disks=(DiskCounters("/var", 100 * GIB, 10 * GIB, 90 * GIB),))
    for _ in range(32):
        sampling.step()
        clock.advance(1.0)
    assert sampling.alerts() == []
    assert recorder.kinds() == ["alert_raised", "alert_cleared"]
    assert not sampling.acknowledge("disk-filling /var", "ada")


def test_thresholds_left_out_at_a_reload_are_cleared():
    """What nobody watches any more must not stay red."""
    sampling, _, recorder, clock = make(thresholds=(AlertPolicy("idle", "cpu.total", below=0.5, for_s=0.0),))
    for share in (100.0, 101.0):
        sampling._host.set(cpu=CpuTimes(None, share, share * 10))
        sampling.step()
        clock.advance(1.0)
    assert [alert.name for alert in sampling.alerts()] == ["idle"]
    sampling.set_thresholds(())
    assert sampling.alerts() == []
    assert recorder.kinds() == ["alert_raised", "alert_cleared"]


def test_a_spool_that_fills_is_forecast_with_an_interval_and_raises_an_alert_withdrawn_when_it_stops():
    """64 s of steady growth bear a claim; a drained spool takes it back, visibly."""
    spool = [0]
    sampling, _, recorder, clock = make(spool=lambda: (spool[0], 1_000_000))
    for second in range(120):
        spool[0] = 5000 * second
        sampling.step()
        clock.advance(1.0)
    (forecast,) = [one for one in sampling.forecasts() if one.what == "spool"]
    assert forecast.low_s <= 81 <= forecast.high_s
    assert forecast.rate == pytest.approx(5000, rel=0.05)
    assert recorder.kinds() == ["alert_raised"]
    spool[0] = 0
    for _ in range(60):
        sampling.step()
        clock.advance(1.0)
    assert sampling.forecasts() == []
    assert recorder.events[-1].text == "spool: no longer filling"
    assert sampling.alerts() == []


def test_live_and_detail_carry_the_machine():
    """The two reports get their host figures from the latest sample."""
    sampling, _, _, clock = make(own=lambda: AgentFigures(fsync_p99=0.002))
    assert sampling.live_host() == {}
    sampling.step()
    live = sampling.live_host()
    assert (live["mem"], live["load1"], live["disk"].mount, live["disk"].used) == (0.25, 0.1, "/", 0.4)
    detail = sampling.detail_host(Detail(v=1, hub="alpha", boot="b", seq=1, t=0.0))
    assert (detail.processes, detail.mem_used, detail.uptime_s) == (100, 2 * GIB, clock.boottime())
    assert detail.pressure == {"cpu": None, "memory": None, "io": None}
    assert (sampling.agent.fsync_p99, sampling.agent.rss) == (0.002, 30 << 20)


@pytest.mark.parametrize(("now", "expected"), [(15.0, 11), (15.1, 11), (15.49, 11), (15.5, 12), (17.7, 16), (14.0, 11)])
def test_the_grid_does_not_drift_and_skips_missed_looks(now, expected):
    """The next look is the first of the grid after now, never one had before."""
    assert next_look(10.0, 0.5, 10, now) == expected


def test_a_stall_counts_for_each_look_it_swallowed_and_the_longest_is_told_once():
    """One stall of 700 ms must show although only one look saw it."""
    lag = LoopLag(0.5)
    for _ in range(100):
        lag.late(0.001)
    lag.late(0.7)
    assert lag.p99() == pytest.approx(0.2)
    assert (lag.take_longest(), lag.take_longest()) == (0.7, 0.0)


def test_a_stall_of_700_ms_raises_an_alert_at_once():
    """Fault P4: wherever between two looks it begins, 200 ms of it are seen."""
    sampling, _, recorder, _ = make()
    sampling._lag.late(0.21)
    sampling.step()
    assert [(event.kind, event.data["name"]) for event in recorder.events] == [("alert_raised", "loop-lag")]


async def test_the_loop_samples_on_its_grid_until_cancelled():
    """The real clock, 50 samples a second."""
    host, recorder = FakeHost(), FakeRecorder()
    sampling = Sampling(host, recorder, SystemClock(), interval_s=0.02)
    running = asyncio.create_task(sampling.run())
    await until(lambda: host.reads >= 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(recorder.samples) == host.reads
