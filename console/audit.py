"""Walks a hub's audit in stream order and names the first entry that was altered, is missing or stands wrong; pure."""

from dataclasses import dataclass, field

from hubagent.wire.chunk import DATA, Chunk

ALTERED, MISSING, MISPLACED, BROKEN, REPEATED = "altered", "missing", "misplaced", "broken", "repeated"


@dataclass(frozen=True, slots=True)
class Finding:
    """One entry that is not as the hub wrote it; `seq` is the message in the stream, 0 where there is none."""

    kind: str
    inc: int
    n: int
    seq: int
    text: str


@dataclass(slots=True)
class Walk:
    """One server's copy. `from_start`: the stream still has its beginning, so the first chunk must be number 1."""

    from_start: bool = True
    chunks: int = 0
    records: int = 0
    declared: int = 0
    foreign: int = 0
    first: Finding | None = None
    last: tuple[int, int] = (0, 0)
    digests: dict[tuple[int, int], str] = field(default_factory=dict)
    substitutes: list[tuple[int, int, int]] = field(default_factory=list)
    _chain: str = ""  # what the next data chunk has to name; empty where it cannot be known
    _unsigned: list[int] = field(default_factory=list)  # since the last entry of the hub's own

    def take_foreign(self, seq: int) -> None:
        """A message that this hub did not sign: planted, or an entry that was altered; what follows tells."""
        self.foreign += 1
        self._unsigned.append(seq)

    def take(self, seq: int, chunk: Chunk, digest: str) -> None:
        """A message that this hub signed."""
        self._judge(seq, chunk, digest)
        if chunk.kind == DATA:
            self.chunks += 1
            self.records += chunk.count
            self.digests[chunk.inc, chunk.n] = digest
        else:
            self.declared += chunk.last - chunk.n + 1
            self.substitutes.append((chunk.inc, chunk.n, chunk.last))
        self._chain = digest if chunk.kind == DATA else chunk.hash
        self.last = max(self.last, (chunk.inc, chunk.last))
        self._unsigned = []

    def end(self, acked_n: int) -> None:
        """The end of the stream: the hub says that this server acknowledged everything up to this number."""
        inc, n = self.last
        if n < acked_n:
            self._gap(inc, n + 1, acked_n, "the hub had it acknowledged")

    def compare(self, server: str, other: "Walk") -> None:
        """Two copies that both carry the hub's signature and differ: the hub itself said two things."""
        for (inc, n), digest in self.digests.items():
            if other.digests.get((inc, n), digest) != digest:
                self._found(ALTERED, inc, n, 0, f"entry {inc}/{n} is another one on {server}, both signed by the hub")
                return
        first = min(self.digests, default=(0, 0))
        for inc, n in sorted(other.digests.keys() - self.digests.keys()):
            if first <= (inc, n) <= self.last and not self._declares(inc, n):
                self._found(MISSING, inc, n, 0, f"entry {inc}/{n} is missing: it is on {server}")
                return

    def _declares(self, inc: int, n: int) -> bool:
        return any(inc == known and n0 <= n <= n1 for known, n0, n1 in self.substitutes)

    def _judge(self, seq: int, chunk: Chunk, digest: str) -> None:
        inc, n = self.last
        if (chunk.inc, chunk.n) <= self.last:
            known = self.digests.get((chunk.inc, chunk.n))
            kind, words = (REPEATED, "a second time") if known == digest else (MISPLACED, f"after {inc}/{n}")
            self._found(kind, chunk.inc, chunk.n, seq, f"message {seq}: entry {chunk.inc}/{chunk.n} {words}")
            return
        is_same = chunk.inc == inc
        begins = inc or self.from_start  # the first entry of a stream that was cut may have any number
        expected = n + 1 if is_same else 1
        if begins and chunk.n > expected:
            self._gap(chunk.inc, expected, chunk.n - 1, "")
        elif is_same and chunk.kind == DATA and self._chain and chunk.prev != self._chain:
            text = f"message {seq}: entry {chunk.inc}/{chunk.n} does not name the entry before it"
            self._found(BROKEN, chunk.inc, chunk.n, seq, text)

    def _gap(self, inc: int, n0: int, n1: int, why: str) -> None:
        span = f"{inc}/{n0}" + (f" to {n1}" if n1 > n0 else "")
        if self._unsigned:
            seq = self._unsigned[0]
            text = f"message {seq}, where entry {span} belongs, is not as the hub signed it"
            self._found(ALTERED, inc, n0, seq, text)
        else:
            self._found(MISSING, inc, n0, 0, f"entry {span} is missing" + (f": {why}" if why else ""))

    def _found(self, kind: str, inc: int, n: int, seq: int, text: str) -> None:
        self.first = self.first or Finding(kind, inc, n, seq, text)
