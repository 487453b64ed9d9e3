"""The first day from the built wheel: found, install, join, look, revoke, renew, upgrade, retire, uninstall; nothing left."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.first_day import SERVERS, FirstDay, wait
from tests.support.sites import sites
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(240)]
HUBS = (*SERVERS, "alpha")


@pytest.fixture
def day(wheel: Path, tmp_path: Path) -> Iterator[FirstDay]:
    """A desk and four bare machines; in directories and on loopback addresses where no namespaces can be made."""
    with sites(tmp_path, wheel, *HUBS) as (found, why):
        if why:
            warnings.warn(f"on loopback addresses, agents started by hand: {why}", stacklevel=1)
        yield FirstDay(found)


def test_a_fleet_from_its_first_command_to_its_last(day: FirstDay):
    """Every command of docs/for-real.md that changes something, in its order; no file is edited, and none stays."""
    day.found()
    for hub in SERVERS:
        day.install(hub)
    day.live(*SERVERS)
    assert {one["state"] for one in day.json("cert", "status")["certificates"]} == {"trusted"}
    day.join("alpha")
    day.live(*HUBS)
    console_shows(day)
    revoked(day)
    renewed(day)
    upgraded(day, "edge")
    upgraded(day, "alpha")
    failed_over(day)
    complete(day)
    retired(day)
    uninstalled(day)


def console_shows(day: FirstDay) -> None:
    """The console, in a terminal at the desk, has every hub on its screen, and ends as it began."""
    argv = day.desk.argv(f"{day.desk.program}/hubdeck", "-c", "acme/console.yaml")
    with Terminal(argv, columns=120, rows=40) as terminal:
        for hub in HUBS:
            terminal.sees(hub)
        terminal.press("q").sees("q again").press("q")
        assert terminal.ends() == 0


def revoked(day: FirstDay) -> None:
    """A second operator's console works, and ten seconds after her revocation no server lets her in."""
    day.add_operator("ana")
    assert "4 hubs" in day.hubdeck("status", config="acme/operators/ana/console.yaml")
    assert day.revoke("ana") < 10.0


def renewed(day: FirstDay) -> None:
    """Each server shows a new certificate, and no hub lost its connections by it."""

    def ends() -> dict[str, str]:
        return {one["server"]: one["ends"] for one in day.json("cert", "status")["certificates"]}

    before = ends()
    for server in SERVERS:
        day.hubdeck("cert", "renew", server, "--yes", "--reason", "first day")
    wait("new certificates", lambda: all(ends()[server] > before[server] for server in SERVERS))
    day.live(*HUBS, seconds=2.0)


def upgraded(day: FirstDay, hub: str) -> None:
    """The wheel once more and a restarted agent: it is another process, guard and NATS server are the same ones."""
    before = roles(day, hub)
    day.sites[hub].upgrade()
    wait("another agent", lambda: roles(day, hub).get("agent") not in (None, before["agent"]))
    day.live(*HUBS)
    assert {**roles(day, hub), "agent": 0} == {**before, "agent": 0}


def roles(day: FirstDay, hub: str) -> dict[str, int]:
    """Which process of a machine is what."""
    words = {"agent": "hubagent run", "guard": "hubagent.guard", "server": "nats-server"}
    lines = day.sites[hub].processes()
    return {role: pid for pid, line in lines.items() for role, word in words.items() if word in line}


def failed_over(day: FirstDay) -> None:
    """The drill moves the group and undoes itself; then it may be armed."""
    score = day.drill()
    assert score["passed"], score
    assert score["lost"] == 0
    day.live(*HUBS)
    day.hubdeck("arm", "core", "--reason", "proven", "--yes")
    wait("an armed group", lambda: "ARMED" in day.hubdeck("status").upper().partition("STATE")[0])


def complete(day: FirstDay) -> None:
    """After all of it each hub's records are in both servers, once and in order."""
    for hub in HUBS:
        said = day.hubdeck("records", hub, "--verify")
        assert "evt: complete" in said, (hub, said)
        assert "met: complete" in said, (hub, said)


def retired(day: FirstDay) -> None:
    """Alpha leaves the fleet, and then its machine has nothing of it."""
    day.hubdeck("hub", "retire", "alpha", "--yes")
    assert {one["hub"] for one in day.json("status")["hubs"]} == set(SERVERS)
    gone(day, "alpha")


def uninstalled(day: FirstDay) -> None:
    """The other three as well."""
    for hub in SERVERS:
        gone(day, hub)


def gone(day: FirstDay, hub: str) -> None:
    """No file, no process, no user, no unit."""
    assert day.sites[hub].left() != []
    day.sites[hub].uninstall()
    assert day.sites[hub].left() == []
