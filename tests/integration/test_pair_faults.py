"""A pair under faults with real processes: never two at once, seen by an observer that reads the process table only."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from console.demo.fleet import start_agent
from console.demo.layout import Layout
from console.demo.sweeper import guard_services
from tests.support.demo import headless, hubdeck, processes, wait
from tests.support.observer import Observer

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(90)]

HUBAGENT = (sys.executable, "-m", "hubagent")
PAIR = ("central", "edge")
TAKEOVER_S_MAX = 5.0  # the budget of every takeover on a machine that others use as well


class Pair:
    """A running demo with its observer, and what a test does to it."""

    def __init__(self, root: Path, ready: dict, observer: Observer) -> None:
        self.root, self.ready, self.observer = root, ready, observer
        self.started: list[subprocess.Popen] = []

    @property
    def active(self) -> str:
        """The hub whose scheduler runs."""
        found: set[str] = set()

        def is_one() -> bool:
            found.clear()
            found.update(self.observer.hubs_now())
            return len(found) == 1

        wait("one running scheduler", is_one, 15)
        return found.pop()

    def other(self, hub: str) -> str:
        """The other member."""
        return PAIR[1 - PAIR.index(hub)]

    def pids(self, hub: str, what: str) -> list[int]:
        """Processes of a hub: `agent`, `guard` or `server`."""
        if what == "server":
            return [pid for name, pid in guard_services(self.root / hub) if name == "nats-server"]
        word = {"agent": "hubagent run", "guard": "hubagent.guard"}[what]
        config = f"{self.root / hub}"
        return [pid for pid, line in processes(self.root / hub).items() if word in line and config in line]

    def send(self, hub: str, what: str, number: int) -> float:
        """Signal them; the moment just before."""
        pids = self.pids(hub, what)
        assert pids, f"no {what} of {hub}"
        began = time.monotonic()
        for pid in pids:
            os.kill(pid, number)
        return began

    def restart(self, hub: str) -> None:
        """Start the agent again, as systemd would."""
        layout = Layout(self.root, (), {})
        self.started.append(start_agent(layout, hub))

    def taken_over(self, hub: str, began: float) -> float:
        """Seconds until the service runs there."""
        wait(f"scheduler on {hub}", lambda: self.observer.first_after(hub, began) is not None, TAKEOVER_S_MAX)
        took = self.observer.first_after(hub, began)
        assert took is not None
        return took

    def roles(self) -> dict[str, str]:
        """What each member says of itself."""
        said = {hub["hub"]: hub for hub in hubdeck(self.ready, "status", status=None)["hubs"]}
        return {
            hub: group["role"]
            for hub in PAIR
            if said[hub]["age_s"] is not None and said[hub]["age_s"] < 3
            for group in said[hub]["groups"]
        }

    def wait_calm(self) -> None:
        """One active, one standby."""
        wait("a calm pair", lambda: sorted(self.roles().values()) == ["ACTIVE", "STANDBY"], 30)

    def events(self, kind: str) -> list[dict]:
        """Records of one kind, of all hubs."""
        return [one for one in hubdeck(self.ready, "events")["events"] if one["kind"] == kind]


@contextmanager
def running(tmp_path: Path, *options: str) -> Iterator[Pair]:
    """A demo fleet of the least size, watched; the observer's verdict is part of every test."""
    root = tmp_path / "d"
    with headless(root, "--hubs", "1", *options) as (_, ready), Observer(root / "scheduler.py") as observer:
        pair = Pair(root, ready, observer)
        try:
            wait("scheduler", lambda: bool(observer.hubs_now()), 10)
            yield pair
        finally:
            for agent in pair.started:
                if agent.poll() is None:
                    agent.terminate()
                with suppress(subprocess.TimeoutExpired):
                    agent.wait(10)
    assert not observer.verdict()


def test_a_killed_agent_is_released_by_the_guard_and_comes_back_as_standby(tmp_path):
    """P5: kill -9 of the agent alone; the service is gone before the lease is, and the other has it at once."""
    with running(tmp_path, "--profile", "wan") as pair:  # long enough that no slow start of Python is overtaken by it
        active = pair.active
        began = pair.send(active, "agent", signal.SIGKILL)
        took = pair.taken_over(pair.other(active), began)
        said = (pair.root / active / "guard.log").read_text()
        print(f"kill -9 of the agent: {took:.3f} s")
        wait("the word of the release", lambda: "core: released" in (pair.root / active / "guard.log").read_text(), 5)
        assert "Traceback" not in said
        pair.restart(active)
        pair.wait_calm()
        assert pair.active == pair.other(active)


def test_a_whole_hub_killed_is_taken_over_by_the_deadline(tmp_path):
    """kill -9 of agent, guard and server at once: nobody can release anything, so the wait decides."""
    with running(tmp_path) as pair:
        active = pair.active
        victims = [pid for what in ("agent", "guard", "server") for pid in pair.pids(active, what)]
        began = time.monotonic()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        print(f"kill -9 of agent, guard and server: {pair.taken_over(pair.other(active), began):.3f} s")
        pair.restart(active)
        pair.wait_calm()
        assert pair.active == pair.other(active)


def test_a_frozen_agent_is_stopped_by_its_guard_and_does_nothing_when_it_wakes(tmp_path):
    """P3: SIGSTOP for three seconds; that is not "gone", so the deadline decides, and the thawed one stands by."""
    with running(tmp_path) as pair:
        active = pair.active
        began = pair.send(active, "agent", signal.SIGSTOP)
        try:
            print(f"SIGSTOP of the agent: {pair.taken_over(pair.other(active), began):.3f} s")
            time.sleep(max(0.0, 3.0 - (time.monotonic() - began)))
        finally:
            pair.send(active, "agent", signal.SIGCONT)
        pair.wait_calm()
        assert pair.active == pair.other(active)
        assert "released" not in (pair.root / active / "guard.log").read_text()


@pytest.mark.parametrize("what", ["guard", "server"])
def test_a_frozen_guard_or_server_of_the_active_hub_changes_nothing(tmp_path, what):
    """The agent renews at the witness all the same; the service goes on, the same process."""
    with running(tmp_path) as pair:
        active = pair.active
        pair.send(active, what, signal.SIGSTOP)
        try:
            time.sleep(3.0)
            assert pair.active == active
        finally:
            pair.send(active, what, signal.SIGCONT)
        pair.wait_calm()
        assert pair.active == active
        assert len(pair.observer.intervals) == 1


def witness(pair: Pair, verb: str) -> None:
    """Stop or start the witness's server, on its own machine."""
    command = [*HUBAGENT, verb, "nats-server", "-c", pair.ready["agents"]["witness"]["config"]]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_a_witness_that_is_away_deposes_nobody(tmp_path):
    """ACTIVE by promise while it is away, ACTIVE when it is back, the same process throughout."""
    with running(tmp_path) as pair:
        active = pair.active
        witness(pair, "stop")
        wait("a promise", lambda: pair.roles().get(active) == "ACTIVE by promise", 10)
        time.sleep(1.0)
        witness(pair, "start")
        pair.wait_calm()
        assert pair.active == active
        assert len(pair.observer.intervals) == 1


def test_a_witness_whose_store_is_lost_costs_one_takeover_at_most(tmp_path):
    """V13: Emptied while it was away: the epoch still rises, and one hub is active in the end."""
    with running(tmp_path) as pair:
        before = max(group["epoch"] for group in groups(pair))
        witness(pair, "stop")
        shutil.rmtree(pair.root / "witness" / "nats")
        witness(pair, "start")
        wait("a higher epoch", lambda: max(group["epoch"] for group in groups(pair)) > before, 20)
        pair.wait_calm()
        assert len(pair.observer.intervals) <= 3


def groups(pair: Pair) -> list[dict]:
    """What every member says of the group."""
    return [group for hub in hubdeck(pair.ready, "status", status=None)["hubs"] for group in hub["groups"]]


def test_a_planned_switchover_under_load_never_runs_two(tmp_path):
    """There and back, with both cores taken."""
    load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 2)]
    try:
        with running(tmp_path) as pair:
            for _ in range(2):
                active = pair.active
                done = hubdeck(
                    pair.ready, "failover", "core", "--to", pair.other(active), "--yes", "--reason", "test",
                    "--force", "minimum-hold", "--force", "peer-fresh", "--force", "few-changes",
                )  # fmt: skip
                print(f"switchover under load: {done['results'][0]['took_s']} s")
                assert pair.active == pair.other(active)
    finally:
        for one in load:
            one.kill()
            one.wait()


def test_an_agent_that_ends_as_told_hands_over(tmp_path):
    """SIGTERM: drained, released, taken over at once; the guard has nothing to do."""
    with running(tmp_path) as pair:
        active = pair.active
        began = pair.send(active, "agent", signal.SIGTERM)
        print(f"SIGTERM of the agent: {pair.taken_over(pair.other(active), began):.3f} s")
        wait("the end of the agent", lambda: not pair.pids(active, "agent"), 15)
        assert "released" not in (pair.root / active / "guard.log").read_text()
        pair.restart(active)
        pair.wait_calm()
        assert pair.active == pair.other(active)


@pytest.mark.parametrize("step", ["own_epoch", "epoch"])
def test_a_standby_that_dies_while_it_takes_over_goes_on_when_it_is_back(tmp_path, step):
    """P6: killed once its claim, or its own token, is on disk; the next attempt has a higher epoch, and nobody doubles."""
    with running(tmp_path) as pair:
        active = pair.active
        standby = pair.other(active)
        tokens = pair.root / standby / "tokens.json"

        def kept() -> tuple[int, str]:
            row = json.loads(tokens.read_text())["groups"]["core"]
            return row[step], row["holder"] if step == "epoch" else ""

        before = kept()
        for pid in [pid for what in ("agent", "guard", "server") for pid in pair.pids(active, what)]:
            os.kill(pid, signal.SIGKILL)
        victims = pair.pids(standby, "agent")
        deadline = time.monotonic() + TAKEOVER_S_MAX
        while kept() == before and time.monotonic() < deadline:
            time.sleep(0.001)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        assert kept() != before
        pair.restart(standby)
        wait("the next attempt", lambda: pair.observer.first_after(standby, killed) is not None, 15)
        pair.restart(active)
        pair.wait_calm()
        assert max(group["epoch"] for group in groups(pair)) > before[0]
