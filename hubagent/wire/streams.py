"""The streams of a fleet, as data: what `hubagent streams apply|check` and the agents of hub servers go by."""

from typing import Any

import msgspec

DAY_NS = 86_400 * 1_000_000_000


class Stream(msgspec.Struct, frozen=True):
    """One stream; `options` are JetStream's own configuration keys."""

    name: str
    subjects: tuple[str, ...]
    options: dict[str, Any]

    def config(self, max_bytes: int, lineage: str) -> dict[str, Any]:
        """The JetStream configuration with a size and the random id of this life of the stream."""
        return {
            "name": self.name,
            "subjects": list(self.subjects),
            "storage": "file",
            "retention": "limits",
            "num_replicas": 1,
            "max_bytes": max_bytes,
            "metadata": {"hubdeck.lineage": lineage},
            **self.options,
        }


EVT = Stream(
    "EVT",
    ("ops.evt.*",),
    # max_msgs_per_subject is each hub's share: one hub that writes without end must not fill the stream for all.
    {
        "max_age": 90 * DAY_NS,
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs_per_subject": 2_000_000,
        "deny_delete": True,
        "deny_purge": True,
        "allow_direct": True,
    },
)
MET = Stream(
    "MET",
    ("ops.met.*",),
    {"max_age": 7 * DAY_NS, "discard": "old", "compression": "s2", "allow_direct": True},
)
ROSTER = Stream("ROSTER", ("roster",), {"max_msgs_per_subject": 1, "allow_direct": True})
REL = Stream("REL", ("rel.*.*",), {"discard": "new", "allow_direct": True})
LEASE = Stream("LEASE", ("ops.lease.*",), {"max_msgs_per_subject": 1})

HUB_SERVER_STREAMS = (EVT, MET, ROSTER, REL)
WITNESS_STREAMS = (LEASE,)
STREAM_OF_LANE = {"evt": EVT.name, "met": MET.name}

# Shares of the store that a stream may fill (discard rules apply then); the rest is the server's own room.
SHARE = {"EVT": 0.3, "MET": 0.5, "ROSTER": 0.01, "REL": 0.15, "LEASE": 0.9}
