"""What tests of the command plane share: a roster with keys, and signed commands."""

import hashlib
from typing import Any

import msgspec

from hubagent.wire import subjects
from hubagent.wire.codec import encode
from hubagent.wire.commands import Command
from hubagent.wire.roster import Hub, Operator, Roster
from hubagent.wire.signing import COMMAND, SIGNATURE_HEADER, Signer, public_of, seed_from, signer


def seed(label: str) -> str:
    """A seed that is the same in each run."""
    return seed_from(hashlib.sha256(label.encode()).digest())


def key(who: str) -> Signer:
    """The signing key of an identity."""
    return signer(seed(f"{who} signing"))


def _login(who: str) -> str:
    return public_of(seed(f"{who} login"))


def make_roster(*, revoked: tuple[str, ...] = ()) -> Roster:
    """Hubs alpha and beta; ana (operator), root (admin), vic (viewer), bea (operator of beta only)."""
    return Roster(
        v=1,
        fleet="test",
        version=1,
        hubs=[Hub(hub, _login(hub), key(hub).public) for hub in ("alpha", "beta")],
        operators=[
            Operator("ana", _login("ana"), key("ana").public, "operator"),
            Operator("root", _login("root"), key("root").public, "admin"),
            Operator("vic", _login("vic"), key("vic").public, "viewer"),
            Operator("bea", _login("bea"), key("bea").public, "operator", "beta"),
        ],
        servers=[],
        revoked=[key(who).public for who in revoked],
    )


GOOD = Command(
    v=1,
    cmd_id="cmd-00000001",
    verb="restart",
    hub="alpha",
    hub_boot="boot-1",
    hub_seq=7,
    operator="ana",
    args={"service": "web"},
)


def command(**changes: Any) -> Command:
    """A good command with some fields changed."""
    return msgspec.structs.replace(GOOD, **changes)


def signed(one: Command, by: str | None = None) -> tuple[bytes, str]:
    """Its bytes and signature."""
    raw = encode(one)
    return raw, sign(raw, by or one.operator, one.hub)


def sign(raw: bytes, by: str, hub: str = "alpha") -> str:
    """A signature over any bytes."""
    return key(by).sign(COMMAND, subjects.command(hub), raw)


def headers(signature: str) -> dict[str, str]:
    """The headers that carry it."""
    return {SIGNATURE_HEADER: signature}
