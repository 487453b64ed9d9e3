"""What any reader may ask of a hub cannot harm it: odd requests are answered with a reason, and nothing is lost."""

import pytest

from hubagent.edges.jetstream import publish_expecting, stream_info
from hubagent.edges.nats_link import Message
from hubagent.errors import JetStreamError
from hubagent.wire import subjects
from hubagent.wire.codec import decode
from hubagent.wire.commands import FetchReply
from tests.support.hub import HubParts, make_streams
from tests.support.nats import NatsServer

ODD = (
    b'{"lane":"met","inc":1,"n0":1,"n1":99999999999999999999}',
    b'{"lane":"met","inc":99999999999999999999,"n0":1,"n1":2}',
    b'{"lane":"met","inc":-1,"n0":-9223372036854775809,"n1":1}',
    b'{"lane":"../x","inc":1,"n0":1,"n1":5}',
    b'{"lane":"met","inc":1,"n0":5,"n1":1}',
    b'{"lane":"met","inc":0,"n0":0,"n1":9223372036854775807}',
    b"[" * 100_000,
    b"",
)


@pytest.mark.real
async def test_odd_numbers_in_a_fetch_do_not_close_the_spool(tmp_path):
    """A number that no store can hold is refused before the store is asked: it would look like damage there."""
    with NatsServer(tmp_path / "nats") as server:
        await make_streams(server.url)
        async with HubParts(tmp_path / "hub", {"central": server.url}).running() as hub:
            await hub.chunk(0)
            await hub.delivered("central")
            incarnation = hub.log.inc
            for raw in ODD:
                answer = await hub.links["central"].request(subjects.fetch("alpha"), raw, timeout_s=3)
                reply = decode(answer.payload, FetchReply)
                assert reply.why, raw
                assert not reply.chunks, raw
            assert hub.spool.failed is None
            assert hub.log.inc == incarnation
            await hub.chunk(1)
            await hub.delivered("central")


class Answering:
    """A link to a server that says anything."""

    server = "central"

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    async def request(self, subject, payload, *, timeout_s, headers=None):
        """Always the same."""
        return Message("", "", self.raw, {})


@pytest.mark.parametrize("seq", [2**63, -1])
async def test_a_servers_impossible_sequence_is_no_acknowledgement(seq):
    """A server is not trusted: what the spool could not keep must not reach it."""
    with pytest.raises(JetStreamError):
        await publish_expecting(Answering(b'{"stream":"MET","seq":%d}' % seq), "MET", "ops.met.alpha", b"", 0, "", 1)
    info = b'{"config":{},"created":"now","state":{"first_seq":0,"last_seq":%d,"bytes":0}}' % seq
    with pytest.raises(JetStreamError):
        await stream_info(Answering(info), "MET")
