"""`hubdeck doctor` against real servers: healthy, wide open, down, and over TLS with every kind of bad certificate."""

import socket
import threading
from contextlib import closing
from pathlib import Path

import pytest

from console.clock import SystemClock
from console.doctor.greet import greet
from tests.support.ca import TestAuthority, secure_server
from tests.support.fake_hub import FakeFleet, FakeHub
from tests.support.nats import NatsServer, free_port

pytestmark = pytest.mark.real


@pytest.fixture
async def fleet(tmp_path: Path):
    """Two hub servers with the roster's permissions and streams, and two hubs."""
    with FakeFleet(tmp_path) as fleet:
        for name in fleet.servers:
            async with FakeHub(fleet, "alpha", name) as hub:
                await hub.make_streams()
        yield fleet


def named(ran) -> dict[str, dict]:
    """The checks of a JSON answer by name."""
    return {check["name"]: check for check in ran.json["checks"]}


async def test_a_fleet_is_looked_at_and_the_worst_result_is_the_exit_status(fleet: FakeFleet):
    """Servers, permissions tried for real, streams, rosters, hubs; a silent hub is critical."""
    async with FakeHub(fleet, "alpha"):
        ran = await fleet.hubdeck("doctor", "--json")
    checks = named(ran)
    assert len(checks) >= 25
    for name in (
        "server-reachable",
        "server-login",
        "streams",
        "permissions",
        "roster-servers",
        "jetstream",
        "server-version",
    ):
        assert checks[name]["result"] == "ok", checks[name]
    assert "beta: not heard" in checks["hub-silent"]["text"]
    assert ran.status == ran.json["exit_status"] == 2


@pytest.mark.parametrize("identity", ["viewer", "admin"])
async def test_each_role_is_refused_what_it_may_not_do(fleet: FakeFleet, identity: str):
    """A viewer is also refused commands."""
    async with FakeHub(fleet, "alpha"), FakeHub(fleet, "beta"):
        ran = await fleet.hubdeck("doctor", "--json", identity=identity)
    assert named(ran)["permissions"]["result"] == "ok"
    assert ran.json["me"]["role"] == identity


async def test_a_server_that_lets_everybody_do_everything_is_found(tmp_path: Path):
    """Its users have keys and no permissions, as somebody sets up a first server."""
    fleet = FakeFleet(tmp_path, servers=("central",))
    users = ", ".join(f'{{nkey: "{fleet.keys(name).login_public}"}}' for name in ("alpha", "operator"))
    fleet.servers["central"].extra = f"authorization: {{ users: [{users}] }}\n"
    with fleet:
        async with FakeHub(fleet, "alpha") as hub:
            await hub.make_streams()
            ran = await fleet.hubdeck("doctor", "--json")
    text = named(ran)["permissions"]["text"]
    assert "operator may:" in text
    assert "listen on _I.>" in text
    assert ran.status == 2


async def test_a_server_that_is_down_and_a_key_that_others_may_read(fleet: FakeFleet):
    """What can be seen still is."""
    fleet.servers["edge"].stop()
    async with FakeHub(fleet, "alpha"), FakeHub(fleet, "beta"):
        ran = await fleet.hubdeck("doctor", "--json")
        checks = named(ran)
        assert checks["server-reachable"]["result"] == "critical"
        assert checks["hub-silent"]["result"] == "ok"
        (fleet.root / "operator.key").chmod(0o644)
        ran = await fleet.hubdeck("doctor", "--json")
        assert named(ran)["file-modes"]["result"] == "critical"
        assert "others may read it" in named(ran)["file-modes"]["text"]


async def test_with_every_server_down_it_still_answers(tmp_path: Path):
    """The local checks and the reasons, not a traceback."""
    fleet = FakeFleet(tmp_path)
    ran = await fleet.hubdeck("doctor", "--json")
    assert named(ran)["server-reachable"]["result"] == "critical"
    assert ran.status == 2


async def test_people_get_a_table_and_what_to_do(fleet: FakeFleet):
    """Worst first, with why and what to do for what is not well; plain for scripts."""
    async with FakeHub(fleet, "alpha"):
        ran = await fleet.hubdeck("doctor")
        plain = await fleet.hubdeck("doctor", "--plain")
    assert ran.out.splitlines()[1].startswith("CRITICAL")
    assert "  why: " in ran.out
    assert "  do:  " in ran.out
    assert "\x1b" not in ran.out
    assert all(line.count("\t") == 2 for line in plain.out.splitlines())
    assert plain.out.isascii()


# Greetings over TLS.


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    """A fleet's CA."""
    return TestAuthority(tmp_path)


def test_a_certificate_and_its_end_are_seen(authority: TestAuthority, tmp_path: Path):
    """The chain verifies with the fleet's root, and the end is told in Unix seconds."""
    with secure_server(tmp_path / "nats", authority.server_pem(tmp_path / "c.pem", "127.0.0.1")) as server:
        seen = greet(f"tls://127.0.0.1:{server.port}", str(authority.ca_file), SystemClock())
    assert (seen.is_ok, seen.tls[:4]) == (True, "TLSv")
    assert seen.ends is not None
    assert seen.ends > SystemClock().wall()


def test_a_certificate_for_another_name_or_of_another_authority_is_told(authority: TestAuthority, tmp_path: Path):
    """In words, and not as reachable."""
    with secure_server(tmp_path / "nats", authority.server_pem(tmp_path / "c.pem", "central.example.net")) as server:
        seen = greet(f"tls://127.0.0.1:{server.port}", str(authority.ca_file), SystemClock())
        assert not seen.is_ok
        assert "certificate does not verify" in seen.why
        unknown = greet(f"tls://127.0.0.1:{server.port}", "", SystemClock())
        assert "certificate does not verify" in unknown.why
        assert "wants TLS" in greet(f"nats://127.0.0.1:{server.port}", "", SystemClock()).why


def test_an_expired_certificate_is_told(authority: TestAuthority, tmp_path: Path):
    """Not only that it does not verify, but why."""
    begins = SystemClock().wall() - 3000
    pem = authority.server_pem(tmp_path / "c.pem", "127.0.0.1", life_s=1000, now=begins)
    with secure_server(tmp_path / "nats", pem) as server:
        seen = greet(f"tls://127.0.0.1:{server.port}", str(authority.ca_file), SystemClock())
    assert "expired" in seen.why


def test_a_server_without_tls_behind_a_tls_address_is_no_server_of_ours(tmp_path: Path):
    """A downgrade is an impostor until shown otherwise."""
    with NatsServer(tmp_path, jetstream=False) as server:
        seen = greet(f"tls://127.0.0.1:{server.port}", "", SystemClock())
    assert "does not offer TLS" in seen.why


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"INFO [1]\r\n", b"INFO {\r\n", b"", b"INFO " + b"x" * 70_000]
)
def test_what_is_no_nats_server_is_told_and_never_breaks_anything(said: bytes):
    """Anything may listen on that port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with closing(connection):
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        seen = greet(f"nats://127.0.0.1:{listener.getsockname()[1]}", "", SystemClock())
        thread.join(5)
    assert not seen.is_ok
    assert seen.why


def test_nobody_on_the_port_is_told():
    """The commonest of all."""
    assert "refused" in greet(f"nats://127.0.0.1:{free_port()}", "", SystemClock()).why.lower()
