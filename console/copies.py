"""Whether the copies of a lane are equal, by number and hash; what differs, and why; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from console.records import Declared, Span, Spans, Tally, union

IN_STEP_CHUNKS = 2  # two streams are never read in the same instant
SAID_MAX = 3  # differences that the one line names

MISSING, BYTES = "missing", "other bytes"  # nothing explains these
SUBSTITUTE, BEHIND, OLDER = "substitute", "not delivered yet", "older than this copy"


class Difference(NamedTuple):
    """Numbers that one server has not, or has otherwise than another, and why."""

    server: str
    kind: str
    span: Span
    why: str = ""

    @property
    def is_explained(self) -> bool:
        """Tell whether this is as it should be."""
        return self.kind in {SUBSTITUTE, BEHIND, OLDER}

    @property
    def text(self) -> str:
        """In words."""
        numbers = f"{self.span.inc}/{self.span.n0}" + (f"-{self.span.n1}" if self.span.size > 1 else "")
        return f"{self.server} {numbers}: {self.kind}" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One lane of one hub on several servers."""

    lane: str
    servers: tuple[str, ...]
    compared: int
    differences: tuple[Difference, ...] = ()
    foreign: tuple[tuple[str, int], ...] = ()
    unread: tuple[tuple[str, str], ...] = ()

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        """What nothing explains."""
        return tuple(one for one in self.differences if not one.is_explained)

    @property
    def state(self) -> str:
        """`equal`, `explained`, `different`, or `unknown` where not all could be read."""
        if self.unexplained:
            return "different"
        if self.unread or len(self.servers) < 2:
            return "unknown"
        return "explained" if self.differences else "equal"

    @property
    def text(self) -> str:
        """The one line that people read."""
        strangers = [f"{count} messages of others on {server} left out" for server, count in self.foreign]
        unread = [f"{server} could not be read: {why}" for server, why in self.unread]
        rest = "".join(f"; {one}" for one in (*strangers, *unread))
        if self.state == "equal":
            return f"copies equal, {self.compared} chunks" + rest
        if self.state == "unknown":
            single = "" if self.unread else "; only one server is known"
            return f"copies not compared{single}" + rest
        shown = self.unexplained or self.differences
        more = f" and {len(shown) - SAID_MAX} more" if len(shown) > SAID_MAX else ""
        word = "copies DIFFER" if self.unexplained else "copies differ, explained"
        return f"{word}: {', '.join(one.text for one in shown[:SAID_MAX])}{more}{rest}"


def compare(
    lane: str, copies: Mapping[str, Tally], unread: Mapping[str, str] | None = None, *, is_window: bool = False
) -> Comparison:
    """Hold the copies against each other; every tally keeps digests.

    `is_window`: only a piece of each was read, so what lies before one's first number says nothing.
    """
    everything = union(copies.values())
    found = [one for server, copy in copies.items() for one in _lacks(server, copy, everything)]
    found = [one for one in found if not (is_window and one.kind == OLDER)]
    compared, other_bytes = _bytes(copies)
    foreign = tuple((server, copy.foreign) for server, copy in copies.items() if copy.foreign)
    return Comparison(lane, tuple(copies), compared, (*other_bytes, *found), foreign, tuple((unread or {}).items()))


def common(copies: Iterable[Tally]) -> set[tuple[int, int]]:
    """The numbers that every copy has with the same bytes: settled for good."""
    first, *others = copies
    return {key for key, digest in first.digests.items() if all(one.digests.get(key) == digest for one in others)}


def _lacks(server: str, copy: Tally, everything: Spans) -> Iterable[Difference]:
    lacking = everything.without(copy.data)
    for one in copy.declared:
        for span in _both(lacking, Spans([one.span])):
            yield Difference(server, SUBSTITUTE, span, _cause(one))
    lacking = lacking.without(copy.declared_spans())
    behind, older = _behind(lacking, copy), _older(lacking, copy)
    if len(behind) > IN_STEP_CHUNKS:
        yield from (Difference(server, BEHIND, span) for span in behind)
    yield from (Difference(server, OLDER, span) for span in older)
    yield from (Difference(server, MISSING, span) for span in lacking.without(Spans([*behind, *older])))


def _cause(one: Declared) -> str:
    return f"{one.kind}: {one.reason}" if one.reason else one.kind


def _both(left: Spans, right: Spans) -> Spans:
    return left.without(left.without(right))


def _behind(lacking: Spans, copy: Tally) -> Spans:
    """What lies after the copy's last number."""
    inc, n = copy.last()
    after = (span if span.inc > inc else span._replace(n0=max(span.n0, n + 1)) for span in lacking if span.inc >= inc)
    return Spans(span for span in after if span.n0 <= span.n1)


def _older(lacking: Spans, copy: Tally) -> Spans:
    """What lies before the copy's first number, where the copy does not claim to begin at the beginning."""
    if copy.from_start or copy.last() == (0, 0):
        return Spans()
    inc, n = min((span.inc, span.n0) for span in (*copy.data, *copy.declared_spans()))
    before = (span if span.inc < inc else span._replace(n1=min(span.n1, n - 1)) for span in lacking if span.inc <= inc)
    return Spans(span for span in before if span.n0 <= span.n1)


def _bytes(copies: Mapping[str, Tally]) -> tuple[int, list[Difference]]:
    """How many numbers several copies have, and those with other bytes."""
    known: dict[tuple[int, int], tuple[str, str]] = {}
    compared: set[tuple[int, int]] = set()
    found = []
    for server, copy in copies.items():
        for (inc, n), digest in copy.digests.items():
            first, theirs = known.setdefault((inc, n), (server, digest))
            if first == server:
                continue
            compared.add((inc, n))
            if theirs != digest:
                found.append(Difference(server, BYTES, Span(inc, n, n), f"than on {first}"))
    return len(compared), found
