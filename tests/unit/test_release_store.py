"""Releases on a real file system, the slots that survive a torn write, and the journal of commands in them."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading

import pytest

from hubagent.edges.journal import Entry, Journal
from hubagent.edges.release_store import ReleaseStore
from hubagent.edges.slots import Slots
from hubagent.errors import ReleaseRefused, StoreFailed
from hubagent.wire.commands import Reply
from tests.fakes.release_store import FakeReleaseStore


def make_tree(root, versions=("1.0", "1.1"), current="1.1"):
    """A release root as `deploy` and the demo leave it."""
    for version in versions:
        folder = root / "releases" / version
        folder.mkdir(parents=True, mode=0o755)
        (folder / "version.txt").write_text(version)
    (root / "current").symlink_to(f"releases/{current}")
    return root


@pytest.fixture(params=["real", "fake"])
def store(request, tmp_path):
    """The contract holds for the real store and for its fake."""
    if request.param == "fake":
        return FakeReleaseStore()
    return ReleaseStore(make_tree(tmp_path / "web"), tmp_path / "rollout" / "web")


async def test_contract_switch_changes_what_is_current(store):
    """And nothing else."""
    assert (sorted(store.installed()), store.current()) == (["1.0", "1.1"], "1.1")
    await store.switch("1.0")
    await store.switch("1.0")
    assert (sorted(store.installed()), store.current()) == (["1.0", "1.1"], "1.0")


async def test_contract_a_missing_release_is_refused(store):
    """By check and by switch; current stays."""
    for act in (store.check, store.switch):
        with pytest.raises(ReleaseRefused):
            await act("2.0")
    assert store.current() == "1.1"


async def test_contract_the_document_comes_back(store):
    """What was saved last."""
    assert store.load() is None
    await store.save(b"one")
    await store.save(b"two")
    assert store.load() == b"two"


@pytest.mark.parametrize("version", ["..", ".", "", "../../etc", "a/b", "a\0b", "-x", "1.0\n", "é"])
async def test_a_hostile_version_is_refused(tmp_path, version):
    """A version is one safe path part."""
    store = ReleaseStore(make_tree(tmp_path / "web"), tmp_path / "book")
    with pytest.raises(ReleaseRefused):
        await store.switch(version)
    assert store.current() == "1.1"


async def test_links_are_no_releases(tmp_path):
    """X11: Neither a release nor the folder of releases may be a link to somewhere else."""
    root = make_tree(tmp_path / "web")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("x")
    (root / "releases" / "2.0").symlink_to(outside)
    store = ReleaseStore(root, tmp_path / "book")
    assert "2.0" not in store.installed()
    with pytest.raises(ReleaseRefused):
        await store.check("2.0")
    (root / "releases").rename(root / "kept")
    (root / "releases").symlink_to(root / "kept")
    with pytest.raises(ReleaseRefused):
        await store.switch("1.0")


async def test_an_empty_or_open_release_is_refused(tmp_path):
    """X11: Nothing to run, or everybody's to change."""
    root = make_tree(tmp_path / "web")
    (root / "releases" / "2.0").mkdir()
    store = ReleaseStore(root, tmp_path / "book")
    with pytest.raises(ReleaseRefused, match="empty"):
        await store.check("2.0")
    (root / "releases" / "1.0").chmod(0o777)
    with pytest.raises(ReleaseRefused, match="everybody may write"):
        await store.switch("1.0")


@pytest.mark.parametrize("swapped", ["web", "web/releases", "web/releases/2.0"])
async def test_x11_a_folder_swapped_for_a_link_while_it_is_switched_leads_nowhere_else(tmp_path, swapped):
    """X11: a thread swaps it to and fro; each switch is refused or made inside the root, and nothing appears outside."""
    root, outside, stop = make_tree(tmp_path / "web", ("1.1", "2.0")), tmp_path / "outside", threading.Event()
    shutil.copytree(root / "releases", outside / "web" / "releases")
    before = sorted(outside.rglob("*"))

    def swap():
        place, kept = tmp_path / swapped, tmp_path / "kept"
        while not stop.is_set():
            place.rename(kept)
            place.symlink_to(outside / swapped)
            place.unlink()
            kept.rename(place)

    swapping = asyncio.create_task(asyncio.to_thread(swap))
    store, told = ReleaseStore(root, tmp_path / "book"), {True: 0, False: 0}
    while min(told.values()) < 50:
        assert not swapping.done()
        try:
            await store.switch("2.0")
            told[True] += 1
        except ReleaseRefused:
            told[False] += 1
    stop.set()
    await swapping
    assert (store.current(), (root / "current").resolve()) == ("2.0", root / "releases" / "2.0")
    assert sorted(outside.rglob("*")) == before


async def test_current_may_be_missing_foreign_or_in_the_way(tmp_path):
    """A link to elsewhere is none of ours; a folder named current is refused in words."""
    root = make_tree(tmp_path / "web")
    store = ReleaseStore(root, tmp_path / "book")
    (root / "current").unlink()
    assert store.current() == ""
    (root / "current").symlink_to("/etc")
    assert store.current() == ""
    await store.switch("1.0")
    assert store.current() == "1.0"
    (root / "current").unlink()
    (root / "current").mkdir()
    with pytest.raises(ReleaseRefused, match="current"):
        await store.switch("1.1")


async def test_current_names_a_release_at_every_moment(tmp_path):
    """A reader that opens current as fast as it can never finds none."""
    root = make_tree(tmp_path / "web")
    store, seen, stop = ReleaseStore(root, tmp_path / "book"), set(), threading.Event()

    def read():
        while not stop.is_set():
            seen.add((root / "current" / "version.txt").read_text())

    reading = asyncio.create_task(asyncio.to_thread(read))
    for _ in range(50):
        await store.switch("1.0")
        await store.switch("1.1")
    stop.set()
    await reading
    assert seen <= {"1.0", "1.1"}


async def test_a_leftover_of_a_crashed_switch_is_in_nobodys_way(tmp_path):
    """The temporary link is replaced."""
    root = make_tree(tmp_path / "web")
    (root / ".current.new").symlink_to("releases/9.9")
    store = ReleaseStore(root, tmp_path / "book")
    await store.switch("1.0")
    assert (store.current(), (root / ".current.new").is_symlink()) == ("1.0", False)


def test_a_torn_write_leaves_the_document_before(tmp_path):
    """At every byte of the slot that a crash could have reached."""
    path = tmp_path / "book"
    slots = Slots(path, 4096)
    assert slots.load() is None
    slots.save(b"one")
    before = path.read_bytes()
    slots.save(b"twotwo")
    after = path.read_bytes()
    changed = [index for index in range(len(after)) if before[index] != after[index]]
    for cut in changed:
        path.write_bytes(after[:cut] + before[cut:])
        assert Slots(path, 4096).load() == b"one", cut
    path.write_bytes(after)
    assert Slots(path, 4096).load() == b"twotwo"


def test_damage_in_the_newest_slot_gives_the_one_before(tmp_path):
    """A flipped bit is found; with both damaged there is no document rather than a wrong one."""
    path = tmp_path / "book"
    slots = Slots(path, 4096)
    slots.load()
    slots.save(b"one")
    slots.save(b"two")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"two", b"twp"))
    assert Slots(path, 4096).load() == b"one"
    path.write_bytes(raw.replace(b"two", b"twp").replace(b"one", b"onf"))
    assert Slots(path, 4096).load() is None


def test_a_document_that_does_not_fit_is_refused_and_the_last_one_stays(tmp_path):
    """The slots go on."""
    slots = Slots(tmp_path / "book", 4096)
    slots.load()
    slots.save(b"one")
    with pytest.raises(StoreFailed, match="do not fit"):
        slots.save(b"x" * 4096)
    slots.save(b"two")
    assert slots.load() == b"two"


def test_saving_needs_no_new_room(tmp_path):
    """All blocks are there from the first load: a full disk stops no stop, restart or rollback."""
    path = tmp_path / "book"
    slots = Slots(path)
    slots.load()
    blocks, size = path.stat().st_blocks, path.stat().st_size
    for number in range(20):
        slots.save(b"x" * (number * 1000))
    assert (path.stat().st_blocks, path.stat().st_size) == (blocks, size)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_is_final(tmp_path):
    """After an error of the disk nothing is claimed to be durable any more."""
    path = tmp_path / "book"
    slots = Slots(path, 4096)
    slots.load()
    path.unlink()
    for _ in range(2):
        with pytest.raises(StoreFailed):
            slots.save(b"one")
        path.touch()


def entry(number, *, ended=False):
    """An entry of the journal."""
    cmd_id = f"cmd-{number:08}"
    return Entry(cmd_id, "digest", float(number), "restart", "web", "ana", Reply(cmd_id, "accepted"), ended)


async def test_the_journal_comes_back_after_a_crash(tmp_path):
    """Synced ids are seen again, and what had not ended is listed."""
    journal = Journal(tmp_path / "commands.db")
    journal.load()
    journal.put(entry(1))
    journal.put(entry(2, ended=True))
    await journal.sync()
    journal.put(entry(3))
    again = Journal(tmp_path / "commands.db")
    again.load()
    assert [again.seen(f"cmd-{n:08}") is not None for n in (1, 2, 3)] == [True, True, False]
    assert [one.cmd_id for one in again.unfinished()] == ["cmd-00000001"]


async def test_the_journal_is_bounded_and_forgets_ended_ones_first(tmp_path):
    """What is under way is never forgotten for what is over."""
    journal = Journal(tmp_path / "commands.db", entries_max=10)
    journal.load()
    journal.put(entry(0))
    for number in range(1, 50):
        journal.put(entry(number, ended=True))
    await journal.sync()
    assert journal.seen("cmd-00000000")
    assert journal.seen("cmd-00000049")
    assert len(journal._entries) == 10


async def test_a_full_journal_fits_its_slot(tmp_path):
    """The longest entries there can be, as many as there may be."""
    journal = Journal(tmp_path / "commands.db")
    journal.load()
    for number in range(600):
        cmd_id = f"{number:064}"
        reply = Reply(cmd_id, "refused", "g" * 63, "\x1b" * 5000, data={"x": "y" * 5000})
        journal.put(Entry(cmd_id, "d" * 64, 1.7e9, "maintenance", "t" * 69, "a" * 63, reply))
    await journal.sync()


@pytest.mark.real
def test_kill_9_in_the_middle_of_saving_leaves_a_whole_document(tmp_path):
    """Whatever the moment, the document is one that was being written, and never older than the last that came back."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom hubagent.edges.slots import Slots\n"
        "slots = Slots(Path(sys.argv[1]))\nslots.load()\n"
        "for n in range(10**9):\n    slots.save(b'%d ' % n * 2000)\n    print(n, flush=True)\n"
    )
    path = tmp_path / "book"
    for lines in (1, 7, 40):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdout=subprocess.PIPE,
            cwd=os.getcwd(),  # noqa: PTH109
        )
        last = [process.stdout.readline() for _ in range(lines)][-1]
        process.kill()
        rest = process.communicate(timeout=20)[0].split()
        acknowledged = int(rest[-1] if rest else last)
        words = Slots(path).load().split()
        assert len(words) == 2000
        assert len(set(words)) == 1
        assert int(words[0]) >= acknowledged
        path.unlink()
