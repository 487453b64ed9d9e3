"""A restored log: new numbers, and for each destination by itself what it has already."""

from pathlib import Path

import pytest

from hubagent.core.chunking import ChunkPolicy, record_marks
from hubagent.edges.spool_store import CursorRow, GapRow, Store
from hubagent.loops import renumbering
from hubagent.loops.chunk_log import SPARED, ChunkLog, spared_place, spared_reason
from hubagent.loops.renumbering import (
    confirm,
    ends_between,
    is_ours,
    last_of,
    needs_settling,
    settle,
    uncompared,
    unspare,
)
from hubagent.wire import signing
from hubagent.wire.codec import decode
from hubagent.wire.signing import seed_from
from tests.fakes.clock import FakeClock

KEY = signing.signer(seed_from(b"k" * 32))
INC = 1000  # the clock's second at the first opening


class Log:
    """A chunk log over a store in memory."""

    def __init__(self) -> None:
        self.clock = FakeClock(5.0, float(INC))
        self.store = Store(Path(":memory:"))
        self.log = ChunkLog("alpha", "boot", KEY, ChunkPolicy(), self.clock)
        self.log.opened(self.store, "")
        self.clock.advance(50)

    def chunk(self, *values: int) -> None:
        """One chunk of samples."""
        for value in values:
            self.log.add_sample(self.store, ("t", "mono", "x"), b"[1,1,%d]" % value, 1.0)
        self.log.close_all(self.store)

    def marks(self, inc: int, n: int) -> list[bytes]:
        """Of a chunk's records."""
        return record_marks(self.store.body(self.store.row("met", inc, n).id))

    def values(self, inc: int) -> list[list[int]]:
        """What the chunks of an incarnation hold; empty where their bytes are gone."""
        bodies = [self.store.body(row.id) for row in self.store.rows("met", inc, 1, 99)]
        return [[rec[2] for rec in decode(body, dict)["recs"]] if body else [] for body in bodies]

    def settle(self, after, until=INC, held=(), dest="central"):
        """With held marks in one place."""
        return settle(self.log, self.store, dest, "met", after, until, dict(held))

    def gaps(self, dest: str) -> list[tuple[int, int, str]]:
        """Where and why."""
        return [(one.n, one.n_to, one.reason) for one in reversed(self.store.gaps(dest, "met"))]


@pytest.fixture
def restored():
    """Three chunks, of which 2 and 3 are under numbers that a stream has for other bytes."""
    log = Log()
    for n in (1, 2, 3):
        log.chunk(n * 10, n * 10 + 1)
    return log


def test_what_lies_behind_the_parting_gets_new_numbers_at_the_end(restored):
    """In a new incarnation; what is common stays."""
    done = restored.settle((INC, 1))
    new = restored.log.inc
    assert (done.inc, done.renumbered, done.spared, done.has_begun, done.compared) == (new, 2, 0, True, 1)
    assert new == INC + 50
    assert restored.values(INC) == [[10, 11]]
    assert restored.values(new) == [[20, 21], [30, 31]]
    (move,) = renumbering.moves(restored.store, "met")
    assert (move, move.first) == ((1, INC, 2, INC, new, 1, 2), (INC, 2))


def test_open_records_are_closed_and_renumbered_with_the_rest(restored):
    """They were recorded under the old incarnation."""
    restored.log.add_sample(restored.store, ("t", "mono", "x"), b"[1,1,40]", 1.0)
    restored.settle((INC, 3))
    assert restored.values(restored.log.inc) == [[40]]
    assert restored.store.open_rows("met") == []


def test_older_incarnation_needs_no_new_one(restored):
    """The other lane's sender has begun it."""
    restored.log.reincarnate(restored.store)
    new = restored.log.inc
    restored.chunk(99)
    done = restored.settle((INC, 2))
    assert (done.has_begun, done.inc, restored.log.inc) == (False, new, new)
    assert restored.values(new) == [[99], [30, 31]]


def test_settling_goes_above_the_incarnation_that_the_stream_has_shown(restored):
    """Whatever the clock says."""
    restored.settle((INC, 1), until=INC + 500)
    assert restored.log.inc == INC + 501


def test_destination_is_spared_the_records_it_holds_and_no_other_is(restored):
    """What one server has, another may never have got."""
    held = dict.fromkeys(restored.marks(INC, 2), (INC, 5))
    done = restored.settle((INC, 1), held=held)
    assert done.spared == 1
    assert restored.gaps("central") == [(1, 1, f"{SPARED}{INC}/n+4")]
    assert restored.gaps("edge") == []
    item = restored.log.next_item(restored.store, "central", "met", (INC, 1), "")
    assert (item.kind, item.n, item.n_to, item.records) == ("tombstone", 1, 1, 0)
    assert spared_place(item.reason, item.n) == (INC, 5)
    other = restored.log.next_item(restored.store, "edge", "met", (INC, 1), "")
    assert (other.kind, other.records) == ("data", 2)


def test_chunk_of_which_a_part_is_held_is_cut(restored):
    """Its bytes are fixed, so the parts get numbers of their own."""
    done = restored.settle((INC, 1), held={restored.marks(INC, 2)[1]: (INC, 5)})
    assert restored.values(restored.log.inc) == [[20], [21], [30, 31]]
    assert (done.spared, restored.gaps("central")) == (1, [(2, 2, f"{SPARED}{INC}/n+3")])


def test_chunk_that_was_renumbered_whole_is_cut_when_another_destination_holds_a_part(restored):
    """In another new incarnation: the first bytes may be in a stream already."""
    restored.settle((INC, 1))
    first = restored.log.inc
    held = {restored.marks(first, 1)[0]: (INC, 5)}
    done = restored.settle(None, held=held, dest="edge")
    second = restored.log.inc
    assert (second > first, done.renumbered, done.spared, done.compared) == (True, 2, 1, 2)
    assert (restored.values(first), restored.values(second)) == ([], [[20], [21], [30, 31]])


def test_every_destination_is_compared_once_after_a_renumbering_and_when_it_is_confirmed(restored):
    """A stream that took the next chunk had nothing more."""
    assert not needs_settling(restored.store, "edge", "met", (INC, 3), INC)
    done = restored.settle((INC, 1))
    assert [move.id for move in uncompared(restored.store, "edge", "met")] == [1]
    assert needs_settling(restored.store, "edge", "met", (done.inc, 2), done.inc)
    confirm(restored.store, "edge", "met", done.compared)
    assert not needs_settling(restored.store, "edge", "met", (done.inc, 2), done.inc)
    assert needs_settling(restored.store, "central", "met", (done.inc, 2), done.inc)


def test_chunks_below_the_streams_incarnation_make_it_be_compared(restored):
    """A log that was restored may have forgotten that it renumbered them."""
    restored.log.reincarnate(restored.store)
    restored.chunk(99)
    new = restored.log.inc
    assert needs_settling(restored.store, "central", "met", (INC, 2), new)
    assert not needs_settling(restored.store, "central", "met", (INC, 3), new)
    assert ends_between(restored.store, "met", (INC, 2), new) == [(INC, 3)]
    assert ends_between(restored.store, "met", (INC, 3), new) == []


def test_what_was_compared_before_is_looked_at_again_where_the_stream_differs(restored):
    """The first look may have been at less."""
    marks = restored.marks(INC, 2)
    done = restored.settle((INC, 1))
    confirm(restored.store, "central", "met", done.compared)
    assert restored.settle(None, held=dict.fromkeys(marks, (INC, 5))).spared == 0
    assert restored.settle((INC, 1), held=dict.fromkeys(marks, (INC, 5))).spared == 1


def test_who_acknowledged_a_chunk_whose_bytes_are_gone_is_spared_it(restored):
    """Its records cannot be compared any more; its old number has to do, and the reason why it is gone goes along."""
    restored.store.set_cursor(CursorRow("edge", "met", INC, 2, 2, "MET/a"))
    restored.store.set_cursor(CursorRow("edge", "evt", INC, 99, 2, "EVT/a"))
    restored.store.drop_body(restored.store.row("met", INC, 2).id)
    restored.store.drop_body(restored.store.row("met", INC, 3).id)
    restored.store.add_gap(GapRow("central", "met", INC, 3, 3, "tombstone", "over budget", 1.0, 2, 1.0, 1.0))
    restored.settle((INC, 1))
    assert restored.values(restored.log.inc) == [[], []]
    assert restored.gaps("edge") == [(1, 1, f"{SPARED}{INC}/n+1")]
    assert restored.gaps("central")[-1] == (2, 2, "over budget")
    item = restored.log.next_item(restored.store, "central", "met", (INC, 1), "")
    assert (item.kind, item.reason, item.records) == ("lost_range", "older than retention", 2)


def test_damaged_chunk_becomes_the_place_of_its_loss(restored):
    """Never a chunk of other bytes."""
    restored.store.db.execute("UPDATE body SET payload=x'7b7d' WHERE id=?", (restored.store.row("met", INC, 2).id,))
    restored.settle((INC, 1))
    assert restored.values(restored.log.inc) == [[], [30, 31]]


def test_spared_chunk_is_spared_under_its_next_number_too(restored):
    """The hint goes along; before it is believed the stream is looked at."""
    held = dict.fromkeys(restored.marks(INC, 2), (INC, 5))
    restored.store.set_cursor(CursorRow("edge", "met", INC, 1, 1, "MET/a"))
    restored.settle((INC, 1), held=held, dest="edge")
    first = restored.log.inc
    restored.settle((first, 0), until=first)
    assert restored.gaps("edge")[-1] == (1, 1, f"{SPARED}{INC}/n+4")
    assert restored.log.inc > first


def test_better_place_replaces_a_hint(restored):
    """It names where the records are now."""
    marks = restored.marks(INC, 2)
    restored.settle((INC, 1), held=dict.fromkeys(marks, (INC, 5)))
    restored.settle(None, held=dict.fromkeys(marks, (INC + 9, 7)))
    assert restored.gaps("central") == [(1, 1, f"{SPARED}{INC + 9}/n+6")]


def test_run_of_spared_chunks_is_one_row_and_one_of_them_can_be_sent_after_all(restored):
    """The stream has lost it."""
    held = {mark: (INC, n + 3) for n in (2, 3) for mark in restored.marks(INC, n)}
    restored.settle((INC, 1), held=held)
    assert restored.gaps("central") == [(1, 2, f"{SPARED}{INC}/n+4")]
    unspare(restored.store, "central", "met", restored.log.inc, 1)
    assert restored.gaps("central") == [(2, 2, f"{SPARED}{INC}/n+4")]
    assert restored.log.next_item(restored.store, "central", "met", (INC, 1), "").kind == "data"


def test_reason_names_the_place():
    """There and back."""
    assert spared_place(spared_reason((7, 3), 9), 9) == (7, 3)
    assert spared_place(spared_reason((7, 12), 9), 10) == (7, 13)


def test_log_knows_which_chunks_are_its_own(restored):
    """By hash; what is older than everything is believed, what it should know and does not is another life's."""
    row = restored.store.row("met", INC, 2)
    assert is_ours(restored.store, "met", (INC, 2), row.hash)
    assert is_ours(restored.store, "met", (INC, 2), "")
    assert not is_ours(restored.store, "met", (INC, 2), "other")
    assert not is_ours(restored.store, "met", (INC, 4), "x")
    assert is_ours(restored.store, "met", (INC - 1, 4), "x")
    assert not is_ours(restored.store, "met", (INC + 1, 1), "x")
    assert (last_of(restored.store, "met", INC), last_of(restored.store, "met", INC - 1)) == (3, None)
    assert last_of(restored.store, "met", INC + 1) == 0


def test_log_without_a_chunk_knows_that_its_incarnation_has_none():
    """Restored to its very beginning; a new machine with an older self in the stream is not."""
    log = Log()
    assert (last_of(log.store, "met", INC), last_of(log.store, "met", INC - 1)) == (0, None)


def test_renumbered_numbers_are_no_more_although_all_of_an_incarnation_went(restored):
    """A frame that was on its way under one of them shows as another's bytes."""
    restored.settle((INC, 0))
    assert last_of(restored.store, "met", INC) == 0
    assert last_of(restored.store, "met", INC + 3) == 0
    assert not is_ours(restored.store, "met", (INC, 3), "x")


def test_old_renumberings_are_forgotten(monkeypatch, restored):
    """Restored logs are rare."""
    monkeypatch.setattr(renumbering, "MOVES_MAX", 2)
    for _ in range(4):
        restored.settle((restored.log.inc - 1, 99), until=restored.log.inc)
        restored.chunk(1)
    assert [move.id for move in renumbering.moves(restored.store, "met")] == [3, 4]


def test_a_damaged_memory_of_renumberings_is_none(restored):
    """It may cost a comparison, never the spool's thread."""
    restored.store.set_meta("moves met", "[[1,2")
    restored.store.set_meta("compared met central", "?")
    restored.store.set_meta("inc", "x")
    assert uncompared(restored.store, "central", "met") == []
    assert last_of(restored.store, "met", INC + 5) == 0
