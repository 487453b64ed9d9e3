"""Commands over a real nats-server with the permissions of the roster."""

import asyncio
import contextlib
import json
from pathlib import Path

import msgspec
import nats
import pytest

from hubagent.clock import SystemClock
from hubagent.core.outcome import Outcome
from hubagent.edges.journal import Journal
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.edges.server import EmbeddedServer, server_config
from hubagent.loops.commands import BAD_BURST, Commands
from hubagent.wire.codec import decode
from hubagent.wire.commands import Hello, Reply
from hubagent.wire.roster import Server
from hubagent.wire.signing import REPLY, SIGNATURE_HEADER, verify
from tests.fakes.recorder import FakeRecorder
from tests.support.commanding import command, headers, key, make_roster, seed, sign, signed
from tests.support.nats import NatsServer
from tests.support.waiting import until

pytestmark = pytest.mark.real
POLICY = LinkPolicy(ping_s=0.2, timeout_s=1.0, reconnect_min_s=0.05, reconnect_max_s=0.3)
HUBS = ("alpha", "beta")
CENTRAL = Server("central", ["nats://127.0.0.1:1"], "hub-server")


class Restart:
    """An action that is done at once."""

    def __init__(self):
        self.ran = 0

    def gates(self, args):
        """None."""
        return []

    async def run(self, args, force, actor):
        """Count."""
        self.ran += 1
        return Outcome(True)


@pytest.fixture
def server(tmp_path):
    """A hub server that knows the roster's logins and nobody else."""
    roster = msgspec.structs.replace(make_roster(), servers=[CENTRAL])
    rights = server_config(EmbeddedServer("central", "", tmp_path, 1), roster, CENTRAL)["authorization"]
    with NatsServer(tmp_path / "nats", config=f"authorization: {json.dumps(rights)}\n", jetstream=False) as one:
        yield one


@contextlib.asynccontextmanager
async def hub(server, folder: Path, name: str = "alpha"):
    """A hub's command plane on a link of its own."""
    link = Link(
        "central", [server.url], identity=name, login_seed=seed(f"{name} login"), policy=POLICY, clock=SystemClock()
    )
    journal, action = Journal(folder / "commands.db"), Restart()
    journal.load()
    commands = Commands(
        name, make_roster, key(name), [link], FakeRecorder(), journal, SystemClock(), {"restart": action}
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(link.run()), group.create_task(commands.run())]
        await until(lambda: link.is_connected and link._wanted)
        yield commands, action
        for task in tasks:
            task.cancel()


@contextlib.asynccontextmanager
async def client(server, who):
    """A NATS connection of an identity, and the errors it was told."""
    told = []

    async def tell(error):
        told.append(str(error))

    connection = await nats.connect(
        server.url, nkeys_seed_str=seed(f"{who} login"), inbox_prefix=f"_I.{who}", error_cb=tell, allow_reconnect=False
    )
    try:
        yield connection, told
    finally:
        await connection.close()


async def hello(connection):
    """Ask until the hub listens."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(nats.errors.NoRespondersError):
                return decode((await connection.request("hello.alpha", b"", timeout=5)).data, Hello)
            await asyncio.sleep(0.02)


async def test_a_signed_command_is_accepted_acts_once_and_is_answered_signed(server, tmp_path):
    """Hello, command, reply, result: all within the permissions of hub and operator."""
    async with hub(server, tmp_path) as (commands, action), client(server, "ana") as (ana, told):
        fresh = await hello(ana)
        raw, signature = signed(command(hub_boot=fresh.boot, hub_seq=fresh.seq))
        replies = [await ana.request("cmd.alpha", raw, timeout=5, headers=headers(signature)) for _ in range(2)]
        first, again = (decode(one.data, Reply) for one in replies)
        assert (first, again) == (Reply("cmd-00000001", "accepted"), Reply("cmd-00000001", "accepted", again=True))
        for one in replies:
            sig = one.headers[SIGNATURE_HEADER]
            assert verify(key("alpha").public, REPLY, "cmd-00000001", one.data, sig)
        await until(lambda: [result.state for result in commands.results()] == ["done"])
        assert action.ran == 1
        assert told == []


async def test_a_rogues_first_reply_is_not_the_answer(server, tmp_path):
    """X13: Somebody with the hub's login, but not its signing key, answers first: the reply that verifies is taken."""
    async with (
        hub(server, tmp_path) as (_, action),
        client(server, "ana") as (ana, _),
        client(server, "alpha") as (rogue, _),
    ):
        fresh = await hello(ana)

        async def answer(message):
            await message.respond(b'{"cmd_id":"cmd-00000001","state":"refused","gate":"rogue","why":"never"}')

        await rogue.subscribe("cmd.alpha", cb=answer)
        await rogue.flush()
        inbox = await ana.subscribe("_I.ana.reply.1")
        raw, signature = signed(command(hub_boot=fresh.boot, hub_seq=fresh.seq))
        await ana.publish("cmd.alpha", raw, reply="_I.ana.reply.1", headers=headers(signature))
        replies = [await inbox.next_msg(timeout=5) for _ in range(2)]
        verified = [
            decode(one.data, Reply)
            for one in replies
            if verify(
                key("alpha").public, REPLY, "cmd-00000001", one.data, (one.headers or {}).get(SIGNATURE_HEADER, "")
            )
        ]
        assert verified == [Reply("cmd-00000001", "accepted")]
        await until(lambda: action.ran == 1)


async def test_a_viewer_cannot_even_send_a_command(server, tmp_path):
    """The server refuses the subject; the hub would refuse the role."""
    async with hub(server, tmp_path) as (_, action), client(server, "vic") as (vic, told):
        fresh = await hello(vic)
        raw, signature = signed(command(operator="vic", hub_boot=fresh.boot, hub_seq=fresh.seq))
        await vic.publish("cmd.alpha", raw, headers=headers(signature))
        await vic.flush()
        await until(lambda: told)
        assert "permissions violation" in told[0].lower()
        assert action.ran == 0


async def test_x1_what_the_operator_did_not_sign_is_refused_audited_and_bounded(server, tmp_path):
    """X1: unsigned, another's key, an altered byte, then a flood; none acts, the audit believes no name and stays small."""
    async with hub(server, tmp_path) as (commands, action), client(server, "ana") as (ana, _):
        fresh = await hello(ana)
        raw, signature = signed(command(hub_boot=fresh.boot, hub_seq=fresh.seq))
        bad = [(raw, {}), (raw, headers(sign(raw, "root"))), (raw.replace(b"web", b"wet"), headers(signature))]
        for payload, head in bad:
            reply = decode((await ana.request("cmd.alpha", payload, timeout=5, headers=head)).data, Reply)
            assert (reply.state, reply.gate) == ("refused", "signature")
        events = commands._recorder.events
        assert [(one.kind, one.actor, one.data["claimed"]) for one in events] == [("command_result", None, "ana")] * 3
        for _ in range(200):
            await ana.publish("cmd.alpha", raw)
        await until(lambda: commands.bad_messages == 203)
        assert len(events) < BAD_BURST * 2
        answer = await ana.request("cmd.alpha", raw, timeout=5, headers=headers(signature))
        assert decode(answer.data, Reply).state == "accepted"
        await until(lambda: action.ran == 1)


async def test_x3_a_command_to_one_hub_does_nothing_at_another(server, tmp_path):
    """X3: ana may command both; the very bytes that alpha carried out are refused by beta."""
    async with (
        hub(server, tmp_path / "a") as (_, at_alpha),
        hub(server, tmp_path / "b", "beta") as (_, at_beta),
        client(server, "ana") as (ana, _),
    ):
        fresh = await hello(ana)
        raw, signature = signed(command(hub_boot=fresh.boot, hub_seq=fresh.seq))
        replies = [await ana.request(f"cmd.{name}", raw, timeout=5, headers=headers(signature)) for name in HUBS]
        told = [decode(one.data, Reply) for one in replies]
        assert [(one.state, one.gate) for one in told] == [("accepted", ""), ("refused", "hub")]
        await until(lambda: at_alpha.ran)
        assert (at_alpha.ran, at_beta.ran) == (1, 0)


async def test_x2_recorded_bytes_do_nothing_in_the_window_nor_after_a_restart(server, tmp_path):
    """X2: within the window they get the stored answer; the next run of the agent does not carry them out either."""
    async with client(server, "ana") as (ana, _):
        async with hub(server, tmp_path) as (commands, action):
            fresh = await hello(ana)
            raw, signature = signed(command(hub_boot=fresh.boot, hub_seq=fresh.seq))
            first, again = [await _send(ana, raw, signature) for _ in range(2)]
            assert [(one.state, one.again) for one in (first, again)] == [("accepted", False), ("accepted", True)]
            await until(lambda: action.ran and commands._journal.seen("cmd-00000001").ended)
            assert action.ran == 1
        async with hub(server, tmp_path) as (_, action):
            reply = await _send(ana, raw, signature)
            assert reply.again or (reply.state, reply.gate) == ("refused", "fresh")
            assert action.ran == 0


async def _send(connection, raw, signature):
    await hello(connection)
    return decode((await connection.request("cmd.alpha", raw, timeout=5, headers=headers(signature))).data, Reply)


async def test_an_id_is_remembered_over_a_restart_of_the_agent(server, tmp_path):
    """X2: The journal on disk refuses what an earlier run has done, even under a fresh boot and seq."""
    async with client(server, "ana") as (ana, _):
        async with hub(server, tmp_path) as (commands, action):
            assert (await _restart(ana, "first")).state == "accepted"
            await until(lambda: action.ran)
            await until(lambda: commands._journal.seen("cmd-00000001").ended)
        async with hub(server, tmp_path) as (_, action):
            assert (await _restart(ana, "second")).gate == "repeated"
            assert action.ran == 0


async def _restart(ana, reason):
    fresh = await hello(ana)
    raw, signature = signed(command(hub_boot=fresh.boot, hub_seq=fresh.seq, reason=reason))
    return decode((await ana.request("cmd.alpha", raw, timeout=5, headers=headers(signature))).data, Reply)
