"""A fleet as a stranger would found it: `fleet new`, agents as processes, `invite` and `join`; TLS on loopback addresses."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.support.demo import processes
from tests.support.nats import free_port

END_SECONDS = 30.0


def wait(what: str, test, seconds: float = 30.0) -> float:
    """Poll the outside world until it holds; seconds it took."""
    began = time.monotonic()
    while not (found := test()):
        assert time.monotonic() - began < seconds, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.05)
    assert found
    return time.monotonic() - began


class TrustFleet:
    """One fleet; its leash is a FIFO: when the test lets go, agents, guards and servers end."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        self.dir = root / "acme"
        self.agents: dict[str, subprocess.Popen] = {}
        self.configs: dict[str, Path] = {}
        root.mkdir(parents=True, exist_ok=True)
        os.mkfifo(root / "leash", 0o600)
        self._leash = os.open(root / "leash", os.O_RDWR | os.O_CLOEXEC)

    def address(self, number: int) -> str:
        """127.0.0.N with this fleet's port."""
        return f"127.0.0.{number}:{self.port}"

    def found(self, *options: str) -> str:
        """`hubdeck fleet new` with central and edge, TLS forced."""
        words = ["--tls", "--server", f"central={self.address(2)}", "--server", f"edge={self.address(3)}", *options]
        return self.hubdeck("fleet", "new", str(self.dir), *words, config=False).stdout

    def hubdeck(self, *words: str, status: int | None = 0, config: bool = True) -> subprocess.CompletedProcess:
        """The console's command line as the first admin."""
        return run("console", *words, *(["-c", str(self.dir / "console.yaml")] if config else []), status=status)

    def json(self, *words: str, status: int | None = 0) -> dict:
        """The same with --json."""
        return json.loads(self.hubdeck(*words, "--json", status=status).stdout)

    def start(self, hub: str, folder: Path) -> Path:
        """Run the agent of a folder, under the leash."""
        path = folder / "hubagent.yaml"
        settings = yaml.safe_load(path.read_text())
        settings["hub"]["leash"] = str(self.root / "leash")
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        with (folder / "agent.log").open("ab") as log:
            self.agents[hub] = subprocess.Popen(
                [sys.executable, "-m", "hubagent", "run", "-c", str(path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.configs[hub] = path
        return path

    def kill(self, hub: str) -> None:
        """The whole machine: agent, guard and server at once, kill -9."""
        agent = self.agents.pop(hub)
        folder = self.configs[hub].parent
        agent.kill()
        agent.wait()
        for pid, line in processes(self.root).items():
            if f"{folder}/" in line or line.rstrip().endswith(str(folder)) or f"{folder} " in line:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)

    def stop(self, hub: str) -> None:
        """The agent only, as told."""
        agent = self.agents.pop(hub)
        agent.terminate()
        agent.wait(END_SECONDS)

    def states(self) -> dict[str, str]:
        """Every hub of the roster with its state."""
        found = self.json("status", status=None)
        return {one["hub"]: one["state"] for one in found["hubs"] if one["heard"]}

    def is_live(self, hub: str) -> bool:
        """Fresh on screen; a warning about the machine's load takes nothing from that."""
        return self.states().get(hub) in {"OK", "WARN"}

    def invite(self, hub: str, *words: str) -> tuple[subprocess.Popen, str]:
        """A waiting `hubdeck invite --yes`, and its token."""
        command = [
            sys.executable,
            "-m",
            "console",
            "invite",
            hub,
            "--yes",
            *words,
            "-c",
            str(self.dir / "console.yaml"),
        ]
        waiting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        token = waiting.stdout.readline().strip()
        assert token, waiting.stderr.read()
        return waiting, token

    def join(self, token: str, folder: Path, status: int | None = 0) -> subprocess.CompletedProcess:
        """`hubagent join` into a folder of its own."""
        paths = ["--state-dir", str(folder), "-c", str(folder / "hubagent.yaml")]
        return run("hubagent", "join", token, *paths, status=status)

    def end(self) -> None:
        """Let go of the leash; nothing may be left."""
        os.close(self._leash)
        with contextlib.suppress(AssertionError):
            wait("the end of the fleet", lambda: not processes(self.root), END_SECONDS)
        for agent in self.agents.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                agent.wait(1)
        left = processes(self.root)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        assert not left, f"left behind: {left}"


def run(program: str, *words: str, status: int | None = 0) -> subprocess.CompletedProcess:
    """One command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", program, *words], capture_output=True, text=True, timeout=90, check=False
    )
    assert status is None or done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return done


@contextlib.contextmanager
def founded(root: Path, *options: str) -> Iterator[TrustFleet]:
    """A fleet of central, edge and witness, founded and running."""
    fleet = TrustFleet(root)
    try:
        fleet.found("--witness", fleet.address(4), *options)
        for hub in ("central", "edge", "witness"):
            fleet.start(hub, fleet.dir / hub)
        wait("the fleet", lambda: len(fleet.states()) == 3)
        yield fleet
    finally:
        fleet.end()
