"""The one-shot release over a real witness."""

import pytest

from hubagent.loops.release import release_once
from tests.integration.test_lease_store import record, witness

pytestmark = pytest.mark.real


async def test_a_dead_epoch_is_released_to_the_next_member_and_no_other_epoch_is(tmp_path):
    """Released once; a second time, another epoch and another hub are refused."""
    async with witness(tmp_path) as (_, _, store):
        await store.write(record(3), 0, 1.0)
        assert (await release_once(store, "a", 2)).gate == "lease-held"
        assert (await release_once(store, "b", 3)).gate == "lease-held"
        assert (await release_once(store, "a", 3)).ok
        last = await store.read(1.0)
        assert (last.record.state, last.record.successor, last.record.epoch) == ("released", "", 3)
        assert "already" in (await release_once(store, "a", 3)).why


async def test_an_emptied_witness_is_not_written_to(tmp_path):
    """No record, no release."""
    async with witness(tmp_path) as (_, _, store):
        assert not (await release_once(store, "a", 1)).ok
        assert (await store.read(1.0)).record is None
