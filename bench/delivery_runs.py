"""The single runs of bench/delivery.py: each sets up real servers, does one thing, and gives its figures."""

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import nats
from meter import memory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the tests' helpers: servers, proxy and the history checker are theirs

from hubagent.core.chunking import ChunkPolicy  # noqa: E402
from hubagent.core.delivery import SenderPolicy  # noqa: E402
from hubagent.core.retention import RetentionPolicy  # noqa: E402
from hubagent.edges.nats_link import Link  # noqa: E402
from hubagent.loops.delivery import DeliveryPolicy  # noqa: E402
from hubagent.wire import subjects  # noqa: E402
from tests.support.fault_proxy import FaultProxy, Faults  # noqa: E402
from tests.support.history import check  # noqa: E402
from tests.support.hub import HubParts, make_streams, stored  # noqa: E402
from tests.support.nats import NatsServer, free_port  # noqa: E402

COLUMNS = tuple(f"core[{n}].busy" for n in range(40))  # a met row of the size that a small machine has
RECORD_BYTES = 64
APPENDS_MAX = 32
POLICY = DeliveryPolicy(SenderPolicy(), RetentionPolicy(8 << 30, 64 << 20, 1800.0), ChunkPolicy(5.0, 256 << 10))


@contextlib.asynccontextmanager
async def servers(folder: Path, *names: str, sync: str = "always") -> AsyncIterator[dict[str, NatsServer]]:
    """Hub servers with their streams."""
    with contextlib.ExitStack() as stack:
        found = {name: stack.enter_context(NatsServer(folder / name, name=name, sync=sync)) for name in names}
        for server in found.values():
            await make_streams(server.url)
        yield found


def urls(found: dict[str, NatsServer]) -> dict[str, str]:
    """Where each is."""
    return {name: server.url for name, server in found.items()}


def event(value: int) -> bytes:
    """An event of 64 bytes."""
    raw = b'{"data":{"id":%d},"x":"' % value
    return raw + b"y" * (RECORD_BYTES - len(raw) - 2) + b'"}'


async def throughput(folder: Path, size: int, chunks: int, *names: str) -> dict[str, float]:
    """Append (fsync) → publish → ack of so many chunks: seconds, and what the streams hold afterwards."""
    async with servers(folder, *names) as found:
        async with HubParts(folder / "hub", urls(found), policy=POLICY).running() as hub:
            for dest in found:
                await hub.delivered(dest, "evt")
            records = [[event(chunk * size + n) for n in range(size)] for chunk in range(chunks)]
            began = time.perf_counter()
            appended: list[asyncio.Future] = []
            for batch in records:
                appended.append(hub.spool.write(lambda store, batch=batch: add_events(hub, store, batch)))
                if len(appended) >= APPENDS_MAX:  # so many callers wait for their fsync; a commit takes all that wait
                    await appended[-APPENDS_MAX]
            await asyncio.gather(*appended)
            for dest in found:
                await hub.delivered(dest, "evt", 120)
            took = time.perf_counter() - began
            payload = (await stored(next(iter(found.values())).url, "evt"))[-1].payload
        lost, repeated = await held(hub, found, "evt", range(size * chunks))
    return {"seconds": took, "payload": payload, "lost": lost, "repeated": repeated}


def add_events(hub: HubParts, store, batch: list[bytes]) -> None:
    """So many events as one chunk of their own."""
    hub.log.add_events(store, batch, [hub.clock.wall()] * len(batch))
    hub.log._keep(store, hub.log._lanes["evt"].close())


async def held(hub: HubParts, found: dict[str, NatsServer], lane: str, values: range) -> tuple[int, int]:
    """What the checker finds lost and repeated, of the worst server."""
    verdicts = [
        check(await stored(one.url, lane), values, public=hub.key.public, subject=subjects.ops(lane, hub.hub))
        for one in found.values()
    ]
    return max(len(one.silent) for one in verdicts), max(len(one.duplicate) for one in verdicts)


async def bare(folder: Path, payload: bytes, chunks: int, *, is_async: bool) -> float:
    """nats-py by itself: js.publish in a loop, or publish_async and one wait at the end; seconds."""
    with NatsServer(folder / "bare") as server:
        client = await nats.connect(server.url)
        js = client.jetstream(publish_async_max_pending=chunks + 1)
        await js.add_stream(name="BARE", subjects=["bare"], storage="file")
        began = time.perf_counter()
        if is_async:
            acks = [await js.publish_async("bare", payload) for _ in range(chunks)]
            await asyncio.gather(*acks)
        else:
            for _ in range(chunks):
                await js.publish("bare", payload)
        took = time.perf_counter() - began
        await client.close()
        return took


async def backlog(hub: HubParts, samples: int, each: int = 5) -> None:
    """Samples at 1 Hz, put into the spool directly, in chunks of `each`."""
    columns = ("t", "mono", *COLUMNS)
    tail = b"".join(b",0.%04d" % (n * 97 % 10_000) for n in range(len(COLUMNS) - 1))

    def some(store, start: int) -> None:
        for value in range(start, min(start + 2000, samples)):
            raw = b"[%d,%d,%d%s]" % (1_700_000_000 + value, value, value, tail)
            hub.log.add_sample(store, columns, raw, 1_700_000_000.0 + value)
            if value % each == each - 1:
                hub.log.close_all(store)

    for start in range(0, samples, 2000):
        await hub.spool.write(lambda store, start=start: some(store, start))


async def drain(folder: Path, samples: int, *, latency_s: float = 0.0) -> dict[str, float]:
    """A backlog made while both servers are away, and the seconds from their return until both have it."""
    async with servers(folder, "central", "edge") as found, contextlib.AsyncExitStack() as stack:
        proxies = {name: await stack.enter_async_context(FaultProxy(server.port)) for name, server in found.items()}
        for proxy in proxies.values():
            proxy.set(Faults(refuse=True))
        hub = HubParts(folder / "hub", {name: proxy.url for name, proxy in proxies.items()}, policy=POLICY)
        async with hub.running():
            await backlog(hub, samples)
            for proxy in proxies.values():
                proxy.set(Faults(latency_s=latency_s))
            began = time.perf_counter()
            while not all(link.is_connected for link in hub.links.values()):
                await asyncio.sleep(0.005)
            async with speaking(hub, found["central"].url, 0.02) as ages:
                for dest in found:
                    await hub.delivered(dest, "met", 600)
                took = time.perf_counter() - began
        lost, repeated = await held(hub, found, "met", range(samples))
    return {"seconds": took, "live_p99_s": p99(ages), "lost": lost, "repeated": repeated}


@contextlib.asynccontextmanager
async def speaking(hub: HubParts, url: str, every_s: float) -> AsyncIterator[list[float]]:
    """Messages of a summary's size over the hub's own link while the block runs: their ages when received."""
    client = await nats.connect(url)
    ages: list[float] = []

    async def heard(message) -> None:
        ages.append(time.perf_counter() - float(message.data[:32]))

    async def speak() -> None:
        while True:
            text = f"{time.perf_counter():<32.9f}".encode()
            with contextlib.suppress(Exception):
                await hub.links["central"].publish(subjects.live(hub.hub), text + b" " * 568)
            await asyncio.sleep(every_s)

    await client.subscribe(subjects.live(hub.hub), cb=heard)
    await client.flush()
    task = asyncio.create_task(speak())
    try:
        yield ages
    finally:
        task.cancel()
        await client.close()


async def latencies(folder: Path, seconds: float, *, sync: str, latency_s: float) -> dict[str, list[float]]:
    """Event → stored on both, and live message → received, for so long at 20 events a second."""
    async with servers(folder, "central", "edge", sync=sync) as found, contextlib.AsyncExitStack() as stack:
        where = urls(found)
        if latency_s:
            for name, server in found.items():
                proxy = await stack.enter_async_context(FaultProxy(server.port))
                proxy.set(Faults(latency_s=latency_s))
                where[name] = proxy.url
        async with HubParts(folder / "hub", where, policy=POLICY).running() as hub:
            for dest in found:
                await hub.delivered(dest, "evt")
            waits: list[float] = []
            sending: list[float] = []
            sent = note_sent(hub)
            async with speaking(hub, where["central"], 0.05) as ages:
                end, value = time.perf_counter() + seconds, 0
                while time.perf_counter() < end:
                    began = time.perf_counter()
                    sent.clear()
                    await hub.event(value)
                    accepted = time.perf_counter()
                    await on_both(hub, "evt")
                    sending.append(max(0.0, max(sent) - accepted))
                    waits.append(time.perf_counter() - began)
                    value += 1
                    await asyncio.sleep(max(0.0, 0.05 - (time.perf_counter() - began)))
    return {"sent": sending, "stored": waits, "live": ages}


def note_sent(hub: HubParts) -> list[float]:
    """When chunks of events were handed to the sockets, for as long as the caller keeps looking."""
    moments: list[float] = []

    def watch(link: Link) -> None:
        send = link._send

        async def noting(connection, subject, payload, reply, headers) -> None:
            await send(connection, subject, payload, reply, headers)
            if subject == subjects.ops("evt", hub.hub):
                moments.append(time.perf_counter())

        link._send = noting

    for link in hub.links.values():
        watch(link)
    return moments


async def on_both(hub: HubParts, lane: str) -> None:
    """Return when every destination has acknowledged what is durable now."""
    wanted = hub.log.durable[lane]
    cores = [sender.core for (_, at), sender in hub.delivery._senders.items() if at == lane]
    while any(core.cursor.position < wanted for core in cores):
        await asyncio.sleep(0.0005)


def p99(values: list[float]) -> float:
    """The 99th percentile."""
    ordered = sorted(values)
    return ordered[int(0.99 * (len(ordered) - 1))] if ordered else float("nan")


def child(folder: Path) -> dict[str, float]:
    """A delivering agent without a server in a process of its own: its start and its memory after two looks."""
    command = [sys.executable, __file__, "--child", str(folder)]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        opened = json.loads(process.stdout.readline())
        start_s = time.perf_counter() - began
        process.stdout.readline()
        return {"start_s": start_s, "open_s": opened["open_s"], "rss": memory(process.pid)["rss"]}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def _child(folder: Path) -> None:
    dead = f"nats://127.0.0.1:{free_port()}"
    began = time.perf_counter()
    async with HubParts(folder, {"central": dead, "edge": dead}, policy=POLICY).running() as hub:
        print(json.dumps({"open_s": time.perf_counter() - began}), flush=True)
        for value in range(15):
            hub.recorder.sample(COLUMNS, [float(value)] * len(COLUMNS))
            await asyncio.sleep(0.1)
        print("{}", flush=True)
        await asyncio.sleep(60)


async def fill(folder: Path, records: int, each: int, *, as_events: bool) -> None:
    """A spool with so many records in it: rows of metrics, or events, which are put in more quickly."""
    async with HubParts(folder, {"central": f"nats://127.0.0.1:{free_port()}"}, policy=POLICY).running() as hub:
        if not as_events:
            await backlog(hub, records, each)
            return
        for start in range(0, records, each):
            batch = [event(value) for value in range(start, start + each)]
            await hub.spool.write(lambda store, batch=batch: add_events(hub, store, batch))


async def times_of(console_config: str, hub: str, read_config: Callable[[str], tuple[str, str]]) -> list[float]:
    """The sample times that central holds of a hub, read as the demo's admin."""
    url, seed = read_config(console_config)
    client = await nats.connect(url, nkeys_seed_str=seed, inbox_prefix=b"_I.admin")
    found, seq = [], 1
    while True:
        ask = json.dumps({"seq": seq, "next_by_subj": subjects.ops("met", hub)}).encode()
        message = await client.request("$JS.API.DIRECT.GET.MET", ask, timeout=5)
        if (message.headers or {}).get("Status"):
            break
        seq = int(message.headers["Nats-Sequence"]) + 1
        found += [row[0] for row in msgspec.json.decode(message.data).get("recs", [])]
    await client.close()
    return found


def pause(low: float, high: float) -> None:
    """Wait for a moment that nobody can foresee."""
    time.sleep(random.uniform(low, high))


if __name__ == "__main__":  # `make bench` runs every file here; this one only serves delivery.py
    if sys.argv[1:2] == ["--child"]:
        asyncio.run(_child(Path(sys.argv[2])))
    else:
        print("delivery_runs.py: measures nothing by itself")
