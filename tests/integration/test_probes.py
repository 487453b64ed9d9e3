"""Promises of the probes against real sockets and processes."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import pytest

from hubagent.edges.probes import Answer, Prober
from hubagent.errors import LinkDown, NoResponders, RequestTimeout
from tests.support.guards import boottime, is_alive
from tests.support.nats import free_port
from tests.support.waiting import until


@asynccontextmanager
async def serving(reply: bytes, *, holds: bool = False):
    """A server that says one thing; its port, and what it was asked."""
    asked = []

    async def serve(reader, writer):
        asked.append(await reader.read(65536))
        writer.write(reply)
        await writer.drain()
        if holds:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()


async def http(port: int, path: str = "/health", timeout_s: float = 2.0) -> Answer:
    return await Prober().check("http", [f"http://127.0.0.1:{port}{path}"], timeout_s)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", Answer(True)),
        (b"HTTP/1.1 302 Found\r\n\r\n", Answer(True)),
        (b"HTTP/1.0 500 Oops\r\n\r\n", Answer(False, "HTTP 500")),
        (b"SSH-2.0-x\r\n", Answer(False, "no HTTP answer")),
        (b"HTTP/1.0 x\r\n", Answer(False, "no HTTP answer")),
        (b"", Answer(False, "the connection ended before an answer")),
        (b"HTTP/1.0 " + b"9" * 100_000, Answer(False, "no HTTP answer: its first line never ends")),
    ],
)
async def test_an_http_probe_reads_the_status_line_and_no_more(reply, answer):
    """2xx and 3xx are well; whatever else comes is words, never an exception."""
    async with serving(reply) as (port, asked):
        assert answer == await http(port, "/health?a=1")
    assert asked[0].startswith(b"GET /health?a=1 HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n" % port)


async def test_a_probe_never_takes_longer_than_its_timeout():
    """A service that takes a connection and says nothing is ill."""
    async with serving(b"", holds=True) as (port, _):
        began = boottime()
        assert await http(port, timeout_s=0.2) == Answer(False, "no answer within 0.2 s")
        assert boottime() - began < 1.0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a b", "http://127.0.0.1:1/ä", "ftp://127.0.0.1/", "http:///", "x"])
async def test_a_url_that_cannot_be_asked_is_words(url):
    """Nothing is injected into the request."""
    assert (await Prober().check("http", [url], 1.0)).ok is False


async def test_a_tcp_probe_connects_and_hangs_up():
    """Brackets hold IPv6 addresses; nobody there is refused."""
    async with serving(b"") as (port, _):
        assert await Prober().check("tcp", [f"127.0.0.1:{port}"], 1.0) == Answer(True)
    closed = await Prober().check("tcp", [f"127.0.0.1:{free_port()}"], 1.0)
    assert closed.ok is False
    assert "refused" in closed.why.lower() or "connect" in closed.why.lower()
    for address in ("127.0.0.1", "nonsense", "[::1", "127.0.0.1:99999999"):
        assert (await Prober().check("tcp", [address], 1.0)).ok is False


@pytest.mark.real
@pytest.mark.parametrize(
    ("argv", "answer"),
    [
        (["true"], Answer(True)),
        (["sh", "-c", "exit 3"], Answer(False, "exit 3")),
        (["sh", "-c", "kill -9 $$"], Answer(False, "signal 9")),
        (["no-such-program"], Answer(False, "No such file or directory")),
    ],
)
async def test_a_command_probe_is_well_when_it_ends_with_0(argv, answer):
    """Everything else says how it ended."""
    assert answer == await Prober().check("command", argv, 5.0)


@pytest.mark.real
async def test_a_command_that_does_not_end_is_ended_with_its_group(tmp_path):
    """No grandchild outlives the probe."""
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $! >> {pids}; echo $$ >> {pids}; trap '' TERM; wait"
    answer = await Prober().check("command", ["sh", "-c", script], 2.0)
    assert answer == Answer(False, "no end within 2 s")
    found = [int(line) for line in pids.read_text().split()]
    assert len(found) == 2
    await until(lambda: not any(map(is_alive, found)), 2.0)


@pytest.mark.real
async def test_a_command_sees_no_secret_of_the_agent(tmp_path, monkeypatch):
    """X14: Its environment is as scrubbed as a service's."""
    monkeypatch.setenv("SECRET", "x")
    program = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(' '.join(os.environ))"
    await Prober().check("command", [sys.executable, "-I", "-c", program, str(tmp_path / "seen")], 5.0)
    assert "SECRET" not in (tmp_path / "seen").read_text()


async def test_a_process_probe_looks_at_the_process():
    """Ours lives; none does not."""
    assert await Prober().check("process", [], 1.0, os.getpid()) == Answer(True)
    assert (await Prober().check("process", [], 1.0, None)).ok is False


class FakeLink:
    """A NATS link that answers one way."""

    def __init__(self, error=None) -> None:
        self.error = error
        self.asked = []

    async def request(self, subject, payload, *, timeout_s):
        """Answer, or raise."""
        self.asked.append((subject, payload, timeout_s))
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "ok"),
    [
        (None, True),
        (NoResponders("central", "web.ping"), False),
        (RequestTimeout("central", "web.ping", 1.0), False),
        (LinkDown("central"), None),
    ],
)
async def test_a_nats_probe_asks_a_subject_and_a_lost_link_says_nothing(error, ok):
    """The service is not ill because our line is."""
    link = FakeLink(error)
    assert (await Prober(link).check("nats", ["web.ping"], 1.0)).ok is ok
    assert link.asked == [("web.ping", b"", 1.0)]
    assert (await Prober().check("nats", ["web.ping"], 1.0)).ok is None


def test_the_probe_kinds_are_those_of_the_policy():
    """Core and edge never see each other, so a test holds them together."""
    from hubagent.core.health import KINDS
    from hubagent.edges.probes import PROBE_KINDS

    assert KINDS == PROBE_KINDS
