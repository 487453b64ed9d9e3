"""What a hub agent answers on `$SRV`: the JSON of NATS micro, so that `nats micro ls` finds every hub."""

from datetime import UTC, datetime

import msgspec

from hubagent.wire import subjects

NAME = "hubagent"
PING, INFO, STATS = "PING", "INFO", "STATS"
VERBS = (PING, INFO, STATS)
EVERYTHING = "$SRV.>"


class Ping(msgspec.Struct, frozen=True, tag_field="type", tag="io.nats.micro.v1.ping_response"):
    """Who answers; `id` is the boot of the agent."""

    name: str
    id: str
    version: str
    metadata: dict[str, str]


class Endpoint(msgspec.Struct, frozen=True):
    """A subject that the agent answers."""

    name: str
    subject: str
    queue_group: str = ""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class Info(msgspec.Struct, frozen=True, tag_field="type", tag="io.nats.micro.v1.info_response"):
    """What can be asked of it."""

    name: str
    id: str
    version: str
    metadata: dict[str, str]
    description: str
    endpoints: list[Endpoint]


class EndpointStats(msgspec.Struct, frozen=True):
    """How often one subject was asked, and how often what came was no message of ours. Times are not measured."""

    name: str
    subject: str
    queue_group: str = ""
    num_requests: int = 0
    num_errors: int = 0
    last_error: str = ""  # never an exception's text: it may hold what a stranger wrote
    processing_time: int = 0
    average_processing_time: int = 0


class Stats(msgspec.Struct, frozen=True, tag_field="type", tag="io.nats.micro.v1.stats_response"):
    """Since `started` (RFC 3339)."""

    name: str
    id: str
    version: str
    metadata: dict[str, str]
    started: str
    endpoints: list[EndpointStats]


def endpoints(hub: str) -> list[Endpoint]:
    """The requests of the wire contract that a hub answers."""
    asked = {
        "cmd": subjects.command(hub), "hello": subjects.hello(hub), "watch": subjects.watch(hub),
        "fetch": subjects.fetch(hub),
    }  # fmt: skip
    return [Endpoint(name, subject) for name, subject in asked.items()]


def asked_verb(subject: str, identity: str) -> str:
    """PING, INFO or STATS where this agent is asked, by nobody's, its service's or its own name; else nothing."""
    prefix, _, rest = subject.partition(".")
    verb, *whom = rest.split(".")
    return verb if prefix == "$SRV" and verb in VERBS and whom == [NAME, identity][: len(whom)] else ""


def timestamp(unix_s: float) -> str:
    """RFC 3339, UTC."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")
