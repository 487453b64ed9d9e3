"""The whole hub agent as a process: lock, clean end, reload, the local socket with every server dead."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
import yaml

from console import founding
from hubagent.wire.roster import Hub, Operator, Roster
from tests.support.demo import processes, wait
from tests.support.nats import NatsServer
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


class OneHub:
    """A hub agent whose only destination is a port where nobody listens."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.root, self.state = root, root / "hub"
        self.config = root / "hubagent.yaml"
        self.agent: subprocess.Popen | None = None
        os.mkfifo(root / "leash")
        self._leash = os.open(root / "leash", os.O_RDWR)
        fleet = founding.make_fleet_key(root)
        keys = founding.make_keys(self.state / "hub.key")
        admin = founding.make_keys(root / "admin.key")
        hub = Hub(id="alpha", login=keys.login, signing=keys.signing)
        people = [Operator(name="admin", role="admin", login=admin.login, signing=admin.signing)]
        (self.state / "roster.json").write_bytes(founding.seal_roster(fleet, Roster(1, "test", 1, [hub], people, [])))
        (self.state / "fleet.pub").write_text(fleet.public + "\n")
        self.settings: dict = {
            "hub": {"id": "alpha", "state_dir": str(self.state), "leash": str(root / "leash")},
            "destinations": [{"name": "central", "urls": ["nats://127.0.0.1:9"]}],
            "spool": {"budget": "64MiB", "reserve": "1MiB"},
            "services": [{"name": "sleeper", "argv": SLEEPER, "start_s": 0.1, "grace_s": 1}],
            **settings,
        }
        self.write()

    def write(self) -> None:
        """Put the settings into the config file."""
        self.config.write_text(yaml.safe_dump(self.settings))

    def start(self) -> None:
        """Start the agent and wait until its socket answers."""
        with (self.root / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(
                [sys.executable, "-m", "hubagent", "run", "-c", str(self.config)], stdout=log, stderr=log
            )
        wait("the agent's socket", lambda: self.call("status").returncode == 0)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`hubagent WORDS -c CONFIG`."""
        command = [sys.executable, "-m", "hubagent", *words, "-c", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def status(self) -> dict:
        """What `hubagent status --json` prints."""
        return json.loads(self.call("status", "--json").stdout)

    def service(self, name: str = "sleeper") -> dict:
        """One service of the status; empty where there is none."""
        return next((one for one in self.status()["services"] if one["name"] == name), {})

    def running(self, name: str = "sleeper") -> bool:
        """Whether a service is RUNNING."""
        return self.service(name).get("state") == "RUNNING"

    def end(self) -> None:
        """Let go of the leash: agent, guard and services end."""
        os.close(self._leash)
        assert self.agent is not None
        self.agent.wait(20)
        wait("the end of guard and services", lambda: not processes(self.root))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[OneHub]:
    """A running agent with one service; nothing of it is left afterwards."""
    one = OneHub(tmp_path)
    one.start()
    wait("the service", one.running)
    yield one
    with contextlib.suppress(OSError):
        one.end()


def test_a_second_agent_on_one_state_directory_is_refused(hub: OneHub) -> None:
    """P10: the lock names the directory and what to do; the first goes on."""
    second = subprocess.run(
        [sys.executable, "-m", "hubagent", "run", "-c", str(hub.config)], capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    assert "another hub agent uses it" in second.stderr
    assert "Traceback" not in second.stderr
    assert hub.running()


def test_the_local_commands_work_with_every_server_dead(hub: OneHub) -> None:
    """restart, stop, start and status through the socket; each outcome is the service's own."""
    before = hub.service()["pid"]
    assert hub.call("restart", "sleeper", "--reason", "test").returncode == 0
    after = hub.service()["pid"]
    assert before != after
    assert hub.call("stop", "sleeper").returncode == 0
    assert hub.service()["state"] == "STOPPED"
    refused = hub.call("stop", "sleeper")
    assert refused.returncode == 1
    assert "running" in refused.stderr
    assert hub.call("start", "sleeper").returncode == 0
    assert {lane["state"] for lane in hub.status()["lanes"]} == {"BUFFERING"}


def test_a_service_survives_a_restart_of_the_agent_and_is_never_doubled(hub: OneHub) -> None:
    """SIGTERM ends the agent with 0; the next one finds the very same process."""
    pid = hub.service()["pid"]
    hub.agent.terminate()
    assert hub.agent.wait(20) == 0
    assert Path(f"/proc/{pid}").exists()
    hub.start()
    wait("the service", hub.running)
    assert hub.service()["pid"] == pid


def test_a_stop_by_an_operator_outlives_the_agent(hub: OneHub) -> None:
    """A stopped service is still stopped after the agent's restart, until somebody starts it."""
    assert hub.call("stop", "sleeper").returncode == 0
    hub.agent.terminate()
    hub.agent.wait(20)
    hub.start()
    assert hub.service()["state"] == "STOPPED"
    assert hub.call("start", "sleeper").returncode == 0
    assert hub.running()


def test_a_reload_adds_changes_and_removes_services_in_place(hub: OneHub) -> None:
    """SIGHUP: the agent's boot stays the same, the changed service is a new process, the removed one is gone."""
    boot, pid = hub.status()["boot"], hub.service()["pid"]
    hub.settings["services"] = [{"name": "sleeper", "argv": SLEEPER, "grace_s": 2}, {"name": "other", "argv": SLEEPER}]
    hub.write()
    hub.agent.send_signal(signal.SIGHUP)
    wait(
        "both services", lambda: hub.running("other") and hub.service().get("pid") not in (None, pid) and hub.running()
    )
    hub.settings["services"] = [{"name": "other", "argv": SLEEPER}]
    hub.write()
    hub.agent.send_signal(signal.SIGHUP)
    wait("the removal", lambda: not hub.service())
    assert hub.running("other")
    assert hub.status()["boot"] == boot


def test_a_reload_that_cannot_be_is_refused_as_a_whole_with_its_reason(hub: OneHub) -> None:
    """A changed spool and a broken file both leave everything as it is, and the log says why."""
    pid = hub.service()["pid"]
    hub.settings["spool"]["budget"] = "128MiB"
    hub.settings["services"] = []
    hub.write()
    hub.agent.send_signal(signal.SIGHUP)
    log = hub.root / "agent.log"
    wait("the refusal", lambda: "spool needs a restart" in log.read_text())
    hub.config.write_text("hub: {id: alpha")
    hub.agent.send_signal(signal.SIGHUP)
    wait("the refusal", lambda: "valid YAML" in log.read_text())
    hub.settings["spool"]["budget"] = "64MiB"
    hub.write()
    assert hub.service()["pid"] == pid


def test_kill_9_of_the_agent_costs_no_service_and_the_spool_opens_again(hub: OneHub) -> None:
    """P9: The guard keeps the service; the next agent goes on in the same incarnation."""
    pid = hub.service()["pid"]
    hub.agent.kill()
    hub.agent.wait()
    hub.start()
    wait("the service", hub.running)
    assert hub.service()["pid"] == pid
    wait("buffered records", lambda: any(lane["chunks"] for lane in hub.status()["lanes"]))


async def test_x14_planted_secrets_are_in_no_log_record_report_or_message(tmp_path: Path, monkeypatch) -> None:
    """X14: of the agent's environment, of a service's, of its arguments, of the keys; also where a start fails."""
    planted = {where: f"planted-{where}-0123456789" for where in ("agent", "environment", "argument", "failing")}
    monkeypatch.setenv("HUBDECK_PASSWORD", planted["agent"])
    given = {"env": {"TOKEN": planted["environment"]}, "start_s": 0.1, "backoff_min_s": 0.1}
    services = [
        {"name": "sleeper", "argv": [*SLEEPER, f"--password={planted['argument']}"], **given},
        {"name": "failing", "argv": ["/nowhere/program", f"--password={planted['failing']}"], **given},
        {"name": "crashing", "argv": ["sh", "-c", "exit 3", planted["failing"]], **given},
    ]
    heard: list[bytes] = []

    async def hear(message) -> None:
        heard.append(f"{message.subject} {message.headers}".encode() + message.data)

    with NatsServer(tmp_path / "nats") as server:
        client = await nats.connect(server.url)
        await client.subscribe(">", cb=hear)
        (tmp_path / "hub").mkdir()
        hub = OneHub(tmp_path / "hub", services=services, destinations=[{"name": "central", "urls": [server.url]}])
        seeds = (hub.state / "hub.key").read_text().split()
        try:
            await asyncio.to_thread(hub.start)
            await until(lambda: any(one.startswith(b"live.alpha") for one in heard), 30)
            await client.publish("watch.alpha", b'{"logs":"crashing","lines":50}')
            await until(lambda: any(one.startswith(b"detail.alpha") and b"crashing" in one for one in heard), 30)
            await asyncio.to_thread(wait, "FATAL", lambda: hub.service("crashing").get("state") == "FATAL")
            said = [json.dumps(await asyncio.to_thread(hub.status)), (hub.root / "agent.log").read_text()]
        finally:
            await asyncio.to_thread(hub.end)
            await client.close()
    kept = [path for path in hub.state.rglob("*") if path.is_file() and path.name not in ("hub.key", "guard.json")]
    assert any(path.name.startswith("spool") for path in kept)
    everything = b"".join([*heard, *(text.encode() for text in said), *(path.read_bytes() for path in kept)])
    assert b"crashing" in everything
    assert [secret for secret in (*planted.values(), *seeds) if secret.encode() in everything] == []
    guard = (hub.state / "guard.json").read_bytes() if (hub.state / "guard.json").exists() else b""
    assert [secret for secret in (planted["agent"], planted["environment"], *seeds) if secret.encode() in guard] == []


def test_x14_a_damaged_key_file_is_named_without_what_stands_in_it(tmp_path: Path) -> None:
    """X14: the agent's words, with and without a traceback, hold no seed."""
    one = OneHub(tmp_path)
    key = one.state / "hub.key"
    login, signing = key.read_text().split()
    os.close(one._leash)
    for text in (f"{login}\n{login}\n", f"{login}\n", f"{login}\n{signing}X\n", f"{login[:-1]}\n{signing}\n"):
        key.write_text(text)
        answer = one.call("run")
        assert answer.returncode != 0
        assert "hub.key" in answer.stderr
        assert login[2:20] not in answer.stdout + answer.stderr
        assert signing[2:20] not in answer.stdout + answer.stderr


BOMBS = {
    "deep lists": b"[" * 10_000 + b"]" * 10_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "many keys": b"{" + b",".join(b'"k%d":1' % number for number in range(60_000)) + b"}",
    "huge integer": b'{"v":' + b"9" * 500_000 + b"}",
    "half a megabyte of nothing": bytes(500_000),
}


async def test_x9_bombs_cost_a_whole_agent_neither_memory_nor_time(tmp_path: Path) -> None:
    """X9: to every subject that an agent hears, ten times over; it answers at once afterwards and is no larger."""
    (tmp_path / "hub").mkdir()
    with NatsServer(tmp_path / "nats") as server:
        client = await nats.connect(server.url)
        lives: list[bytes] = []

        async def hear(message) -> None:
            lives.append(message.data)

        await client.subscribe("live.alpha", cb=hear)
        hub = OneHub(tmp_path / "hub", destinations=[{"name": "central", "urls": [server.url]}])
        try:
            await asyncio.to_thread(hub.start)
            await until(lambda: len(lives) > 3, 30)
            before = rss_bytes(hub.agent.pid)
            for bomb in BOMBS.values():
                for subject in ("cmd.alpha", "hello.alpha", "watch.alpha", "fetch.alpha", "roster"):
                    for _ in range(10):
                        await client.publish(subject, bomb, "_INBOX.nobody")
                await client.flush()
            heard = len(lives)
            began = time.monotonic()
            await until(lambda: len(lives) > heard + 1, 10)
            assert time.monotonic() - began < 6.0
            began = time.monotonic()
            assert (await asyncio.to_thread(hub.call, "status")).returncode == 0
            assert time.monotonic() - began < 6.0
            assert hub.agent.poll() is None
            assert rss_bytes(hub.agent.pid) - before < 24 << 20  # what waits to be read: a few messages at once
        finally:
            await asyncio.to_thread(hub.end)
            await client.close()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("l0: &l0 [x]\n" + "".join(f"l{n}: &l{n} [{f'*l{n - 1}, ' * 9}]\n" for n in range(1, 30)), id="X10 anchors"),
        pytest.param("a: &a 1\nb: [" + "*a, " * 100_000 + "]\n", id="X10 aliases"),
        pytest.param("hub: !!python/object/apply:os.system ['touch owned']\n", id="X10 tag"),
    ],
)  # fmt: skip
def test_a_bomb_for_a_config_is_refused_by_the_agent_itself(tmp_path: Path, text: str) -> None:
    """Usage, in a second or two, within a quarter of a gigabyte, and nothing is carried out."""
    config = tmp_path / "hubagent.yaml"
    config.write_text(text)
    command = [sys.executable, "-m", "hubagent", "check", "-c", str(config)]
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))}
    began = time.monotonic()
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=False, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        cwd=tmp_path, **limits,
    )  # fmt: skip
    assert answer.returncode == 2
    assert str(config) in answer.stderr
    assert "Traceback" not in answer.stderr
    assert time.monotonic() - began < 5.0
    assert not (tmp_path / "owned").exists()


def rss_bytes(pid: int) -> int:
    """What a process has in memory."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) * 1024


def test_observing_supervises_nothing_and_touches_nothing(hub: OneHub) -> None:
    """`run --observe` beside services that an earlier run left in the guard leaves them alone."""
    pid = hub.service()["pid"]
    hub.agent.terminate()
    hub.agent.wait(20)
    command = [sys.executable, "-m", "hubagent", "run", "--observe", "-c", str(hub.config)]
    hub.agent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait("the agent's socket", lambda: hub.call("status").returncode == 0)
    time.sleep(1.0)  # long enough for a supervisor to have acted
    assert hub.status()["services"] == []
    assert Path(f"/proc/{pid}").exists()


def test_without_an_agent_the_local_commands_say_what_to_do(tmp_path: Path) -> None:
    """Exit status 1, one line, no traceback."""
    one = OneHub(tmp_path)
    answer = one.call("status")
    assert answer.returncode == 1
    assert "hubagent run" in answer.stderr
    assert "Traceback" not in answer.stderr
