"""Copies of a lane: equal, explained, different; by number and by hash."""

from console.copies import compare
from console.records import Span, Tally
from hubagent.wire.chunk import TOMBSTONE
from tests.unit.test_records import INC, chunk


def copy(*numbers: int, from_start: bool = True, **digests: str) -> Tally:
    """A copy with these numbers; negative ones stand for a substitute of that number."""
    counted = Tally(from_start=from_start, keeps_digests=True)
    for seq, n in enumerate(numbers, 1):
        if n < 0:
            counted.take(seq, chunk(-n, kind=TOMBSTONE, n_to=-n, reason="over budget", hash=f"h{-n}"), "")
        else:
            counted.take(seq, chunk(n), digests.get(f"d{n}", f"h{n}"))
    return counted


def test_equal_copies_are_equal():
    """By number and hash."""
    found = compare("met", {"central": copy(1, 2, 3), "edge": copy(1, 2, 3)})
    assert (found.state, found.compared, found.text) == ("equal", 3, "copies equal, 3 chunks")


def test_other_bytes_under_one_number_are_a_difference_that_nothing_explains():
    """The number is the same, the hash is not."""
    found = compare("met", {"central": copy(1, 2), "edge": copy(1, 2, d2="x")})
    assert found.state == "different"
    assert found.text == f"copies DIFFER: edge {INC}/2: other bytes (than on central)"


def test_a_number_missing_in_the_middle_is_a_difference():
    """Nothing stands for it."""
    found = compare("met", {"central": copy(1, 2, 3), "edge": copy(1, 3)})
    assert [(one.server, one.kind, one.span) for one in found.unexplained] == [("edge", "missing", Span(INC, 2, 2))]


def test_a_substitute_explains():
    """Shed for edge only."""
    found = compare("met", {"central": copy(1, 2, 3), "edge": copy(1, -2, 3)})
    assert found.state == "explained"
    assert found.text == f"copies differ, explained: edge {INC}/2: substitute (tombstone: over budget)"


def test_what_is_not_delivered_yet_is_no_fault_and_two_chunks_are_not_mentioned():
    """The streams are read one after the other."""
    assert compare("met", {"central": copy(1, 2, 3), "edge": copy(1)}).state == "equal"
    found = compare("met", {"central": copy(1, 2, 3, 4, 5), "edge": copy(1)})
    assert found.state == "explained"
    assert "edge" in found.text
    assert "not delivered yet" in found.text


def test_an_empty_copy_is_behind():
    """A new server."""
    found = compare("met", {"central": copy(1, 2, 3), "edge": copy()})
    assert [one.kind for one in found.differences] == ["not delivered yet"]


def test_an_expired_head_is_explained_only_where_the_copy_does_not_begin_at_the_beginning():
    """A stream that never dropped anything has to have number 1."""
    whole = copy(1, 2, 3, 4)
    assert compare("met", {"central": whole, "edge": copy(3, 4, from_start=False)}).state == "explained"
    assert compare("met", {"central": whole, "edge": copy(3, 4)}).state == "different"


def test_foreign_messages_are_said_and_change_nothing():
    """They are no chunks."""
    strange = copy(1, 2)
    strange.take_foreign(7)
    found = compare("met", {"central": strange, "edge": copy(1, 2)})
    assert found.state == "equal"
    assert found.text == "copies equal, 2 chunks; 1 messages of others on central left out"


def test_one_server_is_no_comparison():
    """And a server that could not be read is said."""
    assert compare("met", {"central": copy(1)}).state == "unknown"
    found = compare("met", {"central": copy(1)}, {"edge": "no answer"})
    assert "edge could not be read: no answer" in found.text
