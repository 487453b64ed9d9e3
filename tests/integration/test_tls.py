"""TLS to a real server: the fleet's CA, the host's name, no downgrade, and a new certificate without a lost connection."""

import asyncio
import os
import signal
import socket
import threading
import time
from contextlib import asynccontextmanager, suppress

import pytest

from console.clock import SystemClock as ConsoleClock
from console.config import ServerSettings
from console.fleet import UP
from console.server_line import ServerLine, end_all
from console.trust.probe import look
from hubagent.clock import SystemClock
from hubagent.edges.certificates import client_context
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.edges.state_dir import StateRefused
from hubagent.wire.addresses import parse_address
from hubagent.wire.certificates import validity
from hubagent.wire.signing import seed_from
from tests.support.ca import TestAuthority, secure_server
from tests.support.nats import NatsServer
from tests.support.waiting import until

pytestmark = pytest.mark.real
POLICY = LinkPolicy(ping_s=0.2, timeout_s=1.0, reconnect_min_s=0.05, reconnect_max_s=0.2)


@asynccontextmanager
async def linked(url: str, ca_file: str):
    """A hub's link, running."""
    link = Link("central", [url], identity="alpha", login_seed="", policy=POLICY, clock=SystemClock(),
                tls=client_context(ca_file))  # fmt: skip
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def lined(url: str, ca_file: str):
    """The console's line, running; what it reports."""
    reports = []
    settings = ServerSettings(name="central", urls=[url], ca_file=ca_file)
    line = ServerLine(settings, "ada", seed_from(b"a" * 32), 0.2, ConsoleClock(), reports.append)

    async def on_up(_line) -> None:
        return

    task = asyncio.create_task(line.run(on_up))
    try:
        yield line, reports
    finally:
        await end_all([task])  # nats-py may swallow a cancellation that meets it while it closes


@pytest.fixture
def ours(tmp_path) -> TestAuthority:
    """The fleet's own CA."""
    return TestAuthority(tmp_path / "ours")


def tls(server: NatsServer, host: str = "127.0.0.1") -> str:
    """Its URL."""
    return f"tls://{host}:{server.port}"


async def refused(url: str, ca_file: str, words: str) -> None:
    """Neither agent nor console connects, and both say why."""
    async with linked(url, ca_file) as link, lined(url, ca_file) as (line, reports):
        await until(lambda: words in link.why)
        await until(lambda: any(words in report.why for report in reports))
        assert not link.is_connected
        assert not line.is_connected


async def test_the_fleets_server_is_trusted_by_agent_and_console(tmp_path, ours):
    """Chain, name and time hold."""
    with secure_server(tmp_path / "s", ours.server_pem(tmp_path / "s.pem", "central", "127.0.0.1")) as server:
        async with linked(tls(server), str(ours.ca_file)) as link, lined(tls(server), str(ours.ca_file)) as (line, _):
            await until(lambda: link.is_connected and line.is_connected)
            message = asyncio.get_running_loop().create_future()
            link.subscribe("x", lambda got: message.done() or message.set_result(got.payload))
            await until(lambda: line.is_connected)
            for _ in range(100):
                await line.publish("x", b"hello")
                if message.done():
                    break
                await asyncio.sleep(0.02)
            assert await message == b"hello"


async def test_a_server_with_another_ca_is_refused(tmp_path, ours):
    """Even where its certificate names the right host."""
    theirs = TestAuthority(tmp_path / "theirs")
    with secure_server(tmp_path / "s", theirs.server_pem(tmp_path / "s.pem", "central", "127.0.0.1")) as server:
        await refused(tls(server), str(ours.ca_file), "certificate verify failed")


async def test_a_certificate_for_another_name_is_refused(tmp_path, ours):
    """Our own CA, the edge's certificate on central's address."""
    with secure_server(tmp_path / "s", ours.server_pem(tmp_path / "s.pem", "edge", "127.0.0.2")) as server:
        await refused(tls(server), str(ours.ca_file), "not valid for '127.0.0.1'")
        shown = look(parse_address(tls(server)), str(ours.ca_file))
        assert "127.0.0.1" in shown.fault


async def test_an_expired_certificate_is_refused_in_words(tmp_path, ours):
    """When it has happened, the screen says so."""
    pem = ours.server_pem(tmp_path / "s.pem", "central", "127.0.0.1", life_s=60, now=time.time() - 3600)
    with secure_server(tmp_path / "s", pem) as server:
        await refused(tls(server), str(ours.ca_file), "certificate has expired")
        shown = look(parse_address(tls(server)), str(ours.ca_file))
        assert (shown.fault, shown.held) == ("certificate has expired", validity(pem.read_bytes()))


async def test_a_plain_text_server_is_refused(tmp_path, ours):
    """Nobody logs in where no TLS is offered."""
    with NatsServer(tmp_path / "s", jetstream=False) as server:
        await refused(tls(server), str(ours.ca_file), "")
        async with linked(tls(server), str(ours.ca_file)) as link:
            await until(lambda: link.why == "nats: the server does not offer TLS" or "does not offer TLS" in link.why)
        assert look(parse_address(tls(server)), str(ours.ca_file)).fault == "the server does not offer TLS"


@pytest.mark.parametrize("impostor", ["plain", "another ca", "another name"])
async def test_an_impostor_is_refused_on_reconnect_too(tmp_path, ours, impostor):
    """The address answers again, but it is somebody else."""
    pem = ours.server_pem(tmp_path / "s.pem", "central", "127.0.0.1")
    theirs = TestAuthority(tmp_path / "theirs")
    with secure_server(tmp_path / "s", pem) as server:
        url, ca_file = tls(server), str(ours.ca_file)
        async with linked(url, ca_file) as link, lined(url, ca_file) as (line, reports):
            await until(lambda: link.is_connected and line.is_connected)
            server.kill()
            await until(lambda: not link.is_connected and not line.is_connected)
            fake = {
                "plain": lambda: NatsServer(tmp_path / "f", port=server.port, jetstream=False),
                "another ca": lambda: secure_server(
                    tmp_path / "f", theirs.server_pem(tmp_path / "f.pem", "central", "127.0.0.1"), port=server.port
                ),
                "another name": lambda: secure_server(
                    tmp_path / "f", ours.server_pem(tmp_path / "f.pem", "edge"), port=server.port
                ),
            }[impostor]()
            del reports[:]
            with fake:
                words = "TLS" if impostor == "plain" else "certificate verify failed"
                await until(lambda: words in link.why)
                await until(lambda: any(report.why for report in reports))
                assert not link.is_connected
                assert not any(report.state == UP for report in reports)
            server.start()
            await until(lambda: link.is_connected and line.is_connected)


async def test_a_login_is_never_sent_in_plain_text(tmp_path, ours):
    """X18: what listens there hears no byte of the client before TLS."""
    heard = bytearray()
    listener = socket.create_server(("127.0.0.1", 0))

    def impostor() -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                with peer, suppress(OSError):
                    peer.settimeout(0.5)
                    peer.sendall(
                        b'INFO {"server_id":"x","version":"2.15.1","nonce":"abc","auth_required":true,"max_payload":1048576}\r\n'
                    )
                    heard.extend(peer.recv(4096))

    thread = threading.Thread(target=impostor, daemon=True)
    thread.start()
    async with linked(f"tls://127.0.0.1:{listener.getsockname()[1]}", str(ours.ca_file)) as link:
        await until(lambda: "TLS" in link.why)
    listener.close()
    assert b"CONNECT" not in heard


async def test_a_new_certificate_is_taken_without_a_lost_connection(tmp_path, ours):
    """SIGHUP: old connections stay, new ones see the new one."""
    pem = ours.server_pem(tmp_path / "s.pem", "central", "127.0.0.1", life_s=600)
    with secure_server(tmp_path / "s", pem) as server:
        async with linked(tls(server), str(ours.ca_file)) as link:
            await until(lambda: link.is_connected)
            lost = []
            link.on_change(lost.append)
            ours.server_pem(tmp_path / "new.pem", "central", "127.0.0.1", life_s=1200).replace(pem)
            os.kill(server.pid, signal.SIGHUP)
            fresh = validity(pem.read_bytes())
            address = parse_address(tls(server))
            await until(lambda: look(address, str(ours.ca_file)).held == fresh)
            assert look(address, str(ours.ca_file)).fault == ""
            await asyncio.sleep(0.5)  # two pings over the old connection
            assert link.is_connected
            assert lost == []


def test_a_ca_file_that_is_none_is_said_at_once(tmp_path):
    """And what to do."""
    (tmp_path / "x.pem").write_text("nothing")
    for path in (tmp_path / "x.pem", tmp_path / "missing.pem"):
        with pytest.raises(StateRefused, match=r"copy the fleet's ca\.pem there"):
            client_context(str(path))


def test_what_is_no_server_of_ours_is_said_in_words():
    """Another program on the port; nobody at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"SSH-2.0-x\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert look(parse_address(f"tls://127.0.0.1:{port}"), "").fault == "what answers there is no NATS server"
        thread.join()
    assert "refused" in look(parse_address(f"tls://127.0.0.1:{port}"), "").fault.lower()
