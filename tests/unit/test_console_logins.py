"""How a console logs in to a NATS that is already there: the config's words, contexts, and files that cannot be used."""

import json
from pathlib import Path

import pytest

from console.config import ServerSettings, load
from console.errors import ConfigError
from console.logins import LoginRefused, load_context, login
from hubagent import logins
from hubagent.config import DestinationSettings
from hubagent.edges import nats_login
from hubagent.wire.signing import seed_from

SEED, OWN = seed_from(b"e" * 32), seed_from(b"o" * 32)
CREDS = (
    f"-----BEGIN NATS USER JWT-----\r\nhead.body.sign\r\n------END NATS USER JWT------\r\n\r\n"
    f"-----BEGIN USER NKEY SEED-----\r\n{SEED}\r\n------END USER NKEY SEED------"
)


def private(path: Path, text: str, mode: int = 0o600) -> str:
    """A file with these rights."""
    path.write_text(text, newline="")
    path.chmod(mode)
    return str(path)


def config(folder: Path, *server: str) -> Path:
    """A console's config with one server of these lines; the first of them is line 5."""
    lines = ["identity: ana", "key_file: ana.key", "fleet_key_file: fleet.pub", "servers:", "  - name: central"]
    path = folder / "console.yaml"
    path.write_text("\n".join([*lines, *(f"    {line}" for line in server)]) + "\n")
    return path


def context(folder: Path, **fields: object) -> dict[str, str]:
    """A context of the name `ops`; the environment in which it is found."""
    path = folder / "home/.config/nats/context/ops.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(fields))
    return {"HOME": str(folder / "home")}


def test_console_and_agent_use_the_same_words():
    """Whoever has configured a hub has nothing to learn."""
    words = set(ServerSettings.__struct_fields__)
    assert words == set(DestinationSettings.__struct_fields__)
    assert logins.Login._fields[0] == "seed"


def test_paths_of_login_files_count_from_the_config(tmp_path: Path):
    """As every other path there."""
    one = load(config(tmp_path, 'urls: ["tls://a"]', "creds_file: ops.creds", "ca_file: ca.pem")).servers[0]
    assert (one.creds_file, one.ca_file) == (f"{tmp_path}/ops.creds", f"{tmp_path}/ca.pem")


def test_what_the_config_leaves_out_comes_from_the_context(tmp_path: Path):
    """The config's own words come first, as with a hub agent."""
    environ = context(tmp_path, url="tls://a:4222, tls://b:4222", creds="~/x.creds", nkey="/n", ca="/etc/ca.pem")
    one = load(config(tmp_path, "context: ops"), environ).servers[0]
    assert (one.urls, one.ca_file) == (["tls://a:4222", "tls://b:4222"], "/etc/ca.pem")
    assert (one.creds_file, one.nkey_file) == (f"{tmp_path}/home/x.creds", "")
    one = load(config(tmp_path, "context: ops", "nkey_file: mine.nk", 'urls: ["tls://c"]'), environ).servers[0]
    assert (one.urls, one.creds_file, one.nkey_file) == (["tls://c"], "", f"{tmp_path}/mine.nk")


@pytest.mark.parametrize(
    ("lines", "line", "key", "words"),
    [
        ((), 5, "servers[0].urls", "one URL or more, or context: NAME"),
        (("context: none",), 6, "servers[0].context", "nats context ls"),
        (("context: ../ops",), 6, "servers[0].context", "by its name, not by a path"),
        (('urls: ["tls://a"]', "creds_file: c", "nkey_file: n"), 8, "servers[0].nkey_file", "at most one of"),
        (('urls: ["tls://a"]', "creds: c"), 7, "servers[0].creds", "creds_file"),
    ],
)
def test_a_bad_login_in_the_config_is_named_with_its_line(tmp_path: Path, lines, line, key, words):
    """File, line, key, what was expected and found."""
    with pytest.raises(ConfigError) as raised:
        load(config(tmp_path, *lines), {"HOME": str(tmp_path)})
    assert (raised.value.key, raised.value.line) == (key, line)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "nats://127.0.0.1", "user": "me", "password": "secret-word"}, "a user and password"),
        ({"url": "nats://10.0.0.1:4222"}, "tls:// for every address that is not loopback"),
        ({"creds": "/x"}, "it has no url"),
    ],
)
def test_a_context_that_a_console_cannot_follow_is_refused(tmp_path: Path, fields, words):
    """With the config's line, the context's path, and without what was secret in it."""
    environ = context(tmp_path, **fields)
    with pytest.raises(ConfigError) as raised:
        load(config(tmp_path, "context: ops"), environ)
    text = str(raised.value)
    assert "console.yaml:6: servers[0].context: expected " in text
    assert words in text
    assert "ops.json" in text
    assert "secret-word" not in text


def test_a_context_that_is_no_json_is_refused(tmp_path: Path):
    """Any bytes at all."""
    environ = context(tmp_path)
    for raw in (b"", b"[1]", b"\xff\xfe", b" " * 70_000):
        (tmp_path / "home/.config/nats/context/ops.json").write_bytes(raw)
        with pytest.raises(LoginRefused):
            load_context("ops", environ)


def test_creds_come_before_the_own_key_and_are_read_at_each_connection(tmp_path: Path):
    """A file that was renewed is taken up; the client gets its lines as it wants them."""
    path = private(tmp_path / "ops.creds", CREDS)
    server = ServerSettings(name="central", urls=["tls://a"], creds_file=path)
    entry = login(server, OWN)
    assert entry.seed == ""
    assert entry.creds.splitlines()[1] == "head.body.sign"
    assert entry.creds.endswith("------END USER NKEY SEED------\n")
    assert SEED not in repr(entry)
    private(tmp_path / "ops.creds", CREDS.replace("head", "next"))
    assert "next.body.sign" in login(server, OWN).creds
    assert login(ServerSettings(name="c", nkey_file=private(tmp_path / "k", SEED)), OWN).seed == SEED
    assert login(ServerSettings(name="c"), OWN).seed == OWN
    assert login(None, OWN).seed == OWN


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (CREDS, 0o644, "chmod 600 it"),
        (CREDS.replace(SEED, SEED[:-3] + "AAA"), 0o600, "damaged"),
        (CREDS.replace("head", "hé"), 0o600, "damaged"),
        (CREDS.replace(SEED, ""), 0o600, "no creds file"),
        (SEED, 0o600, "nsc generate creds"),
        ("x" * 20_000, 0o600, "no key file"),
    ],
)
def test_a_creds_file_that_cannot_be_used_is_refused_by_console_and_agent(tmp_path: Path, text, mode, words):
    """The same words, and nothing of the key."""
    path = private(tmp_path / "ops.creds", text, mode)
    with pytest.raises(LoginRefused) as mine:
        login(ServerSettings(name="central", creds_file=path), OWN)
    with pytest.raises(nats_login.LoginRefused) as theirs:
        nats_login.check_creds(path)
    for raised in (mine, theirs):
        assert str(raised.value).startswith(path)
        assert words in str(raised.value)
        assert SEED[:20] not in str(raised.value)


def test_a_missing_file_is_said_with_its_path(tmp_path: Path):
    """Not a traceback."""
    with pytest.raises(LoginRefused, match=r"none\.nk: No such file"):
        login(ServerSettings(name="central", nkey_file=str(tmp_path / "none.nk")), OWN)
