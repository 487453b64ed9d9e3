"""The one-shot release of a lease whose hub agent died: only after its active services have stopped."""

from typing import Protocol

import msgspec

from hubagent.core.outcome import Outcome
from hubagent.edges.lease_store import LastRecord, NotStored, RecordChanged
from hubagent.errors import HubagentError
from hubagent.wire.leases import LeaseRecord

RELEASE_S = 1.0


class Store(Protocol):
    """What is needed of the lease store."""

    async def read(self, timeout_s: float) -> LastRecord:
        """The last record."""
        ...

    async def write(self, record: LeaseRecord, expect: int, timeout_s: float, connection: int | None = None) -> int:
        """Compare and set."""
        ...


async def release_once(store: Store, hub: str, epoch: int) -> Outcome:
    """Write `released` for the epoch that died, and for no other: an agent that is back has a higher one.

    The caller vouches that nothing of that epoch runs any more on this hub.
    """
    try:
        last = await store.read(RELEASE_S)
        refusal = _refusal(last.record, hub, epoch)
        if refusal or last.record is None:
            return Outcome(ok=False, gate="lease-held", why=refusal)
        await store.write(_released(last.record, hub), last.seq, RELEASE_S, last.connection)
    except (RecordChanged, NotStored) as error:
        return Outcome(ok=False, gate="release", why=str(error))
    except HubagentError as error:
        return Outcome(ok=False, gate="release", why=f"unknown: {error}")
    return Outcome(ok=True)


def _refusal(record: LeaseRecord | None, hub: str, epoch: int) -> str:
    if record is None:
        return "the witness shows no record"
    if (record.holder, record.epoch) != (hub, epoch):
        return f"{record.holder} holds epoch {record.epoch}, not {hub} epoch {epoch}"
    return "it is released already" if record.state == "released" else ""


def _released(record: LeaseRecord, hub: str) -> LeaseRecord:
    """Armed groups go to the next member at once; others wait for their hub or for a person."""
    moves = record.auto == "armed" and not record.maintenance
    successor = next((member for member in record.members if member != hub), "") if moves else ""
    return msgspec.structs.replace(record, state="released", successor=successor)
