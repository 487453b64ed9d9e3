"""A real server, configured from a roster, holds each role to the subjects of `wire/permissions.py`."""

import asyncio
import json
from pathlib import Path

import nats
import pytest
from nats.errors import Error as NatsError

from console import founding
from hubagent.edges.server import EmbeddedServer, server_config
from hubagent.wire.permissions import HUB_SERVER
from hubagent.wire.roster import Hub, Operator, Roster, Server
from hubagent.wire.signing import parse_keys
from hubagent.wire.streams import HUB_SERVER_STREAMS
from tests.support.nats import NatsServer

pytestmark = pytest.mark.real


class Fleet:
    """One hub server with two hubs and three operators, and clients that log in as any of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = NatsServer(folder / "nats", jetstream=False)
        known = Server("central", [self.server.url], HUB_SERVER, hub="central")
        hubs = [Hub(id=name, **self._keys(name)) for name in ("central", "alpha")]
        people = [Operator(name=name, role=name, **self._keys(name)) for name in ("viewer", "operator", "admin")]
        roster = Roster(1, "test", 1, hubs, people, [known])
        embedded = EmbeddedServer("central", f"127.0.0.1:{self.server.port}", folder / "store", 64 << 20)
        config = server_config(embedded, roster, known)
        del config["listen"]
        self.server.extra = json.dumps(config)[1:-1]

    def _keys(self, name: str) -> dict[str, str]:
        made = founding.make_keys(self.folder / f"{name}.key")
        return {"login": made.login, "signing": made.signing}

    async def client(self, name: str) -> tuple[nats.NATS, list[str]]:
        """A logged-in client and the list of errors its server sent."""
        errors: list[str] = []

        async def on_error(error: Exception) -> None:
            errors.append(str(error))

        seed = parse_keys((self.folder / f"{name}.key").read_text()).login_seed
        connection = await nats.connect(
            self.server.url, nkeys_seed_str=seed, error_cb=on_error, inbox_prefix=f"_I.{name}".encode()
        )
        return connection, errors


@pytest.fixture
async def fleet(tmp_path: Path):
    """The fleet with its streams made by the server's own hub."""
    fleet = Fleet(tmp_path)
    with fleet.server:
        central, _ = await fleet.client("central")
        for stream in HUB_SERVER_STREAMS:
            answer = await central.request(
                f"$JS.API.STREAM.CREATE.{stream.name}", json.dumps(stream.config(8 << 20, "test")).encode()
            )
            assert b"error" not in answer.data
        yield fleet
        await central.close()


async def refused(fleet: Fleet, name: str, subject: str, *, subscribe: bool = False) -> bool:
    """Whether the server refuses this to that identity; the client stays connected either way."""
    client, errors = await fleet.client(name)
    if subscribe:
        await client.subscribe(subject)
    else:
        await client.publish(subject, b"{}")
    await client.flush()
    await asyncio.sleep(0)
    await client.flush()
    assert client.is_connected
    await client.close()
    return any("permissions violation" in error.lower() for error in errors)


NOT_TO_PUBLISH = {
    "alpha": [
        "live.central", "ops.evt.central", "ops.met.central", "cmd.central", "peer.central.beta", "roster",
        "_I.central.x", "$JS.API.STREAM.PURGE.EVT", "$JS.API.STREAM.MSG.DELETE.EVT", "$JS.API.STREAM.UPDATE.EVT",
        "$JS.API.STREAM.DELETE.EVT", "$JS.API.DIRECT.GET.EVT", "$JS.API.CONSUMER.CREATE.EVT",
    ],
    "central": ["$JS.API.STREAM.PURGE.EVT", "$JS.API.STREAM.DELETE.EVT", "$JS.API.STREAM.MSG.DELETE.EVT"],
    "viewer": ["cmd.alpha", "live.alpha", "ops.evt.alpha", "roster"],
    "operator": ["roster", "live.alpha"],
    "admin": ["$JS.API.STREAM.PURGE.EVT", "$JS.API.STREAM.MSG.DELETE.EVT", "ops.evt.alpha"],
}  # fmt: skip
NOT_TO_HEAR = {
    "alpha": ["_INBOX.>", "_I.central.>", "cmd.central", "live.>"],
    "viewer": ["_I.operator.>", "cmd.>"],
    "admin": ["_I.>", "_INBOX.>"],
}


@pytest.mark.parametrize("name", NOT_TO_PUBLISH)
async def test_nobody_publishes_what_is_not_theirs(fleet: Fleet, name: str) -> None:
    """X12: each is a permissions violation, and the client stays alive."""
    assert [subject for subject in NOT_TO_PUBLISH[name] if not await refused(fleet, name, subject)] == []


@pytest.mark.parametrize("name", NOT_TO_HEAR)
async def test_nobody_listens_where_answers_to_others_come(fleet: Fleet, name: str) -> None:
    """X12: inboxes are private and commands reach their hub only."""
    heard = [subject for subject in NOT_TO_HEAR[name] if not await refused(fleet, name, subject, subscribe=True)]
    assert heard == []


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("alpha", "live.alpha"),
        ("alpha", "detail.alpha"),
        ("alpha", "logs.alpha.web"),
        ("alpha", "peer.central.alpha"),
        ("viewer", "watch.alpha"),
        ("viewer", "hello.alpha"),
        ("operator", "cmd.alpha"),
        ("admin", "roster"),
    ],
)
async def test_each_role_may_do_its_work(fleet: Fleet, name: str, subject: str) -> None:
    """The rights that the product needs are there."""
    assert not await refused(fleet, name, subject)


async def test_a_hub_stores_and_reads_its_own_chunks_over_a_private_inbox(fleet: Fleet) -> None:
    """Publish with an acknowledgement, then a leader-served read, as the sender does."""
    client, errors = await fleet.client("alpha")
    stored = json.loads((await client.request("ops.evt.alpha", b"chunk")).data)
    read = json.loads((await client.request("$JS.API.STREAM.MSG.GET.EVT", b'{"last_by_subj":"ops.evt.alpha"}')).data)
    assert stored["seq"] == read["message"]["seq"]
    assert errors == []
    await client.close()


async def test_a_login_that_the_roster_does_not_list_is_refused(fleet: Fleet) -> None:
    """There is no user without a key."""
    with pytest.raises((NatsError, OSError)):
        await nats.connect(fleet.server.url, allow_reconnect=False, connect_timeout=2)
