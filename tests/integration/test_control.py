"""The local socket, over a real Unix socket."""

import asyncio
import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hubagent import control
from hubagent.core.outcome import Outcome
from hubagent.errors import AgentNotRunning, StoreFailed
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


class Orders:
    """Remembers what was ordered and answers as told."""

    def __init__(self):
        self.seen, self.outcome = [], Outcome(True, took_s=0.25)

    async def local(self, verb, args, actor, reason=""):
        """Answer as told."""
        self.seen.append((verb, dict(args), actor, reason))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@contextlib.asynccontextmanager
async def serving(path, **options):
    """A control server with orders of the test's own."""
    orders = Orders()
    ops = control.handlers(orders, lambda: {"hub": "alpha"}, lambda service, lines: [f"{service} {lines}"])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(control.ControlServer(path, ops, **options).run())
        await until(path.exists)
        yield orders
        task.cancel()


async def call(path, op, **fields):
    """Ask from a thread, as another process would."""
    return await asyncio.to_thread(control.call, path, op, **fields)


async def raw(path, data):
    """Send bytes as they are; the answer's object."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    answer = await reader.readline()
    writer.close()
    return json.loads(answer)


@pytest.fixture
def path(tmp_path):
    """Where the socket lies."""
    return tmp_path / "agent.sock"


async def test_status_and_logs_are_answered(path):
    """What a person at the machine asks first."""
    async with serving(path):
        assert await call(path, "status") == {"ok": True, "status": {"hub": "alpha"}}
        assert (await call(path, "logs", service="web"))["lines"] == ["web 100"]
        assert (await call(path, "logs", service="web", lines=10**9))["lines"] == ["web 5000"]
        assert (await call(path, "logs", service="../etc"))["gate"] == "form"


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "rollback"])
async def test_a_verb_is_ordered_in_the_name_of_the_peer(path, verb):
    """The kernel says who asks, not the message."""
    async with serving(path) as orders:
        answer = await call(path, verb, service="web", actor="local:12345", reason="3 am")
        assert (answer["ok"], answer["took_s"]) == (True, 0.25)
        assert orders.seen == [(verb, {"service": "web"}, f"local:{os.geteuid()}", "3 am")]


async def test_a_refusal_names_its_gate(path):
    """Gate and why reach the command line."""
    async with serving(path) as orders:
        orders.outcome = Outcome(False, "beta holds it", "lease-held")
        assert await call(path, "demote", group="core") == {"ok": False, "gate": "lease-held", "why": "beta holds it"}
        orders.outcome = StoreFailed("spool.db", "no space left")
        assert "no space left" in (await call(path, "demote", group="core"))["why"]


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b"{}\n", b'{"op": 7}\n', b"[" * 50_000 + b"\n", b"\xff\n"])
async def test_what_is_no_request_is_refused_by_form(path, line):
    """Bad lines get an answer, and the server lives."""
    async with serving(path):
        assert (await raw(path, line))["gate"] == "form"
        assert (await raw(path, b'{"op": "__class__"}\n'))["gate"] == "verb"


async def test_a_line_without_end_is_cut_off(path):
    """At most 64 KiB are kept of it."""
    async with serving(path):
        assert (await raw(path, b"x" * 200_000))["gate"] == "form"


async def test_more_clients_than_allowed_are_turned_away(path):
    """Silent connections cannot use up the agent."""
    async with serving(path):
        silent = [await asyncio.open_unix_connection(path) for _ in range(control.CLIENTS_MAX)]
        assert (await raw(path, b'{"op": "status"}\n'))["gate"] == "busy"
        for _, writer in silent:
            writer.close()


async def test_a_silent_client_is_hung_up_on(path):
    """It holds its place for a bounded time only."""
    async with serving(path, read_s=0.05):
        reader, writer = await asyncio.open_unix_connection(path)
        assert await reader.read() == b""
        writer.close()


async def test_an_order_goes_on_when_its_client_goes(path):
    """Hanging up cancels nothing, and takes nothing else down."""
    async with serving(path) as orders:
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"op": "stop", "service": "web"}\n')
        await writer.drain()
        writer.close()
        await until(lambda: orders.seen)
        assert (await call(path, "status"))["ok"]


async def test_a_client_that_only_listens_does_not_hold_up_the_end(path):
    """The agent ends at once, and the client sees that it has."""
    async with asyncio.timeout(5):
        async with serving(path):
            reader, writer = await asyncio.open_unix_connection(path)
            assert json.loads(await _ask(reader, writer))["ok"]
        assert await reader.read() == b""
        writer.close()


async def _ask(reader, writer):
    writer.write(b'{"op": "status"}\n')
    return await reader.readline()


async def test_the_socket_is_closed_to_others_and_goes_with_the_agent(path):
    """0600 from its first moment; a leftover of a crash is replaced."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    async with serving(path):
        await until(lambda: stat.S_IMODE(path.stat().st_mode) == 0o600)
        assert (await call(path, "status"))["ok"]
    assert not path.exists()


async def test_a_long_path_works_too(tmp_path):
    """The kernel's limit of 107 bytes is not the operator's problem."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    async with serving(deep / "agent.sock"):
        assert (await call(deep / "agent.sock", "status"))["ok"]


def test_a_dead_agent_is_said_clearly(path):
    """No socket, and a socket nobody serves, are one answer."""
    with pytest.raises(AgentNotRunning, match="start it with hubagent run"):
        control.call(path, "status")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(AgentNotRunning, match="does not run"):
        control.call(path, "status")


def test_an_agent_that_hangs_is_an_unknown_outcome(path):
    """Nobody may conclude that nothing was done."""
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen()
        with pytest.raises(AgentNotRunning, match="the outcome is unknown"):
            control.call(path, "restart", timeout_s=0.1, service="web")


def test_a_stranger_is_refused(path):
    """Neither root nor the agent's user: the credentials of the kernel decide."""
    assert control.ControlServer(path, {})._refusal(os.geteuid() + 4242)["gate"] == "user"
    assert control.ControlServer(path, {})._refusal(os.geteuid()) is None


@pytest.mark.real
async def test_the_kernel_says_who_asks():
    """A process of another user is refused though the socket's mode lets it in (one of our own where we are not root)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.sock"
        async with serving(path) as orders:
            Path(folder).chmod(0o755)
            path.chmod(0o666)
            become = "os.setgroups([]);os.setgid(65534);os.setuid(65534);" if os.geteuid() == 0 else ""
            code = (
                "import json,os,sys;from pathlib import Path;sys.path.insert(0, sys.argv[2]);"
                f"from hubagent import control;{become}"
                "print(json.dumps(control.call(Path(sys.argv[1]), 'status')))"
            )
            asked = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-I", "-c", code, str(path), str(ROOT)],
                capture_output=True,
                text=True,
                timeout=20,
            )
            answer = json.loads(asked.stdout)
            assert answer.get("gate") == "user" if become else answer["ok"], asked.stderr
            assert orders.seen == []
