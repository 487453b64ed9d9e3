"""The console's link against real servers: what comes in is checked, deduplicated and bounded; losses are lived through."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from console import config
from console.clock import SystemClock
from console.errors import LinkEnded, NotAnswering, NotConnected, Refused, Stopped
from console.fleet import DOWN, UP, Fleet
from console.link import Link
from hubagent.wire import subjects
from hubagent.wire.codec import encode
from hubagent.wire.commands import Gate
from hubagent.wire.reports import Live, Service
from tests.support.fake_hub import FakeFleet, FakeHub, event, stranger
from tests.support.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
def fleet(tmp_path):
    """Two hub servers, no hub yet."""
    with FakeFleet(tmp_path) as started:
        yield started


class Console:
    """A started link and the model that it feeds."""

    def __init__(self, link: Link) -> None:
        self.link, self.fleet, self.reports = link, Fleet(0.0), []

    def take(self) -> Fleet:
        """The model with everything that came."""
        for report in self.link.drain():
            self.reports.append(report)
            self.fleet.apply(report, SystemClock().monotonic())
        return self.fleet

    def texts(self) -> list[str]:
        """The texts of all events, oldest first."""
        return [one.record.text for one in self.take().events]


@asynccontextmanager
async def console(fleet: FakeFleet, identity: str = "operator", **changes: object):
    """A link that is up on every server that runs."""
    link = Link(config.load(fleet.config(identity, **changes)))
    link.start()
    try:
        yield Console(link)
    finally:
        await asyncio.to_thread(link.stop)


def is_up(one: Console, *servers: str) -> bool:
    """Tell whether exactly these servers are up."""
    return {server.name for server in one.take().servers.values() if server.state == UP} == set(servers)


async def test_the_second_servers_copy_is_dropped(fleet):
    """A summary that came over both servers is one report."""
    async with FakeHub(fleet, "alpha") as here, FakeHub(fleet, "alpha", "edge") as there, console(fleet) as mine:
        here.silence()
        there.silence()
        await until(lambda: is_up(mine, "central", "edge"))
        mine.reports.clear()
        here.seq = there.seq = 100
        for hub in (here, there, here, there):
            await hub.say()
        await here.client.flush()
        await until(lambda: mine.take().hub("alpha").live and mine.fleet.hub("alpha").live.seq == 102)
        assert mine.link.dropped == 0


async def test_what_is_no_valid_summary_is_dropped_and_counted(fleet):
    """No JSON, another's name, too large, with headers, with a reply subject: none of it is shown."""
    good = Live(v=1, hub="alpha", boot="b", seq=1, t=1.0, version="x", roster_v=1, severity="ok")
    other = Live(v=1, hub="beta", boot="b", seq=1, t=1.0, version="x", roster_v=1, severity="ok")
    async with FakeHub(fleet, "alpha") as alpha, console(fleet) as mine:
        alpha.silence()
        await until(lambda: is_up(mine, "central", "edge"))
        before, subject = mine.link.dropped, subjects.live("alpha")
        await alpha.client.publish(subject, b"{nonsense")
        await alpha.client.publish(subject, encode(other))
        await alpha.client.publish(subject, b"[" * 100_000)
        await alpha.client.publish(subject, encode(good), headers={"Nats-Stream": "EVT"})
        await alpha.client.publish(subject, encode(good) + b" ", reply="_I.alpha.x")
        await until(lambda: mine.link.dropped == before + 5)
        assert mine.take().hub("alpha").live is None or mine.fleet.hub("alpha").live.boot != "b"


async def test_events_are_backfilled_and_followed_each_once(fleet):
    """The last hour from both streams, then what is stored now; foreign messages never."""
    now = time.time()
    async with FakeHub(fleet, "alpha") as here, FakeHub(fleet, "alpha", "edge") as there:
        for hub in (here, there):
            await hub.make_streams()
            await hub.store(recs=[event("old", t=now - 7200)], t0=now - 7200, t1=now - 7200)
            await hub.store(recs=[event("before", t=now - 60)], t0=now - 60, t1=now - 60)
        await here.put("evt", b'{"forged": true}', headers={})
        async with console(fleet) as mine:
            await until(lambda: mine.texts() == ["before"])
            for hub in (here, there):
                await hub.store(recs=[event("now", t=now)], t0=now, t1=now)
            await until(lambda: mine.texts() == ["before", "now"])
            here.signer = stranger()
            await here.store(recs=[event("forged", t=now)], t0=now, t1=now)
            await until(lambda: mine.link.dropped >= 2)
            assert mine.texts() == ["before", "now"]


async def test_the_link_lives_through_the_loss_of_either_server_and_of_both(fleet):
    """Down is a report with a reason; data goes on over the other; everything comes back by itself."""
    async with FakeHub(fleet, "alpha", "edge"), console(fleet) as mine:
        await until(lambda: is_up(mine, "central", "edge") and mine.fleet.hub("alpha").live)
        fleet.servers["central"].kill()
        await until(lambda: is_up(mine, "edge"))
        assert mine.fleet.servers["central"].state == DOWN
        assert mine.fleet.servers["central"].why
        seq = mine.fleet.hub("alpha").live.seq
        await until(lambda: mine.take().hub("alpha").live.seq > seq)
        fleet.servers["edge"].kill()
        await until(lambda: is_up(mine))
        with pytest.raises(NotConnected):
            await asyncio.wrap_future(mine.link.send("beta", "restart", {"service": "web"}))
        for server in fleet.servers.values():
            server.start()
        await until(lambda: is_up(mine, "central", "edge"))


async def test_a_frozen_server_is_noticed_in_seconds(fleet):
    """Pings, not TCP, say that a server lives."""
    async with console(fleet, ping_s=0.3) as mine:
        await until(lambda: is_up(mine, "central", "edge"))
        fleet.servers["central"].freeze()
        await until(lambda: is_up(mine, "edge"), 5.0)
        fleet.servers["central"].thaw()
        await until(lambda: is_up(mine, "central", "edge"))


async def test_the_watched_hub_sends_its_detail_and_the_followed_service_its_lines(fleet):
    """Only what is asked for, over whichever server the hub is on."""
    services = [Service("web", "RUNNING")]
    async with FakeHub(fleet, "alpha", "edge", services=services, output=["a", "b"]), console(fleet) as mine:
        mine.link.watch("alpha")
        await until(lambda: mine.take().hub("alpha").detail)
        mine.link.follow("alpha", "web", 10)
        await until(lambda: [line.text for line in mine.take().logs] == ["a", "b"])
        mine.link.follow("alpha", None)
        mine.link.watch(None)


async def test_preflight_gives_the_hubs_gates(fleet):
    """As the hub sees them, in its own words."""
    gates = [Gate("running", True, "RUNNING"), Gate("disk-forecast", False, "full in 60 s", "600 s", "too near")]
    async with FakeHub(fleet, "alpha", gates=gates), console(fleet) as mine:
        await until(lambda: mine.take().hub("alpha").live)
        assert await asyncio.wrap_future(mine.link.preflight("alpha", "restart", {"service": "web"})) == gates
        assert mine.link.role == "operator"


async def test_a_command_to_an_absent_hub_fails_at_once(fleet):
    """Known to the roster, linked to no server: nothing is sent."""
    async with console(fleet) as mine:
        await until(lambda: is_up(mine, "central", "edge"))
        with pytest.raises(NotAnswering):
            await asyncio.wrap_future(mine.link.send("beta", "restart", {"service": "web"}))
        with pytest.raises(Refused, match="may not"):
            await asyncio.wrap_future(mine.link.send("beta", "arm", {"group": "core"}))


async def test_the_roster_comes_from_a_server_where_no_file_is(fleet):
    """Verified with the fleet key, whoever served it."""
    async with FakeHub(fleet, "alpha") as alpha:
        await alpha.make_streams()
        async with console(fleet, roster_file="") as mine:
            await until(lambda: mine.take().roster)
            assert mine.fleet.roster == fleet.roster


async def test_a_server_without_tls_is_refused_where_tls_is_asked_for(fleet):
    """A plain-text impostor gets no link."""
    url = fleet.servers["central"].url.replace("nats://", "tls://")
    async with console(fleet, servers=[{"name": "central", "urls": [url]}]) as mine:
        await until(lambda: mine.take().servers.get("central") and mine.fleet.servers["central"].state == DOWN)
        assert mine.fleet.servers["central"].why


async def test_a_loose_key_file_is_refused_with_what_to_do(fleet):
    """Whoever asks the link hears why it cannot work."""
    (fleet.root / "operator.key").chmod(0o644)
    async with console(fleet) as mine:
        future = mine.link.send("alpha", "restart", {"service": "web"})
        with pytest.raises(Exception, match="chmod 600"):
            await asyncio.wrap_future(future)
        assert mine.link.failure is not None


async def test_a_stopped_link_answers_that_it_is_stopped(fleet):
    """No future hangs for ever."""
    async with console(fleet) as mine:
        await until(lambda: is_up(mine, "central", "edge"))
    with pytest.raises(Stopped):
        await asyncio.wrap_future(mine.link.preflight("alpha", "restart", {"service": "web"}))


async def test_a_mistake_inside_the_link_is_said_and_not_written_over_the_screen(fleet, monkeypatch, capfd):
    """The console would else say CONNECTING for ever."""

    async def broken(_side):
        raise KeyError("x\\x1b[31m")

    monkeypatch.setattr("console.nats_side.NatsSide.run", broken)
    async with console(fleet) as one:
        await until(lambda: one.link.failure)
        assert "by a fault of hubdeck" in str(one.link.failure)
        assert "\x1b" not in str(one.link.failure)
        with pytest.raises(LinkEnded):  # and whoever asks is not left waiting
            await asyncio.wait_for(asyncio.wrap_future(one.link.send("alpha", "restart", {})), 5)
    assert capfd.readouterr().err == ""
