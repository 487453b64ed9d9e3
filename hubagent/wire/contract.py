"""The wire contract as data: which record travels on which subject, for JSON Schema and for readers of other kinds."""

from typing import NamedTuple

import msgspec

from hubagent.wire import micro
from hubagent.wire.chunk import Chunk, Record
from hubagent.wire.commands import Command, FetchReply, FetchRequest, Gate, Hello, Reply
from hubagent.wire.enrolment import CertificateAnswer, CertificateRequest, EnrolAnswer, EnrolRequest
from hubagent.wire.leases import LeaseRecord, PeerReply, PeerRequest
from hubagent.wire.manifests import Manifest
from hubagent.wire.reports import Detail, Live, LogLines, Watch
from hubagent.wire.roster import Roster

VERSION = 1


class Use(NamedTuple):
    """A record on a subject; `kind`: message, stream, request, reply, or part (of another record)."""

    subject: str
    kind: str
    record: type[msgspec.Struct]
    text: str


USES = (
    Use("live.<hub>", "message", Live, "Once a second, and at once when a state changes."),
    Use("detail.<hub>", "message", Detail, "Once a second while somebody watches."),
    Use("logs.<hub>.<service>", "message", LogLines, "Output of a service while somebody follows it."),
    Use("ops.evt.<hub>", "stream", Chunk, "Events and audit; header Hub-Sig."),
    Use("ops.met.<hub>", "stream", Chunk, "Metrics; header Hub-Sig."),
    Use("ops.evt.<hub>", "part", Record, "One of `recs` in a chunk of the lane evt."),
    Use("ops.lease.<group>", "stream", LeaseRecord, "Who is active, on the witness; header Hub-Sig."),
    Use("roster", "stream", Roster, "Signature on the first line, this record below it."),
    Use("rel.<digest>.0", "stream", Manifest, "Signature on the first line, this record below it."),
    Use("watch.<hub>", "request", Watch, "Asks for detail, or for a service's output, for 15 s; no reply."),
    Use("hello.<hub>", "reply", Hello, "What makes a command fresh; the request is empty."),
    Use("cmd.<hub>", "request", Command, "Header Hub-Sig by the operator."),
    Use("cmd.<hub>", "reply", Reply, "Header Hub-Sig by the hub."),
    Use("cmd.<hub>", "part", Gate, "One of `data.gates` in the reply to a preflight."),
    Use("fetch.<hub>", "request", FetchRequest, "Asks for chunks that the hub still keeps."),
    Use("fetch.<hub>", "reply", FetchReply, "Those chunks, byte for byte."),
    Use("peer.<to>.<from>", "request", PeerRequest, "Between members of a group; header Hub-Sig."),
    Use("peer.<to>.<from>", "reply", PeerReply, "Header Hub-Sig."),
    Use("enroll.<hub>", "request", EnrolRequest, "Header Hub-Sig by the one-time key."),
    Use("enroll.<hub>", "reply", EnrolAnswer, "Header Hub-Sig."),
    Use("cert.<hub>", "request", CertificateRequest, "Header Hub-Sig by the hub."),
    Use("cert.<hub>", "reply", CertificateAnswer, "Header Hub-Sig."),
    Use("$SRV.PING", "reply", micro.Ping, "NATS micro."),
    Use("$SRV.INFO", "reply", micro.Info, "NATS micro."),
    Use("$SRV.STATS", "reply", micro.Stats, "NATS micro."),
)


def schema() -> dict[str, object]:
    """JSON Schema 2020-12 of every record, under `$defs`; `uses` says which record is where."""
    kinds = list(dict.fromkeys(use.record for use in USES))
    _, components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    uses = [
        {
            "subject": use.subject,
            "kind": use.kind,
            "record": {"$ref": f"#/$defs/{use.record.__name__}"},
            "text": use.text,
        }
        for use in USES
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hubdeck wire contract",
        "v": VERSION,
        "uses": uses,
        "$defs": components,
    }
