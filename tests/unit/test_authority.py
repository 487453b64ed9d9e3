"""Renewing the issuing authority and replacing the root: shown first, resumable, no key written over, nobody cut off."""

import ssl
from pathlib import Path

import pytest

from console import config
from console.clock import SystemClock
from console.doctor.local import look_around
from console.errors import Refused
from console.trust import new
from console.trust.authority import FINISH, RENEW, REPLACE, next_steps, plan
from console.trust.files import FleetDir
from hubagent.wire import certificates

LATER = SystemClock().wall()  # OpenSSL knows no other time
NOW = LATER - 1000 * 86_400.0


@pytest.fixture
def fleet(tmp_path: Path) -> FleetDir:
    """A fleet of two servers beyond loopback."""
    return founded(tmp_path / "acme")


def founded(folder: Path) -> FleetDir:
    """The same anywhere."""
    servers = ("central=10.0.0.1", "edge=10.0.0.2")
    new.make(new.plan("acme", servers, "", (), "ada", tls=True, life_s=86_400.0), folder, NOW)
    return FleetDir(folder)


def carry_out(step: str, fleet: FleetDir, steps: int | None = None) -> list[str]:
    """The whole step, or its first parts only, as where the power fails."""
    planned = plan(step, fleet, fleet.roster(), LATER)
    for one in planned[:steps]:
        one.do()
    return [one.text for one in planned]


def keys(fleet: FleetDir) -> set[bytes]:
    """Every private key of the admin's directory."""
    return {
        certificates.load_authority(one.read_bytes()).key for one in fleet.root.glob("*.pem") if one.name != "ca.pem"
    }


def trusted(fleet: FleetDir, chain: bytes, key: bytes, names: list[str]) -> bool:
    """Tell whether an agent with this ca.pem would take the certificate."""
    try:
        certificates.check_chain(chain, key, fleet.ca_file.read_bytes(), names, LATER)
    except certificates.CertificateRefused:
        return False
    return True


def server_of(fleet: FleetDir, issuing: bytes) -> tuple[bytes, bytes]:
    """A server's certificate by this authority, and its key."""
    key = certificates.new_key()
    authority = certificates.load_authority(issuing)
    return certificates.issue(authority, certificates.request(key, "central"), ["10.0.0.1"], LATER), key


def shakes_hands(ca: bytes, chain: bytes, key: bytes, folder: Path) -> bool:
    """A real handshake in memory: OpenSSL's word, not ours."""
    (folder / "pair.pem").write_bytes(chain + key)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=ca.decode())
    server.load_cert_chain(folder / "pair.pem")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server, server_hostname="10.0.0.1"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done: set[int] = set()
    for _ in range(10):
        for number, side in enumerate(sides):
            try:
                side.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return len(done) == 2


def test_renewing_the_issuing_authority_needs_nobodys_trust(fleet: FleetDir):
    """The same root; the old key stays under the name of its fingerprint, and the servers' folders have the new one."""
    before, old = keys(fleet), (fleet.root / "issuing.pem").read_bytes()
    said = carry_out(RENEW, fleet)
    assert [line[0] for line in said] == ["+", "~", "~", "~"]
    fresh = (fleet.root / "issuing.pem").read_bytes()
    assert certificates.validity(fresh).ends > certificates.validity(old).ends
    assert (fleet.root / "central/issuing.pem").read_bytes() == (fleet.root / "edge/issuing.pem").read_bytes() == fresh
    assert before < keys(fleet)
    assert (fleet.root / f"issuing-{certificates.fingerprint(old)[:12]}.pem").read_bytes() == old
    assert all(trusted(fleet, *server_of(fleet, one), ["10.0.0.1"]) for one in (old, fresh))
    assert {one.stat().st_mode & 0o77 for one in fleet.root.glob("issuing*.pem")} == {0}


def test_a_root_is_replaced_in_two_steps_and_nobody_is_cut_off_between(fleet: FleetDir, tmp_path: Path):
    """Old and new certificates hold during the overlap, by our own check and by OpenSSL's; afterwards the new alone."""
    before = keys(fleet)
    only_old = fleet.ca_file.read_bytes()
    old = server_of(fleet, (fleet.root / "issuing.pem").read_bytes())
    carry_out(REPLACE, fleet)
    fresh = server_of(fleet, (fleet.root / "issuing.pem").read_bytes())
    both = fleet.ca_file.read_bytes()
    assert len(certificates.each(both)) == 2
    assert (fleet.root / "central/ca.pem").read_bytes() == both
    assert before < keys(fleet)
    for pair in (old, fresh):
        assert trusted(fleet, *pair, ["10.0.0.1"])
        assert shakes_hands(both, *pair, tmp_path)
    assert not shakes_hands(only_old, *fresh, tmp_path)
    only_new = certificates.load_authority((fleet.root / "root.pem").read_bytes()).certificate
    assert not shakes_hands(only_new, *old, tmp_path)
    assert shakes_hands(only_new, *fresh, tmp_path)


@pytest.mark.parametrize("step", [RENEW, REPLACE])
def test_a_step_that_broke_off_anywhere_is_taken_up(tmp_path: Path, step: str):
    """Wherever it ended: no key is lost, the next run ends it, and the new authority is below the root in use."""
    count = len(plan(step, founded(tmp_path / "count"), FleetDir(tmp_path / "count").roster(), LATER))
    for done in range(count):
        fleet = founded(tmp_path / str(done))
        had = certificates.load_authority((fleet.root / "root.pem").read_bytes())
        known = keys(fleet)
        carry_out(step, fleet, done)
        assert known <= keys(fleet)
        known = keys(fleet)
        carry_out(step, fleet)
        assert known <= keys(fleet)
        root = (fleet.root / "root.pem").read_bytes()
        assert (certificates.load_authority(root) == had) == (step == RENEW)
        issuing = (fleet.root / "issuing.pem").read_bytes()
        assert certificates.is_issued_by(issuing, root)
        assert (fleet.root / "edge/issuing.pem").read_bytes() == issuing
        assert (fleet.root / "edge/ca.pem").read_bytes() == fleet.ca_file.read_bytes()
        assert len(certificates.each(fleet.ca_file.read_bytes())) == (1 if step == RENEW else 2)
        assert not list(fleet.root.glob("*-next.pem"))


def test_planning_and_refusing_change_nothing(fleet: FleetDir):
    """What is shown first is only shown; and each step has its turn."""
    before = {path: path.read_bytes() for path in fleet.root.rglob("*") if path.is_file()}
    for step in (RENEW, REPLACE):
        assert plan(step, fleet, fleet.roster(), LATER)
    with pytest.raises(Refused, match="run replace first"):
        plan(FINISH, fleet, fleet.roster(), LATER)
    assert {path: path.read_bytes() for path in fleet.root.rglob("*") if path.is_file()} == before
    carry_out(REPLACE, fleet)
    with pytest.raises(Refused, match="finish comes next"):
        plan(REPLACE, fleet, fleet.roster(), LATER)


def test_without_a_root_here_it_says_so(tmp_path: Path):
    """A fleet on loopback, or a directory without the root."""
    new.make(new.plan("acme", (), "", (), "ada", tls=False, life_s=1.0), tmp_path, NOW)
    fleet = FleetDir(tmp_path)
    with pytest.raises(Refused, match=r"no root\.pem"):
        plan(RENEW, fleet, fleet.roster(), LATER)


def test_what_has_to_be_done_on_the_machines_is_said_in_its_order(fleet: FleetDir):
    """Trust first, then what has to be trusted, then the end."""
    text = "\n".join(next_steps(REPLACE, fleet, fleet.roster()))
    places = [
        text.index(word)
        for word in ("ca.pem root@10.0.0.1", "restart hubagent", "issuing.pem root@", "renew central", "finish")
    ]
    assert places == sorted(places)
    assert "ca.pem" not in "\n".join(next_steps(RENEW, fleet, fleet.roster()))


def test_the_doctor_sees_every_root_that_is_trusted_and_what_issues(fleet: FleetDir):
    """Both of the overlap, with their ends; a file without a certificate is none."""
    settings = config.load(fleet.console_config)
    before = look_around(settings, fleet.console_config).authorities
    assert [(Path(one.path).name, one.is_issuing) for one in before] == [("ca.pem", False), ("issuing.pem", True)]
    carry_out(REPLACE, fleet)
    after = look_around(settings, fleet.console_config).authorities
    assert [Path(one.path).name for one in after] == ["ca.pem", "ca.pem", "issuing.pem"]
    assert after[0] == before[0]
    assert after[1].ends == certificates.validity((fleet.root / "root.pem").read_bytes()).ends
    fleet.ca_file.write_text("nothing")
    assert look_around(settings, fleet.console_config).authorities[0].ends is None
