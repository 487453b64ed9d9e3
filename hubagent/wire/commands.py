"""Signed commands to one hub, and the signed replies; one static table of verbs."""

from typing import Annotated, Any

import msgspec

COMMAND_BYTES_MAX = 16 << 10
FRESH_SECONDS = 30.0  # a command names a live or hello seq at most this old by the hub's own clock

ROLES = ("viewer", "operator", "admin")

# What a store can look up: a larger number is no chunk's, and asking for it must not look like a damaged store.
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request to one hub. Its signature (header `Hub-Sig`, domain COMMAND) is over the received bytes and subject."""

    v: int
    cmd_id: str
    verb: str
    hub: str
    hub_boot: str
    hub_seq: int
    operator: str
    args: dict[str, Any] = msgspec.field(default_factory=dict)
    reason: str = ""
    epoch: int | None = None


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The signed answer (domain REPLY, subject = cmd_id): `accepted`, or `refused` with gate and why.

    `again`: the same command came before; this is its stored answer, and nothing was done twice.
    The result arrives later as an event (`command_result`) and in `Live.results`.
    """

    cmd_id: str
    state: str
    gate: str = ""
    why: str = ""
    again: bool = False
    data: dict[str, Any] = msgspec.field(default_factory=dict)  # for verbs that answer at once (preflight)


class Hello(msgspec.Struct, frozen=True):
    """What makes a command fresh."""

    hub: str
    boot: str
    seq: int


class FetchRequest(msgspec.Struct, frozen=True):
    """Asks for the chunks n0…n1 that the hub still keeps."""

    lane: Annotated[str, msgspec.Meta(pattern="^(evt|met)$")]
    inc: Number
    n0: Number
    n1: Number


class FetchedChunk(msgspec.Struct, frozen=True):
    """One kept chunk, byte for byte, with its signature."""

    n: int
    payload: bytes  # base64 in JSON
    sig: str


class FetchReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """As many of the chunks asked for as fit one message; ask again from the last n for more."""

    chunks: list[FetchedChunk]
    why: str = ""


class Gate(msgspec.Struct, frozen=True, omit_defaults=True):
    """One named condition of a preflight, in words an operator reads."""

    name: str
    passed: bool
    value: str
    limit: str = ""
    why: str = ""


# verb → the lowest role that may say it (7-security). Default deny: a verb that is not here does not exist.
VERBS: dict[str, str] = {
    "preflight": "operator",  # args {"verb", …}: the gates of that verb, nothing changes; answered in Reply.data
    "start": "operator",  # args {"service"}
    "stop": "operator",
    "restart": "operator",
    "rollback": "operator",  # args {"service", "to"?}
    "failover": "operator",  # args {"group", "to"?}: planned switchover, sent to the active hub
    "promote": "operator",  # args {"group"}: forced, sent to the hub that shall become active
    "acknowledge": "operator",  # args {"alert"}
    "silence": "operator",
    "note": "operator",  # args {"text"}
    "maintenance": "admin",  # args {"group"?, "on"}: of a group; without one of the hub it is sent to
    "arm": "admin",  # args {"group", "auto"}
    "renew": "admin",  # no args: the server's certificate, now
    "drill": "admin",  # args {"group", "kind"?}: a scored failover, sent to the active hub
    "schedule": "admin",  # args {"group", "at", "kind"?}: when drills are due, or off; sent to every member
    "abort": "admin",  # args {"group"}: calls a drill off, or undoes it at once
    "unlock": "operator",  # audited: the console left read-only mode
}


def allows(role: str, verb: str) -> bool:
    """Tell whether a role may say a verb; unknown roles and verbs may nothing."""
    return verb in VERBS and role in ROLES and ROLES.index(role) >= ROLES.index(VERBS[verb])
