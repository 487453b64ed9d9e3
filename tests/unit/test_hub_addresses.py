"""Where a hub connects: its config's addresses, else the roster's; never in plain text beyond this machine."""

import pytest

from hubagent.config import DestinationSettings, HubSettings, Settings, WitnessSettings
from hubagent.edges.state_dir import StateRefused
from hubagent.setup import safe_urls, with_urls
from hubagent.wire.first_config import Places, first_config
from hubagent.wire.roster import Hub, Roster, Server

LOCAL, FAR = "nats://127.0.0.1:4222", "tls://edge.example.net:4222"
PLAIN = "nats://edge.example.net:4222"


def roster(*servers: tuple[str, str]) -> Roster:
    """These servers, the one that is called witness as a witness."""
    made = [Server(name, [url], "witness" if name == "witness" else "hub-server") for name, url in servers]
    return Roster(1, "acme", 1, [Hub("alpha", "", "")], [], made)


def settings(*destinations: DestinationSettings, witness: WitnessSettings | None = None) -> Settings:
    """A hub's."""
    return Settings(hub=HubSettings(id="alpha", state_dir="/x"), destinations=list(destinations), witness=witness)


def addresses(found: Settings) -> dict[str, list[str]]:
    """What it connects to."""
    served = {one.name: one.urls for one in found.destinations}
    return served | ({"witness": found.witness.urls} if found.witness else {})


def test_a_hub_that_joined_has_no_address_in_its_config_and_takes_the_rosters():
    """Loopback in plain text, the rest by TLS; further servers and the witness too, with its CA."""
    known = roster(("central", LOCAL), ("edge", FAR), ("witness", "tls://[::1]:4242"))
    found = with_urls(settings(DestinationSettings(name="central", ca_file="/ca.pem")), known)
    assert addresses(found) == {"central": [LOCAL], "edge": [FAR], "witness": ["tls://[::1]:4242"]}
    assert {one.ca_file for one in (*found.destinations, found.witness)} == {"/ca.pem"}


def test_the_configs_own_address_comes_first_and_the_others_fall_back():
    """One server by its loopback address here, the other as the roster says."""
    known = roster(("central", FAR), ("edge", FAR), ("extra", FAR))
    found = with_urls(
        settings(DestinationSettings(name="central", urls=[LOCAL]), DestinationSettings(name="edge")), known
    )
    assert addresses(found) == {"central": [LOCAL], "edge": [FAR]}


@pytest.mark.parametrize("url", ["nats://localhost", "nats://127.9.9.9:1", "nats://[::1]:4222", FAR, "tls://10.0.0.1"])
def test_plain_text_is_followed_on_loopback_only(url: str):
    """And TLS anywhere."""
    assert safe_urls(Server("edge", [url], "hub-server")) == [url]


@pytest.mark.parametrize(
    "url",
    [PLAIN, "nats://10.0.0.1:4222", "nats://127.0.0.1.example.net", "nats://localhost.example.net:1", "nats://[::2]:1", ""],
)  # fmt: skip
def test_a_roster_that_would_have_a_hub_talk_in_plain_text_is_refused(url: str):
    """With the server and the address; nothing falls back to plain text."""
    with pytest.raises(StateRefused, match="server edge"):
        with_urls(settings(DestinationSettings(name="central")), roster(("central", LOCAL), ("edge", url)))


def test_a_server_that_nobody_gives_an_address_is_named():
    """What to do is said."""
    here = settings(DestinationSettings(name="central", urls=[LOCAL]), DestinationSettings(name="gone"))
    with pytest.raises(StateRefused, match=r"server gone has no address.*set urls in the config"):
        with_urls(here, roster(("central", LOCAL)))


def test_a_witness_that_the_roster_lost_is_left_out():
    """The hub goes on without; no failover is automatic then."""
    here = settings(DestinationSettings(name="central"), witness=WitnessSettings())
    assert with_urls(here, roster(("central", LOCAL))).witness is None


@pytest.mark.parametrize("has_ca", [False, True])
def test_the_first_config_of_a_hub_leaves_addresses_to_the_roster(has_ca: bool):
    """So that a server can move without anybody editing a file on each hub."""
    known = roster(("central", LOCAL if not has_ca else FAR), ("witness", FAR))
    made = first_config(known, "alpha", Places(), has_ca=has_ca)
    assert not any(one.get("urls") for one in made["destinations"])
    assert all(("ca_file" in one) == has_ca for one in made["destinations"])
