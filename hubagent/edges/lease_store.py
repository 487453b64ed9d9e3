"""One group's lease record on the witness: leader-served reads and compare-and-set, signed and verified."""

from collections.abc import Callable
from dataclasses import dataclass

from hubagent.edges.jetstream import last_message, publish_expecting
from hubagent.edges.nats_link import Link
from hubagent.errors import HubagentError, JetStreamError, LinkDown, NoResponders, NotAllowed
from hubagent.wire import subjects
from hubagent.wire.codec import WireError, decode, encode
from hubagent.wire.leases import LeaseRecord
from hubagent.wire.signing import LEASE, Signer, verify
from hubagent.wire.streams import LEASE as LEASE_STREAM

WRONG_SEQUENCE = frozenset({10071, 10164})  # err_codes: another last sequence than expected
RECORD_BYTES_MAX = 64 << 10


@dataclass
class RecordChanged(HubagentError):
    """The compare-and-set met another sequence: somebody else wrote."""

    group: str

    def __str__(self) -> str:
        return f"the lease record of {self.group} was changed meanwhile"


@dataclass
class NotStored(HubagentError):
    """The record was surely not stored, and never will be by this attempt."""

    group: str
    cause: str

    def __str__(self) -> str:
        return f"the lease record of {self.group} was not stored: {self.cause}"


@dataclass(frozen=True, slots=True)
class LastRecord:
    """What the store shows; `foreign`: there is a message, but no valid record by a member."""

    seq: int
    record: LeaseRecord | None
    connection: int
    foreign: bool = False


class LeaseStore:
    """The record of one group over one link; `connection` counts the lives of that link."""

    def __init__(self, link: Link, group: str, signer: Signer, key_of: Callable[[str], str | None]) -> None:
        self.connection = 0
        self._link, self._group, self._signer, self._key_of = link, group, signer, key_of
        self._subject = subjects.lease(group)
        self._last: tuple[bytes, str | None, str | None, LeaseRecord] | None = None
        link.on_change(self._changed)

    def _changed(self, is_up: bool) -> None:
        self.connection += is_up

    async def read(self, timeout_s: float) -> LastRecord:
        """The last record, or the link's own errors."""
        connection = self.connection
        message = await last_message(self._link, LEASE_STREAM.name, self._subject, timeout_s)
        if connection != self.connection:
            raise LinkDown(self._link.server)  # an answer must not span two lives of the link
        if message is None:
            return LastRecord(0, None, connection)
        record = self._verified(message.payload, message.signature)
        return LastRecord(message.seq, record, connection, foreign=record is None)

    async def write(self, record: LeaseRecord, expect: int, timeout_s: float, connection: int | None = None) -> int:
        """The new sequence; RecordChanged or NotStored when surely not; any other error leaves the outcome unknown."""
        if connection not in (None, self.connection):
            raise NotStored(self._group, "the link was made anew")
        body = encode(record)
        signature = self._signer.sign(LEASE, self._subject, body)
        try:
            stored = await publish_expecting(
                self._link, LEASE_STREAM.name, self._subject, body, expect, signature, timeout_s
            )
        except JetStreamError as error:
            if error.code in WRONG_SEQUENCE:
                raise RecordChanged(self._group) from error
            raise
        except (LinkDown, NoResponders, NotAllowed) as error:
            raise NotStored(self._group, str(error)) from error
        return stored.seq

    def _verified(self, payload: bytes, signature: str | None) -> LeaseRecord | None:
        """The record if its holder signed it; the same bytes under the same key are not verified twice."""
        last = self._last
        if last and last[:2] == (payload, signature) and last[2] == self._key_of(last[3].holder):
            return last[3]
        try:
            record = decode(payload, LeaseRecord, RECORD_BYTES_MAX)
        except WireError:
            return None
        key = self._key_of(record.holder)
        is_ours = record.group == self._group and key is not None
        if not (is_ours and key and verify(key, LEASE, self._subject, payload, signature)):
            return None
        self._last = (payload, signature, key, record)
        return record
