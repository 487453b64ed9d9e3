"""Permissions as data: who may say and hear what; a real server is held to them elsewhere."""

import pytest

from hubagent.wire import permissions, subjects
from hubagent.wire.permissions import HUB_SERVER, WITNESS, users
from hubagent.wire.roster import Group, Hub, Operator, Roster, Server
from hubagent.wire.signing import public_of, seed_from

KEYS = [public_of(seed_from(bytes([number]) * 32)) for number in range(20)]
HUBS = [Hub(name, KEYS[2 * n], KEYS[2 * n + 1]) for n, name in enumerate(("alpha", "beta", "central"))]
OPERATORS = [
    Operator(role, KEYS[10 + 2 * n], KEYS[11 + 2 * n], role) for n, role in enumerate(("viewer", "operator", "admin"))
]
CENTRAL = Server("central", ["nats://127.0.0.1:4222"], HUB_SERVER, "central")
WITNESS_SERVER = Server("witness", ["nats://127.0.0.1:4223"], WITNESS, "central")
ROSTER = Roster(1, "t", 1, HUBS, OPERATORS, [CENTRAL, WITNESS_SERVER], [Group("core", ["alpha", "central"])])


def matches(pattern: str, subject: str) -> bool:
    """NATS' own rule for wildcards."""
    want, have = pattern.split("."), subject.split(".")
    for index, token in enumerate(want):
        if token == ">":
            return len(have) > index
        if index >= len(have) or (token not in ("*", have[index])):
            return False
    return len(want) == len(have)


def allowed(identity: str, server: Server) -> permissions.Permissions:
    """The permissions of one identity on one server."""
    login = next(
        one.login for one in (*HUBS, *OPERATORS) if identity in (getattr(one, "id", ""), getattr(one, "name", ""))
    )
    return dict(users(ROSTER, server))[login]


def may(identity: str, verb: str, subject: str, server: Server = CENTRAL) -> bool:
    """Tell whether an identity may publish or subscribe to a subject."""
    return any(matches(pattern, subject) for pattern in getattr(allowed(identity, server), verb))


EVERYBODY = ["alpha", "beta", "central", "viewer", "operator", "admin"]


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize("server", [CENTRAL, WITNESS_SERVER], ids=["central", "witness"])
def test_nobody_hears_the_inbox_of_another(who, server):
    """Replies are private."""
    for other in EVERYBODY:
        assert may(who, "subscribe", subjects.inbox_prefix(other) + ".x", server) is (other == who)
        assert not may(who, "publish", subjects.inbox_prefix(other) + ".x", server)


@pytest.mark.parametrize("who", ["alpha", "beta", "central"])
def test_a_hub_speaks_in_its_own_name_only(who):
    """X12: subjects of others are not even publishable."""
    for other in ("alpha", "beta", "central"):
        own = other == who
        assert may(who, "publish", subjects.live(other)) is own
        assert may(who, "publish", subjects.detail(other)) is own
        assert may(who, "publish", subjects.ops("evt", other)) is own
        assert may(who, "publish", subjects.logs(other, "web")) is own
        assert may(who, "publish", subjects.peer("gamma", other)) is own
        assert may(who, "subscribe", subjects.command(other)) is own
        assert not may(who, "publish", subjects.command(other))


@pytest.mark.parametrize("who", EVERYBODY)
@pytest.mark.parametrize(
    "api",
    ["STREAM.PURGE.EVT", "STREAM.DELETE.EVT", "STREAM.MSG.DELETE.EVT", "STREAM.RESTORE.EVT", "STREAM.SNAPSHOT.EVT"],
)
def test_nobody_may_purge_or_delete(who, api):
    """The audit stays."""
    for server in (CENTRAL, WITNESS_SERVER):
        assert not may(who, "publish", f"$JS.API.{api}", server)


@pytest.mark.parametrize("who", EVERYBODY)
def test_only_the_agent_of_the_server_keeps_its_streams(who):
    """Create and update."""
    for api in ("CREATE", "UPDATE"):
        assert may(who, "publish", f"$JS.API.STREAM.{api}.EVT") is (who == "central")


@pytest.mark.parametrize("who", ["alpha", "beta", "central"])
def test_no_hub_creates_consumers(who):
    """A hub reads by message number."""
    assert not may(who, "publish", "$JS.API.CONSUMER.CREATE.EVT.x")
    assert may(who, "publish", "$JS.API.STREAM.MSG.GET.EVT")


def test_commands_come_from_operators_and_the_roster_from_admins():
    """A viewer reads."""
    assert [who for who in EVERYBODY if may(who, "publish", "cmd.alpha")] == ["operator", "admin"]
    assert [who for who in EVERYBODY if may(who, "publish", subjects.ROSTER)] == ["central", "admin"]
    for who in ("viewer", "operator", "admin"):
        assert not may(who, "publish", "live.alpha")
        assert not may(who, "publish", "ops.evt.alpha")
        assert may(who, "subscribe", "ops.evt.alpha")
        assert not may(who, "subscribe", "cmd.alpha")


def test_leases_are_written_by_members_of_the_group_only():
    """On the witness and nowhere else."""
    assert [who for who in EVERYBODY if may(who, "publish", "ops.lease.core", WITNESS_SERVER)] == ["alpha", "central"]
    assert not any(may(who, "publish", "ops.lease.core", CENTRAL) for who in EVERYBODY)
    assert not any(may(who, "subscribe", "ops.lease.core", WITNESS_SERVER) for who in EVERYBODY)


def test_revoked_identities_have_no_user():
    """X15: their login is gone with them."""
    import msgspec

    without = msgspec.structs.replace(ROSTER, revoked=[HUBS[0].signing, OPERATORS[2].login])
    for server in (CENTRAL, WITNESS_SERVER):
        logins = [login for login, _ in users(without, server)]
        assert HUBS[0].login not in logins
        assert OPERATORS[2].login not in logins
        assert len(logins) == len(HUBS) + len(OPERATORS) - 2


@pytest.mark.parametrize("who", EVERYBODY)
def test_nobody_touches_the_servers_own_subjects(who):
    """$SYS is of the system account."""
    for server in (CENTRAL, WITNESS_SERVER):
        assert not may(who, "subscribe", "$SYS.REQ.SERVER.PING", server)
        assert not may(who, "publish", "$SYS.REQ.SERVER.PING", server)
