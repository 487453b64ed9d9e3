"""The rows that simulations run over and the real witness keep the same contract; signatures are the real one's own."""

import asyncio
import contextlib

import pytest

from hubagent.clock import SystemClock
from hubagent.edges.jetstream import create_stream, publish_expecting
from hubagent.edges.lease_store import LeaseStore, NotStored, RecordChanged
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.errors import HubagentError
from hubagent.wire.codec import encode
from hubagent.wire.leases import LeaseRecord
from hubagent.wire.signing import public_of, seed_from, signer
from hubagent.wire.streams import LEASE
from tests.fakes.lease_store import LeaseRows
from tests.support.nats import NatsServer
from tests.support.waiting import until

pytestmark = pytest.mark.real

SEED = seed_from(b"\x01" * 32)
OTHER = seed_from(b"\x02" * 32)
QUICK = LinkPolicy(ping_s=0.5, timeout_s=1.0, reconnect_min_s=0.05, reconnect_max_s=0.2)


def record(epoch: int, holder: str = "a") -> LeaseRecord:
    """A record with nothing special."""
    return LeaseRecord("core", ["a", "b"], "fast", epoch, holder, "a-1", 600, "held", float(epoch))


class Rows:
    """The model behind the face of the edge."""

    def __init__(self):
        self.rows = LeaseRows()

    async def read(self, timeout_s):
        """The last sequence and record."""
        return self.rows.last()

    async def write(self, one, expect, timeout_s):
        """The new sequence, or RecordChanged."""
        seq = self.rows.put(one, expect)
        if seq is None:
            raise RecordChanged("core")
        return seq


class Real:
    """The edge over a real witness."""

    def __init__(self, store):
        self.store = store

    async def read(self, timeout_s):
        """The last sequence and record."""
        last = await self.store.read(timeout_s)
        return last.seq, last.record

    async def write(self, one, expect, timeout_s):
        """The new sequence, or RecordChanged."""
        return await self.store.write(one, expect, timeout_s)


@contextlib.asynccontextmanager
async def witness(folder):
    """A server with the stream, a link, and a store that knows hub a's key."""
    with NatsServer(folder / "witness") as server:
        link = Link("witness", [server.url], identity="a", login_seed="", policy=QUICK, clock=SystemClock())
        store = LeaseStore(link, "core", signer(SEED), {"a": public_of(SEED)}.get)
        running = asyncio.create_task(link.run())
        try:
            await until(lambda: link.is_connected)
            await create_stream(link, LEASE.config(1 << 20, "life-1"))
            yield server, link, store
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def contract(store) -> None:
    """Empty, stored, refused, unchanged by a refusal, stored again."""
    assert await store.read(1.0) == (0, None)
    first = await store.write(record(1), 0, 1.0)
    with pytest.raises(RecordChanged):
        await store.write(record(2), 0, 1.0)
    assert await store.read(1.0) == (first, record(1))
    second = await store.write(record(2), first, 1.0)
    assert second > first
    assert await store.read(1.0) == (second, record(2))


async def test_the_model_keeps_the_contract():
    """What simulations run over."""
    await contract(Rows())


async def test_the_witness_keeps_the_contract(tmp_path):
    """What hubs run over."""
    async with witness(tmp_path) as (_, _, store):
        await contract(Real(store))


async def test_a_record_that_its_holder_did_not_sign_is_foreign(tmp_path):
    """Unsigned, signed by another, naming an unknown holder, or no record at all."""
    async with witness(tmp_path) as (_, link, store):
        subject = "ops.lease.core"
        wrong = signer(OTHER).sign("hubdeck-lease-v1", subject, encode(record(1)))
        seq = 0
        for body, signature in (
            (encode(record(1)), ""),
            (encode(record(1)), wrong),
            (encode(record(1, "x")), ""),
            (b"+ACK", ""),
        ):
            seq = (await publish_expecting(link, LEASE.name, subject, body, seq, signature, 1.0)).seq
            last = await store.read(1.0)
            assert (last.seq, last.record, last.foreign) == (seq, None, True)


async def test_a_claim_does_not_leave_over_another_connection(tmp_path):
    """It rests on a wait that was made on the former one."""
    async with witness(tmp_path) as (server, link, store):
        await store.write(record(1), 0, 1.0)
        before = store.connection
        await asyncio.to_thread(server.restart, kill=True)
        await until(lambda: link.is_connected and store.connection > before)
        with pytest.raises(NotStored):
            await store.write(record(2), 1, 1.0, before)
        assert await store.write(record(2), 1, 1.0, store.connection) == 2


async def test_a_dead_witness_is_surely_not_written_and_a_frozen_one_leaves_the_outcome_open(tmp_path):
    """NotStored only where nothing can be stored later."""
    async with witness(tmp_path) as (server, link, store):
        await store.write(record(1), 0, 1.0)
        server.freeze()
        with pytest.raises(HubagentError) as unknown:
            await store.write(record(2), 1, 0.2)
        assert not isinstance(unknown.value, NotStored | RecordChanged)
        server.kill()
        await until(lambda: not link.is_connected)
        with pytest.raises(NotStored):
            await store.write(record(2), 1, 0.2)
