"""`hubdeck audit verify`: the first entry that is altered, missing or misplaced is named."""

import pytest

from console.audit import ALTERED, BROKEN, MISPLACED, MISSING, REPEATED, Walk
from hubagent.wire.chunk import LOST_RANGE, ZERO_HASH, Chunk


def entries(count: int, inc: int = 1) -> list[tuple[Chunk, str]]:
    """A chain of chunks with their hashes."""
    made, prev = [], ZERO_HASH
    for n in range(1, count + 1):
        made.append((Chunk(1, "alpha", inc, "evt", n, prev, "b", 0, 0, 2), f"hash-{inc}-{n}"))
        prev = f"hash-{inc}-{n}"
    return made


def walked(stream, *, from_start: bool = True) -> Walk:
    """A walk over (chunk, hash) pairs; None stands for a message that the hub did not sign."""
    walk = Walk(from_start=from_start)
    for seq, one in enumerate(stream, 1):
        if one is None:
            walk.take_foreign(seq)
        else:
            walk.take(seq, *one)
    return walk


def test_a_whole_chain_is_whole_over_incarnations_and_substitutes():
    """Nothing is found where nothing is wrong; what was declared is counted."""
    lost = (Chunk(1, "alpha", 2, "evt", 4, "", "b", 0, 0, 6, kind=LOST_RANGE, n_to=6, hash="hash-2-6"), "x")
    last = (Chunk(1, "alpha", 2, "evt", 7, "hash-2-6", "b", 0, 0, 1), "hash-2-7")
    walk = walked([*entries(4), *entries(3, inc=2), lost, last])
    walk.end(7)
    assert walk.first is None
    assert (walk.chunks, walk.declared, walk.last) == (8, 3, (2, 7))


def test_a_stream_that_was_cut_at_its_age_may_begin_anywhere():
    """Retention takes the oldest; that is no missing entry."""
    assert walked(entries(9)[4:], from_start=False).first is None
    assert walked(entries(9)[4:]).first.kind == MISSING


@pytest.mark.parametrize(
    ("stream", "kind", "n", "seq"),
    [
        ([*entries(2), *entries(5)[3:]], MISSING, 3, 0),
        ([*entries(2), None, *entries(5)[3:]], ALTERED, 3, 3),
        ([*entries(3), entries(3)[1]], REPEATED, 2, 4),
        ([*entries(3), (Chunk(1, "alpha", 1, "evt", 2, "", "b", 0, 0, 1), "other")], MISPLACED, 2, 4),
        ([*entries(2), (Chunk(1, "alpha", 1, "evt", 3, "other", "b", 0, 0, 1), "x")], BROKEN, 3, 3),
    ],
)
def test_the_first_entry_that_is_wrong_is_named(stream, kind, n, seq):
    """Kind, number, and the message where there is one."""
    first = walked(stream).first
    assert (first.kind, first.n, first.seq) == (kind, n, seq)
    assert f"1/{n}" in first.text


def test_a_planted_message_is_counted_and_is_no_alteration():
    """It stands between two entries that follow each other."""
    walk = walked([*entries(2), None, *entries(4)[2:]])
    assert (walk.first, walk.foreign) == (None, 1)


def test_a_cut_end_is_found_by_what_the_hub_had_acknowledged():
    """The hub says that the server once had it."""
    walk = walked(entries(3))
    walk.end(5)
    assert (walk.first.kind, walk.first.n) == (MISSING, 4)
    altered = walked([*entries(3), None])
    altered.end(4)
    assert (altered.first.kind, altered.first.seq) == (ALTERED, 4)


def test_copies_that_differ_or_lack_an_entry_are_found():
    """Both signed by the hub, and yet not the same; and an incarnation's end that only one copy has."""
    one, other = (
        walked(entries(3)),
        walked([*entries(2), (Chunk(1, "alpha", 1, "evt", 3, "hash-1-2", "", 0, 0, 1), "x")]),
    )
    one.compare("edge", other)
    assert (one.first.kind, one.first.n) == (ALTERED, 3)
    short, whole = walked([*entries(2), *entries(2, inc=2)]), walked([*entries(3), *entries(2, inc=2)])
    short.compare("edge", whole)
    whole.compare("central", short)
    assert (short.first.kind, short.first.inc, short.first.n) == (MISSING, 1, 3)
    assert whole.first is None
