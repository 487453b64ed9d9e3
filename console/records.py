"""What a hub accepted, what each stream holds of it, and what is declared lost: counted by number, pure."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hubagent.wire.chunk import DATA, Chunk

FAULTS_MAX = 100  # chain breaks and the like that are kept in words; further ones are only counted


class Span(NamedTuple):
    """The numbers n0…n1 of one incarnation."""

    inc: int
    n0: int
    n1: int

    @property
    def size(self) -> int:
        """How many numbers."""
        return self.n1 - self.n0 + 1


@dataclass(frozen=True, slots=True)
class Declared:
    """A substitute: numbers that the hub declared lost, and why."""

    span: Span
    kind: str
    records: int
    reason: str


class Spans:
    """A set of numbers per incarnation, kept as runs; adding in order costs nothing."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._runs: dict[int, list[tuple[int, int]]] = {}
        for span in spans:
            self.add(span)

    def add(self, span: Span) -> int:
        """Add the numbers; how many of them were there already comes back."""
        runs = self._runs.setdefault(span.inc, [])
        if runs and runs[-1][1] + 1 == span.n0:
            runs[-1] = (runs[-1][0], span.n1)
            return 0
        already = sum(max(0, min(n1, span.n1) - max(n0, span.n0) + 1) for n0, n1 in runs)
        self._merge(runs, span)
        return already

    def __iter__(self) -> Iterator[Span]:
        return (Span(inc, n0, n1) for inc in sorted(self._runs) for n0, n1 in self._runs[inc])

    def __len__(self) -> int:
        return sum(span.size for span in self)

    def holds(self, inc: int, n: int) -> bool:
        """Tell whether this number is in the set."""
        runs = self._runs.get(inc, [])
        index = bisect_right(runs, (n, float("inf"))) - 1
        return index >= 0 and runs[index][0] <= n <= runs[index][1]

    def ends(self) -> dict[int, tuple[int, int]]:
        """The lowest and highest number of each incarnation."""
        return {inc: (runs[0][0], runs[-1][1]) for inc, runs in sorted(self._runs.items()) if runs}

    def without(self, other: "Spans") -> "Spans":
        """The numbers that the other set has not."""
        left = Spans()
        for span in self:
            n = span.n0
            for taken in (one for one in other if one.inc == span.inc and one.n1 >= span.n0 and one.n0 <= span.n1):
                if taken.n0 > n:
                    left.add(Span(span.inc, n, taken.n0 - 1))
                n = max(n, taken.n1 + 1)
            if n <= span.n1:
                left.add(Span(span.inc, n, span.n1))
        return left

    @staticmethod
    def _merge(runs: list[tuple[int, int]], span: Span) -> None:
        n0, n1, apart = span.n0, span.n1, []
        for run in runs:
            if run[1] + 1 < n0 or run[0] - 1 > n1:
                apart.append(run)
            else:
                n0, n1 = min(n0, run[0]), max(n1, run[1])
        runs[:] = sorted([*apart, (n0, n1)])


@dataclass(slots=True)
class Tally:
    """One lane of one hub in one stream, taken in the stream's order.

    `from_start`: the reading began at the stream's first message, and that stream never dropped any: then even number
    1 has to be there. `digests` are kept for comparing two copies.
    """

    from_start: bool = True
    keeps_digests: bool = False
    chunks: int = 0
    records: int = 0
    twice: int = 0
    out_of_order: int = 0
    foreign: int = 0
    breaks: int = 0
    data: Spans = field(default_factory=Spans)
    declared: list[Declared] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    digests: dict[tuple[int, int], str] = field(default_factory=dict)
    _last: tuple[int, int] = (0, 0)
    _chain: str = ""  # the hash that the next data chunk has to name; empty where it cannot be known

    def take_foreign(self, seq: int) -> None:
        """A message that no key of this hub signed: not a chunk."""
        self.foreign += 1
        self._fault(f"message {seq} is not signed by this hub")

    def take(self, seq: int, chunk: Chunk, digest: str) -> None:
        """A verified chunk or substitute."""
        if (chunk.inc, chunk.n) <= self._last:
            self.out_of_order += 1
            self._fault(f"message {seq}: {chunk.inc}/{chunk.n} after {self._last[0]}/{self._last[1]}")
        if chunk.kind == DATA:
            self._take_data(seq, chunk, digest)
        else:
            self.declared.append(Declared(Span(chunk.inc, chunk.n, chunk.last), chunk.kind, chunk.count, chunk.reason))
            self._chain = chunk.hash
        self._last = max(self._last, (chunk.inc, chunk.last))

    def _take_data(self, seq: int, chunk: Chunk, digest: str) -> None:
        repeated = self.data.add(Span(chunk.inc, chunk.n, chunk.n))
        if repeated:
            self.twice += 1
            self._fault(f"message {seq}: chunk {chunk.inc}/{chunk.n} a second time")
            return
        # Not across incarnations: a restored log begins anew, and its first chunk names what the hub had then.
        is_next = (chunk.inc, chunk.n) == (self._last[0], self._last[1] + 1)
        if self._chain and is_next and chunk.prev != self._chain:
            self.breaks += 1
            self._fault(f"message {seq}: chunk {chunk.inc}/{chunk.n} does not follow what is before it")
        self.chunks += 1
        self.records += chunk.count
        self._chain = digest
        if self.keeps_digests:
            self.digests[chunk.inc, chunk.n] = digest

    def declared_spans(self) -> Spans:
        """The numbers that substitutes stand for."""
        return Spans(one.span for one in self.declared)

    def missing(self) -> Spans:
        """The numbers that are neither there nor declared."""
        return holes([self], from_start=self.from_start)

    def last(self) -> tuple[int, int]:
        """The highest (incarnation, number) of the stream."""
        return self._last

    def _fault(self, text: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(text)


def union(tallies: Iterable[Tally]) -> Spans:
    """The numbers that are in any of the copies."""
    return Spans(span for tally in tallies for span in tally.data)


def holes(tallies: list[Tally], *, from_start: bool) -> Spans:
    """The numbers between the first and the last that no copy has and no substitute stands for."""
    known = Spans([*union(tallies), *(one.span for tally in tallies for one in tally.declared)])
    expected = Spans()
    for index, (inc, (first, last)) in enumerate(known.ends().items()):
        # A later incarnation begins at 1; the first one may have begun before the stream or the moment asked for.
        begin = 1 if from_start or index else first
        expected.add(Span(inc, begin, last))
    return expected.without(known)


@dataclass(frozen=True, slots=True)
class Statement:
    """The completeness statement of a lane over all copies: accepted = received + declared lost (+ missing)."""

    lane: str
    accepted: int
    received: int
    refilled: int
    declared: Spans
    missing: Spans
    differing: int
    causes: tuple[Declared, ...]

    @property
    def is_complete(self) -> bool:
        """Tell whether every accepted chunk is there or declared."""
        return not len(self.missing)

    @property
    def text(self) -> str:
        """The statement in words."""
        received = self.received + self.refilled
        hub = f" ({self.refilled} of them from the hub itself)" if self.refilled else ""
        lost = len(self.declared)
        words = f"{self.accepted} chunks accepted = {received} received{hub} + {lost} declared lost"
        if self.is_complete:
            return f"{self.lane}: complete: {words}"
        ranges = ", ".join(f"{span.inc}/{span.n0}-{span.n1}" for span in list(self.missing)[:5])
        return f"{self.lane}: NOT complete: {words} + {len(self.missing)} missing ({ranges})"


def state(lane: str, tallies: list[Tally], refilled: Spans) -> Statement:
    """Merge the copies by number: data wins over a substitute, what the hub refilled counts as received."""
    data = union(tallies)
    extra = refilled.without(data)
    missing = holes(tallies, from_start=all(tally.from_start for tally in tallies)).without(refilled)
    causes = tuple(one for tally in tallies for one in tally.declared)
    declared = Spans(one.span for one in causes).without(Spans([*data, *refilled]))
    accepted = len(data) + len(extra) + len(declared) + len(missing)
    return Statement(lane, accepted, len(data), len(extra), declared, missing, differing(tallies), causes)


def differing(tallies: list[Tally]) -> int:
    """How many chunks differ between copies that both have them."""
    known: dict[tuple[int, int], str] = {}
    count = 0
    for tally in tallies:
        for key, digest in tally.digests.items():
            count += known.setdefault(key, digest) != digest
    return count
