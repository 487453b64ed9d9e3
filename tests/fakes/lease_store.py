"""A lease store without a server: rows that can be rolled back and emptied, and the face of the real edge over them."""

from dataclasses import dataclass, field

from hubagent.wire.leases import LeaseRecord

HISTORY_MAX = 200


@dataclass
class LeaseRows:
    """What the store keeps; `life` changes with each restart, as a connection to it does."""

    seq: int = 0
    record: LeaseRecord | None = None
    life: int = 1
    is_up: bool = True
    is_lying: bool = False  # confirms every write, and forgets some
    history: list[tuple[int, LeaseRecord | None]] = field(default_factory=lambda: [(0, None)])

    def last(self) -> tuple[int, LeaseRecord | None]:
        """The last sequence and its record."""
        return self.seq, self.record

    def put(self, record: LeaseRecord, expect: int) -> int | None:
        """Compare and set: the new sequence, or None."""
        if expect != self.seq and not self.is_lying:
            return None
        self.seq, self.record = self.seq + 1, record
        self.history = [*self.history[-HISTORY_MAX:], (self.seq, record)]
        return self.seq

    def go_down(self) -> None:
        """The server ends; no connection survives it."""
        self.is_up = False
        self.life += 1

    def come_up(self) -> None:
        """The server is back with what it had."""
        self.is_up = True

    def roll_back(self, steps: int) -> None:
        """An older copy is put back."""
        self.life += 1
        self.history = self.history[: max(len(self.history) - steps, 1)]
        self.seq, self.record = self.history[-1]

    def empty(self) -> None:
        """The stream is made anew."""
        self.life += 1
        self.seq, self.record, self.history = 0, None, [(0, None)]
