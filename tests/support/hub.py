"""The delivering half of a hub agent, put together for tests: spool, recorder, links, delivery."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from hubagent.clock import Clock, SystemClock
from hubagent.core.backoff import BackoffPolicy
from hubagent.core.chunking import ChunkPolicy
from hubagent.core.delivery import SenderPolicy
from hubagent.core.retention import RetentionPolicy
from hubagent.edges import jetstream
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.edges.spool import Spool
from hubagent.edges.spool_store import Store
from hubagent.loops.chunk_log import ChunkLog
from hubagent.loops.delivery import Delivery, DeliveryPolicy
from hubagent.loops.recorder import RecorderPolicy, SpoolRecorder
from hubagent.wire import signing, streams, subjects
from hubagent.wire.signing import Signer, seed_from
from tests.support import ledger
from tests.support.history import Stored
from tests.support.waiting import until

LINK = LinkPolicy(ping_s=0.2, timeout_s=1.0, reconnect_min_s=0.05, reconnect_max_s=0.2)
QUICK = BackoffPolicy(0.05, 0.2)


def quick_policy(*, keep_s: float = 1800.0, chunk_s: float = 0.2, check_s: float = 900.0, budget: int = 64 << 20):
    """Policies with short times for tests."""
    return DeliveryPolicy(
        SenderPolicy(timeout_s=1.0, check_s=check_s, backoff=QUICK, blocked=QUICK),
        RetentionPolicy(budget_bytes=budget, reserve_bytes=budget // 8, keep_s=keep_s),
        ChunkPolicy(chunk_s=chunk_s),
    )


class HubParts:
    """One hub's spool, recorder, links and delivery; `run` is the composition that the daemon makes."""

    def __init__(
        self, folder: Path, servers: Mapping[str, str], *, key: Signer | None = None, hub: str = "alpha",
        boot: str = "", policy: DeliveryPolicy | None = None, make=Store, ballast: int = 0,
        recording: RecorderPolicy | None = None, clock: Clock | None = None, tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.hub, self.key, self.clock = hub, key or signing.signer(seed_from(b"k" * 32)), clock or SystemClock()
        self.policy = policy or quick_policy()
        self.boot = boot or os.urandom(4).hex()
        self.log = ChunkLog(hub, self.boot, self.key, self.policy.chunk, self.clock)
        self.spool = Spool(
            folder / "spool.db", self.log, self.clock, quarantine=folder / "quarantine", make=make, ballast_bytes=ballast
        )  # fmt: skip
        self.recorder = SpoolRecorder(self.spool, self.log, self.clock, recording)
        self.links = {
            name: Link(name, url.split(","), identity=hub, login_seed="", policy=LINK, clock=self.clock, tls=tls)
            for name, url in servers.items()
        }
        self.delivery = Delivery(
            key=self.key, spool=self.spool, log=self.log, recorder=self.recorder, links=self.links,
            policy=self.policy, clock=self.clock,
        )  # fmt: skip
        self.accepted: list[int] = []
        self.accepted_events: list[int] = []

    @asynccontextmanager
    async def running(self):
        """Run everything; at the end everything is cancelled and the spool closed."""
        self.spool.open()
        jobs = [self.recorder.run(), self.delivery.run(), *(link.run() for link in self.links.values())]
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            await until(self.delivery.lanes)
            yield self
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            self.spool.close()

    async def sample(self, value: int) -> None:
        """Record one sample and wait until it is accepted."""
        self.recorder.sample(("x.value",), [value])
        await self.spool.write(lambda _store: None)
        self.accepted.append(value)

    async def chunk(self, value: int) -> None:
        """Record one sample as a chunk of its own."""
        self.recorder.sample(("x.value",), [value])
        await self.spool.write(self.log.close_all)
        self.accepted.append(value)

    async def event(self, value: int) -> None:
        """Record one event and wait until it is accepted."""
        await self.recorder.event_durable("note", "ok", "x", data={"id": value})
        self.accepted_events.append(value)

    def lane(self, dest: str, lane: str = "met"):
        """What the operator sees of one lane."""
        return next(one for one in self.delivery.lanes() if (one.dest, one.lane) == (dest, lane))

    async def delivered(self, dest: str, lane: str = "met", seconds: float = 15.0) -> None:
        """Wait until a destination has everything that is closed."""
        sender, began = self.delivery._senders[dest, lane], self.clock.monotonic()
        await until(lambda: sender.core.cursor.position == self.log.durable.get(lane), seconds)
        ledger.drained(self.clock.monotonic() - began)


@asynccontextmanager
async def linked(url: str, identity: str = "admin", seed: str = ""):
    """A link to a server, and nothing else of a hub."""
    link = Link(identity, [url], identity=identity, login_seed=seed, policy=LINK, clock=SystemClock())
    task = asyncio.create_task(link.run())
    try:
        await until(lambda: link.is_connected)
        yield link
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def make_streams(url: str, lineage: str = "one", **options) -> None:
    """Make EVT and MET on a server."""
    async with linked(url) as link:
        for stream in (streams.EVT, streams.MET):
            await jetstream.create_stream(link, stream.config(1 << 30, lineage) | options)


async def stored(url: str, lane: str, hub: str = "alpha", *, identity: str = "reader", seed: str = "") -> list[Stored]:
    """Every message of a hub's lane, in order."""
    stream, subject, seq, found = streams.STREAM_OF_LANE[lane], subjects.ops(lane, hub), 1, []
    async with linked(url, identity, seed) as link:
        while (message := await jetstream.next_message(link, stream, subject, seq)) is not None:
            found.append(Stored(message.payload, message.signature, message.seq))
            seq = message.seq + 1
    return found
