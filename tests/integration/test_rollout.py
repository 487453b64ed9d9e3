"""Changes of release with real files: the loop, the store, and services of the test's own."""

import asyncio
import contextlib

import msgspec
import pytest

from hubagent.clock import SystemClock
from hubagent.core.outcome import Outcome
from hubagent.core.rollout import RolloutPolicy
from hubagent.edges.release_store import ReleaseStore
from hubagent.errors import StoreFailed
from hubagent.loops.rollout import Rollouts
from hubagent.wire.reports import Service
from tests.fakes.recorder import FakeRecorder
from tests.support.waiting import until

PATIENT = RolloutPolicy(gate_s=10, bake_s=0.05, stop_s=10, switch_s=10, poll_s=0.01)
BRIEF = RolloutPolicy(gate_s=1.0, bake_s=0.05, stop_s=1.0, switch_s=1.0, poll_s=0.01)  # where a time-out is the point
FAULTS = ["crash before", "crash after", "error", "timeout"]


class Killed(Exception):
    """The agent died here."""


class Services:
    """One service `web` that runs what `current` names when it is started; `bad` releases are never healthy."""

    def __init__(self, root):
        self.root, self.state, self.release, self.pid, self.bad = root, "RUNNING", "1.1", 1, set()
        self.strike = lambda step: None

    def snapshot(self, with_usage):
        """The service as it is."""
        healthy = self.release not in self.bad
        return [Service("web", self.state, pid=self.pid, healthy=healthy if self.state == "RUNNING" else None)]

    async def stop(self, name, *, cause):
        """Stop it."""
        return await self._act("stop", self._stopped)

    async def start(self, name, *, cause):
        """Start it, unless it runs."""
        return await self._act("start", self._started)

    async def _act(self, step, change):
        fault = self.strike(step)
        if fault == "crash before":
            raise Killed
        if fault == "error":
            return Outcome(False, "the guard said no")
        if fault == "timeout":
            await asyncio.Event().wait()
        change()
        if fault == "crash after":
            raise Killed
        return Outcome(True)

    def _stopped(self):
        self.state, self.release = "STOPPED", ""

    def _started(self):
        if self.state != "RUNNING":
            self.state, self.release, self.pid = (
                "RUNNING",
                (self.root / "current" / "version.txt").read_text(),
                self.pid + 1,
            )


class Store(ReleaseStore):
    """The real store, struck where the test says."""

    strike = staticmethod(lambda step: None)

    async def check(self, version):
        """Step pre-check."""
        await self._struck("pre-check", super().check(version))

    async def switch(self, version):
        """Step switch."""
        await self._struck("switch", super().switch(version))

    async def save(self, document):
        """The intents, and the commit: the save that leaves nothing open."""
        commits = msgspec.json.decode(document).get("open") is None
        await self._struck("commit" if commits else "intent", super().save(document))

    async def _struck(self, step, act):
        fault = self.strike(step)
        if fault in ("crash before", "error", "timeout"):
            act.close()
        if fault == "crash before":
            raise Killed
        if fault == "error":
            raise StoreFailed("book", "input/output error")
        if fault == "timeout":
            await asyncio.Event().wait()
        await act
        if fault == "crash after":
            raise Killed


class Machine:
    """A hub with web 1.1 running and 1.0 installed; the agent on it dies and comes back as the faults say."""

    def __init__(self, folder):
        self.root, self.book = folder / "web", folder / "rollout" / "web"
        for version in ("1.0", "1.1"):
            (self.root / "releases" / version).mkdir(parents=True, mode=0o755)
            (self.root / "releases" / version / "version.txt").write_text(version)
        (self.root / "current").symlink_to("releases/1.1")
        self.services, self.recorder, self.faults = Services(self.root), FakeRecorder(), []
        self.policy = PATIENT
        self.services.strike = self.strike

    def strike(self, step):
        """The fault that is due, each once."""
        found = next((one for one in self.faults if one[0] == step), None)
        if found:
            self.faults.remove(found)
        return found and found[1]

    def agent(self):
        """One life of the agent."""
        store = Store(self.root, self.book)
        store.strike = self.strike
        rollouts = Rollouts(self.services, {"web": store}, {"web": self.policy}, self.recorder, SystemClock())
        rollouts.load()
        return rollouts

    async def rollback(self, to=None):
        """Roll back, over a crash if there is one; the outcome is None when the agent died."""
        outcome = None
        try:
            outcome = await self.agent().rollback("web", to, cause="rollback by ana")
        except* Killed:
            await self.agent().recover()
        return outcome

    @property
    def current(self):
        """What the link names."""
        return (self.root / "current").readlink().name


@pytest.fixture
def machine(tmp_path):
    """A fresh machine."""
    return Machine(tmp_path)


async def test_a_rollback_goes_to_the_last_good_release(machine):
    """Files, link, process and book agree."""
    outcome = await machine.rollback()
    assert (outcome.ok, machine.services.release, machine.current) == (True, "1.0", "1.0")
    assert outcome.took_s > PATIENT.bake_s
    view = machine.agent().view("web")
    assert (view.current, view.installed, view.last_good, view.pinned) == ("1.0", ["1.0", "1.1"], "", "")
    assert machine.recorder.kinds() == ["release", "release"]
    assert machine.recorder.events[-1].data == {"service": "web", "old": "1.1", "new": "1.0", "step": "done"}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", ["pre-check", "intent", "stop", "switch", "start", "commit"])
async def test_the_matrix_on_files_ends_in_the_old_or_the_new_release(machine, step, fault):
    """One fault: afterwards one release runs, and the link names it."""
    machine.faults, machine.policy = [(step, fault)], BRIEF if fault == "timeout" else PATIENT
    await machine.rollback()
    assert machine.services.state == "RUNNING"
    assert machine.services.release == machine.current
    assert machine.current == ("1.0" if (step, fault) == ("commit", "crash after") else "1.1")
    await machine.agent().recover()
    assert machine.services.release == machine.current
    assert machine.faults == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_matrix_at_the_gate(machine, fault):
    """A release that never becomes healthy, and the agent dying, or not, while it watches: the old one runs."""
    machine.services.bad, machine.policy = {"1.0"}, BRIEF
    if fault in ("error", "timeout"):
        outcome = await machine.rollback()
        assert (outcome.ok, outcome.gate) == (False, "gate")
    else:
        agent = machine.agent()
        dying = asyncio.create_task(agent.rollback("web", None, cause="rollback by ana"))
        await until(lambda: machine.services.release == "1.0")
        dying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await dying
        await machine.agent().recover()
    assert (machine.services.release, machine.current) == ("1.1", "1.1")
    assert "alert_raised" in machine.recorder.kinds()


async def test_a_failed_rollback_pins_and_is_not_repeated_by_itself(machine):
    """The next one needs a person who says where to; saying so lifts the pin when it holds."""
    machine.services.bad, machine.policy = {"1.0"}, BRIEF
    outcome = await machine.rollback()
    assert (outcome.ok, outcome.gate, machine.services.release) == (False, "gate", "1.1")
    agent = machine.agent()
    assert [gate.name for gate in agent.gates("web", None) if not gate.passed] == ["not-pinned"]
    assert [alert.name for alert in agent.alerts()] == ["release-web"]
    assert not [gate for gate in agent.gates("web", "1.0") if not gate.passed]
    machine.services.bad = set()
    assert (await machine.rollback("1.0")).ok
    assert machine.agent().alerts() == []


async def test_when_nothing_holds_there_is_an_alarm_and_the_service_is_still_wanted(machine):
    """Both releases are bad: critical alert, and it is left started for the supervision to go on with."""
    machine.services.bad, machine.policy = {"1.0", "1.1"}, BRIEF
    outcome = await machine.rollback()
    assert not outcome.ok
    assert "look at it now" in outcome.why
    assert [event.severity for event in machine.recorder.events if event.kind == "alert_raised"] == ["critical"]
    assert (machine.services.state, machine.services.release) == ("RUNNING", "1.1")


@pytest.mark.parametrize(
    ("to", "gate"), [("2.0", "release-present"), ("1.1", "release-differs"), ("../x", "release-present")]
)
async def test_a_rollback_to_nowhere_is_refused(machine, to, gate):
    """Nothing is touched."""
    outcome = await machine.rollback(to)
    assert (outcome.ok, outcome.gate) == (False, gate)
    assert machine.recorder.events == []


async def test_a_second_rollback_has_nowhere_to_go(machine):
    """It does not bounce to the release that was rolled away from; a person may."""
    await machine.rollback()
    assert (await machine.rollback()).gate == "release-present"
    assert (await machine.rollback("1.1")).ok
    assert machine.agent().view("web").last_good == "1.0"


async def test_one_change_at_a_time(machine):
    """A second request for the same service is refused while one is under way."""
    agent = machine.agent()
    first = asyncio.create_task(agent.rollback("web", None, cause="a"))
    await until(lambda: agent._changing)
    assert (await agent.rollback("web", None, cause="b")).gate == "no-other-action"
    assert (await first).ok


async def test_a_service_without_releases_has_nothing_to_roll_back(machine):
    """Said in words."""
    agent = machine.agent()
    outcome = await agent.rollback("api", None, cause="x")
    assert (outcome.ok, outcome.gate) == (False, "service-known")
    assert agent.view("api") is None


async def test_a_stopped_service_is_switched_and_stays_stopped(machine):
    """What an operator stopped is not started by a change of its files."""
    machine.services.state = "STOPPED"
    assert (await machine.rollback()).ok
    assert (machine.services.state, machine.current) == ("STOPPED", "1.0")
