"""Records become chunks: numbered, chained, signed, immutable."""

import msgspec
import pytest

from hubagent.core.chunking import (
    ChunkPolicy,
    Gap,
    LaneLog,
    chain_hash,
    columns_of,
    columns_text,
    record_marks,
    renumbered,
    substitute,
)
from hubagent.wire import subjects
from hubagent.wire.chunk import TOMBSTONE, Chunk, open_chunk, sign_chunk_hash
from hubagent.wire.signing import ZERO_HASH, payload_hash, seed_from, signer

KEY = signer(seed_from(b"k" * 32))


def sign(lane, digest):
    return sign_chunk_hash(KEY, subjects.ops(lane, "alpha"), digest)


def lane_log(lane="met", **changes) -> LaneLog:
    options = {"inc": 7, "n": 0, "prev": ZERO_HASH, "sign": sign, "policy": ChunkPolicy(5.0, 8192)} | changes
    return LaneLog("alpha", lane, "boot", **options)


def opened(closed) -> Chunk:
    chunk = open_chunk(KEY.public, subjects.ops(closed.lane, "alpha"), closed.payload, closed.sig)
    assert chunk is not None
    return chunk


def test_chunks_are_numbered_from_one_and_chained_by_hash():
    """prev is the hash of the payload before it."""
    log = lane_log()
    log.add(b"[1,1,1]", 1.0, 0.0, ("t", "mono", "x"))
    first = log.close()
    log.add(b"[2,2,2]", 2.0, 1.0, ("t", "mono", "x"))
    second = log.close()
    assert (first.n, first.prev, second.n, second.prev) == (1, ZERO_HASH, 2, payload_hash(first.payload))
    assert opened(second).recs == [[2, 2, 2]]
    assert opened(second).cols == ["t", "mono", "x"]


def test_changed_columns_close_the_chunk():
    """The columns stand once in a chunk."""
    log = lane_log()
    assert log.add(b"[1,1,1]", 1.0, 0.0, ("t", "mono", "x")) is None
    closed = log.add(b"[2,2,2]", 2.0, 0.0, ("t", "mono", "y"))
    assert opened(closed).cols == ["t", "mono", "x"]


def test_chunk_is_due_by_age_and_closed_by_size():
    """5 s or 256 KiB."""
    log = lane_log()
    log.add(b"[1,1,1]", 1.0, 10.0, ("x",))
    assert not log.is_due(14.9)
    assert log.is_due(15.0)
    assert log.add(b"[" + b" " * 8190 + b"]", 1.0, 10.0, ("x",)) is not None


def test_failed_commit_is_undone_and_the_number_is_not_used_up():
    """Accepted is only what the commit kept."""
    log = lane_log()
    log.add(b"[1,1,1]", 1.0, 0.0, ("x",))
    before = log.checkpoint()
    log.add(b"[2,2,2]", 2.0, 0.0, ("x",))
    assert log.close().count == 2
    log.restore(before)
    closed = log.close()
    assert (closed.n, closed.count) == (1, 1)


def test_new_incarnation_numbers_from_one_and_keeps_the_chain():
    """prev of n = 1 is the last chunk of the incarnation before."""
    log = lane_log()
    log.add(b"[1,1,1]", 1.0, 0.0)
    last = log.close()
    log.reincarnate(9)
    log.add(b"[2,2,2]", 1.0, 0.0)
    first = log.close()
    assert (first.inc, first.n, first.prev) == (9, 1, last.hash)
    with pytest.raises(AssertionError):
        log.reincarnate(9)


def test_substitute_carries_the_hash_that_the_chain_goes_on_from():
    """It stands for n…n_to, signed like a chunk."""
    gap = Gap("met", 7, 3, 9, TOMBSTONE, "over budget", "p" * 64, "h" * 64, 40, 1.0, 2.0)
    closed = substitute("alpha", "boot", gap, sign)
    chunk = opened(closed)
    assert (chunk.n, chunk.last, chunk.count, chunk.reason) == (3, 9, 40, "over budget")
    assert chain_hash(chunk, closed.payload) == "h" * 64


def test_renumbered_chunk_has_the_same_records_under_a_new_number():
    """The old number is taken by other bytes."""
    log = lane_log()
    log.add(b'{"a":1}', 1.0, 0.0)
    old = log.close()
    (new,) = renumbered(old.payload, 8, 1, "p" * 64, sign)
    assert (opened(new).recs, opened(new).inc, opened(new).n) == (opened(old).recs, 8, 1)


def test_columns_survive_beside_open_records():
    """A restart closes the chunk with the right columns."""
    assert columns_of(columns_text(("t", "disk[/var].used"))) == ("t", "disk[/var].used")
    assert columns_of(columns_text(None)) is None


def test_numbers_that_json_cannot_hold_become_null():
    """A sensor's NaN must not make a chunk unreadable."""
    assert msgspec.json.encode([float("nan"), float("inf")]) == b"[null,null]"


def test_renumbered_chunk_is_cut_where_a_destination_holds_a_part_of_it():
    """What is held and what is not must not share a number: one of them is sent, the other is not."""
    log = lane_log()
    for value in range(4):
        log.add(b'{"a":%d}' % value, float(value), 0.0)
    old = log.close()
    marks = record_marks(old.payload)
    pieces = renumbered(old.payload, 8, 5, "p" * 64, sign, {marks[0], marks[2]})
    assert [[rec["a"] for rec in opened(one).recs] for one in pieces] == [[0], [1], [2], [3]]
    assert [(one.n, one.count) for one in pieces] == [(5, 1), (6, 1), (7, 1), (8, 1)]
    assert [one.prev for one in pieces] == ["p" * 64, *(one.hash for one in pieces[:-1])]
    assert [one.count for one in renumbered(old.payload, 8, 5, "p" * 64, sign, {marks[0], marks[1]})] == [2, 2]


def test_records_that_come_together_make_the_same_chunks_as_one_by_one():
    """At once where they fit, one by one where a chunk has to be closed between them."""
    for count in (0, 1, 5, 40):
        raws = [b'{"data":{"id":%d,"x":"%s"}}' % (n, b"y" * 300) for n in range(count)]
        times = [100.0 - n for n in range(count)]
        together, single = lane_log("evt"), lane_log("evt")
        closed = together.extend(raws[:2], times[:2], 1.0) + together.extend(raws[2:], times[2:], 1.0)
        alone = [one for n, raw in enumerate(raws) if (one := single.add(raw, times[n], 1.0))]
        assert closed == alone
        assert bool(closed) == (count == 40)
        assert together.due_at() == 6.0 if count else together.is_empty
        assert together.close() == single.close()
