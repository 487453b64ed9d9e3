"""`hubdeck fleet new`: everything is there, private where it must be, usable, and never written over."""

import stat

import msgspec
import pytest
import yaml

from console import cli
from console import config as console_config
from console.errors import ConfigError, ConsoleError, Usage
from console.trust import new
from console.trust.files import FleetDir, write_console_configs, write_yaml
from hubagent import config, setup
from hubagent.edges.server import EmbeddedServer, server_config
from hubagent.wire.certificates import check_chain, load_authority

NOW = 1_800_000_000.0
SERVERS = ("central=10.0.0.1", "edge=edge.example.net:14222")


def plan(**changed) -> new.Plan:
    """Three servers beyond loopback."""
    wanted = {"fleet": "acme", "servers": SERVERS, "witness": "10.0.0.3", "groups": ("core=central,edge",)}
    wanted |= {"admin": "ada", "tls": False, "life_s": 86_400.0} | changed
    return new.plan(wanted["fleet"], wanted["servers"], wanted["witness"], wanted["groups"], wanted["admin"],
                    tls=wanted["tls"], life_s=wanted["life_s"])  # fmt: skip


def contents(root) -> dict[str, bytes]:
    """Every file."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_hub_gets_a_folder_that_works_as_it_is(tmp_path):
    """Config, keys, roster and certificate fit together."""
    new.make(plan(), tmp_path / "acme", NOW)
    for hub in ("central", "edge", "witness"):
        folder = tmp_path / "acme" / hub
        settings = config.load(folder / "hubagent.yaml")
        roster = setup.load_roster(settings)
        settings = setup.with_urls(settings, roster)
        assert settings.state_dir == folder.resolve()
        assert [one.urls for one in settings.destinations] == [
            ["tls://10.0.0.1:4222"],
            ["tls://edge.example.net:14222"],
        ]
        assert settings.witness.urls == ["tls://10.0.0.3:4222"]
        assert settings.server.listen in {"0.0.0.0:4222", "0.0.0.0:14222"}
        pem = (folder / "server.pem").read_bytes()
        host = {"central": "10.0.0.1", "edge": "edge.example.net", "witness": "10.0.0.3"}[hub]
        check_chain(pem, load_authority(pem).key, (folder / "ca.pem").read_bytes(), [hub, host], NOW)
        assert (folder / "issuing.pem").exists() == (hub != "witness")
    assert roster.group("core").members == ["central", "edge"]


def test_the_console_of_the_first_admin_works_as_it_is(tmp_path):
    """Two keys, the servers, where rosters are signed."""
    new.make(plan(), tmp_path / "acme", NOW)
    settings = console_config.load(tmp_path / "acme" / "console.yaml")
    assert settings.identity == "ada"
    assert settings.fleet_dir == str((tmp_path / "acme").resolve())
    assert [one.ca_file for one in settings.servers] == [str((tmp_path / "acme" / "ca.pem").resolve())] * 2
    assert FleetDir(tmp_path / "acme").roster().operator("ada").role == "admin"


def test_what_is_private_is_for_its_owner_only(tmp_path):
    """Keys are 0600 from their first moment."""
    new.make(plan(), tmp_path / "acme", NOW)
    private = {"fleet.key", "ada.key", "hub.key", "root.pem", "issuing.pem", "server.pem"}
    for path in (tmp_path / "acme").rglob("*"):
        if path.is_file():
            is_private = stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
            assert is_private == (path.name in private), path
    assert not list((tmp_path / "acme").rglob("*/root.pem"))
    assert not list((tmp_path / "acme").rglob("*/fleet.key"))


def test_run_again_it_keeps_everything(tmp_path):
    """Also with other wishes."""
    new.make(plan(), tmp_path / "acme", NOW)
    before = contents(tmp_path)
    said = new.make(plan(servers=("other=10.9.9.9",), witness="", groups=()), tmp_path / "acme", NOW + 5)
    assert contents(tmp_path) == before
    assert any("kept, version 1" in line for line in said)


def test_run_again_it_completes_what_is_missing(tmp_path):
    """A certificate that was lost is issued again to the same hub; keys stay."""
    new.make(plan(), tmp_path / "acme", NOW)
    before = contents(tmp_path)
    (tmp_path / "acme" / "edge" / "server.pem").unlink()
    (tmp_path / "acme" / "edge" / "hubagent.yaml").unlink()
    new.make(plan(), tmp_path / "acme", NOW)
    after = contents(tmp_path)
    assert set(after) == set(before)
    assert [name for name in before if before[name] != after[name]] == ["acme/edge/server.pem"]


def test_on_loopback_nothing_needs_a_certificate(tmp_path):
    """Unless it is asked for."""
    new.make(plan(servers=(), witness=""), tmp_path / "acme", NOW)
    assert not (tmp_path / "acme" / "ca.pem").exists()
    settings = config.load(tmp_path / "acme" / "central" / "hubagent.yaml")
    assert (settings.server.listen, settings.server.cert_file) == ("127.0.0.1:4222", "")
    new.make(plan(servers=(), witness="", tls=True), tmp_path / "forced", NOW)
    assert (tmp_path / "forced" / "edge" / "server.pem").exists()


def test_the_servers_configuration_asks_for_tls(tmp_path):
    """TLS 1.2 and later, certificate and key from one file."""
    new.make(plan(), tmp_path / "acme", NOW)
    roster = FleetDir(tmp_path / "acme").roster()
    server = EmbeddedServer("central", "0.0.0.0:4222", tmp_path, 1 << 20, "server.pem", "server.pem")
    tls = server_config(server, roster, roster.servers[0])["tls"]
    assert tls == {"cert_file": "server.pem", "key_file": "server.pem", "min_version": "1.2"}


def test_the_next_commands_are_printed_exactly(tmp_path):
    """Copy, run, look, invite."""
    said = new.make(plan(), tmp_path / "acme", NOW)
    after = said[said.index("next:") :]
    assert f"  scp -r {tmp_path}/acme/central root@10.0.0.1:/var/lib/hubdeck" in after
    assert f"  hubdeck invite HUB -c {tmp_path}/acme/console.yaml" in after


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"fleet": "A b"}, "no name"),
        ({"admin": "x.y"}, "no name"),
        ({"servers": ("central",)}, "NAME=HOST"),
        ({"servers": ("central=a b",)}, "an address is"),
        ({"servers": ("a.b=c",)}, "no name"),
        ({"servers": ("a=h", "a=i")}, "each server once"),
        ({"servers": ("a=h", "b=h")}, "each address once"),
        ({"servers": ("witness=h",), "witness": ""}, "with --witness"),
        ({"groups": ("core=central,gamma",)}, "is none of central, edge"),
        ({"groups": ("core",)}, "NAME=HUB"),
        ({"witness": "[::z]"}, "an address is"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changed, words):
    """Before anything is made."""
    with pytest.raises(Usage, match=words):
        plan(**changed)


def test_a_fleet_key_that_others_can_read_is_not_used(tmp_path):
    """Nor one that is none."""
    new.make(plan(), tmp_path / "acme", NOW)
    key = tmp_path / "acme" / "fleet.key"
    key.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        FleetDir(tmp_path / "acme").signer()
    with pytest.raises(ConfigError, match="fleet new"):
        FleetDir(tmp_path / "nowhere").signer()


def test_no_roster_is_signed_that_readers_would_refuse(tmp_path):
    """Two hubs of one key."""
    new.make(plan(), tmp_path / "acme", NOW)
    fleet = FleetDir(tmp_path / "acme")
    roster = fleet.roster()
    twice = [roster.hubs[0], msgspec.structs.replace(roster.hubs[0], id="clone")]
    before = fleet.sealed()
    with pytest.raises(ConsoleError, match="have one key"):
        fleet.seal(msgspec.structs.replace(roster, hubs=twice, servers=[], groups=[]))
    assert fleet.sealed() == before


def test_the_command_line_makes_a_fleet(tmp_path, capsys):
    """And says where."""
    assert cli.main(["fleet", "new", str(tmp_path / "tiny"), "--server", "central=127.0.0.1:4222"]) == 0
    assert f"hubagent run -c {tmp_path}/tiny/central/hubagent.yaml" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["fleet"])


def test_the_login_of_a_console_at_a_foreign_nats_outlives_a_change_of_the_roster(tmp_path):
    """Only the operator can say it, so nothing that is made from the roster may drop it."""
    new.make(plan(), tmp_path, NOW)
    fleet = FleetDir(tmp_path)
    config_file = yaml.safe_load(fleet.console_config.read_text())
    config_file["servers"][0] |= {"creds_file": "ops.creds", "urls": ["tls://old:4222"], "ca_file": "theirs.pem"}
    write_yaml(fleet.console_config, config_file)
    assert write_console_configs(fleet, fleet.roster()) == [fleet.console_config]
    central, edge = console_config.load(fleet.console_config).servers
    assert (central.urls, central.creds_file) == (["tls://10.0.0.1:4222"], f"{tmp_path}/ops.creds")
    assert (central.ca_file, edge.ca_file) == (f"{tmp_path}/theirs.pem", f"{tmp_path}/ca.pem")
    assert write_console_configs(fleet, fleet.roster()) == []
