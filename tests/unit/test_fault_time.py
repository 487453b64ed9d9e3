"""T6: no moment, however odd, breaks a record, an order or a screen; T2 is in the simulation."""

import pytest

from console.clock import utc
from console.present.units import clock, clock_short
from hubagent.core.chunking import ChunkPolicy, LaneLog
from hubagent.wire.chunk import open_chunk, sign_chunk_hash
from hubagent.wire.signing import ZERO_HASH, seed_from, signer
from hubagent.wire.subjects import ops

KEY = signer(seed_from(b"k" * 32))
ODD_MOMENTS = {
    "leap second 2016": 1483228799.999,
    "leap second itself": 1483228800.0,
    "DST begins": 1774746000.0,
    "DST ends": 1792890000.0,
    "last of 32 bits": 2147483647.0,
    "first beyond": 2147483648.0,
    "year 2106": 4294967296.0,
    "before 1970": -1.0,
    "zero": 0.0,
}


@pytest.mark.parametrize("moment", ODD_MOMENTS.values(), ids=[name.replace(" ", "-") for name in ODD_MOMENTS])
def test_t6_odd_moments_travel_and_are_shown(moment):
    """T6: a chunk of that moment is the same after its way, and people see some text."""
    log = LaneLog(
        "alpha", "met", "b", inc=7, n=0, prev=ZERO_HASH, policy=ChunkPolicy(),
        sign=lambda lane, digest: sign_chunk_hash(KEY, ops(lane, "alpha"), digest),
    )  # fmt: skip
    log.add(b"[%s,1,5]" % repr(moment).encode(), moment, 0.0, ("t", "mono", "x.value"))
    closed = log.close()
    chunk = open_chunk(KEY.public, ops("met", "alpha"), closed.payload, closed.sig)
    assert (chunk.t0, chunk.t1, chunk.recs[0][0]) == (moment, moment, moment)
    assert utc(moment)
    assert clock(moment)
    assert clock_short(moment)


def test_t6_order_is_by_incarnation_and_number_whatever_the_time_says():
    """T6: a record of 1970 after one of 2106 keeps its place."""
    log = LaneLog(
        "alpha", "met", "b", inc=7, n=0, prev=ZERO_HASH, sign=lambda _lane, _payload: "", policy=ChunkPolicy()
    )
    closed = []
    for moment in (4294967296.0, 0.0, 2147483648.0):
        log.add(b"[1,1,5]", moment, 0.0, ("t", "mono", "x.value"))
        closed.append(log.close())
    assert [(one.inc, one.n) for one in closed] == [(7, 1), (7, 2), (7, 3)]
    assert [one.prev for one in closed[1:]] == [one.hash for one in closed[:-1]]
