"""The tour: drives the demo's fleet as an operator would, through the command line, and measures each step."""

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from console.demo.fleet import DemoFailed, Fleet, end, start_agent, wait_until
from console.demo.sweeper import daemons, guard_services, is_alive

OUTAGE_SECONDS = 20.0
DRAIN_SECONDS_MAX = 60.0
FAILOVER_SECONDS_MAX = 5.0
CALM_SECONDS_MAX = 45.0


@dataclass(slots=True)
class Step:
    """One step: what was done, whether it held, and what was measured."""

    step: str
    held: bool
    took_s: float
    measured: dict[str, Any] = field(default_factory=dict)
    why: str = ""


class Tour:
    """Runs the steps in order; a step that does not hold is reported, and the next one still runs."""

    def __init__(self, fleet: Fleet, say: Callable[[str], None]) -> None:
        self._fleet, self._layout, self._say = fleet, fleet.layout, say
        self.steps: list[Step] = []

    def run(self) -> bool:
        """All steps; tell whether every one held."""
        self._step("metrics seen from all hubs", self._metrics)
        self._step("restart of web@alpha", self._restart)
        self._step("kill -9 of the active hub (agent, guard and server)", self._failover)
        self._step("planned switchover back", self._switchover)
        self._step(f"central down for {OUTAGE_SECONDS:g} s, then drained", self._outage)
        self._step("rollback of web@alpha to 1.0", self._rollback)
        return all(step.held for step in self.steps)

    def _step(self, name: str, act: Callable[[dict[str, Any]], None]) -> None:
        self._say(f"… {name}")
        began = time.monotonic()
        measured: dict[str, Any] = {}
        why = ""
        try:
            act(measured)
        except DemoFailed as error:
            why = str(error)
        step = Step(name, not why, round(time.monotonic() - began, 2), measured, why)
        self.steps.append(step)
        self._say(line_of(step))

    def hubdeck(self, *words: str, statuses: tuple[int, ...] = (0,)) -> Any:
        """One `hubdeck … --json` as the demo's admin."""
        command = [sys.executable, "-m", "console", *words, "--json", "-c", str(self._layout.console_config)]
        return _run(command, statuses)

    def _hubagent(self, hub: str, *words: str) -> None:
        command = [sys.executable, "-m", "hubagent", *words, "-c", str(self._layout.config(hub))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        _must(done.returncode == 0, f"hubagent {' '.join(words)} on {hub}: {done.stderr.strip()}")

    def _status(self) -> dict[str, dict[str, Any]]:
        return {hub["hub"]: hub for hub in self.hubdeck("status", statuses=(0, 1))["hubs"]}

    def _metrics(self, measured: dict[str, Any]) -> None:
        hubs = self._status()
        for name in self._layout.hubs:
            hub = hubs.get(name, {})
            _must(hub.get("cpu") is not None and hub.get("mem") is not None, f"{name} sends no metrics")
        ages = [hub["age_s"] for hub in hubs.values()]
        measured |= {"hubs": len(hubs), "oldest_age_s": round(max(ages), 2)}

    def _restart(self, measured: dict[str, Any]) -> None:
        member = self._layout.members[0]
        before = self._pid(member, "web")
        answer = self.hubdeck("restart", f"web@{member}", "--yes", "--reason", "tour")
        measured |= {
            "healthy_s": answer["results"][0].get("took_s"),
            "pid_before": before,
            "pid_after": self._pid(member, "web"),
        }
        _must(measured["pid_before"] != measured["pid_after"], "the process is still the old one")
        measured["answer"] = self._web(member)

    def _failover(self, measured: dict[str, Any]) -> None:
        active, standby = self._active_and_standby()
        victims = [*daemons(self._layout.state(active)), self._pid(active, "nats-server")]
        old = self.scheduler_pid(active)
        killed = time.monotonic()
        for pid in victims:
            end(pid)
        wait_until(f"scheduler on {standby}", lambda: bool(self.scheduler_pid(standby)), FAILOVER_SECONDS_MAX, 0.005)
        measured |= {"from": active, "to": standby, "failover_s": round(time.monotonic() - killed, 3)}
        measured["old_process_alive"] = is_alive(old)
        _must(not measured["old_process_alive"], f"the scheduler of {active} still runs beside the new one")
        self._fleet.agents[active].wait(5)
        self._fleet.agents[active] = start_agent(self._layout, active)
        measured["hub_back_s"] = round(self._wait_calm(), 1)

    def _switchover(self, measured: dict[str, Any]) -> None:
        active, standby = self._active_and_standby()
        began = time.monotonic()
        answer = self.hubdeck(
            "failover", "core", "--to", standby, "--yes", "--reason", "tour", "--force", "minimum-hold"
        )
        measured |= {"from": active, "to": standby, "command_s": round(time.monotonic() - began, 2)}
        measured["switchover_s"] = answer["results"][0].get("took_s")
        _must(bool(self.scheduler_pid(standby)), f"no scheduler on {standby}")
        _must(not self.scheduler_pid(active), f"the scheduler of {active} still runs")

    def _outage(self, measured: dict[str, Any]) -> None:
        self._hubagent("central", "stop", "nats-server", "--reason", "tour")
        began = time.monotonic()
        wait_until(
            "every hub BUFFERING for central", lambda: self._lanes("central") == {"BUFFERING"}, OUTAGE_SECONDS, 0.5
        )
        measured["edge_states"] = sorted(self._lanes("edge"))
        _must(self._lanes("edge") <= {"LIVE", "DRAINING"}, f"edge is {sorted(self._lanes('edge'))}, not LIVE")
        time.sleep(max(0.0, OUTAGE_SECONDS - (time.monotonic() - began)))
        self._hubagent("central", "start", "nats-server", "--reason", "tour")
        measured["down_s"] = round(time.monotonic() - began, 1)
        measured["drained_s"] = round(self._wait_calm(), 1)
        measured |= self._count()
        _must(measured["missing"] == measured["twice"] == 0, "chunks are missing or twice in a stream")

    def _count(self) -> dict[str, int]:
        """Chunks missing and twice, over all hubs, lanes and both servers, counted by reading the streams."""
        total = {"chunks": 0, "missing": 0, "twice": 0}
        for hub in self._layout.hubs:
            for stream in self.hubdeck("records", hub, "--verify")["streams"]:
                total = {key: total[key] + stream[key] for key in total}
        return total

    def _rollback(self, measured: dict[str, Any]) -> None:
        member = self._layout.members[0]
        measured["before"] = self._web(member)
        answer = self.hubdeck("rollback", f"web@{member}", "--to", "1.0", "--yes", "--reason", "tour")
        measured |= {"rollback_s": answer["results"][0].get("took_s"), "after": self._web(member)}
        _must("1.0" in measured["after"], f"web still answers {measured['after']!r}")

    # What the tour sees of the world: processes, HTTP answers, and what the command line says.

    def _lanes(self, dest: str) -> set[str]:
        return {lane["state"] for hub in self._status().values() for lane in hub["lanes"] if lane["dest"] == dest}

    def _wait_calm(self) -> float:
        """Seconds until every hub is live and owes nothing to any server."""

        def calm() -> bool:
            hubs = self._status().values()
            states = {lane["state"] for hub in hubs for lane in hub["lanes"]}
            return states == {"LIVE"} and all(hub["age_s"] is not None and hub["age_s"] < 3 for hub in hubs)

        return wait_until("every hub live and drained", calm, CALM_SECONDS_MAX, 0.25)

    def _active_and_standby(self) -> tuple[str, str]:
        pair = ("central", "edge")
        running = [hub for hub in pair if self.scheduler_pid(hub)]
        _must(len(running) == 1, f"scheduler runs on {running or 'no hub'}")
        return running[0], next(hub for hub in pair if hub != running[0])

    def scheduler_pid(self, hub: str) -> int:
        """The process of `scheduler` on that hub as the process table has it; 0 where none runs."""
        wanted = b"\0".join((str(self._layout.root / "scheduler.py").encode(), b"--hub", hub.encode()))
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and wanted in (entry / "cmdline").read_bytes() and is_alive(int(entry.name)):
                    return int(entry.name)
            except OSError:
                continue
        return 0

    def _pid(self, hub: str, service: str) -> int:
        pid = next((pid for name, pid in guard_services(self._layout.state(hub)) if name == service), 0)
        _must(bool(pid), f"{service} does not run on {hub}")
        return pid

    def _web(self, hub: str) -> str:
        try:
            with contextlib.closing(
                http.client.HTTPConnection("127.0.0.1", self._layout.ports["web-" + hub], timeout=5)
            ) as web:
                web.request("GET", "/")
                return web.getresponse().read().decode().strip()
        except (OSError, http.client.HTTPException) as error:
            raise DemoFailed(f"web on {hub} does not answer: {error}") from error


def _run(command: list[str], statuses: tuple[int, ...]) -> Any:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    words = " ".join(command[2:])
    _must(done.returncode in statuses, f"{words}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise DemoFailed(f"{words}: no JSON: {done.stdout[:200]!r}") from None


def _must(held: bool, why: str) -> None:
    if not held:
        raise DemoFailed(why)


def line_of(step: Step) -> str:
    """One step in one line."""
    figures = "  ".join(f"{key} {value}" for key, value in step.measured.items())
    return f"{'held  ' if step.held else 'FAILED'} {step.step}: {step.why or figures}"


def table(steps: list[Step]) -> str:
    """Every step with what it measured, one figure a line."""
    lines = []
    for number, step in enumerate(steps, 1):
        lines.append(f"{number}  {'held  ' if step.held else 'FAILED'}  {step.step}  ({step.took_s:g} s)")
        lines += [f"             {key:<20} {value}" for key, value in step.measured.items()]
        lines += [f"             why                  {step.why}"] if step.why else []
    return "\n".join(lines)


def as_json(steps: list[Step]) -> str:
    """The table as one JSON object."""
    return json.dumps({"held": all(step.held for step in steps), "steps": [asdict(step) for step in steps]}, indent=1)
