"""The supervised client against a real nats-server."""

import asyncio
import os
import ssl
from contextlib import asynccontextmanager, suppress

import pytest

from hubagent.clock import SystemClock
from hubagent.edges import jetstream
from hubagent.edges.nats_link import CUT_S_MAX, Link, LinkPolicy
from hubagent.errors import JetStreamError, LinkDown, NoResponders, NotAllowed, RequestTimeout
from hubagent.wire.signing import public_of, seed_from
from tests.support.nats import NatsServer, free_port
from tests.support.waiting import until

pytestmark = pytest.mark.real
FAST = LinkPolicy(ping_s=0.2, timeout_s=1.0, reconnect_min_s=0.05, reconnect_max_s=0.3)


def make_link(urls, *, seed="", policy=FAST, tls=None) -> Link:
    return Link("central", urls, identity="alpha", login_seed=seed, policy=policy, clock=SystemClock(), tls=tls)


@asynccontextmanager
async def running(*links):
    tasks = [asyncio.create_task(link.run()) for link in links]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def server(tmp_path):
    with NatsServer(tmp_path / "nats") as one:
        yield one


async def test_publishing_while_disconnected_raises_link_down_at_once():
    """Nothing is buffered in the client."""
    link = make_link([f"nats://127.0.0.1:{free_port()}"])
    with pytest.raises(LinkDown):
        await link.publish("live.alpha", b"x")
    with pytest.raises(LinkDown):
        await link.request("hello.alpha", b"", timeout_s=5)


async def test_a_link_that_is_cut_is_down_at_once_and_comes_back_by_itself(server):
    """Nobody ends the cut: its deadline is the link's own. It may be asked for from another thread."""
    link = make_link([server.url])
    async with running(link):
        await until(lambda: link.is_connected)
        began = asyncio.get_running_loop().time()
        await asyncio.to_thread(link.cut, 0.6)
        await until(lambda: not link.is_connected)
        with pytest.raises(LinkDown):
            await link.publish("live.alpha", b"x")
        await until(lambda: link.why == "cut on purpose, by a drill")
        await until(lambda: link.is_connected)
        assert 0.6 <= asyncio.get_running_loop().time() - began < 2.0


async def test_a_cut_can_be_ended_early_and_is_never_for_good(server):
    """Its longest is half a minute, whatever is asked for; 0 ends it."""
    clock = SystemClock()
    link = make_link([server.url])
    link.cut(3600.0)
    assert link._cut_until <= clock.monotonic() + CUT_S_MAX
    async with running(link):
        await until(lambda: link.why == "cut on purpose, by a drill")
        link.cut(0.0)
        await until(lambda: link.is_connected)


@pytest.mark.parametrize("comes_up", [False, True])
async def test_a_cancellation_swallowed_while_dialling_still_ends_the_link(monkeypatch, server, comes_up):
    """`wait_for` before Python 3.12 drops a cancellation that arrives together with the answer of the network."""
    dialled, dialling = Link._dial, asyncio.Event()

    async def swallowing(self, connection, url):
        with suppress(asyncio.CancelledError):
            dialling.set()
            await asyncio.sleep(60)
        await dialled(self, connection, url)

    monkeypatch.setattr(Link, "_dial", swallowing)
    url = server.url if comes_up else f"nats://127.0.0.1:{free_port()}"
    link = make_link([url], policy=LinkPolicy(ping_s=0.2, timeout_s=100))
    async with asyncio.timeout(5), running(link):
        await dialling.wait()
    assert not link.is_connected


async def test_link_answers_requests_and_keeps_its_subscriptions_over_a_kill_of_the_server(server):
    """Subscriptions made at any time survive the rebuild."""
    link = make_link([server.url])
    seen, changes = [], []
    link.on_change(changes.append)
    link.subscribe("live.alpha", seen.append)
    async with running(link):
        await until(lambda: link.is_connected)
        link.subscribe("live.beta", seen.append)
        await until(lambda: link.rtt_p99_s is not None)
        await link.publish("live.beta", b"1")
        await until(lambda: len(seen) == 1)
        server.kill()
        await until(lambda: not link.is_connected)
        assert link.down_since is not None
        server.start()
        await until(lambda: link.is_connected)
        await asyncio.wait_for(_publish_until_seen(link, seen, 2), 5)
    assert changes == [True, False, True, False]


async def _publish_until_seen(link, seen, count):
    while len(seen) < count:
        await link.publish("live.alpha", b"2")
        await asyncio.sleep(0.02)


async def test_request_without_listener_says_no_responders_and_a_silent_one_times_out(server):
    """The two failures are told apart: one was not done, the other is unknown."""
    link = make_link([server.url])
    link.subscribe("hello.alpha", lambda _message: None)
    async with running(link):
        await until(lambda: link.is_connected)
        with pytest.raises(NoResponders):
            await link.request("hello.beta", b"", timeout_s=2)
        with pytest.raises(RequestTimeout):
            await link.request("hello.alpha", b"", timeout_s=0.2)


async def test_frozen_server_is_noticed_within_three_pings_and_fails_what_waits(server):
    """SIGSTOP keeps the connection open; only silence tells."""
    link = make_link([server.url])
    async with running(link):
        await until(lambda: link.is_connected)
        server.freeze()
        with pytest.raises(RequestTimeout):
            async with asyncio.timeout(3):
                await link.request("$JS.API.INFO", b"", timeout_s=60)
        await until(lambda: not link.is_connected, 1)
        assert link.why == "no answer to pings"
        server.thaw()
        await until(lambda: link.is_connected)


async def test_login_by_nkey_and_a_denied_publish_is_told_at_once(tmp_path):
    """A permission error is an answer of its own, and the client stays alive."""
    seed = seed_from(os.urandom(32))
    permissions = '{publish: ["live.alpha"], subscribe: ["_I.alpha.>"]}'
    config = f"authorization {{ users: [{{nkey: {public_of(seed)}, permissions: {permissions}}}] }}"
    with NatsServer(tmp_path / "nats", config=config) as server:
        link = make_link([server.url], seed=seed)
        async with running(link):
            await until(lambda: link.is_connected)
            with pytest.raises(NotAllowed, match="permission"):
                await link.request("ops.met.beta", b"x", timeout_s=5)
            await link.publish("live.alpha", b"x")
            assert link.is_connected
        stranger = make_link([server.url], seed=seed_from(os.urandom(32)))
        async with running(stranger):
            await until(lambda: "uthorization" in stranger.why)
            assert not stranger.is_connected


async def test_plain_text_impostor_behind_a_tls_url_is_refused(server):
    """No login goes over plain text when TLS was asked for."""
    link = make_link([server.url.replace("nats://", "tls://")], tls=ssl.create_default_context())
    async with running(link):
        await until(lambda: "TLS" in link.why)
        assert not link.is_connected


async def test_second_url_is_tried_when_the_first_is_dead(server):
    """A server may have several addresses."""
    link = make_link([f"nats://127.0.0.1:{free_port()}", server.url])
    async with running(link):
        await until(lambda: link.is_connected)


@pytest.mark.parametrize(
    ("subject", "headers"),
    [
        pytest.param("live.a b", None, id="X5 space"),
        pytest.param("live.a\r\nPUB x 1", None, id="X5 CR LF"),
        pytest.param("", None, id="X5 empty"),
        pytest.param("live.alpha", {"Hub-Sig": "a\r\nX: y"}, id="X6 CR LF in a value"),
        pytest.param("live.alpha", {"Hub-Sig\r\nX": "y"}, id="X6 CR LF in a name"),
        pytest.param("live.alpha", {"Nats-Msg-Id": "1"}, id="X6 header of the server"),
    ],
)
async def test_subjects_and_headers_that_break_the_protocol_are_refused(server, subject, headers):
    """The client itself would pass them on."""
    link = make_link([server.url])
    async with running(link):
        await until(lambda: link.is_connected)
        with pytest.raises(ValueError, match=r"subject|header"):
            await link.publish(subject, b"x", headers)


async def test_chain_of_expected_sequences_on_a_real_stream(server):
    """Append, read back with the signature, refuse the wrong expectation; none is None."""
    link = make_link([server.url])
    async with running(link):
        await until(lambda: link.is_connected)
        config = {"name": "MET", "subjects": ["ops.met.*"], "metadata": {"hubdeck.lineage": "one"}}
        made = await jetstream.create_stream(link, config)
        assert made.lineage.endswith("/one")
        assert await jetstream.last_message(link, "MET", "ops.met.alpha") is None
        stored = await jetstream.publish_expecting(link, "MET", "ops.met.alpha", b"first", 0, "sig", 2)
        last = await jetstream.last_message(link, "MET", "ops.met.alpha")
        assert (last.seq, last.payload, last.signature) == (stored.seq, b"first", "sig")
        with pytest.raises(JetStreamError) as caught:
            await jetstream.publish_expecting(link, "MET", "ops.met.alpha", b"again", 0, "sig", 2)
        assert caught.value.code == 10071
        assert (await jetstream.stream_info(link, "MET")).last_seq == 1
        assert (await jetstream.next_message(link, "MET", "ops.met.alpha", 1)).payload == b"first"
