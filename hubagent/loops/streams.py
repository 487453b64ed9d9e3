"""The agent of a hub server makes that server's streams, verifies them, and reports drift; it never edits silently."""

import logging
from collections.abc import Callable
from typing import Any

from hubagent.edges import jetstream
from hubagent.edges.nats_link import Link
from hubagent.errors import JetStreamError
from hubagent.wire.streams import SHARE, Stream

log = logging.getLogger(__name__)

STREAM_NOT_FOUND = 10059
# What must agree for the promise of a stream to hold; the rest is the server's own default.
_COMPARED = ("subjects", "max_age", "discard", "max_msgs_per_subject", "deny_delete", "deny_purge", "num_replicas")


def size_of(stream: Stream, max_store: int) -> int:
    """Bytes that a stream may fill; no limit for leases, since a renewal must never be refused for room."""
    return -1 if stream.name == "LEASE" else int(max_store * SHARE[stream.name])


def drift(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What differs between a stream as it should be and as it is, in words; empty where nothing does."""
    return [
        f"{wanted['name']}.{key} is {found.get(key)!r}, should be {wanted[key]!r}"
        for key in _COMPARED
        if key in wanted and found.get(key) != wanted[key] and not (key == "num_replicas" and wanted["name"] == "LEASE")
    ]


async def ensure(link: Link, streams: tuple[Stream, ...], max_store: int, lineage: Callable[[], str]) -> list[str]:
    """Make each missing stream, and give what drifted in the others; raises LinkDown and the like."""
    found: list[str] = []
    for stream in streams:
        wanted = stream.config(size_of(stream, max_store), lineage())
        try:
            info = await jetstream.stream_info(link, stream.name)
            found += drift(wanted, info.config)
        except JetStreamError as error:
            if error.code != STREAM_NOT_FOUND:
                raise
            await jetstream.create_stream(link, wanted)
            log.info("made stream %s on %s", stream.name, link.server)
    return found
