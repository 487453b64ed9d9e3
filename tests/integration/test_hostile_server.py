"""A server that is somebody else's: what it may ask for at the login is worth nothing as a command (X18)."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager

import pytest

from console import config
from console.link import Link as ConsoleLink
from hubagent.clock import SystemClock
from hubagent.core.authorise import Facts, Granted, Received, Refused, authorise
from hubagent.core.freshness import Freshness
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.wire import signing, subjects
from hubagent.wire.codec import encode
from hubagent.wire.commands import Command
from hubagent.wire.signing import payload_hash, verify
from tests.support.fake_hub import FakeFleet
from tests.support.waiting import until

pytestmark = pytest.mark.real
COMMAND = encode(
    Command(1, "cmd-00000001", "restart", "alpha", "boot-1", 7, "operator", args={"service": "web"}, reason="")
)
NONCE = f"{signing.COMMAND}\0{subjects.command('alpha')}\0{payload_hash(COMMAND)}"  # the very bytes that are signed


class Impostor:
    """Speaks enough of the protocol to be logged in to, with a nonce of its choice; keeps what it was given."""

    def __init__(self) -> None:
        self.logins: list[dict] = []
        self.port = 0

    @asynccontextmanager
    async def listening(self):
        """The server for the length of a block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "x", "version": "2.15.1", "headers": True, "max_payload": 1 << 20, "nonce": NONCE}
        writer.write(b"INFO " + json.dumps({**info, "auth_required": True}).encode() + b"\r\n")
        while line := await reader.readline():
            if line.startswith(b"CONNECT "):
                self.logins.append(json.loads(line[8:]))
            elif line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()


def judge(fleet: FakeFleet, signature: str):
    """What hub alpha says of the command under this signature, everything else being right."""
    freshness = Freshness("boot-1")
    freshness.note("boot-1", 7, 0.0)
    facts = Facts("alpha", fleet.roster, {}, {}.get)
    return authorise(Received(COMMAND, signature), facts, freshness, 0.0)


def assert_worthless(fleet: FakeFleet, identity: str, login: dict) -> None:
    """It is a good signature of the login key over the nonce, and verifies as nothing of that identity."""
    signature = login["sig"]
    assert login["nkey"] == fleet.keys(identity).login_public
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    padded = base64.urlsafe_b64encode(raw).decode()
    assert verify(login["nkey"], signing.COMMAND, subjects.command("alpha"), COMMAND, padded)  # that is the attack
    for one in (signature, padded):
        own = fleet.keys(identity).signer.public
        assert not verify(own, signing.COMMAND, subjects.command("alpha"), COMMAND, one)
        verdict = judge(fleet, one)
        assert isinstance(verdict, Refused)
        assert verdict.gate == "signature"


async def test_x18_a_console_that_logs_in_signs_no_command(tmp_path):
    """X18: the nonce is exactly what an operator's command signs; the answer is by the login key, which commands nobody."""
    fleet = FakeFleet(tmp_path)
    good = fleet.keys("operator").signer.sign(signing.COMMAND, subjects.command("alpha"), COMMAND)
    assert isinstance(judge(fleet, good), Granted)
    async with Impostor().listening() as server:
        servers = [{"name": "central", "urls": [f"nats://127.0.0.1:{server.port}"]}]
        link = ConsoleLink(config.load(fleet.config(servers=servers)))
        link.start()
        try:
            await until(lambda: server.logins)
        finally:
            await asyncio.to_thread(link.stop)
    assert_worthless(fleet, "operator", server.logins[0])


async def test_x18_an_agent_that_logs_in_signs_nothing_of_a_hub(tmp_path):
    """X18: nor does a hub, with the same nonce."""
    fleet = FakeFleet(tmp_path)
    async with Impostor().listening() as server:
        link = Link(
            "central", [f"nats://127.0.0.1:{server.port}"], identity="alpha",
            login_seed=fleet.keys("alpha").login_seed, policy=LinkPolicy(), clock=SystemClock(),
        )  # fmt: skip
        running = asyncio.create_task(link.run())
        try:
            await until(lambda: server.logins)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert_worthless(fleet, "alpha", server.logins[0])
