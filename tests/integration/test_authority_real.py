"""A running fleet whose root is replaced: trusted at every moment, refused too early, and the old one is worth nothing at the end."""

from pathlib import Path

import pytest

from console.trust.probe import look
from hubagent.wire.addresses import parse_address
from tests.support.trust import TrustFleet, founded, wait

pytestmark = [pytest.mark.real, pytest.mark.slow]
HUBS = ("central", "edge", "witness")


def restart(fleet: TrustFleet) -> None:
    """Every agent reads the new ca.pem; servers and guards go on."""
    for hub in HUBS:
        fleet.stop(hub)
        fleet.start(hub, fleet.dir / hub)
    wait("the fleet", lambda: set(fleet.states()) == set(HUBS))


def shown(fleet: TrustFleet) -> dict[str, str]:
    """What a client makes of each server's certificate."""
    return {one["server"]: one["state"] for one in fleet.json("cert", "status", status=None)["certificates"]}


def test_a_root_is_replaced_under_a_running_fleet(tmp_path: Path):
    """The files of the agents are the admin's here, so every `scp` that is printed has been done."""
    with founded(tmp_path) as fleet:
        old = (fleet.dir / "ca.pem").read_bytes()
        (tmp_path / "old.pem").write_bytes(old)
        dry = fleet.hubdeck("cert", "authority", "replace", "--dry-run")
        assert "+ root-next.pem" in dry.stdout
        assert "nothing was changed" in dry.stderr
        assert not list(fleet.dir.glob("root-*"))
        fleet.hubdeck("cert", "authority", "replace", status=2)  # nobody said yes
        fleet.hubdeck("cert", "authority", "replace", "--yes")
        restart(fleet)
        assert set(shown(fleet).values()) == {"trusted"}
        early = fleet.hubdeck("cert", "authority", "finish", "--yes", status=1)
        assert "gate: renewed" in early.stderr
        assert "hubdeck cert renew central" in early.stderr
        for hub in HUBS:
            fleet.hubdeck("cert", "renew", hub, "--yes")
        assert shown(fleet) == dict.fromkeys(HUBS, "trusted")
        said = fleet.json("cert", "authority", "finish", "--yes")
        assert any("no longer" in line for line in said["diff"])
        restart(fleet)
        assert shown(fleet) == dict.fromkeys(HUBS, "trusted")
        central = parse_address(fleet.address(2))
        assert look(central, str(tmp_path / "old.pem")).fault
        assert not look(central, str(fleet.dir / "ca.pem")).fault
