"""The history checker: what a stream holds against what a hub accepted; for simulated and real streams alike.

History of one lane of one hub, from the stream's messages in order:
check(messages, accepted, public=…, subject=…) → Verdict; `verdict.is_clean` or read its fields.

    python -m tests.support.history URL HUB --public KEY [--lane met] [--accepted FILE] [--login FILE --identity NAME] [--json]

reads a lane of a hub from a server and says what it finds; exit status 1 where it is not clean. FILE has the identities of
what was accepted, one JSON value a line; without it only order, chain, repetition and declared gaps are looked at.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hubagent.core.chunking import chain_hash
from hubagent.loops.chunk_log import SPARED
from hubagent.wire.chunk import DATA, Chunk, open_chunk
from hubagent.wire.signing import payload_hash
from tests.support import ledger


class Stored(NamedTuple):
    """One message as the stream has it."""

    payload: bytes
    signature: str | None
    seq: int = 0


@dataclass
class Verdict:
    """What was found. Only `lost` beyond `declared` is silent loss."""

    received: int = 0
    lost: list[Hashable] = field(default_factory=list)
    silent: list[Hashable] = field(default_factory=list)
    duplicate: list[Hashable] = field(default_factory=list)
    phantom: list[Hashable] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    foreign: int = 0
    declared: int = 0
    substitutes: list[Chunk] = field(default_factory=list)
    chunks: int = 0

    @property
    def is_clean(self) -> bool:
        """Nothing lost in silence, nothing twice, nothing out of order, nothing that nobody accepted."""
        return not (self.silent or self.duplicate or self.phantom or self.reordered or self.broken)

    def __str__(self) -> str:
        return (
            f"chunks {self.chunks}, received {self.received}, lost {len(self.lost)} (declared {self.declared}, "
            f"silent {self.silent[:5]}), duplicate {self.duplicate[:5]}, phantom {self.phantom[:5]}, "
            f"reordered {self.reordered[:5]}, broken {self.broken[:5]}, foreign {self.foreign}"
        )


def identity(record: Any) -> Hashable:
    """The unique value of a record of the tests: an event's data.id, a sample's first column."""
    return record.get("data", {}).get("id") if isinstance(record, dict) else record[2]


def check(
    messages: Iterable[Stored],
    accepted: Sequence[Hashable],
    *,
    public: str,
    subject: str,
    key: Callable[[Any], Hashable] = identity,
    bytes_of: dict[tuple[int, int], str] | None = None,
    where: Mapping[Hashable, Iterable[tuple[int, int]]] | None = None,
    expired: Iterable[Stored] = (),
    known: Container[Hashable] = (),
    reused: Callable[[tuple[int, int]], bool] = lambda _place: False,
) -> Verdict:
    """Hold the stream against what was accepted.

    `bytes_of`: hashes of (inc, n) seen elsewhere; grows. `where`: the chunks that each record ever stood in, so that a loss
    is declared only by a substitute for one of them. `expired`: what the stream once had. `known`: values that may be there
    or not. `reused`: whether a restored log may have given a number twice before it was found out.
    """
    verdict, counts = Verdict(), Counter[Hashable]()
    reader = _Chain(verdict, bytes_of if bytes_of is not None else {}, reused)
    opened = [open_chunk(public, subject, message.payload, message.signature) for message in expired]
    past = {key(record) for chunk in opened if chunk and chunk.kind == DATA for record in chunk.recs}
    verdict.substitutes += [chunk for chunk in opened if chunk and chunk.kind != DATA]
    verdict.declared += sum(chunk.count for chunk in verdict.substitutes)
    for message in messages:
        chunk = open_chunk(public, subject, message.payload, message.signature)
        if chunk is None:
            verdict.foreign += 1
            continue
        reader.take(chunk, message.payload)
        if chunk.kind == DATA:
            counts.update(value for record in chunk.recs if (value := key(record)) is not None)
    wanted = set(accepted)
    verdict.received = sum(counts[value] > 0 or value in past for value in wanted)
    verdict.lost = [value for value in accepted if not counts[value] and value not in past]
    verdict.duplicate = [value for value, count in counts.items() if count > 1]
    verdict.phantom = [value for value in counts if value not in wanted and value not in known]
    if where is None:
        verdict.silent = verdict.lost[verdict.declared :]
    else:
        causes = [one for one in verdict.substitutes if not one.reason.startswith(SPARED)]
        verdict.silent = [value for value in verdict.lost if not _is_declared(where.get(value, ()), causes)]
    ledger.looked(len(wanted), len(verdict.silent), len(verdict.duplicate), len(verdict.lost) - len(verdict.silent))
    return verdict


def _is_declared(places: Iterable[tuple[int, int]], substitutes: Sequence[Chunk]) -> bool:
    return any(one.inc == inc and one.n <= n <= one.last for inc, n in places for one in substitutes)


class _Chain:
    """Follows order, contiguity and hashes."""

    def __init__(
        self, verdict: Verdict, bytes_of: dict[tuple[int, int], str], reused: Callable[[tuple[int, int]], bool]
    ) -> None:
        self._verdict, self._bytes_of, self._reused = verdict, bytes_of, reused
        self._last: tuple[int, int] = (0, 0)
        self._hash = ""

    def take(self, chunk: Chunk, payload: bytes) -> None:
        verdict, place = self._verdict, (chunk.inc, chunk.n)
        verdict.chunks += 1
        if place <= self._last:
            verdict.reordered.append(f"{place} after {self._last}")
        elif chunk.inc == self._last[0] and chunk.n != self._last[1] + 1:
            verdict.broken.append(f"hole: {place} after {self._last}")
        if self._hash and chunk.prev != self._hash and chunk.kind == DATA and chunk.inc == self._last[0]:
            verdict.broken.append(f"chain: {place} does not follow {self._last}")
        if chunk.kind == DATA:
            digest = payload_hash(payload)
            if self._bytes_of.setdefault(place, digest) != digest and not self._reused(place):
                verdict.broken.append(f"two byte strings for {place}")
        else:
            verdict.substitutes.append(chunk)
            verdict.declared += chunk.count
        self._last, self._hash = (chunk.inc, chunk.last), chain_hash(chunk, payload)


def whole(record: Any) -> Hashable:
    """A record is its own identity where nobody says what was accepted."""
    return json.dumps(record, sort_keys=True)


def records(messages: Iterable[Stored], public: str, subject: str) -> list[Hashable]:
    """The identity of every record that the stream holds."""
    opened = [open_chunk(public, subject, message.payload, message.signature) for message in messages]
    return [whole(record) for chunk in opened if chunk and chunk.kind == DATA for record in chunk.recs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, check, print; 1 where the history is not clean."""
    from hubagent.wire import subjects
    from tests.support.hub import stored

    parser = argparse.ArgumentParser(prog="history", description="Check one lane of one hub on one server.")
    parser.add_argument("url")
    parser.add_argument("hub")
    parser.add_argument("--public", required=True, help="the hub's public signing key, as in the roster")
    parser.add_argument("--lane", default="met", choices=subjects.LANES)
    parser.add_argument("--accepted", type=Path, help="identities of what was accepted, one JSON value a line")
    parser.add_argument("--login", type=Path, help="a key file: the login seed on its first line")
    parser.add_argument("--identity", default="reader", help="whose key it is")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    seed = options.login.read_text().split()[0] if options.login else ""
    messages = asyncio.run(stored(options.url, options.lane, options.hub, identity=options.identity, seed=seed))
    subject = subjects.ops(options.lane, options.hub)
    if options.accepted:
        accepted, key = [json.loads(line) for line in options.accepted.read_text().splitlines()], identity
    else:
        accepted, key = records(messages, options.public, subject), whole
    verdict = check(messages, accepted, public=options.public, subject=subject, key=key)
    names = ("chunks", "received", "declared", "foreign")
    lists = ("lost", "silent", "duplicate", "phantom", "reordered", "broken")
    counted = {name: getattr(verdict, name) for name in names} | {name: len(getattr(verdict, name)) for name in lists}
    print(json.dumps({"clean": verdict.is_clean, **counted}) if options.json else str(verdict))
    return 0 if verdict.is_clean and not verdict.foreign else 1


if __name__ == "__main__":
    sys.exit(main())
