"""A stranger's first day over real TLS: found, invite, join, revoke, renew, rotate, replace, retire."""

import asyncio
import os
import ssl
import time
from pathlib import Path

import nats
import pytest
from nats.errors import Error as NatsError

from hubagent.clock import SystemClock
from hubagent.wire.certificates import validity
from hubagent.wire.enrolment import open_token
from hubagent.wire.signing import parse_keys
from tests.support.trust import TrustFleet, founded, run, wait

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(240)]
LIFE_SECONDS = 75.0  # of the first certificates: they are renewed while the other stories are told


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """One fleet for all stories, each of which leaves it as it found it, or says so."""
    days = str(LIFE_SECONDS / 86_400)
    with founded(tmp_path_factory.mktemp("trust"), "--group", "core=central,edge", "--certificate-days", days) as made:
        made.founded_at = time.time()
        yield made


def joined(fleet: TrustFleet, hub: str, folder: Path, *words: str) -> str:
    """Invite, join, run, be on screen; the token."""
    waiting, token = fleet.invite(hub, *words)
    fleet.join(token, folder)
    assert waiting.wait(30) == 0, waiting.stderr.read()
    fleet.start(hub, folder)
    wait(f"{hub} on screen", lambda: fleet.is_live(hub))
    return token


async def connected(fleet: TrustFleet, seed: str, identity: str, errors: list[str], number: int = 2):
    """A client of the fleet with this login."""
    context = ssl.create_default_context(cafile=str(fleet.dir / "ca.pem"))

    async def on_error(error: Exception) -> None:
        errors.append(str(error))

    return await nats.connect(
        f"tls://{fleet.address(number)}", nkeys_seed_str=seed, tls=context, error_cb=on_error,
        inbox_prefix=f"_I.{identity}".encode(), allow_reconnect=False, connect_timeout=3,
    )  # fmt: skip


def test_a_machine_joins_with_one_line_and_is_on_screen(fleet):
    """No file edited by hand; within 20 s; the files are as private as they must be."""
    began = time.monotonic()
    token = joined(fleet, "alpha", fleet.root / "alpha", "--label", "site=north")
    assert time.monotonic() - began < 20
    folder = fleet.root / "alpha"
    assert (folder / "hub.key").stat().st_mode & 0o077 == 0
    hubs = {one["hub"]: one for one in fleet.json("hub", "list")["hubs"]}
    assert hubs["alpha"]["labels"] == "site=north"
    assert "seed" not in (folder / "agent.log").read_text().lower()

    # The same token a second time, on another machine: refused in words, and nothing is left there.
    again = fleet.join(token, fleet.root / "thief", status=1)
    assert "used" in again.stderr
    assert not (fleet.root / "thief").exists()


def test_a_token_of_another_fleet_or_name_changes_nothing(fleet, tmp_path):
    """The machine stays what it is."""
    other = TrustFleet(tmp_path)
    try:
        other.found()
        folder = fleet.root / "alpha"
        before = {path.name: path.read_bytes() for path in folder.glob("*.[kyjp]*") if path.is_file()}
        foreign = _token_of(other, "alpha")
        assert "belongs to another fleet" in fleet.join(foreign, folder, status=1).stderr
        misnamed = _token_of(fleet, "beta")
        assert "this machine is hub alpha, the token is for beta" in fleet.join(misnamed, folder, status=1).stderr
        altered = misnamed[:-30] + ("A" if misnamed[-30] != "A" else "B") + misnamed[-29:]
        assert "token refused" in fleet.join(altered, tmp_path / "new", status=1).stderr
        expired = _token_of(fleet, "beta", until=time.time() - 61)
        assert "expired 1 min ago" in fleet.join(expired, tmp_path / "new", status=1).stderr
        assert not (tmp_path / "new").exists()
        assert {path.name: path.read_bytes() for path in folder.glob("*.[kyjp]*") if path.is_file()} == before
    finally:
        other.end()


def _token_of(fleet: TrustFleet, hub: str, until: float = 0.0) -> str:
    """A token that was never in a roster: what a thief or a mistake would bring."""
    from console.commands.invite import _token
    from console.trust.files import FleetDir
    from hubagent.wire.roster import Invitation
    from hubagent.wire.signing import public_of, seed_from

    seed = seed_from(os.urandom(32))
    home = FleetDir(fleet.dir)
    return _token(home, home.roster(), Invitation("0" * 16, hub, public_of(seed), until or time.time() + 600), seed)


async def test_the_one_time_login_may_do_nothing_but_ask(fleet):
    """Publish enroll.<its hub>, hear its own inbox; and it ends with the invitation."""
    waiting, line = await asyncio.to_thread(fleet.invite, "gamma")
    token, errors = open_token(line, SystemClock().wall()), []
    client = await connected(fleet, token.seed, token.id, errors)
    for subject in ("live.>", "_I.admin.>", "roster", "enroll.gamma", "_INBOX.>", ">"):
        await client.subscribe(subject)
    for subject in (
        "live.gamma",
        "enroll.delta",
        "cmd.central",
        "roster",
        "ops.evt.gamma",
        "$JS.API.INFO",
        "cert.gamma",
    ):
        await client.publish(subject, b"{}")
    await client.flush()
    await asyncio.sleep(0.2)
    assert len(errors) == 13, errors
    assert client.is_connected
    errors.clear()
    await client.publish("enroll.gamma", b"{}")
    await client.flush()
    assert errors == []
    waiting.terminate()
    await asyncio.to_thread(waiting.wait, 20)
    await client.close()
    # However the admin's console ends, the invitation ends with it, as soon as the server has taken the roster.
    with pytest.raises(NatsError):
        await let_in(fleet, token, errors)


async def let_in(fleet: TrustFleet, token, errors: list[str]) -> None:
    """Log in with an invitation again and again, for ten seconds at most."""
    async with asyncio.timeout(10):
        while True:
            await (await connected(fleet, token.seed, token.id, errors)).close()


async def test_a_revoked_operator_is_cut_off_everywhere_in_ten_seconds(fleet):
    """X15: Live connections end, new ones are refused; the list of who has not taken it is empty."""
    await asyncio.to_thread(fleet.hubdeck, "operator", "add", "bob", "--role", "operator", "--yes")
    folder = fleet.dir / "operators" / "bob"
    seen = await asyncio.to_thread(run, "console", "status", "--json", "-c", str(folder / "console.yaml"))
    assert '"identity": "bob"' in seen.stdout
    seed, errors = parse_keys((folder / "bob.key").read_text()).login_seed, []
    clients = [await connected(fleet, seed, "bob", errors, number) for number in (2, 3, 4)]
    began = time.monotonic()
    answer = await asyncio.to_thread(fleet.json, "operator", "revoke", "bob", "--yes")
    while any(client.is_connected for client in clients):
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.02)
    assert (answer["waiting"], answer["servers"]) == ([], {"central": "taken", "edge": "taken"})
    for number in (2, 3, 4):
        with pytest.raises(NatsError):
            await connected(fleet, seed, "bob", errors, number)
    refused = await asyncio.to_thread(run, "console", "operator", "list", "-c", str(folder / "console.yaml"), status=1)
    assert "Authorization" in refused.stderr


def test_who_has_not_taken_a_roster_is_named_and_takes_it_later(fleet):
    """A hub that is away hears of it when it is back."""
    fleet.stop("alpha")
    answer = fleet.json("hub", "label", "central", "rack=b2", "--yes")
    assert answer["waiting"] == ["alpha"]
    fleet.start("alpha", fleet.root / "alpha")
    wait(
        "alpha to catch up",
        lambda: (
            {one["hub"]: one["roster"] for one in fleet.json("hub", "list")["hubs"]}["alpha"] == str(answer["roster_v"])
        ),
    )


def test_nothing_changes_by_a_dry_run_or_without_consent(fleet):
    """The difference is shown all the same."""
    before = fleet.json("hub", "list")
    answer = fleet.json("hub", "label", "central", "rack=z9", "--dry-run")
    assert any("rack=z9" in line for line in answer["diff"])
    assert "add --yes" in fleet.hubdeck("hub", "retire", "alpha", status=2).stderr
    assert "names no hub" in fleet.hubdeck("operator", "add", "eve", "--selector", "x=y", "--yes", status=1).stderr
    assert fleet.json("hub", "list")["hubs"] == before["hubs"]


def test_a_machine_that_joins_again_has_new_keys_and_the_old_ones_are_dead(fleet):
    """X15: Key rotation; the old copy of the machine is refused."""
    if "alpha" not in fleet.configs:  # run without the tests before it
        waiting, token = fleet.invite("alpha")
        fleet.join(token, fleet.root / "alpha")
        assert waiting.wait(30) == 0
        fleet.start("alpha", fleet.root / "alpha")
        wait("alpha", lambda: fleet.is_live("alpha"))
    old = fleet.configs["alpha"]
    waiting, token = fleet.invite("alpha")
    fleet.join(token, fleet.root / "alpha2")
    assert waiting.wait(30) == 0
    status = wait_status(old)
    assert "Authorization Violation" in status
    fleet.stop("alpha")
    fleet.start("alpha", fleet.root / "alpha2")
    wait("alpha with new keys", lambda: fleet.is_live("alpha"))


def wait_status(config: Path) -> str:
    """The agent's own words once it has lost its servers."""
    found: list[str] = []

    def lost() -> bool:
        found[:] = [run("hubagent", "status", "--json", "-c", str(config)).stdout]
        return "Authorization Violation" in found[0]

    wait("the old keys to be refused", lost, 15)
    return found[0]


def test_certificates_renew_by_themselves_and_no_record_is_lost(fleet):
    """All three servers; links stay up; both streams are complete afterwards."""
    pems = {hub: fleet.dir / hub / "server.pem" for hub in ("central", "edge", "witness")}
    wait("the renewals", lambda: all(validity(pem.read_bytes()).begins > fleet.founded_at for pem in pems.values()), 70)
    shown = fleet.json("cert", "status")["certificates"]
    for one in shown:
        assert one["state"] == "trusted", one
    wait(
        "the new ones shown",
        lambda: all(one["left_s"] > LIFE_SECONDS / 3 for one in fleet.json("cert", "status")["certificates"]),
    )
    fleet.hubdeck("cert", "renew", "witness", "--yes", "--reason", "test")
    found = fleet.hubdeck("records", "alpha", "--verify").stdout
    assert "evt: complete" in found
    assert "met: complete" in found
    assert all(map(fleet.is_live, fleet.states()))


def test_a_server_is_replaced_by_a_new_empty_one_and_filled_from_the_spools(fleet):
    """The machine dies; a new one at another address takes its place; records are complete on both; the old key is dead."""
    fleet.kill("edge")
    answer = fleet.json("server", "replace", "edge", "--host", "127.0.0.5", "--yes")
    assert "edge" in answer["waiting"]
    folder = fleet.dir / f"edge-{answer['roster_v']}"
    assert folder.is_dir()
    fleet.start("edge", folder)
    wait("the new edge", lambda: all(map(fleet.is_live, ("central", "edge", "witness", "alpha"))))

    def complete() -> bool:
        done = fleet.hubdeck("records", "central", "--verify", status=None).stdout
        return "evt: complete" in done and "met: complete" in done

    wait("the records on both servers", complete, 40)
    old = run("hubagent", "check", "-c", str(fleet.dir / "edge" / "hubagent.yaml"), status=None)
    assert old.returncode == 0  # its own file is of before: it is the servers that refuse it
    with pytest.raises(NatsError):
        asyncio.run(connected(fleet, parse_keys((fleet.dir / "edge" / "hub.key").read_text()).login_seed, "edge", []))


def test_a_witness_is_replaced(fleet):
    """The group goes on under a higher epoch, or the same."""
    group = fleet.json("status")["groups"][0]
    fleet.kill("witness")
    answer = fleet.json("server", "replace", "witness", "--host", "127.0.0.6", "--yes")
    fleet.start("witness", fleet.dir / f"witness-{answer['roster_v']}")

    def back() -> bool:
        now = fleet.json("status")["groups"][0]
        return now["witness"] == "ok" and len(now["active_all"]) == 1 and now["epoch"] >= group["epoch"]

    wait("the witness", back, 40)


def test_a_retired_hub_is_gone_and_knows_it(fleet):
    """Off the screen; its agent says so; it does not start again; a hub with a server is not retired."""
    assert "it runs server central" in fleet.hubdeck("hub", "retire", "central", "--yes", status=1).stderr
    fleet.hubdeck("hub", "retire", "alpha", "--yes")
    assert "alpha" not in [one["hub"] for one in fleet.json("status")["hubs"]]
    config = fleet.configs["alpha"]
    wait(
        "its own words",
        lambda: "was retired from the fleet" in run("hubagent", "status", "--json", "-c", str(config)).stdout,
    )
    fleet.stop("alpha")
    assert "alpha is not in it" in run("hubagent", "run", "-c", str(config), status=1).stderr


def test_a_second_server_joins_a_fleet_of_one(tmp_path):
    """Its certificate arrives with the roster; the others deliver to it from their next start on; no file is edited."""
    fleet = TrustFleet(tmp_path)
    try:
        words = ("--tls", "--server", f"central={fleet.address(2)}")
        fleet.hubdeck("fleet", "new", str(fleet.dir), *words, config=False)
        fleet.start("central", fleet.dir / "central")
        wait("central", lambda: len(fleet.states()) == 1)
        joined(fleet, "edge", tmp_path / "edge", "--server", f"edge={fleet.address(3)}")
        notes = run("hubagent", "status", "--json", "-c", str(fleet.configs["central"])).stdout
        assert "the roster's servers changed: restart the agent" in notes
        fleet.stop("central")
        fleet.start("central", fleet.dir / "central")

        def both() -> bool:
            found = {one["name"]: one["state"] for one in fleet.json("status", status=None)["servers"]}
            return found == {"central": "up", "edge": "up"}

        wait("both servers on the console", both)
        wait("records on both", lambda: "evt: complete" in fleet.hubdeck("records", "central", status=None).stdout)
    finally:
        fleet.end()
