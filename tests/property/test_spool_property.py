"""The spool against a plain list: cut anywhere it opens again to a prefix, and figures come out of its rows."""

import shutil
import tempfile
from pathlib import Path

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hubagent.core.chunking import ChunkPolicy
from hubagent.edges.spool_repair import check, keep_aside, salvage
from hubagent.edges.spool_store import GapRow, Owed, Store
from hubagent.loops.chunk_log import ChunkLog
from hubagent.wire.chunk import TOMBSTONE
from hubagent.wire.signing import seed_from, signer
from tests.fakes.clock import FakeClock

KEY = signer(seed_from(b"k" * 32))


def opened(path: Path) -> tuple[Store, ChunkLog]:
    store = Store(path)
    log = ChunkLog("alpha", "boot", KEY, ChunkPolicy(60.0), FakeClock())
    log.opened(store, "")
    return store, log


def commit(store: Store, log: ChunkLog, op) -> None:
    log.begin()
    store.begin()
    op()
    log.before_commit(store)
    store.commit()
    log.committed()


def values(store: Store, lane: str = "evt") -> list[int]:
    rows = store.db.execute("SELECT payload FROM body WHERE lane=? ORDER BY id", (lane,)).fetchall()
    return [record["data"]["id"] for row in rows for record in msgspec.json.decode(row[0])["recs"]]


def event(log: ChunkLog, store: Store, value: int):
    return lambda: log.add_event(store, b'{"data":{"id":%d}}' % value, float(value))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30))
def test_write_ahead_log_cut_anywhere_opens_to_a_prefix(cut):
    """A torn tail is dropped; what is left is in order and whole."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spool.db")
        store, log = opened(path)
        for value in range(8):
            commit(store, log, event(log, store, value))
        copy = Path(folder, "copy.db")
        shutil.copy(path, copy)
        wal = path.with_name("spool.db-wal").read_bytes()
        copy.with_name("copy.db-wal").write_bytes(wal[: cut % (len(wal) + 1)])
        store.close()
        again, log = opened(copy)
        found = values(again)
        assert found == list(range(len(found)))
        assert check(again) == []
        commit(again, log, event(log, again, 99))
        assert values(again) == [*found, 99]
        again.close()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.binary(min_size=1, max_size=600))
@example(4104, b"\0")  # a fact of the log without a key
@example(14110, b"\xf1" * 138)  # ids in no order, which were gone through for ever
@example(14115, b"\xff" * 8)  # a length beyond all memory
def test_damaged_file_is_saved_as_far_as_hashes_prove_it(at, junk):
    """Whatever bytes are overwritten: no exception, no false chunk, numbers stay in order, and the log goes on."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spool.db")
        store, log = opened(path)
        for value in range(12):
            commit(store, log, event(log, store, value))
        store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.close()
        raw = bytearray(path.read_bytes())
        start = at % len(raw)
        raw[start : start + len(junk)] = junk[: len(raw) - start]
        path.write_bytes(raw)
        old = keep_aside(path, Path(folder, "quarantine"), 1)
        new = Store(path)
        salvage(old, new)
        found = values(new)
        assert found == sorted(set(found))
        assert set(found) <= set(range(12))
        assert check(new) == []
        log.opened(new, "damaged")
        commit(new, log, event(log, new, 99))
        assert values(new) == [*found, 99]
        new.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=12))
def test_owed_figures_are_differences_of_rows(positions):
    """Depth and bytes agree with counting, whatever was released."""
    store, log = opened(Path(":memory:"))
    for value in range(12):
        commit(store, log, event(log, store, value))
    rows = [store.row("evt", log.inc, n) for n in range(1, 13)]
    for position in positions:
        expected = rows[position:]
        owed = store.owed("evt", log.inc, position)
        assert (owed.chunks, owed.bytes) == (len(expected), sum(row.size for row in expected))
        assert owed.oldest_t == (expected[0].t0 if expected else None)
        store.release("evt", log.inc, position)
    assert store.owed("evt", log.inc, 12) == Owed()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 5), st.sampled_from(["central", "edge"])), max_size=5),
    st.integers(0, 12),
)
def test_every_destination_gets_each_number_once_as_chunk_or_substitute(gaps, released):
    """Contiguity never breaks, however chunks were shed and released."""
    store, log = opened(Path(":memory:"))
    for value in range(12):
        commit(store, log, event(log, store, value))
    for n, more, dest in gaps:
        store.add_gap(GapRow(dest, "evt", log.inc, n, min(n + more, 12), TOMBSTONE, "over budget", 0.0, 1, 0.0, 0.0))
    store.release("evt", log.inc, released)
    for dest in ("central", "edge"):
        position, numbers = (0, 0), []
        while item := log.next_item(store, dest, "evt", position, ""):
            numbers += range(item.n, item.n_to + 1)
            shed = any(n <= item.n <= n + more and of == dest for n, more, of in gaps)
            assert item.kind == ("tombstone" if shed else "lost_range" if item.n <= released else "data")
            position = (item.inc, item.n_to)
        assert numbers == list(range(1, 13))
