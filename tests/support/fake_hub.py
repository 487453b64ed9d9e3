"""A tiny fleet for the console's tests: real nats-servers with a roster's permissions, and hubs that say what a test wants."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from console.founding import make_fleet_key, make_keys, seal_roster
from hubagent.edges.server import EmbeddedServer, server_config
from hubagent.wire import subjects
from hubagent.wire.chunk import Chunk, Record, sign_chunk
from hubagent.wire.codec import decode, encode
from hubagent.wire.commands import Command, FetchedChunk, FetchReply, FetchRequest, Gate, Hello, Reply
from hubagent.wire.reports import (
    Detail,
    GroupState,
    Lane,
    Live,
    LogLines,
    Result,
    Service,
    ServiceTotals,
    Watch,
)
from hubagent.wire.roster import Group, Hub, Operator, Roster, Server
from hubagent.wire.signing import (
    COMMAND,
    REPLY,
    SIGNATURE_HEADER,
    ZERO_HASH,
    Signer,
    parse_keys,
    payload_hash,
    seed_from,
    signer,
    verify,
)
from hubagent.wire.streams import HUB_SERVER_STREAMS, STREAM_OF_LANE
from tests.support.nats import NatsServer, free_port

INC = 1_800_000_000
BOOT = "boot-1"
ROLES = ("viewer", "operator", "admin")


class FakeFleet:
    """Keys, roster and two hub servers in a directory; `with` starts the servers and ends them."""

    def __init__(
        self, root: Path, hubs: tuple[str, ...] = ("alpha", "beta"), servers: tuple[str, ...] = ("central", "edge")
    ):
        self.root, self.hubs = root, hubs
        self.fleet_key = make_fleet_key(root)
        self.ports = {name: free_port() for name in servers}
        self.roster = self._roster(hubs, servers)
        self.sealed = seal_roster(self.fleet_key, self.roster)
        (root / "roster.json").write_bytes(self.sealed)
        self.servers = {server.name: self._server(server) for server in self.roster.servers}

    def __enter__(self) -> Self:
        for server in self.servers.values():
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.kill()

    def keys(self, identity: str):
        """The private keys of a hub or operator."""
        return parse_keys((self.root / f"{identity}.key").read_text())

    def config(self, identity: str = "operator", **changes: object) -> Path:
        """A console's config file for this identity."""
        settings = {
            "identity": identity,
            "key_file": f"{identity}.key",
            "fleet_key_file": "fleet.pub",
            "roster_file": "roster.json",
            "servers": [{"name": name, "urls": [server.url]} for name, server in self.servers.items()],
            "timeout_s": 2.0,
            **changes,
        }
        path = self.root / f"{identity}.yaml"
        path.write_text(json.dumps(settings))
        return path

    async def hubdeck(self, *words: str, identity: str = "operator", text: str | None = None) -> "Ran":
        """One `hubdeck` command line in a process of its own."""
        command = [sys.executable, "-m", "console", "-c", str(self.config(identity)), *words]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe if text is not None else asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(text.encode() if text is not None else None), 30)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Ran(process.returncode or 0, out.decode(), err.decode())

    @asynccontextmanager
    async def following(self, *words: str, identity: str = "operator"):
        """A `hubdeck` command line that goes on until the block ends; gives its process."""
        command = [sys.executable, "-m", "console", "-c", str(self.config(identity)), *words]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def _roster(self, hubs: tuple[str, ...], servers: tuple[str, ...]) -> Roster:
        made = {name: make_keys(self.root / f"{name}.key") for name in (*hubs, *ROLES)}
        return Roster(
            v=1, fleet="test", version=3,
            hubs=[Hub(name, made[name].login, made[name].signing, {"site": "lab"}) for name in hubs],
            operators=[Operator(name, made[name].login, made[name].signing, name) for name in ROLES],
            servers=[Server(name, [f"nats://127.0.0.1:{self.ports[name]}"], "hub-server", hubs[0]) for name in servers],
            groups=[Group("core", list(hubs[:2]), "fast", "armed")],
        )  # fmt: skip

    def _server(self, known: Server) -> NatsServer:
        folder = self.root / known.name
        config = server_config(EmbeddedServer(known.name, "", folder, 1 << 30), self.roster, known)
        users = "authorization = " + json.dumps(config["authorization"]) + "\n"
        return NatsServer(folder, port=self.ports[known.name], name=known.name, config=users)


@dataclass(frozen=True)
class Ran:
    """How a command line ended."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        """Its standard output as JSON."""
        return json.loads(self.out)


def accept(command: Command) -> Reply:
    """The usual answer."""
    return Reply(command.cmd_id, "accepted")


@dataclass
class FakeHub:
    """One hub on one server: says what its fields say, and answers commands as `answer` says."""

    fleet: FakeFleet
    hub: str
    server: str = "central"
    answer: Callable[[Command], Reply | None] = accept
    result: str = "done"
    delay_s: float = 0.0
    severity: str = "ok"
    why: str = ""
    boot: str = BOOT
    signer: Signer | None = None
    groups: list[GroupState] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    kept: dict[int, FetchedChunk] = field(default_factory=dict)
    output: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        keys = self.fleet.keys(self.hub)
        self.signer = self.signer or keys.signer
        self.results: list[Result] = []
        self.seq, self.n, self.prev = 0, {"evt": 0, "met": 0}, {"evt": ZERO_HASH, "met": ZERO_HASH}
        self.client = Client()
        self.errors: list[Exception] = []

        async def on_error(error: Exception) -> None:
            self.errors.append(error)

        url = self.fleet.servers[self.server].url
        await self.client.connect(
            url, nkeys_seed_str=keys.login_seed, inbox_prefix=f"_I.{self.hub}", error_cb=on_error, allow_reconnect=False
        )
        for subject, callback in (
            (subjects.hello(self.hub), self._on_hello),
            (subjects.command(self.hub), self._on_command),
            (subjects.watch(self.hub), self._on_watch),
            (subjects.fetch(self.hub), self._on_fetch),
        ):
            await self.client.subscribe(subject, cb=callback)
        self._beat = asyncio.get_running_loop().create_task(self._beating())
        await self.client.flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._beat.cancel()
        await self.client.close()

    def silence(self) -> None:
        """No summary but those that a test sends."""
        self._beat.cancel()

    async def make_streams(self) -> None:
        """What the agent of a hub server does at its start."""
        for stream in HUB_SERVER_STREAMS:
            body = msgspec.json.encode(stream.config(64 << 20, "life-1"))
            answer = await self.client.request(f"$JS.API.STREAM.CREATE.{stream.name}", body, timeout=5)
            assert "error" not in json.loads(answer.data), answer.data
        await self.client.request(subjects.ROSTER, self.fleet.sealed, timeout=5)

    async def say(self) -> None:
        """One summary, now."""
        self.seq += 1
        live = Live(
            v=1, hub=self.hub, boot=self.boot, seq=self.seq, t=1.8e9, version="0.1.0", roster_v=3,
            severity=self.severity, why=self.why, cpu=0.25, mem=0.5, lanes=self.lanes, groups=self.groups,
            services=ServiceTotals(len(self.services), len(self.services)), results=self.results,
        )  # fmt: skip
        await self.client.publish(subjects.live(self.hub), encode(live))

    async def store(
        self, lane: str = "evt", recs: list[object] | None = None, *, skip: int = 0, **changes: object
    ) -> int:
        """Store the next chunk (after leaving `skip` numbers out) and give its number."""
        self.n[lane] += 1 + skip
        n = int(changes.pop("n", self.n[lane]))
        facts = {
            "v": 1, "hub": self.hub, "inc": INC, "lane": lane, "n": n, "prev": self.prev[lane], "boot": self.boot,
            "t0": 1.8e9 + n, "t1": 1.8e9 + n, "count": len(recs or []), "recs": recs or [],
        } | changes  # fmt: skip
        chunk = Chunk(**facts)
        payload = encode(chunk)
        self.prev[lane] = payload_hash(payload)
        await self.put(lane, payload)
        return n

    def keep(self, lane: str, n: int) -> None:
        """Have this chunk for whoever fetches it."""
        facts = {"v": 1, "hub": self.hub, "inc": INC, "lane": lane, "n": n, "prev": ZERO_HASH, "boot": self.boot}
        payload = encode(Chunk(**facts, t0=1.0, t1=1.0, count=0))
        self.kept[n] = FetchedChunk(n, payload, sign_chunk(self.signer, subjects.ops(lane, self.hub), payload))

    async def put(self, lane: str, payload: bytes, signature: str | None = None, headers: dict | None = None) -> None:
        """Have a server store these bytes on this hub's subject."""
        subject = subjects.ops(lane, self.hub)
        signed = {SIGNATURE_HEADER: signature or sign_chunk(self.signer, subject, payload)}
        answer = await self.client.request(subject, payload, timeout=5, headers=signed if headers is None else headers)
        assert json.loads(answer.data)["stream"] == STREAM_OF_LANE[lane]

    async def _beating(self) -> None:
        while True:
            await self.say()
            await asyncio.sleep(0.2)

    async def _on_hello(self, message: Msg) -> None:
        await message.respond(encode(Hello(self.hub, self.boot, self.seq)))

    async def _on_command(self, message: Msg) -> None:
        command = decode(message.data, Command)
        operator = self.fleet.roster.operator(command.operator)
        signature = (message.headers or {}).get(SIGNATURE_HEADER)
        assert verify(operator.signing, COMMAND, message.subject, message.data, signature), "a hub would refuse this"
        assert (command.hub, command.hub_boot) == (self.hub, self.boot)
        self.commands.append(command)
        await asyncio.sleep(self.delay_s)
        reply = self._preflight(command) if command.verb == "preflight" else self.answer(command)
        if reply is None:
            return
        payload = encode(reply)
        headers = {SIGNATURE_HEADER: self.signer.sign(REPLY, command.cmd_id, payload)}
        await self.client.publish(message.reply, payload, headers=headers)
        if reply.state == "accepted" and self.result:
            self.results = [Result(command.cmd_id, self.result, "" if self.result == "done" else "health", self.why)]

    def _preflight(self, command: Command) -> Reply:
        return Reply(command.cmd_id, "accepted", data={"gates": msgspec.to_builtins(self.gates)})

    async def _on_watch(self, message: Msg) -> None:
        wanted = decode(message.data, Watch)
        detail = Detail(
            v=1, hub=self.hub, boot=self.boot, seq=self.seq, t=1.8e9, services=self.services, lanes=self.lanes
        )
        if wanted.detail:
            await self.client.publish(subjects.detail(self.hub), encode(detail))
        if wanted.logs and wanted.lines:
            lines = LogLines(self.hub, wanted.logs, self.output)
            await self.client.publish(subjects.logs(self.hub, wanted.logs), encode(lines))

    async def _on_fetch(self, message: Msg) -> None:
        asked = decode(message.data, FetchRequest)
        await message.respond(encode(FetchReply([one for n, one in self.kept.items() if asked.n0 <= n <= asked.n1])))


def event(text: str, *, t: float, kind: str = "note", **more: object) -> dict[str, object]:
    """One record as it stands in a chunk."""
    return msgspec.to_builtins(Record(t=t, mono=t, boot=BOOT, kind=kind, severity="ok", text=text, **more))


def stranger() -> Signer:
    """A signing key that no roster knows."""
    return signer(seed_from(os.urandom(32)))
