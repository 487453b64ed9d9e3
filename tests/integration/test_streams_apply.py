"""`hubagent streams` and logging in, against NATS servers that were there before hubdeck."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nats
import pytest

from console import founding
from console.clock import SystemClock as ConsoleClock
from console.config import ServerSettings
from console.fleet import ServerChanged
from console.server_line import ServerLine, end_all
from hubagent import logins
from hubagent.clock import SystemClock
from hubagent.config import DestinationSettings, HubSettings, Settings
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.edges.nats_login import LoginRefused, load_context, read_nkey
from hubagent.edges.steps import EndGuard
from hubagent.edges.system import System
from hubagent.wire.roster import Hub, Operator, Roster, Server
from hubagent.wire.signing import public_of, seed_from
from tests.support.ca import TestAuthority
from tests.support.demo import processes
from tests.support.nats import NatsServer
from tests.support.nats_jwt import operator_mode
from tests.support.waiting import until

pytestmark = pytest.mark.real

SEED = seed_from(b"e" * 32)
STRANGER = seed_from(b"s" * 32)


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    """A file with these rights."""
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def existing(tmp_path: Path):
    """A server of somebody else's with one NKey user who may do everything."""
    users = json.dumps({"users": [{"nkey": public_of(SEED)}]})
    with NatsServer(tmp_path / "nats", config=f"authorization: {users}\n") as server:
        private(tmp_path / "ops.nk", SEED + "\n")
        yield server


def streams(*words: str, status: int = 0, home: Path | None = None) -> str:
    """One `hubagent streams` command."""
    environ = {key: value for key, value in os.environ.items() if key != "XDG_CONFIG_HOME"}
    done = subprocess.run(
        [sys.executable, "-m", "hubagent", "streams", *words], capture_output=True, text=True, timeout=60,
        check=False, env=environ | ({"HOME": str(home)} if home else {}),
    )  # fmt: skip
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_check_names_what_is_missing_and_apply_makes_it_once(existing: NatsServer, tmp_path: Path):
    """A check changes nothing; a second apply has nothing to do."""
    login = ("--url", existing.url, "--nkey", str(tmp_path / "ops.nk"), "--max-store", "1GiB")
    assert "EVT is missing" in streams("check", *login, status=1)
    assert "EVT is missing" in streams("check", *login, status=1)
    assert "made EVT" in streams("apply", *login)
    assert "are as they should be" in streams("check", *login)
    assert "made" not in streams("apply", *login)
    assert "--max-store" in streams("apply", *login[:-2], "--witness", status=2)
    assert "LEASE is missing" in streams("check", *login, "--witness", status=1)
    assert "made LEASE" in streams("apply", *login, "--witness")


async def test_drift_is_named_and_never_changed(existing: NatsServer, tmp_path: Path):
    """A stream that somebody made otherwise stays as it is, and the exit status says so."""
    client = await nats.connect(existing.url, nkeys_seed_str=SEED)
    await client.jetstream().add_stream(name="EVT", subjects=["ops.evt.*"], max_age=3600)
    login = ("--url", existing.url, "--nkey", str(tmp_path / "ops.nk"), "--max-store", "1GiB")
    for action in ("apply", "check"):
        said = await asyncio.to_thread(streams, action, *login, status=1)
        assert "EVT.max_age is" in said
        assert "EVT has no lineage" in said
    info = await client.jetstream().stream_info("EVT")
    assert info.config.max_age == 3600
    await client.close()


def test_a_wrong_login_changes_nothing_and_says_why(existing: NatsServer, tmp_path: Path):
    """One line, no key in it."""
    stranger = private(tmp_path / "stranger.nk", STRANGER)
    said = streams("check", "--url", existing.url, "--nkey", str(stranger), status=1)
    assert "nothing was changed" in said
    assert "uthorization" in said
    assert STRANGER not in said


def test_a_context_of_the_nats_tool_is_followed(existing: NatsServer, tmp_path: Path):
    """Server and login by one name."""
    folder = tmp_path / ".config/nats/context"
    folder.mkdir(parents=True)
    (folder / "ops.json").write_text(json.dumps({"url": existing.url, "nkey": str(tmp_path / "ops.nk"), "token": ""}))
    assert "made EVT" in streams("apply", "--context", "ops", "--max-store", "1GiB", home=tmp_path)
    assert "no such context" in streams("apply", "--context", "none", status=1, home=tmp_path)


async def test_a_hub_logs_in_by_creds_of_an_operator_mode_server(tmp_path: Path):
    """JWT, account and all, as nsc makes them; and the streams are made there as well."""
    server, creds = operator_mode(tmp_path)
    with server:
        said = await asyncio.to_thread(
            streams, "apply", "--url", server.url, "--creds", str(creds), "--max-store", "1GiB"
        )
        assert "made MET" in said
        settings = DestinationSettings(name="central", urls=[server.url], creds_file=str(creds))
        entry = logins.login(settings, "SUNUSED")
        link = Link(
            "central", settings.urls, identity="alpha", login_seed=entry.seed, creds_file=entry.creds_file,
            policy=LinkPolicy(), clock=SystemClock(),
        )  # fmt: skip
        task = asyncio.get_running_loop().create_task(link.run())
        await until(lambda: link.is_connected)
        answer = await link.request("$JS.API.STREAM.INFO.EVT", b"", timeout_s=5)
        assert b'"error"' not in answer.payload
        task.cancel()


def test_permission_blocks_are_accepted_by_a_server(tmp_path: Path):
    """What is printed can be pasted: a server starts with it."""
    text = streams("permissions")
    blocks = re.findall(r"^permissions: (\{.*?^\})", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    users = []
    for index, block in enumerate(blocks):
        for shown in re.findall(r"<[a-z]+>", block):
            block = block.replace(shown, "name")  # noqa: PLW2901  # one after the other
        users.append({"nkey": public_of(seed_from(bytes([index]) * 32)), "permissions": json.loads(block)})
    with NatsServer(tmp_path, config="authorization: " + json.dumps({"users": users}) + "\n"):
        pass


def test_a_hub_takes_what_its_config_leaves_out_from_the_context(tmp_path: Path):
    """The config's own words come first."""
    folder = tmp_path / ".config/nats/context"
    folder.mkdir(parents=True)
    context = {"url": "tls://a:4222, tls://b:4222", "creds": "~/x.creds", "ca": "/etc/ca.pem", "description": "ours"}
    (folder / "ops.json").write_text(json.dumps(context))
    one = DestinationSettings(name="central", context="ops", ca_file="/own/ca.pem")
    settings = Settings(hub=HubSettings(id="alpha", state_dir="/x"), destinations=[one])
    found = logins.with_contexts(settings, {"HOME": str(tmp_path)}).destinations[0]
    assert (found.urls, found.ca_file) == (["tls://a:4222", "tls://b:4222"], "/own/ca.pem")
    assert (found.creds_file, found.nkey_file) == (f"{tmp_path}/x.creds", "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "nats://x", "user": "me", "password": "secret-word"}, "a user and password"),
        ({"url": "nats://x", "token": "secret-word"}, "a token"),
        ({"url": "nats://x", "jetstream_domain": "leaf"}, "a JetStream domain"),
        ({"creds": "/x"}, "no url"),
        ([1], "no context"),
    ],
)
def test_a_context_that_a_hub_cannot_follow_is_refused(tmp_path: Path, fields: object, words: str):
    """In words, and without what was secret in it."""
    folder = tmp_path / "nats/context"
    folder.mkdir(parents=True)
    (folder / "odd.json").write_text(json.dumps(fields))
    with pytest.raises(LoginRefused) as refusal:
        load_context("odd", {"XDG_CONFIG_HOME": str(tmp_path)})
    assert words in str(refusal.value)
    assert "secret-word" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (SEED, 0o644, "others may read it"),
        ("nothing", 0o600, "no seed"),
        (SEED[:-3] + "AAA", 0o600, "damaged"),
        ("", 0o600, "no seed"),
    ],
)
def test_a_login_file_that_cannot_be_used_is_refused_without_its_content(
    tmp_path: Path, text: str, mode: int, words: str
):
    """Loose rights, no key, a damaged key."""
    path = private(tmp_path / "key", text, mode)
    with pytest.raises(LoginRefused) as refusal:
        read_nkey(str(path))
    assert words in str(refusal.value)
    assert not text or text not in str(refusal.value).replace(str(path), "")


def test_the_name_of_a_context_is_no_path():
    """Nothing outside the tool's own directory is read."""
    for name in ("../../etc/passwd", "/etc/passwd", ".hidden", ""):
        with pytest.raises(LoginRefused):
            load_context(name)


async def test_a_hub_agent_delivers_to_a_nats_that_was_there_before(tmp_path: Path):
    """Over TLS with the CA of that installation, by an NKey that is not the hub's own, as a context names them."""
    authority = TestAuthority(tmp_path / "ca")
    pem = authority.server_pem(tmp_path / "server.pem", "127.0.0.1")
    config = {
        "tls": {"cert_file": str(pem), "key_file": str(pem)},
        "authorization": {"users": [{"nkey": public_of(SEED)}]},
    }
    server = NatsServer(tmp_path / "nats", config=json.dumps(config)[1:-1] + "\n")
    nkey = private(tmp_path / "hub.nk", SEED)
    url = f"tls://127.0.0.1:{server.port}"
    folder = tmp_path / ".config/nats/context"
    folder.mkdir(parents=True)
    (folder / "ops.json").write_text(json.dumps({"url": url, "nkey": str(nkey), "ca": str(authority.ca_file)}))
    with server:
        await asyncio.to_thread(streams, "apply", "--context", "ops", "--max-store", "1GiB", home=tmp_path)
        agent = start_agent(tmp_path, [{"name": "central", "context": "ops"}])
        try:
            client = await nats.connect(url, nkeys_seed_str=SEED, tls=authority.context())
            async with asyncio.timeout(20):
                while (await client.jetstream().stream_info("EVT")).state.messages < 2:
                    await asyncio.sleep(0.1)
            await client.close()
        finally:
            end_agent(agent, tmp_path)


async def test_a_console_sees_a_hub_on_a_nats_that_was_there_before(tmp_path: Path):
    """JWT and creds at both ends, and the console finds server and file by the name of a context."""
    server, creds = operator_mode(tmp_path)
    folder = tmp_path / ".config/nats/context"
    folder.mkdir(parents=True)
    with server:
        (folder / "ops.json").write_text(json.dumps({"url": server.url, "creds": str(creds)}))
        await asyncio.to_thread(streams, "apply", "--context", "ops", "--max-store", "1GiB", home=tmp_path)
        agent = start_agent(tmp_path, [{"name": "central", "urls": [server.url], "creds_file": str(creds)}])
        try:
            async with asyncio.timeout(20):
                while await hub_states(tmp_path) != [("alpha", "OK")]:
                    pass
            checks = json.loads(await asyncio.to_thread(hubdeck, tmp_path, "doctor", "--json", "--all", "--wait", "1"))[
                "checks"
            ]
            up = next(one for one in checks if one["name"] == "server-login")
            assert up["result"] == "ok"
        finally:
            end_agent(agent, tmp_path)


async def test_a_console_takes_up_a_creds_file_that_was_repaired_or_renewed(tmp_path: Path):
    """Loose rights and another server's creds are said in words; no restart is needed afterwards."""
    server, good = operator_mode(tmp_path)
    (tmp_path / "other").mkdir()
    _, foreign = operator_mode(tmp_path / "other")
    path = private(tmp_path / "console.creds", good.read_text(), 0o644)
    said: list[ServerChanged] = []
    with server:
        settings = ServerSettings(name="central", urls=[server.url], creds_file=str(path))
        line = ServerLine(settings, "ana", SEED, 0.2, ConsoleClock(), said.append)
        task = asyncio.get_running_loop().create_task(line.run(greeted))
        try:
            await until(lambda: any("chmod 600" in one.why and str(path) in one.why for one in said))
            private(path, foreign.read_text())
            await until(lambda: any("uthorization" in one.why for one in said))
            assert not line.is_connected
            private(path, good.read_text())
            await until(lambda: line.is_connected)
            answer = await line.request("$JS.API.INFO", b"", 5)
            assert answer is not None
        finally:
            await end_all([task])
    assert "SU" not in "".join(one.why for one in said)


async def greeted(line: ServerLine) -> None:
    """Nothing is asked of a fresh line."""


async def hub_states(root: Path) -> list[tuple[str, str]]:
    """What `hubdeck status` says of each hub."""
    seen = json.loads(await asyncio.to_thread(hubdeck, root, "status", "--json", "--wait", "1"))
    return [(hub["hub"], hub["state"]) for hub in seen["hubs"]]


def hubdeck(root: Path, *words: str) -> str:
    """One `hubdeck` command of the admin of `start_agent`'s fleet, by the context `ops`."""
    path = root / "console.yaml"
    settings = {
        "identity": "admin", "key_file": "admin.key", "fleet_key_file": "state/fleet.pub",
        "roster_file": "state/roster.json", "servers": [{"name": "central", "context": "ops"}],
    }  # fmt: skip
    path.write_text(json.dumps(settings))
    environ = {key: value for key, value in os.environ.items() if key != "XDG_CONFIG_HOME"} | {"HOME": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", "console", "-c", str(path), *words], capture_output=True, text=True, timeout=60,
        check=False, env=environ,
    )  # fmt: skip
    assert done.stdout, (words, done.returncode, done.stderr)
    return done.stdout


def start_agent(root: Path, destinations: list[dict]) -> subprocess.Popen:
    """A hub agent of a small fleet, with these destinations."""
    state = root / "state"
    keys, admin, fleet = (
        founding.make_keys(state / "hub.key"),
        founding.make_keys(root / "admin.key"),
        founding.make_fleet_key(state),
    )
    roster = Roster(
        1, "test", 1, [Hub("alpha", keys.login, keys.signing)],
        [Operator("admin", admin.login, admin.signing, "admin")], [Server("central", [], "hub-server")],
    )  # fmt: skip
    (state / "roster.json").write_bytes(founding.seal_roster(fleet, roster))
    config = root / "hubagent.yaml"
    config.write_text(json.dumps({"hub": {"id": "alpha", "state_dir": str(state)}, "destinations": destinations}))
    with (root / "agent.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "hubagent", "run", "-c", str(config)], stdout=log, stderr=log,
            env={key: value for key, value in os.environ.items() if key != "XDG_CONFIG_HOME"} | {"HOME": str(root)},
        )  # fmt: skip


def end_agent(agent: subprocess.Popen, root: Path) -> None:
    """The agent, its guard, and whatever a failed test left."""
    agent.terminate()
    try:
        assert agent.wait(20) == 0, (root / "agent.log").read_text()
        System().do(EndGuard(str(root / "state")))
    finally:
        agent.kill()
        for pid in processes(root / "state"):
            os.kill(pid, signal.SIGKILL)
