"""What each identity may publish and subscribe on each kind of server: data, and a test holds a real server to it."""

import msgspec

from hubagent.wire import subjects
from hubagent.wire.roster import Group, Hub, Invitation, Operator, Roster, Server
from hubagent.wire.streams import HUB_SERVER_STREAMS, LEASE

HUB_SERVER, WITNESS = "hub-server", "witness"


class Permissions(msgspec.Struct, frozen=True):
    """Allowed subjects; everything else is denied. `responses`: may answer a request once, for a short time."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    responses: bool = False


def _read(stream: str) -> tuple[str, ...]:
    return (f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.STREAM.MSG.GET.{stream}")


def _keep_streams(stream: str) -> tuple[str, ...]:
    return (f"$JS.API.STREAM.CREATE.{stream}", f"$JS.API.STREAM.UPDATE.{stream}")


# Replies inside JetStream and answers of a hub go to private inboxes; nobody may read another's.
def _inbox(identity: str) -> str:
    return subjects.inbox_prefix(identity) + ".>"


def hub_on_hub_server(hub: Hub, server: Server, groups: list[Group]) -> Permissions:
    """A hub writes its own subjects, reads the streams by leader-served reads, and creates no consumers."""
    own = server.hub == hub.id
    peers = {member for group in groups if hub.id in group.members for member in group.members} - {hub.id}
    publish = (
        subjects.live(hub.id), subjects.detail(hub.id), subjects.ops("evt", hub.id), subjects.ops("met", hub.id),
        f"logs.{hub.id}.*", f"peer.*.{hub.id}", "$JS.API.INFO",
        *(subject for stream in HUB_SERVER_STREAMS for subject in _read(stream.name)),
        *(subject for stream in HUB_SERVER_STREAMS if own for subject in _keep_streams(stream.name)),
        *((subjects.ROSTER,) if own else ()), subjects.certificate(hub.id),
    )  # fmt: skip
    subscribe = (
        _inbox(hub.id), subjects.command(hub.id), subjects.hello(hub.id), subjects.watch(hub.id),
        subjects.fetch(hub.id), f"peer.{hub.id}.*", subjects.live(hub.id), subjects.ROSTER, "$SRV.>",
        *(subjects.live(peer) for peer in sorted(peers)),
        *(("cert.*",) if own else ()),
    )  # fmt: skip
    return Permissions(publish, subscribe, responses=True)


def hub_on_witness(hub: Hub, server: Server, groups: list[Group]) -> Permissions:
    """A hub writes the leases of its own groups, and nothing else."""
    own = server.hub == hub.id
    is_member = any(hub.id in group.members for group in groups)
    publish = (
        *(subjects.lease(group.name) for group in groups if hub.id in group.members),
        *_read(LEASE.name),
        *(_keep_streams(LEASE.name) if own else ()),
        # The active hub has a replicated stream led from another machine than its own.
        *((f"$JS.API.STREAM.LEADER.STEPDOWN.{LEASE.name}",) if is_member else ()),
        "$JS.API.INFO",
    )
    return Permissions(publish, (_inbox(hub.id),))


def operator_on_hub_server(operator: Operator) -> Permissions:
    """A viewer reads everything and asks; operator and admin also send commands; an admin publishes the roster."""
    reads = (
        "hello.*", "watch.*", "fetch.*", "$SRV.>", "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.>", "$JS.API.CONSUMER.CREATE.>",
        "$JS.API.CONSUMER.INFO.>", "$JS.API.CONSUMER.MSG.NEXT.>", "$JS.API.CONSUMER.DELETE.>", "$JS.ACK.>", "$JS.FC.>",
    )  # fmt: skip
    commands = ("cmd.*",) if operator.role in {"operator", "admin"} else ()
    rosters = (subjects.ROSTER,) if operator.role == "admin" else ()
    subscribe = (_inbox(operator.name), "live.>", "detail.>", "logs.>", "ops.evt.*", "ops.met.*", subjects.ROSTER)
    # An admin answers those who ask to be enrolled.
    is_admin = operator.role == "admin"
    return Permissions(
        (*reads, *commands, *rosters), (*subscribe, *(("enroll.*",) if is_admin else ())), responses=is_admin
    )


def operator_on_witness(operator: Operator) -> Permissions:
    """People only read the leases."""
    return Permissions((*_read(LEASE.name), "$JS.API.INFO"), (_inbox(operator.name),))


def invited(invitation: Invitation) -> Permissions:
    """A one-time login asks to be enrolled under its one name, hears the answer, and can do nothing else."""
    return Permissions((subjects.enrol(invitation.hub),), (_inbox(invitation.id),))


def users(roster: Roster, server: Server, now: float = 0.0) -> list[tuple[str, Permissions]]:
    """Every (login key, permissions) of one server; the revoked, and invitations over by `now`, are left out."""
    hubs = [hub for hub in roster.hubs if roster.hub(hub.id)]
    operators = [operator for operator in roster.operators if roster.operator(operator.name)]
    if server.role == WITNESS:
        return [(hub.login, hub_on_witness(hub, server, roster.groups)) for hub in hubs] + [
            (operator.login, operator_on_witness(operator)) for operator in operators
        ]
    return [
        *((hub.login, hub_on_hub_server(hub, server, roster.groups)) for hub in hubs),
        *((operator.login, operator_on_hub_server(operator)) for operator in operators),
        *((one.login, invited(one)) for one in roster.joining if one.until > now and one.login not in roster.revoked),
    ]
