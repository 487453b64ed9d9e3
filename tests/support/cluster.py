"""Three real nats-servers in one cluster, with replicated streams, on loopback."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from hubagent.clock import SystemClock
from hubagent.edges import jetstream
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.errors import HubagentError
from hubagent.wire import streams
from tests.support.nats import NatsServer, free_port
from tests.support.waiting import until

READY_SECONDS = 40.0
POLICY = LinkPolicy(ping_s=0.5, timeout_s=1.0, reconnect_min_s=0.05, reconnect_max_s=0.2)


class Cluster:
    """Three servers; `urls` is what a client that knows them all is given."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(3)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers = [
            NatsServer(folder / name, name=name, config=_cluster(port, routes))
            for name, port in zip(("a", "b", "c"), ports, strict=True)
        ]

    @property
    def urls(self) -> str:
        """All of them, in one string."""
        return ",".join(server.url for server in self.servers)

    def start(self) -> None:
        """Start all that do not run."""
        for server in self.servers:
            if server.process is None:
                server.start()

    def end(self) -> None:
        """Nothing is left."""
        for server in self.servers:
            server.kill()

    def named(self, name: str) -> NatsServer:
        """One of them."""
        return next(server for server in self.servers if server.name == name)

    async def make_streams(self) -> None:
        """EVT and MET with three replicas, as soon as the cluster has a leader."""
        async with linked(self.urls) as link:
            for stream in (streams.EVT, streams.MET):
                config = stream.config(1 << 28, "one") | {"num_replicas": 3}
                await _insist(lambda config=config: jetstream.create_stream(link, config))

    async def leader(self, stream: str) -> NatsServer:
        """Who leads a stream now."""
        async with linked(self.urls) as link:
            return self.named((await self._cluster_of(link, stream))["leader"])

    async def until_whole(self, stream: str) -> None:
        """Wait until a stream has a leader and two replicas that lag by nothing."""
        async with linked(self.urls) as link, asyncio.timeout(READY_SECONDS):
            while True:
                with contextlib.suppress(HubagentError, KeyError):
                    found = await self._cluster_of(link, stream)
                    replicas = found.get("replicas", [])
                    if found.get("leader") and len(replicas) == 2 and all(one.get("current") for one in replicas):
                        return
                await asyncio.sleep(0.1)

    async def _cluster_of(self, link: Link, stream: str) -> dict[str, Any]:
        async with asyncio.timeout(READY_SECONDS):
            while True:
                with contextlib.suppress(HubagentError, KeyError):
                    answer = await link.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout_s=1.0)
                    found: dict[str, Any] = jetstream.decode_any(answer.payload)["cluster"]
                    if found.get("leader"):
                        return found
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def linked(urls: str):
    """A link of the test's own."""
    link = Link("test", urls.split(","), identity="test", login_seed="", policy=POLICY, clock=SystemClock())
    task = asyncio.create_task(link.run())
    try:
        await until(lambda: link.is_connected)
        yield link
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _insist(call) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                await call()
            except HubagentError:
                await asyncio.sleep(0.2)
            else:
                return


def _cluster(port: int, routes: str) -> str:
    lame = 'lame_duck_duration: "30s"\nlame_duck_grace_period: "1s"\n'
    return lame + f'cluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{routes}] }}\n'
