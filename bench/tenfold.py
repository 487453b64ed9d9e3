"""Ten times the expected load, with a hub server killed every 30 s: what is lost, repeated, how RSS goes, and the ceiling.

`bench/tenfold.py [--quick] [--json] [--only hubs|writes|ten_writes]`: 10 hubs of 100 records a second each (90 samples, 10
events); 200 chunk writes a second to each of two servers (what 1,000 hubs make); ten times that. Real spools, senders and
servers (`sync_interval: always`); all senders share one process and, with the servers, this machine. Quick: 10 s each.
"""

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import delivery_runs as runs
import nats
from meter import cpu_s, memory

from hubagent.wire import subjects
from hubagent.wire.signing import SIGNATURE_HEADER
from tests.support.history import Stored, check
from tests.support.hub import HubParts

DOWN_S = 2.0  # a killed server comes back after this long


@dataclass(frozen=True)
class Load:
    """So many hubs, and what each makes in a second."""

    words: str
    hubs: int
    samples: int
    events: int


LOADS = {
    "hubs": Load("10 hubs of 100 records/s", 10, 90, 10),
    "writes": Load("200 chunk writes/s a side", 20, 0, 10),
    "ten_writes": Load("2,000 chunk writes/s a side", 40, 0, 50),
}


def main() -> None:
    """Measure, print, and with --json one object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 s each, a kill every 4 s")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--only", default="", choices=["", *LOADS], help="one of the loads")
    options = parser.parse_args()
    seconds, every = (10.0, 4.0) if options.quick else (300.0, 30.0)
    result: dict[str, float] = {"lost": 0, "repeated": 0}
    for name, load in LOADS.items():
        if options.only in {"", name}:
            with tempfile.TemporaryDirectory(prefix="hubdeck-bench-") as folder:
                found = asyncio.run(run(Path(folder), load, seconds, every))
            result |= {f"{name}_{key}": value for key, value in found.items()}
            result["lost"] += found["lost"]
            result["repeated"] += found["repeated"]
    if options.json:
        print(json.dumps(result))


async def run(folder: Path, load: Load, seconds: float, every: float) -> dict[str, float]:
    """One load for so long; the figures, after everything has been drained and read back."""
    async with runs.servers(folder, "central", "edge") as found, contextlib.AsyncExitStack() as stack:
        hubs = [
            await stack.enter_async_context(
                HubParts(folder / f"h{n}", runs.urls(found), hub=f"h{n}", policy=runs.POLICY).running()
            )
            for n in range(load.hubs)
        ]
        began, cpu = time.perf_counter(), cpu_s(os.getpid())
        killing = asyncio.create_task(kill_in_turn(list(found.values()), every, seconds))
        resident = asyncio.create_task(watch_memory(seconds))
        await asyncio.gather(*(speak(hub, load, seconds, at / len(hubs)) for at, hub in enumerate(hubs)))
        cpu = (cpu_s(os.getpid()) - cpu) / (time.perf_counter() - began)
        kills = await killing
        stored_before = [await count(server.url) for server in found.values()]
        draining = time.perf_counter()
        for hub in hubs:
            await hub.spool.write(hub.log.close_all)
            for dest in found:
                for lane in [lane for lane, (_, n) in hub.log.durable.items() if n]:
                    await hub.delivered(dest, lane, 600)
        drained = time.perf_counter() - draining
        stored_now = await held(found)
        rss = await resident
    lost, repeated = verify(hubs, stored_now)
    least = min(stored_before) / seconds
    made = min(sum(map(len, lanes.values())) for lanes in stored_now.values()) / seconds
    third = max(len(rss) // 3, 1)
    growth = max(rss[-third:]) - max(rss[:third])
    records = sum(len(hub.accepted) + len(hub.accepted_events) for hub in hubs) / seconds
    print(f"{load.words}: {records:,.0f} records/s accepted, {made:,.0f} chunks/s made, {least:,.0f} chunks/s a side "
          f"stored meanwhile, {kills} kills, drained {drained:.1f} s after; lost {lost}, repeated {repeated}; "
          f"RSS {max(rss) / 1e6:.0f} MB, last third over first {growth / 1e6:+.1f} MB; senders {cpu:.0%} of a core")  # fmt: skip
    return {
        "records_per_s": round(records), "chunks_per_s": round(made), "stored_chunks_per_s": round(least),
        "kills": kills, "drain_s": round(drained, 2), "lost": lost, "repeated": repeated,
        "rss_growth_bytes": growth, "rss_bytes": max(rss), "senders_cpu": round(cpu, 3),
    }  # fmt: skip


async def speak(hub: HubParts, load: Load, seconds: float, offset: float) -> None:
    """Samples and events of one hub at their rate for so long, every event accepted.

    What was accepted is kept as ranges: lists would be the growth of memory that is measured.
    """
    beats = max(load.samples, load.events)
    step = beats // load.events
    began, value = time.perf_counter() + offset / beats, 0
    open_events: set[asyncio.Task] = set()
    while (due := value / beats) < seconds:
        await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
        if load.samples:
            hub.recorder.sample(("x.value",), [value])
        if value % step == 0:
            task = asyncio.create_task(hub.recorder.event_durable("note", "ok", "x", data={"id": value}))
            open_events.add(task)
            task.add_done_callback(open_events.discard)
        value += 1
    await asyncio.gather(*open_events)
    hub.accepted = range(value if load.samples else 0)
    hub.accepted_events = range(0, value, step)


async def kill_in_turn(servers: list, every: float, seconds: float) -> int:
    """kill -9 of one server and then the other, each back after two seconds: how many within the time."""
    kills = int((seconds - DOWN_S) // every)
    for number in range(kills):
        await asyncio.sleep(every - (DOWN_S if number else 0.0))
        server = servers[number % len(servers)]
        server.kill()
        await asyncio.sleep(DOWN_S)
        await asyncio.to_thread(server.start)
    return kills


async def watch_memory(seconds: float) -> list[int]:
    """RSS of the senders, ten times over the run, from the first tenth on."""
    found = []
    for _ in range(9):
        await asyncio.sleep(seconds / 10)
        found.append(memory(os.getpid())["rss"])
    return found


async def count(url: str) -> int:
    """Messages in both streams of a server."""
    client = await nats.connect(url)
    js = client.jetstream()
    found = sum([(await js.stream_info(stream)).state.messages for stream in ("EVT", "MET")])
    await client.close()
    return found


async def held(servers: dict) -> dict[str, dict[tuple[str, str], list[Stored]]]:
    """Every message of every server, by lane and hub, read through an ordered consumer."""
    return {name: await everything(server.url) for name, server in servers.items()}


async def everything(url: str) -> dict[tuple[str, str], list[Stored]]:
    """Both streams of one server."""
    client, lanes = await nats.connect(url), defaultdict(list)
    js = client.jetstream()
    for stream in ("EVT", "MET"):
        count = (await js.stream_info(stream)).state.messages
        subscription = await js.subscribe(
            "", stream=stream, ordered_consumer=True, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        for _ in range(count):
            message = await subscription.next_msg(30)
            lane, hub = lane_and_hub(message.subject)
            signature = (message.headers or {}).get(SIGNATURE_HEADER)
            lanes[lane, hub].append(Stored(message.data, signature, message.metadata.sequence.stream))
        await subscription.unsubscribe()
    await client.close()
    return lanes


def lane_and_hub(subject: str) -> tuple[str, str]:
    """Of a subject of records."""
    _, lane, hub = subject.split(".")
    return lane, hub


def verify(hubs: list[HubParts], stored: dict) -> tuple[int, int]:
    """Lost in silence and repeated, over all hubs, lanes and servers."""
    lost = repeated = 0
    for hub in hubs:
        for lane, accepted in (("met", hub.accepted), ("evt", hub.accepted_events)):
            for lanes in stored.values():
                messages, subject = lanes.get((lane, hub.hub), []), subjects.ops(lane, hub.hub)
                verdict = check(messages, accepted, public=hub.key.public, subject=subject)
                lost, repeated = lost + len(verdict.silent), repeated + len(verdict.duplicate)
                assert not verdict.broken, verdict
                assert not verdict.reordered, verdict
    return lost, repeated


if __name__ == "__main__":
    main()
