"""Drills of the demo's group through the command line, watched from outside: never two, and a score that is kept."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.test_pair_faults import PAIR, Pair, groups, running
from tests.support.demo import hubdeck, wait

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(150)]

# A test cannot wait half a minute between changes; everything else must pass.
HASTE = ("--force", "minimum-hold", "--force", "few-changes", "--reason", "test", "--yes")


def drill(pair: Pair, kind: str, *more: str) -> dict:
    """One drill to its end; the only result. On a busy machine a gate may fail for a moment: it is asked again."""
    for _ in range(5):
        (result,) = hubdeck(pair.ready, "drill", "core", "--kind", kind, *more, *HASTE, status=None)["results"]
        if result["state"] != "refused":
            break
    assert result["state"] == "done", result
    return result


def written(file: Path) -> str:
    """What is in a file that is replaced whole, if it is there yet."""
    return file.read_text() if file.exists() else ""


def failed_gates(pair: Pair, *words: str) -> list[str]:
    """What does not pass before an action."""
    (result,) = hubdeck(pair.ready, *words, "--dry-run", status=None)["results"]
    return [gate["name"] for gate in result["gates"] if not gate["passed"]]


def test_a_drill_moves_the_group_is_scored_and_proves_it_for_arming(tmp_path):
    """kill-agent: nobody restarts the agent but the drill itself; then a freeze brings the group back."""
    with running(tmp_path) as pair:
        pair.wait_calm()
        assert "drill-passed" in failed_gates(pair, "arm", "core")
        for kind in ("kill-agent", "freeze"):
            wait("a ready group", lambda: set(failed_gates(pair, "drill", "core")) <= {"minimum-hold"}, 30)
            active = pair.active
            result = drill(pair, kind)
            score = result["score"]
            print(kind, result["why"])
            assert score["passed"]
            assert 0.0 < score["took_s"] < 5.0
            assert score["lost"] == 0
            assert score["way_back_s"] >= 3.0
            assert pair.active == pair.other(active)
        wait("what was proven", lambda: "drill-passed" not in failed_gates(pair, "arm", "core"), 10)
        drills = pair.events("drill")
        assert [one["data"]["kind"] for one in drills] == ["kill-agent", "freeze"]
        assert all(one["data"]["passed"] and one["actor"] == "admin" for one in drills)


def test_a_struck_server_moves_nothing_and_proves_nothing(tmp_path):
    """The lease is at the witness; the records go to the other server meanwhile."""
    with running(tmp_path) as pair:
        pair.wait_calm()
        active = pair.active
        score = drill(pair, "kill-server")["score"]
        assert score["passed"], score
        assert (score["took_s"], score["lost"]) == (None, 0)
        assert pair.active == active
        assert len(pair.observer.intervals) == 1
        assert "drill-passed" in failed_gates(pair, "arm", "core")


def test_a_cut_of_all_links_moves_the_group_and_the_links_come_back_by_themselves(tmp_path):
    """No process dies: the cut hub loses its lease, the other takes over, and the agent is the same afterwards."""
    with running(tmp_path) as pair:
        pair.wait_calm()
        hubdeck(pair.ready, "drill", "core", "--kind", "cut", "--schedule", "sunday 03:30", "--yes")
        active = pair.active
        agent = pair.pids(active, "agent")
        result = drill(pair, "cut")
        score = result["score"]
        print("cut", result["why"])
        assert score["passed"]
        assert 0.0 < score["took_s"] < 5.0
        assert score["lost"] == 0
        assert score["way_back_s"] >= 6.0
        assert pair.active == pair.other(active)
        assert pair.pids(active, "agent") == agent
        kept = hubdeck(pair.ready, "drill", "core", "--schedule", "show")["schedules"]
        assert kept == {hub: {"at": "sunday 03:30", "kind": "cut", "by": "admin"} for hub in PAIR}


def test_a_drill_that_is_interrupted_in_its_countdown_does_nothing(tmp_path):
    """Ctrl-c: the hub is told, nothing was struck."""
    with running(tmp_path) as pair:
        pair.wait_calm()
        words = ["drill", "core", *HASTE, "-c", pair.ready["console_config"]]
        book = pair.root / pair.active / "drills.json"
        said = "not begun"
        while "drill core: called off" not in said:  # on a busy machine a gate may fail for a moment
            with subprocess.Popen(
                [sys.executable, "-m", "console", *words], stderr=subprocess.PIPE, text=True
            ) as console:
                wait("its beginning", lambda: console.poll() is not None or "strike_at" in written(book), 10)
                console.send_signal(signal.SIGINT)
                said = console.communicate(timeout=30)[1]
            assert "drill core: called off" in said or "refused (gate: " in said, said
        wait("its record", lambda: bool(pair.events("drill")), 10)
        time.sleep(3.0)
        assert len(pair.observer.intervals) == 1
        assert not pair.events("drill")[0]["data"]["passed"]


def test_a_group_in_shadow_is_armed_for_the_drill_alone(tmp_path):
    """Forced by name: it moves, is proven, and is in shadow again; then it may be armed."""
    with running(tmp_path) as pair:
        pair.wait_calm()
        hubdeck(pair.ready, "arm", "core", "--auto", "shadow", "--yes", "--reason", "test")
        wait("shadow", lambda: {group["auto"] for group in groups(pair)} == {"shadow"}, 10)
        assert "armed" in failed_gates(pair, "drill", "core")
        active = pair.active
        assert drill(pair, "freeze", "--force", "armed")["score"]["passed"]
        assert pair.active == pair.other(active)
        wait("shadow again", lambda: {group["auto"] for group in groups(pair)} == {"shadow"}, 10)
        wait("the gate", lambda: failed_gates(pair, "arm", "core") == [], 10)


def scheduled(pair: Pair, kind: str, ahead_s: float) -> dict:
    """What came of a drill that is scheduled for the next whole minute so far ahead."""
    slot = math.ceil((time.time() + ahead_s) / 60) * 60
    at = time.strftime("daily %H:%M", time.gmtime(slot))
    hubdeck(pair.ready, "drill", "core", "--kind", kind, "--schedule", at, "--yes")
    found: list[dict] = []

    def has_ended() -> bool:
        found[:] = [one for one in pair.events("drill") if "passed" in one["data"] and one["t"] >= slot]
        return bool(found)

    wait("its minute", lambda: time.time() >= slot, 61 + ahead_s)
    wait("the end of the scheduled drill", has_ended, 30)
    return found[0]


@pytest.mark.timeout(400)
def test_a_scheduled_drill_runs_in_its_minute_on_the_active_hub_alone(tmp_path):
    """Nobody is there: it passes the same gates, none forced, and is kept under the name of who set it."""
    with running(tmp_path) as pair:
        pair.wait_calm()
        hold_s = 32.0  # a group must have stood still for half a minute before anybody moves it
        for _ in range(3):
            active = pair.active
            ended = scheduled(pair, "freeze", hold_s)
            if not ended["data"].get("skipped"):  # on a busy machine a gate may fail for a moment, which is said
                break
        assert ended["data"]["passed"], ended
        assert (ended["actor"], ended["data"]["kind"]) == ("schedule:admin", "freeze")
        assert pair.active == pair.other(active)
        assert len(pair.observer.intervals) == 2


def test_a_hub_in_maintenance_never_becomes_active_by_itself(tmp_path):
    """Its peer dies whole, and still it stands by and says why; when maintenance ends it takes over."""
    with running(tmp_path) as pair:
        pair.wait_calm()
        active = pair.active
        standby = pair.other(active)
        hubdeck(pair.ready, "maintenance", "--hub", standby, "--yes", "--reason", "new disk")
        wait("its word", lambda: status_of(pair, standby)["maintenance"] == "admin", 10)
        assert "target-not-in-maintenance" in failed_gates(pair, "failover", "core", "--to", standby)
        assert "peer-ready" in failed_gates(pair, "drill", "core")
        for pid in [pid for what in ("agent", "guard", "server") for pid in pair.pids(active, what)]:
            os.kill(pid, signal.SIGKILL)
        time.sleep(3.0)
        assert pair.observer.hubs_now() == set()
        assert "this hub is in maintenance" in status_of(pair, standby)["groups"][0]["why"]
        began = time.monotonic()
        hubdeck(pair.ready, "maintenance", "--hub", standby, "--off", "--yes", "--reason", "done")
        pair.taken_over(standby, began)
        pair.restart(active)
        pair.wait_calm()


def test_maintenance_of_a_group_stops_automatic_failover_until_it_ends(tmp_path):
    """The agent of the active hub is killed: nobody takes over, and its own hub goes on when it is back."""
    with running(tmp_path) as pair:
        pair.wait_calm()
        active = pair.active
        hubdeck(pair.ready, "maintenance", "core", "--yes", "--reason", "test")
        wait("its word", lambda: all(group["maintenance"] for group in groups(pair)), 10)
        pair.send(active, "agent", signal.SIGKILL)
        time.sleep(3.0)
        assert pair.observer.hubs_now() == set()
        began = time.monotonic()
        pair.restart(active)
        wait("its return", lambda: pair.observer.first_after(active, began) is not None, 15)
        hubdeck(pair.ready, "maintenance", "core", "--off", "--yes", "--reason", "done")
        wait("its end", lambda: not any(group["maintenance"] for group in groups(pair)), 10)


def status_of(pair: Pair, hub: str) -> dict:
    """What `hubdeck status` says of one hub."""
    return next(one for one in hubdeck(pair.ready, "status", status=None)["hubs"] if one["hub"] == hub)
