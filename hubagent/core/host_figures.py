"""What a sample looks like on the wire: a row of metrics, and the machine's part of Live and Detail."""

from collections.abc import Mapping
from typing import Any

import msgspec

from hubagent.core.sampling import DiskSample, Sample
from hubagent.wire.reports import AgentFigures, Detail, Disk, DiskUse, Forecast, Nic

Value = float | int | None


def row_of(sample: Sample, agent: AgentFigures, loop_lag_max: float | None = None) -> dict[str, Value]:
    """Every column of `wire/columns.py` that this sample has, in an order that one set of devices always gives."""
    row: dict[str, Value] = {"cpu.total": _short(sample.cpu)}
    row.update((f"cpu[{core}].used", _short(used)) for core, used in sample.cores)
    row["load.1"], row["load.5"], row["load.15"] = sample.load
    row["mem.total"], row["mem.used"], row["mem.ratio"] = sample.mem_total, sample.mem_used, _short(sample.mem_ratio)
    row["swap.total"], row["swap.used"] = sample.swap_total, sample.swap_used
    for disk in sample.disks:
        row.update(_disk_columns(disk))
    for nic in sample.nics:
        row[f"net[{nic.name}].rx"], row[f"net[{nic.name}].tx"] = _whole(nic.rx_rate), _whole(nic.tx_rate)
        row[f"net[{nic.name}].errors"] = nic.errors
    row["psi[cpu].some"], row["psi[memory].some"] = _short(sample.pressure_cpu), _short(sample.pressure_memory)
    row["psi[io].some"], row["processes"] = _short(sample.pressure_io), sample.processes
    row.update(_agent_columns(agent, loop_lag_max))
    return row


def live_host(sample: Sample, forecasts: Mapping[str, Forecast]) -> dict[str, Any]:
    """The machine's fields of Live; the disk shown is the one full first, or else the fullest."""
    disk = min(sample.disks, key=lambda one: _urgency(one, forecasts), default=None)
    return {
        "cpu": _short(sample.cpu),
        "mem": _short(sample.mem_ratio),
        "load1": sample.load[0],
        "disk": _disk_use(disk, forecasts) if disk else None,
    }


def detail_host(sample: Sample, detail: Detail, uptime_s: float | None) -> Detail:
    """The detail with the machine's fields filled in."""
    return msgspec.structs.replace(
        detail,
        cores=[_short(used) for _, used in sample.cores],
        load=list(sample.load),
        mem_total=sample.mem_total,
        mem_used=sample.mem_used,
        swap_total=sample.swap_total,
        swap_used=sample.swap_used,
        disks=[
            Disk(d.mount, d.total, d.used, _short(d.ratio), _whole(d.read_rate), _whole(d.write_rate))
            for d in sample.disks
        ],
        nics=[Nic(nic.name, _whole(nic.rx_rate), _whole(nic.tx_rate), nic.errors) for nic in sample.nics],
        pressure={
            "cpu": _short(sample.pressure_cpu),
            "memory": _short(sample.pressure_memory),
            "io": _short(sample.pressure_io),
        },
        processes=sample.processes,
        uptime_s=uptime_s,
        up_since=sample.boot_time,
    )


def _short(ratio: float | None) -> float | None:
    """Four decimals say all that a tick of 10 ms can, and keep live below 600 bytes."""
    return None if ratio is None else round(ratio, 4)


def _whole(rate: float | None) -> int | None:
    return None if rate is None else round(rate)


def _disk_columns(disk: DiskSample) -> dict[str, Value]:
    name = f"disk[{disk.mount}]"
    return {
        f"{name}.total": disk.total,
        f"{name}.used": disk.used,
        f"{name}.ratio": _short(disk.ratio),
        f"{name}.read": _whole(disk.read_rate),
        f"{name}.written": _whole(disk.write_rate),
    }


def _agent_columns(agent: AgentFigures, loop_lag_max: float | None) -> dict[str, Value]:
    columns: dict[str, Value] = {
        "agent.cpu": agent.cpu,
        "agent.rss": agent.rss,
        "agent.loop_lag_p99": agent.loop_lag_p99,
        "agent.loop_lag_max": loop_lag_max,
        "agent.fsync_p99": agent.fsync_p99,
    }
    columns.update((f"agent.rtt_p99[{dest}]", rtt) for dest, rtt in sorted(agent.rtt_p99.items()))
    return columns


def _urgency(disk: DiskSample, forecasts: Mapping[str, Forecast]) -> tuple[float, float]:
    forecast = forecasts.get(disk.mount)
    return forecast.low_s if forecast else float("inf"), -(disk.ratio or 0.0)


def _disk_use(disk: DiskSample, forecasts: Mapping[str, Forecast]) -> DiskUse | None:
    if disk.ratio is None:
        return None
    forecast = forecasts.get(disk.mount)
    if forecast is None:
        return DiskUse(disk.mount, round(disk.ratio, 4))
    return DiskUse(disk.mount, round(disk.ratio, 4), forecast.mid_s, forecast.low_s, forecast.high_s)
