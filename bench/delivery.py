"""Delivery of records: how fast, how late, how much memory, and what a kill -9 costs; next to bare nats-py in the same run.

`bench/delivery.py [--quick] [--json]`: events of 64 bytes, appended (fsync), published and acknowledged in chunks of 1 to
1,000, to one and to two servers with `sync_interval: always`; the same chunks by `js.publish` in a loop and by
`publish_async`. Backlogs of an hour and a day at 1 Hz, drained. A spool of 10^6 records. Event to stored, and live message to
received. The hole in sample time around a kill -9 of a demo agent. Everything the streams hold is checked. Quick: within 60 s.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import delivery_runs as runs
import yaml

from console import config
from console.demo.fleet import start_agent
from console.demo.layout import Layout
from console.fleet import LiveSeen
from console.link import Link

SIZES = (1, 10, 100, 1000)
HUB = "alpha"


@dataclass(frozen=True)
class Extent:
    """How much is done."""

    chunks: int
    repeats: int
    drain: dict[str, int]
    chunk_records: int  # of the spool with 10^6 records
    seconds: float
    kills: int


FULL = Extent(2000, 3, {"hour": 3600, "day": 86_400}, 5, 300.0, 50)
QUICK = Extent(150, 1, {"hour": 3600}, 500, 1.5, 2)


def main() -> None:
    """Measure, print, and with --json one object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer chunks, shorter times, 3 kills")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--only", default="", help="throughput, drain, memory, latency, console or kills")
    options = parser.parse_args()
    extent = QUICK if options.quick else FULL
    result: dict[str, float] = {"lost": 0, "repeated": 0}
    with tempfile.TemporaryDirectory(prefix="hubdeck-bench-") as directory:
        for name, part in PARTS.items():
            if options.only in {"", name}:
                part(Path(directory) / name, extent, result)
    if options.json:
        print(json.dumps(result))


def throughput(root: Path, extent: Extent, result: dict[str, float]) -> None:
    """Ours and bare, in turn, for each size."""
    print("records a chunk     ours, 1 server    ours, 2 servers     js.publish in a loop    publish_async   ratio")
    ratios = []
    for size in SIZES:
        ours, both, loop, pipelined = [], [], [], []
        for turn in range(extent.repeats):
            folder = root / f"{size}-{turn}"
            one = run(runs.throughput(folder / "one", size, extent.chunks, "central"), result)
            two = run(runs.throughput(folder / "two", size, extent.chunks, "central", "edge"), result)
            ours.append(extent.chunks / one["seconds"])
            both.append(extent.chunks / two["seconds"])
            payload = one["payload"]
            loop.append(extent.chunks / asyncio.run(runs.bare(folder, payload, extent.chunks, is_async=False)))
            pipelined.append(
                extent.chunks / asyncio.run(runs.bare(folder / "a", payload, extent.chunks, is_async=True))
            )
        middle = [statistics.median(one) for one in (ours, both, loop, pipelined)]
        ratios.append(middle[0] / middle[2])
        result |= {
            f"records_per_s_{size}": round(middle[0] * size), f"two_records_per_s_{size}": round(middle[1] * size),
            f"bare_records_per_s_{size}": round(middle[2] * size), f"async_records_per_s_{size}": round(middle[3] * size),
            f"ratio_to_bare_{size}": round(ratios[-1], 3),
        }  # fmt: skip
        figures = "".join(f"{one * size:>13,.0f} rec/s " for one in middle)
        print(f"{size:>15,}{figures}  {ratios[-1]:.2f}")
    result["ratio_to_bare"] = round(min(ratios), 3)


def drain(root: Path, extent: Extent, result: dict[str, float]) -> None:
    """Backlogs at 1 Hz, and the live plane meanwhile."""
    for name, samples in extent.drain.items():
        found = run(runs.drain(root / name, samples), result)
        result |= {
            f"drain_{name}_s": round(found["seconds"], 3),
            f"live_drain_{name}_p99_s": round(found["live_p99_s"], 4),
        }
        print(f"drain of a {name}: {found['seconds']:.2f} s; live p99 meanwhile {found['live_p99_s'] * 1000:.1f} ms")
    if "day" not in extent.drain:
        result["drain_day_s"] = round(24 * result["drain_hour_s"], 2)
        print(f"drain of a day (from the hour): {result['drain_day_s']} s")
    samples = FULL.drain["hour"] if extent is FULL else 150
    far = run(runs.drain(root / "far", samples, latency_s=0.025), result)
    seconds = far["seconds"] * FULL.drain["hour"] / samples
    result["drain_hour_50ms_s"] = round(seconds, 2)
    print(f"drain of an hour through 50 ms round trip: {seconds:.1f} s" + ("" if extent is FULL else " (from 150 s)"))


def memory(root: Path, extent: Extent, result: dict[str, float]) -> None:
    """RSS and start with an empty spool, and with 10^6 records."""
    asyncio.run(runs.fill(root / "full", 1_000_000, extent.chunk_records, as_events=extent is QUICK))
    (root / "empty").mkdir(parents=True)
    empty, full = runs.child(root / "empty"), runs.child(root / "full")
    result |= {
        "rss_growth_bytes": full["rss"] - empty["rss"], "start_s": round(full["start_s"], 3),
        "start_empty_s": round(empty["start_s"], 3), "open_s": round(full["open_s"], 3),
    }  # fmt: skip
    print(f"10^6 records in the spool: RSS {result['rss_growth_bytes'] / 1e6:+.2f} MB, start {full['start_s']:.2f} s "
          f"(empty {empty['start_s']:.2f} s; of it the spool {full['open_s']:.3f} s)")  # fmt: skip


def latency(root: Path, extent: Extent, result: dict[str, float]) -> None:
    """Event → stored on both; live → received; with and without fsync, near and through 20 ms."""
    for key, sync, far in (("", "always", 0.0), ("nosync_", "2m", 0.0), ("20ms_", "always", 0.01)):
        found = asyncio.run(runs.latencies(root / f"{key}x", extent.seconds, sync=sync, latency_s=far))
        for name, values in found.items():
            result[f"{key}{name}_p50_s"] = round(statistics.median(values), 5)
            result[f"{key}{name}_p99_s"] = round(runs.p99(values), 5)
        words = f"sync {sync}, round trip {far * 2000:.0f} ms"
        sent, stored, live = (f"{runs.p99(found[name]) * 1000:.1f} ms" for name in ("sent", "stored", "live"))
        print(
            f"{words}: event accepted to sent p99 {sent}, to stored on both p99 {stored}, live to received p99 {live}"
        )


@contextlib.contextmanager
def demo(root: Path) -> Iterator[dict]:
    """A headless demo with one member; what it prints when ready."""
    command = [sys.executable, "-m", "console", "demo", "--headless", "--hubs", "1", "--dir", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(40)


def console(root: Path, extent: Extent, result: dict[str, float]) -> None:
    """A real agent's sample, from its time in the record to the summary in a console's hands."""
    with demo(root) as ready:
        heard = hear(Path(ready["console_config"]), max(extent.seconds, 5.0))
        time.sleep(6.0)  # a chunk of metrics closes after 5 s
        times = asyncio.run(runs.times_of(ready["console_config"], HUB, admin))
    ages = [at - max((t for t in times if t <= at), default=at) for at in heard]
    result |= {
        "sample_console_p50_s": round(statistics.median(ages), 5),
        "sample_console_p99_s": round(runs.p99(ages), 5),
    }
    print(f"sample to console, {len(ages)} summaries: p50 {statistics.median(ages) * 1000:.1f} ms, "
          f"p99 {runs.p99(ages) * 1000:.1f} ms")  # fmt: skip


def hear(config_path: Path, seconds: float) -> list[float]:
    """When each second's summary of the hub reached a console's link; summaries for a change in between are left out."""
    link = Link(config.load(config_path))
    link.start()
    found: list[float] = []
    end = time.time() + seconds
    try:
        while time.time() < end:
            link.wait(0.5)
            at = time.time()
            is_here = any(isinstance(one, LiveSeen) and one.live.hub == HUB for one in link.drain())
            if is_here and (not found or at - found[-1] > 0.8):
                found.append(at)
    finally:
        link.stop()
    return found[3:]


def kills(root: Path, extent: Extent, result: dict[str, float]) -> None:
    """kill -9 of a demo agent and its start, again and again: the longest hole in its sample time."""
    started: list[subprocess.Popen] = []
    with demo(root) as ready:
        try:
            pid = ready["agents"][HUB]["pid"]
            runs.pause(1.0, 2.0)
            for _ in range(extent.kills):
                os.kill(pid, signal.SIGKILL)
                if started:
                    started[-1].wait()
                started.append(start_agent(Layout(root, (), {}), HUB))
                pid = started[-1].pid
                runs.pause(2.0, 3.0)
            time.sleep(4.0)  # a chunk of metrics closes after 5 s
            times = asyncio.run(runs.times_of(ready["console_config"], HUB, admin))
        finally:
            for one in started:
                one.terminate()
    for one in started:
        one.wait(40)
    holes = sorted((later - before for before, later in itertools.pairwise(times)), reverse=True)[: extent.kills]
    result |= {"kill_gap_s": round(holes[0], 3), "kill_gap_median_s": round(statistics.median(holes), 3)}
    print(
        f"hole around a kill -9, {extent.kills} trials: worst {holes[0]:.2f} s, median {statistics.median(holes):.2f} s"
    )


def admin(path: str) -> tuple[str, str]:
    """Where central is, and the login of the demo's admin."""
    settings = yaml.safe_load(Path(path).read_text())
    return settings["servers"][0]["urls"][0], Path(settings["key_file"]).read_text().split()[0]


def run(work, result: dict[str, float]) -> dict:
    """One run; what its streams lost or repeated counts over all."""
    found = asyncio.run(work)
    result["lost"] += found["lost"]
    result["repeated"] += found["repeated"]
    return found


PARTS = {
    "throughput": throughput,
    "drain": drain,
    "memory": memory,
    "latency": latency,
    "console": console,
    "kills": kills,
}

if __name__ == "__main__":
    main()
