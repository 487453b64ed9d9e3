"""Counting by number: what is there, twice, missing, declared; and what two copies say together."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from console.records import Span, Spans, Tally, state
from hubagent.wire.chunk import ZERO_HASH, Chunk

INC = 7


def chunk(n: int, *, inc: int = INC, prev: str = "", **more: object) -> Chunk:
    """A chunk of one record, chained to its number's predecessor."""
    facts = {"v": 1, "hub": "alpha", "inc": inc, "lane": "evt", "n": n, "boot": "b", "t0": n, "t1": n, "count": 1}
    return Chunk(**facts | {"prev": prev or (ZERO_HASH if n == 1 else f"h{n - 1}")} | more)


def tally(*numbers: int, **more: object) -> Tally:
    """These numbers in this order."""
    counted = Tally(**more)
    for seq, n in enumerate(numbers, 1):
        counted.take(seq, chunk(n), f"h{n}")
    return counted


def test_a_whole_stream_misses_nothing():
    """Every number once, in order, chained."""
    counted = tally(1, 2, 3)
    assert (counted.chunks, counted.records, counted.twice, counted.breaks, counted.out_of_order) == (3, 3, 0, 0, 0)
    assert list(counted.missing()) == []


def test_a_hole_is_missing_and_the_chain_is_not_blamed_for_it():
    """What is not there cannot be followed."""
    counted = tally(1, 4)
    assert list(counted.missing()) == [Span(INC, 2, 3)]
    assert counted.breaks == 0


def test_the_first_chunk_missing_counts_only_where_the_stream_begins():
    """A stream that expired its head, or a later moment, is not to blame."""
    assert list(tally(3, 4).missing()) == [Span(INC, 1, 2)]
    assert list(tally(3, 4, from_start=False).missing()) == []


def test_a_repeat_counts_as_twice_and_once_as_data():
    """The record in it is applied once."""
    counted = tally(1, 2, 2, 3)
    assert (counted.chunks, counted.records, counted.twice, counted.out_of_order) == (3, 3, 1, 1)


def test_a_substitute_declares_its_numbers():
    """Declared is not missing; the chain goes on from the hash that it names."""
    counted = tally(1)
    counted.take(2, chunk(2, kind="tombstone", n_to=4, hash="h4", reason="over budget"), "hs")
    counted.take(3, chunk(5), "h5")
    assert (len(counted.declared_spans()), list(counted.missing()), counted.breaks) == (3, [], 0)
    assert state("evt", [counted], Spans()).text == "evt: complete: 5 chunks accepted = 2 received + 3 declared lost"


def test_a_broken_chain_is_found():
    """A server that rewrites one chunk changes its hash."""
    counted = tally(1, 2)
    counted.take(3, chunk(3, prev="other"), "h3")
    assert counted.breaks == 1


def test_a_later_incarnation_begins_at_one():
    """Numbers of one incarnation say nothing of another's."""
    counted = tally(1, 2)
    counted.take(3, chunk(3, inc=INC + 1), "x3")
    assert list(counted.missing()) == [Span(INC + 1, 1, 2)]
    assert counted.out_of_order == 0


def test_copies_are_merged_by_number_and_data_wins_over_a_substitute():
    """A hole of one copy is filled by the other."""
    central, edge = tally(1, 2, 5), tally(1)
    edge.take(2, chunk(2, kind="tombstone", n_to=4, hash="h4", reason="shed"), "hs")
    edge.take(3, chunk(5), "h5")
    both = state("evt", [central, edge], Spans())
    assert (both.accepted, both.received, len(both.declared), both.is_complete) == (5, 3, 2, True)


def test_what_the_hub_refills_counts_as_received():
    """A hole of both copies that the hub still keeps is none in the statement, and said."""
    both = state("evt", [tally(1, 4), tally(1, 4)], Spans([Span(INC, 2, 2)]))
    assert (both.received, both.refilled, list(both.missing)) == (2, 1, [Span(INC, 3, 3)])
    assert both.text == (
        "evt: NOT complete: 4 chunks accepted = 3 received (1 of them from the hub itself) + 0 declared lost"
        " + 1 missing (7/3-3)"
    )


def test_copies_that_differ_are_counted():
    """The same number with other bytes is a fault of one of them."""
    one, other = tally(1, 2, keeps_digests=True), tally(1, keeps_digests=True)
    other.take(2, chunk(2), "else")
    assert state("evt", [one, other], Spans()).differing == 1


def test_no_stream_at_all_states_nothing():
    """Nothing accepted, nothing missing."""
    assert state("met", [], Spans()).text == "met: complete: 0 chunks accepted = 0 received + 0 declared lost"


spans = some.lists(
    some.tuples(some.integers(1, 2), some.integers(1, 30), some.integers(0, 6)).map(
        lambda a: Span(a[0], a[1], a[1] + a[2])
    )
)


def numbers(of: Spans) -> set[tuple[int, int]]:
    """The plain set."""
    return {(span.inc, n) for span in of for n in range(span.n0, span.n1 + 1)}


@given(spans, spans)
def test_runs_of_numbers_behave_like_plain_sets(left, right):
    """Union, difference and membership against Python's own sets."""
    plain = [{(span.inc, n) for span in side for n in range(span.n0, span.n1 + 1)} for side in (left, right)]
    one, other = Spans(left), Spans(right)
    assert numbers(one) == plain[0]
    assert len(one) == len(plain[0])
    assert numbers(one.without(other)) == plain[0] - plain[1]
    assert all(one.holds(*key) == (key in plain[0]) for key in plain[0] | plain[1])
    assert all(
        after.n0 > before.n1 + 1 for before, after in zip(one, list(one)[1:], strict=False) if before.inc == after.inc
    )


@given(spans)
def test_adding_tells_how_many_were_there(items):
    """The count of repeats is exact."""
    have, plain = Spans(), set()
    for span in items:
        new = {(span.inc, n) for n in range(span.n0, span.n1 + 1)}
        assert have.add(span) == len(new & plain)
        plain |= new


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_runs_join_whatever_the_order(order):
    """Three numbers in a row are one run."""
    assert list(Spans(Span(INC, n, n) for n in order)) == [Span(INC, 1, 3)]
