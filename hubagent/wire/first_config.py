"""The first config of a hub, as it follows from the roster: for the folders of `fleet new` and for `hubagent join`."""

from dataclasses import dataclass
from typing import Any

from hubagent.wire.addresses import listen, uses_tls
from hubagent.wire.roster import Roster


@dataclass(frozen=True, slots=True)
class Places:
    """Where the hub keeps its things; relative paths count from the config's directory."""

    state_dir: str = "."

    def file(self, name: str) -> str:
        """A file of the state directory, as the config names it."""
        return name if self.state_dir == "." else f"{self.state_dir}/{name}"


def first_config(roster: Roster, hub: str, places: Places, *, has_ca: bool) -> dict[str, Any]:
    """The config of a hub: it names the servers, the roster says where they are."""
    ca = {"ca_file": places.file("ca.pem")} if has_ca else {}
    config: dict[str, Any] = {
        "hub": {"id": hub, "state_dir": places.state_dir},
        "destinations": [{"name": one.name, **ca} for one in roster.servers if one.role == "hub-server"],
    }
    if any(one.name == "witness" for one in roster.servers):
        config["witness"] = dict(ca)
    server = next((one for one in roster.servers if one.hub == hub), None)
    if server is not None:
        pem = places.file("server.pem")
        files = {"cert_file": pem, "key_file": pem} if uses_tls(server) else {}
        config["server"] = {"role": server.name, "listen": listen(server), "store": places.file("nats"), **files}
    return {**config, "services": []}
