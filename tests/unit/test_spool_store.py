"""The spool's file: each question in plain SQL, and the damage it survives."""

import sqlite3
from pathlib import Path

import pytest

from hubagent.edges import spool_store
from hubagent.edges.spool_repair import KEPT_ASIDE_MAX, check, declare_damage, faults, is_damage, keep_aside, salvage
from hubagent.edges.spool_store import CursorRow, GapRow, OpenRow, Owed, Store
from hubagent.wire.signing import payload_hash

MEMORY = Path(":memory:")


def add(store, n, *, lane="met", inc=7, size=10, records=2, payload=None):
    """A chunk of so many bytes."""
    body = b"x" * size if payload is None else payload
    store.add_chunk(lane, inc, n, f"p{n}", payload_hash(body), f"s{n}", records, float(n), n + 0.5, body)


def filled(*numbers, **more):
    """A store with these chunks."""
    store = Store(MEMORY)
    for n in numbers:
        add(store, n, **more)
    return store


def gap(n, n_to, *, dest="central", why="over budget", inc=7, kind="tombstone", records=4):
    """A gap of these numbers."""
    return GapRow(dest, "met", inc, n, n_to, kind, why, 100.0, records, 1.0, 2.0)


def test_rows_carry_what_was_added_and_cumulative_figures():
    """Depth is a difference of two rows, never a counter."""
    store = filled(1, 2, 3)
    row = store.row("met", 7, 2)
    assert row[1:] == ("met", 7, 2, "p2", payload_hash(b"x" * 10), "s2", 10, 2, 2.0, 2.5, 20, 4, 2)
    assert store.by_id(row.id) == row
    assert store.row("met", 7, 9) is None
    add(store, 1, lane="evt")
    assert store.newest("evt")[-3:] == (10, 2, 1)


def test_rows_are_found_by_place():
    """Newest, newest of an incarnation, behind, until, by bytes."""
    store = filled(1, 2, 3)
    add(store, 1, inc=8)
    assert (store.newest("met").inc, store.newest_of("met", 7).n, store.newest_of("met", 9)) == (8, 3, None)
    assert store.after("met", 7, 2).n == 3
    assert store.after("met", 7, 3).inc == 8
    assert store.after("met", 8, 1) is None
    assert store.until("met", 7, 9).n == 3
    assert store.until("met", 7, 2).n == 2
    assert store.until("met", 7, 0) is None
    assert (store.behind_bytes("met", 20).n, store.behind_bytes("met", 21).n) == (2, 3)
    assert store.behind_bytes("met", 41) is None
    assert [row.n for row in store.rows("met", 7, 2, 3)] == [2, 3]


def test_owed_counts_chunks_bytes_and_age_behind_a_position():
    """Nothing where nothing is behind."""
    store = filled(1, 2, 3)
    assert store.owed("met", 7, 1) == Owed(2, 20, 2.0)
    assert store.owed("met", 0, 0) == Owed(3, 30, 1.0)
    assert store.owed("met", 7, 3) == store.owed("evt", 0, 0) == Owed(0, 0, None)


def test_release_forgets_bytes_in_order_and_keeps_the_rows():
    """A bounded number at a time, one lane only."""
    store = filled(1, 2, 3, 4)
    add(store, 1, lane="evt")
    assert store.release("met", 7, 3, rows_max=2) == 2
    assert (store.oldest_kept("met").n, store.oldest_kept("evt").n) == (3, 1)
    assert store.release("met", 7, 3) == 1
    assert store.release("met", 7, 3) == 0
    assert store.release("met", 6, 9) == 0
    assert store.body(store.row("met", 7, 1).id) is None
    assert store.body(store.row("met", 7, 4).id) == b"x" * 10
    assert store.next_kept("met", 7, 1).n == 4
    assert store.next_kept("met", 6, 1) is None
    assert store.next_kept("met", 7, 5) is None
    add(store, 1, inc=8)
    assert store.next_kept("met", 7, 5) is None  # that is of another incarnation


def test_chunk_without_bytes_has_no_body_and_one_that_is_dropped_no_row():
    """The place of a loss; and a number that was never sent."""
    store = filled(1)
    add(store, 2, size=0)
    assert store.body(store.row("met", 7, 2).id) is None
    store.drop_chunk(store.row("met", 7, 1).id)
    assert store.row("met", 7, 1) is None
    assert store.oldest_kept("met") is None


def test_totals_of_a_range_are_of_what_is_left():
    """Zero where nothing is."""
    store = filled(1, 2, 3)
    assert store.totals("met", 7, 2, 3) == (4, 2.0, 3.5)
    assert store.totals("met", 7, 8, 9) == (0, 0.0, 0.0)


def test_index_rows_that_outlive_their_bytes_are_bounded(monkeypatch):
    """Never one whose bytes are kept."""
    monkeypatch.setattr(spool_store, "HASH_ROWS_MAX", 3)
    store = filled(*range(1, 11))
    store.trim_index("met")
    assert store.after("met", 0, 0).n == 1  # all are kept
    store.release("met", 7, 4)
    store.trim_index("met")
    assert store.after("met", 0, 0).n == 5
    store.release("met", 7, 8)
    store.trim_index("met")
    assert store.after("met", 0, 0).n == 7  # three behind the last are kept, with or without bytes
    store.release("met", 7, 10)
    store.trim_index("met")
    assert store.after("met", 0, 0).n == 7
    store.trim_index("evt")


def test_gap_grows_by_what_follows_it_for_the_same_reason():
    """Shedding for hours stays one row."""
    store = Store(MEMORY)
    store.add_gap(gap(3, 4))
    store.add_gap(gap(5, 5)._replace(t1=9.0, at=200.0))
    store.add_gap(gap(6, 6, why="damaged", kind="lost_range"))
    store.add_gap(gap(7, 7, dest="edge"))
    first, second = reversed(store.gaps("central", "met"))
    assert first == GapRow("central", "met", 7, 3, 5, "tombstone", "over budget", 200.0, 8, 1.0, 9.0)
    assert (second.n, second.n_to) == (6, 6)


def test_gaps_are_found_for_a_destination_and_for_all():
    """The widest that covers a number; and where the next begins."""
    store = Store(MEMORY)
    store.add_gap(gap(3, 4))
    store.add_gap(gap(3, 9, dest="*", why="damaged"))
    assert store.gap_at("central", "met", 7, 3).n_to == 9
    assert store.gap_at("edge", "met", 7, 9).dest == "*"
    assert store.gap_at("edge", "met", 7, 10) is None
    assert store.gap_at("central", "met", 7, 2) is None
    assert store.next_gap("edge", "met", 7, 2) == 3
    assert store.next_gap("edge", "met", 7, 3) is None
    assert len(store.gaps("central", "met", 1)) == 1


def test_gaps_are_bounded(monkeypatch):
    """The oldest are declared as older than retention from then on."""
    monkeypatch.setattr(spool_store, "GAP_ROWS_MAX", 3)
    store = Store(MEMORY)
    for n in range(1, 20, 2):
        store.add_gap(gap(n, n))
    assert [one.n for one in store.gaps("central", "met")] == [19, 17, 15]
    for n in range(101, 200, 2):
        store.add_gap(gap(n, n, dest="edge"))
    assert len(store.gaps("edge", "met", 100)) == 3


def test_figures_are_bounded_to_the_latest_twenty():
    """What an operator is shown."""
    store = Store(MEMORY)
    for n in range(1, 60, 2):
        store.add_gap(gap(n, n))
    assert len(store.gaps("central", "met")) == 20


@pytest.mark.parametrize(
    ("n", "left"), [(3, [(4, 6)]), (4, [(3, 3), (5, 6)]), (6, [(3, 5)]), (7, [(3, 6)]), (2, [(3, 6)])]
)
def test_one_number_is_left_out_of_a_gap(n, left):
    """The rest of it stays."""
    store = Store(MEMORY)
    store.add_gap(gap(3, 6, why="renumbered: x"))
    store.add_gap(gap(3, 6, dest="edge", why="renumbered: x"))
    store.leave_out("central", "met", 7, n, "renumbered: ")
    assert sorted((one.n, one.n_to) for one in store.gaps("central", "met")) == left
    assert [(one.n, one.n_to) for one in store.gaps("edge", "met")] == [(3, 6)]


def test_number_is_left_out_of_gaps_for_that_reason_only():
    """What was shed stays shed; a single number leaves nothing."""
    store = Store(MEMORY)
    store.add_gap(gap(3, 3))
    store.leave_out("central", "met", 7, 3, "renumbered: ")
    assert len(store.gaps("central", "met")) == 1
    store.leave_out("central", "met", 7, 3, "over")
    assert store.gaps("central", "met") == []


def test_cursors_are_kept_and_forgotten_with_their_destination():
    """With the gaps that were only its own."""
    store = Store(MEMORY)
    store.set_cursor(CursorRow("central", "met", 7, 5, 50, "MET/a"))
    store.set_cursor(CursorRow("central", "met", 7, 6, 51, "MET/a", 7, 2))
    store.set_cursor(CursorRow("edge", "met", 7, 1, 1, "MET/b"))
    store.add_gap(gap(3, 4))
    store.add_gap(gap(3, 4, dest="*"))
    store.drop_destination("central")
    assert store.cursors() == [CursorRow("edge", "met", 7, 1, 1, "MET/b", 0, 0)]
    assert [one.dest for one in store.gaps("central", "met")] == ["*"]


def test_open_records_come_back_in_order():
    """Of their lane only."""
    store = Store(MEMORY)
    rows = [OpenRow("met", "boot", "", float(n), b"[%d]" % n) for n in range(3)]
    for row in [*rows, OpenRow("evt", "boot", "", 9.0, b"{}")]:
        store.add_open(row)
    assert store.open_rows("met") == rows
    store.clear_open("met")
    assert (store.open_rows("met"), len(store.open_rows("evt"))) == ([], 1)


def test_facts_are_kept():
    """The last word counts."""
    store = Store(MEMORY)
    assert store.meta("inc") is None
    store.set_meta("inc", "7")
    store.set_meta("inc", "8")
    assert store.meta("inc") == "8"


def test_bytes_in_use_and_free_bytes_make_the_file(tmp_path):
    """What is deleted is free, not gone."""
    store = Store(tmp_path / "spool.db")
    for n in range(1, 50):
        add(store, n, size=8000)
    used = store.used_bytes()
    assert 49 * 8000 < used <= store.file_bytes()
    store.release("met", 7, 40)
    assert store.free_bytes() > 30 * 8000
    assert store.used_bytes() == store.file_bytes() - store.free_bytes() < used
    store.close()


def test_transaction_is_undone_or_kept(tmp_path):
    """And a rollback without one is nothing."""
    store = Store(tmp_path / "spool.db")
    store.rollback()
    store.begin()
    store.set_meta("a", "1")
    store.rollback()
    assert store.meta("a") is None
    store.begin()
    store.set_meta("a", "1")
    store.commit()
    store.rollback()
    store.close()
    again = Store(tmp_path / "spool.db", read_only=True)
    assert again.meta("a") == "1"
    with pytest.raises(sqlite3.OperationalError):
        again.set_meta("a", "2")
    again.close()


def test_file_is_synced_at_each_commit_and_its_journal_is_bounded(tmp_path):
    """A commit that returned is on the disk."""
    store = Store(tmp_path / "spool.db")

    def pragma(name):
        return store.db.execute(f"PRAGMA {name}").fetchone()[0]

    found = [
        pragma(name) for name in ("journal_mode", "synchronous", "journal_size_limit", "user_version", "mmap_size")
    ]
    assert found == ["wal", 2, 8388608, 1, 0]
    assert pragma("cache_size") == -1024
    store.close()


def test_text_with_damaged_bytes_is_read_and_found_out_by_its_hash():
    """An exception would stop the agent."""
    store = filled(1)
    store.db.execute("UPDATE chunk SET prev=CAST(x'FFFE41' AS TEXT)")
    assert store.row("met", 7, 1).prev.endswith("A")


# Repair


def test_check_names_the_chunks_whose_bytes_changed():
    """And the words for people say what is wrong with them."""
    store = filled(1, 2, 3)
    assert (check(store), faults(store)) == ([], [])
    store.db.execute("UPDATE body SET payload=x'00' WHERE id=2")
    assert check(store) == [("met", 7, 2)]
    assert faults(store) == ["met 7/2: its bytes have not the hash they were closed with"]


def test_a_fact_that_damage_left_without_its_value_is_left_behind(tmp_path):
    """The others go on in the new file, whatever they say: who reads them takes a damaged one for none."""
    old = Store(tmp_path / "old.db")
    facts = {"inc": "7", "boot": "b1", "compared met edge": "x", "moves met": "[[1,2]]"}
    for key, value in facts.items():
        old.set_meta(key, value)
    old.db.execute("PRAGMA writable_schema=ON")
    old.db.execute("UPDATE sqlite_schema SET sql=replace(sql, 'TEXT NOT NULL', 'TEXT') WHERE name='meta'")
    old.close()
    loose = sqlite3.connect(tmp_path / "old.db")
    loose.execute("INSERT INTO meta VALUES('why_new', NULL)")
    loose.commit()
    loose.close()
    new = Store(MEMORY)
    salvage(tmp_path / "old.db", new)
    kept = {key: new.meta(key) for key in (*facts, "why_new")}
    assert kept == {**facts, "why_new": None}


def test_damage_is_told_from_trouble_around_the_file():
    """A full or read-only disk is no reason to begin a new log."""

    def error(code):
        one = sqlite3.DatabaseError("x")
        if code is not None:
            one.sqlite_errorcode = code
        return one

    damage = [is_damage(error(code)) for code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, 267, None)]
    other = [is_damage(error(code)) for code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)]
    assert (damage, other) == ([True] * 4, [False] * 3)


def test_salvage_keeps_what_proves_itself_and_declares_the_rest(tmp_path):
    """Rows, bytes, open records, cursors, gaps and facts."""
    old = Store(tmp_path / "old.db")
    for n in (1, 2, 3):
        add(old, n)
    add(old, 4, size=0)
    old.db.execute("UPDATE body SET payload=x'00' WHERE id=2")
    old.add_open(OpenRow("met", "boot", "", 9.0, b"[9]"))
    old.add_open(OpenRow("met", "boot", "", 9.0, b"no JSON"))
    old.set_cursor(CursorRow("central", "met", 7, 1, 1, "MET/a"))
    old.add_gap(gap(1, 1))
    old.set_meta("inc", "7")
    old.close()
    new = Store(tmp_path / "new.db")
    saved = salvage(tmp_path / "old.db", new)
    assert (saved.chunks, saved.damaged) == (2, [("met", 7, 2)])
    assert [row.n for row in new.rows("met", 7, 1, 9)] == [1, 2, 3, 4]
    assert [new.body(row.id) is not None for row in new.rows("met", 7, 1, 9)] == [True, False, True, False]
    declared = new.gap_at("edge", "met", 7, 2)
    assert (declared.dest, declared.kind, declared.reason, declared.records, declared.at) == (
        "*",
        "lost_range",
        "damaged",
        2,
        0,
    )
    assert new.gap_at("central", "met", 7, 1).reason == "over budget"
    assert [row.raw for row in new.open_rows("met")] == [b"[9]"]
    assert new.cursors() == [CursorRow("central", "met", 7, 1, 1, "MET/a", 0, 0)]
    assert new.meta("inc") == "7"
    new.close()


def test_salvage_of_what_is_no_spool_saves_nothing(tmp_path):
    """It is no reason to stop."""
    (tmp_path / "old.db").write_bytes(b"x" * 4096)
    new = Store(tmp_path / "new.db")
    assert salvage(tmp_path / "old.db", new).chunks == 0
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE x(y)").connection.close()
    assert salvage(tmp_path / "empty.db", new).chunks == 0
    new.close()


def test_rows_of_no_lane_or_number_are_not_saved(tmp_path):
    """Their bytes were changed."""
    old = Store(tmp_path / "old.db")
    add(old, 1)
    add(old, 2)
    add(old, 3)
    old.db.execute("UPDATE chunk SET lane='xyz' WHERE n=1")
    old.db.execute("UPDATE chunk SET n='two' WHERE n=2")
    old.close()
    new = Store(tmp_path / "new.db")
    assert salvage(tmp_path / "old.db", new).chunks == 1
    assert [row.n for row in new.rows("met", 7, 1, 9)] == [3]
    new.close()


def test_damage_is_declared_for_every_destination():
    """With its count and times."""
    store = filled(5)
    declare_damage(store, store.row("met", 7, 5), 99.0)
    assert store.gaps("x", "met") == [GapRow("*", "met", 7, 5, 5, "lost_range", "damaged", 99.0, 2, 5.0, 5.5)]


def test_damaged_files_are_kept_aside_with_their_wal_and_only_the_latest_two(tmp_path):
    """They count against the disk, too."""
    for round_ in range(4):
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"spool.db{suffix}").write_text(f"{round_}{suffix}")
        kept = keep_aside(tmp_path / "spool.db", tmp_path / "a" / "quarantine", 100 + round_ // 2)
        assert kept.read_text() == str(round_)
        assert kept.with_name(kept.name + "-wal").read_text() == f"{round_}-wal"
    names = sorted(path.name for path in (tmp_path / "a" / "quarantine").iterdir())
    assert names == sorted(f"spool-{name}.db{suffix}" for name in ("101", "101-1") for suffix in ("", "-shm", "-wal"))
    assert KEPT_ASIDE_MAX == 2
    assert not list(tmp_path.glob("spool.db*"))


def test_deleted_bytes_are_not_written_over(tmp_path):
    """Shedding on a full disk must not need as much disk as it frees."""
    store = Store(tmp_path / "spool.db")
    assert store.db.execute("PRAGMA secure_delete").fetchone()[0] == 2
    store.close()


def test_file_that_nobody_can_write_is_read_as_it_is(tmp_path):
    """A spool on a read-only mount can still be exported."""
    path = tmp_path / "spool.db"
    store = Store(path)
    add(store, 1)
    store.close()
    again = Store(path, read_only=True)
    assert (again.path, again.newest("met").n) == (path, 1)
    again.close()
    with pytest.raises(sqlite3.OperationalError):
        Store(tmp_path / "missing.db", read_only=True)
    assert not (tmp_path / "missing.db").exists()


def test_database_without_our_tables_is_no_spool(tmp_path):
    """Read only, nothing is made of it."""
    sqlite3.connect(tmp_path / "x.db").execute("CREATE TABLE x(y)").connection.close()
    with pytest.raises(sqlite3.DatabaseError, match="no spool"):
        Store(tmp_path / "x.db", read_only=True)


@pytest.mark.parametrize("read_only", [False, True])
def test_newer_schema_is_refused(tmp_path, read_only):
    """What it means is not known here."""
    store = Store(tmp_path / "x.db")
    store.db.execute("PRAGMA user_version=2")
    store.close()
    with pytest.raises(sqlite3.NotSupportedError, match="schema 2 is newer than this agent's 1"):
        Store(tmp_path / "x.db", read_only=read_only)


def test_bounds_are_those_of_the_design():
    """About a week of chunks; gaps that a person can read."""
    assert (spool_store.HASH_ROWS_MAX, spool_store.GAP_ROWS_MAX) == (100_000, 10_000)
    assert (spool_store.SCHEMA, spool_store.PAGE_CACHE_KIB, spool_store.EVERYWHERE) == (1, 1024, "*")
    assert (Owed(), CursorRow("a", "b", 1, 2, 3, "c")[-2:]) == (Owed(0, 0, None), (0, 0))


def test_dropped_chunk_takes_its_bytes_along():
    """Else another chunk with its id would find them."""
    store = filled(1, 2)
    row = store.row("met", 7, 2)
    store.drop_chunk(row.id)
    assert store.body(row.id) is None


def test_next_kept_begins_at_the_number_itself():
    """Not behind it."""
    store = filled(1, 2, 3)
    assert store.next_kept("met", 7, 2).n == 2


def test_release_takes_at_most_five_hundred_at_once():
    """A commit must not take long."""
    store = filled(*range(1, 503))
    assert store.release("met", 7, 600) == 500


def test_number_that_damage_made_up_is_not_counted_up_to(tmp_path):
    """A start must not take years."""
    old = Store(tmp_path / "old.db")
    add(old, 1)
    add(old, 2)
    old.db.execute("UPDATE chunk SET id=? WHERE n=2", ((1 << 62),))
    old.db.execute("UPDATE body SET id=? WHERE id=2", ((1 << 62),))
    old.close()
    new = Store(tmp_path / "new.db")
    assert salvage(tmp_path / "old.db", new).chunks == 2
    new.close()


def test_rows_behind_a_bad_page_are_tried_and_those_that_can_be_read_are_saved(tmp_path):
    """One bad page costs its own rows; the hole they leave is declared by the sender."""
    old = Store(tmp_path / "old.db")
    for n in range(1, 401):
        add(old, n, size=100)
    old.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    root = old.db.execute("SELECT rootpage FROM sqlite_master WHERE name='chunk'").fetchone()[0]
    size = old.db.execute("PRAGMA page_size").fetchone()[0]
    old.close()
    pages = (tmp_path / "old.db").read_bytes()
    interior = pages[(root - 1) * size : root * size]
    assert interior[0] == 5  # an interior page: its first child holds the first rows
    second = int.from_bytes(interior[12:14])  # the first cell pointer
    child = int.from_bytes(interior[second : second + 4])
    broken = bytearray(pages)
    broken[(child - 1) * size : child * size] = b"\xa5" * size
    (tmp_path / "old.db").write_bytes(broken)
    new = Store(tmp_path / "new.db")
    saved = salvage(tmp_path / "old.db", new)
    assert 300 < saved.chunks < 400
    assert new.newest("met").n == 400
    new.close()


def test_names_of_files_kept_aside_in_one_second_are_counted(tmp_path):
    """None replaces another."""
    folder = tmp_path / "quarantine"
    folder.mkdir()
    (tmp_path / "spool.db").write_text("1")
    assert keep_aside(tmp_path / "spool.db", folder, 100).name == "spool-100.db"
    (tmp_path / "spool.db").write_text("2")
    assert keep_aside(tmp_path / "spool.db", folder, 100).name == "spool-100-1.db"
    assert not (folder / "spool-100-1.db-wal").exists()


def test_salvage_lets_go_of_the_old_file(tmp_path):
    """It is moved, and looked at by people."""
    import gc
    import warnings

    Store(tmp_path / "old.db").close()
    new = Store(tmp_path / "new.db")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        salvage(tmp_path / "old.db", new)
        gc.collect()
    assert not (tmp_path / "old.db-shm").exists()
    new.close()


def test_damaged_text_is_salvaged_as_it_is(tmp_path):
    """Its hash will tell."""
    old = Store(tmp_path / "old.db")
    add(old, 1)
    old.db.execute("UPDATE chunk SET prev=CAST(x'FFFE41' AS TEXT)")
    old.close()
    new = Store(tmp_path / "new.db")
    assert salvage(tmp_path / "old.db", new).chunks == 1
    new.close()


def test_page_that_is_wrong_is_named(tmp_path):
    """Before any row is read."""
    store = Store(tmp_path / "x.db")
    for n in range(1, 101):
        add(store, n, size=2000)
    store.close()
    pages = bytearray((tmp_path / "x.db").read_bytes())
    pages[40 * 4096 : 44 * 4096] = b"\xa5" * (4 * 4096)
    (tmp_path / "x.db").write_bytes(pages)
    store = Store(tmp_path / "x.db", read_only=True)
    assert faults(store)
    store.close()
