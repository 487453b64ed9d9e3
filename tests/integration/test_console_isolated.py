"""The console cut off while a command is pending (N18), and commands that come late (X4): executed once, or expired."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from console import config
from console.errors import OutcomeUnknown
from console.fleet import UP, Fleet
from console.link import Link
from tests.fakes.clock import FakeClock
from tests.support.audited_hub import AuditedHub
from tests.support.fake_hub import FakeFleet
from tests.support.fault_proxy import FaultProxy
from tests.support.waiting import until

pytestmark = pytest.mark.real
ONCE = [("command_intent", ""), ("command_result", "done")]


@pytest.fixture
def fleet(tmp_path):
    """Two hub servers, no hub yet."""
    with FakeFleet(tmp_path) as started:
        yield started


class Isolated:
    """A console whose line to central runs through a proxy, and whose line to edge, where there is one, does not."""

    def __init__(self, link: Link, proxy: FaultProxy) -> None:
        self.link, self.proxy, self.fleet = link, proxy, Fleet(0.0)

    def hears(self, hub: str, *servers: str) -> bool:
        """Tell whether the hub was heard and exactly these servers are up."""
        for report in self.link.drain():
            self.fleet.apply(report, 0.0)
        up = {server.name for server in self.fleet.servers.values() if server.state == UP}
        return up == set(servers) and self.fleet.hub(hub).live is not None

    def restart(self) -> asyncio.Future:
        """Send `restart web` to alpha."""
        return asyncio.wrap_future(self.link.send("alpha", "restart", {"service": "web"}))


@asynccontextmanager
async def console(fleet: FakeFleet, *, has_edge: bool = False, **changes: object):
    """A started console behind a proxy."""
    async with FaultProxy(fleet.ports["central"]) as proxy:
        servers = [{"name": "central", "urls": [proxy.url]}]
        servers += [{"name": "edge", "urls": [fleet.servers["edge"].url]}] if has_edge else []
        link = Link(config.load(fleet.config(servers=servers, **changes)))
        link.start()
        try:
            one = Isolated(link, proxy)
            await until(lambda: one.hears("alpha", *(server["name"] for server in servers)))
            yield one
        finally:
            proxy.heal()
            await asyncio.to_thread(link.stop)


async def test_n18_a_command_whose_answer_was_lost_is_unknown_and_ran_once(fleet):
    """N18: the command arrives, nothing comes back; it is sent again and again, and carried out once."""
    async with AuditedHub(fleet, "alpha").serving() as alpha, console(fleet, timeout_s=4.0, ping_s=30.0) as mine:
        alpha.action.may_end.set()
        mine.proxy.set(stall_down=True)
        with pytest.raises(OutcomeUnknown) as told:
            await mine.restart()
        assert "outcome unknown" in str(told.value)
        assert (alpha.action.ran, alpha.audit) == (1, ONCE)
        mine.proxy.heal()
        result = await asyncio.wrap_future(mine.link.outcome("alpha", told.value.cmd_id, 10.0))
        assert result is not None
        assert result.state == "done"


async def test_n18_x4_a_command_that_was_held_until_it_expired_is_unknown_and_never_runs(fleet):
    """N18, X4: the wire holds it for longer than it is fresh; when it arrives at last it is refused and written down."""
    clock = FakeClock()
    hub = AuditedHub(fleet, "alpha", clock=clock)
    async with hub.serving() as alpha, console(fleet, ping_s=30.0) as mine:
        alpha.silence()
        alpha.action.may_end.set()
        mine.proxy.set(stall_up=True)
        with pytest.raises(OutcomeUnknown):
            await mine.restart()
        clock.advance(31.0)
        assert alpha.audit == []
        mine.proxy.heal()
        await until(lambda: alpha.audit)
        assert {state for _, state in alpha.audit} == {"refused"}
        assert "at most 30 s" in alpha.recorder.events[0].text + str(alpha.recorder.events[0].data)
        assert alpha.action.ran == 0


async def test_n18_nobody_listens_at_the_other_server_is_no_proof_that_nothing_was_done(fleet):
    """N18: the hub is linked to central only; central has the command, and then the line to it is lost."""
    hub = AuditedHub(fleet, "alpha")
    async with hub.serving() as alpha, console(fleet, has_edge=True, timeout_s=6.0, ping_s=0.3) as mine:
        alpha.action.may_end.set()
        mine.proxy.set(stall_down=True)
        asked = mine.restart()
        await until(lambda: alpha.action.ran)
        mine.proxy.set(refuse=True)
        with pytest.raises(OutcomeUnknown):
            await asked
        assert (alpha.action.ran, alpha.audit) == (1, ONCE)


async def test_n18_a_hub_that_went_after_it_had_the_command_is_no_proof_either(fleet):
    """N18: asked again, the same server says that nobody listens: about the second sending, not about the first."""
    async with AuditedHub(fleet, "alpha").serving() as alpha, console(fleet, timeout_s=4.0) as mine:
        alpha.action.may_end.set()
        mine.proxy.set(stall_down=True)
        asked = mine.restart()
        await until(lambda: alpha.action.ran)
        alpha.silence()
        await alpha.client.close()
        mine.proxy.set(refuse=True)
        mine.proxy.heal()
        with pytest.raises(OutcomeUnknown):
            await asked
        assert (alpha.action.ran, alpha.audit) == (1, ONCE)
