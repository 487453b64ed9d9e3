"""Recorded messages and state directories of earlier releases are understood by this code, and what it writes by them."""

import asyncio
import json
import sqlite3
import tarfile
import types
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from hubagent.clock import SystemClock
from hubagent.core.chunking import ChunkPolicy
from hubagent.core.release_book import Book
from hubagent.edges.journal import Journal
from hubagent.edges.release_store import ReleaseStore
from hubagent.edges.spool import Spool
from hubagent.edges.tokens import Tokens
from hubagent.errors import StoreFailed
from hubagent.guard.keep import Keep
from hubagent.loops.chunk_log import ChunkLog
from hubagent.wire import signing
from hubagent.wire.chunk import Chunk, Record, open_chunk
from hubagent.wire.codec import decode, encode
from hubagent.wire.commands import Command, FetchReply, FetchRequest, Gate, Hello, Reply
from hubagent.wire.leases import LeaseRecord, PeerReply, PeerRequest
from hubagent.wire.reports import Detail, Live, LogLines, Watch
from hubagent.wire.roster import Roster, open_roster
from hubagent.wire.signing import COMMAND, LEASE, REPLY, SIGNATURE_HEADER, seed_from, verify

FIXTURES = Path(__file__).parents[1] / "fixtures"
RELEASES = sorted(path.name for path in (FIXTURES / "wire").iterdir())
KINDS = {
    "live": Live, "live-group": Live, "detail": Detail, "command": Command, "reply": Reply, "chunk-evt": Chunk,
    "chunk-met": Chunk, "lease": LeaseRecord,
}  # fmt: skip
CASES = [(release, name) for release in RELEASES for name in KINDS]
# Everything that travels as JSON: a field added later must have a default, or the last release's messages were refused.
REQUIRED = {
    Live: {"v", "hub", "boot", "seq", "t", "version", "roster_v", "severity"},
    Detail: {"v", "hub", "boot", "seq", "t"},
    Chunk: {"v", "hub", "inc", "lane", "n", "prev", "boot", "t0", "t1", "count"},
    Record: {"t", "mono", "boot", "kind", "severity", "text"},
    Command: {"v", "cmd_id", "verb", "hub", "hub_boot", "hub_seq", "operator"},
    Reply: {"cmd_id", "state"},
    Hello: {"hub", "boot", "seq"},
    FetchRequest: {"lane", "inc", "n0", "n1"},
    FetchReply: {"chunks"},
    Gate: {"name", "passed", "value"},
    LeaseRecord: {"group", "members", "profile", "epoch", "holder", "boot", "span_ms", "state", "t"},
    PeerRequest: {"ask", "group", "epoch", "holder", "nonce"},
    PeerReply: {"nonce", "hub", "ok", "epoch"},
    Watch: set(),
    LogLines: {"hub", "service", "lines"},
    Roster: {"v", "fleet", "version", "hubs", "operators", "servers"},
}


def message(release: str, name: str) -> dict:
    """One recorded message: subject, payload, headers."""
    return json.loads((FIXTURES / "wire" / release / f"{name}.json").read_text())


def roster_of(release: str) -> Roster:
    """The recorded roster, its signature verified."""
    key = (FIXTURES / "wire" / release / "fleet.pub").read_text().strip()
    return open_roster(key, message(release, "roster")["payload"].encode())


@pytest.mark.parametrize(("release", "name"), CASES)
def test_a_recorded_message_is_understood_and_says_the_same_when_written_again(release: str, name: str):
    """Nothing of it is lost on the way through this code's records."""
    payload = message(release, name)["payload"].encode()
    record = decode(payload, KINDS[name])
    assert decode(encode(record), KINDS[name]) == record
    assert_kept(json.loads(payload), json.loads(encode(record)))


def assert_kept(was: object, now: object, where: str = "$") -> None:
    """Every value that was said is said again; what has its default may be left out."""
    if isinstance(was, dict):
        assert isinstance(now, dict), where
        for key, value in was.items():
            if key in now:
                assert_kept(value, now[key], f"{where}.{key}")
            else:
                assert value in (None, "", 0, 0.0, False, [], {}, "data", "shadow", 1.0, "always"), (
                    f"{where}.{key} is gone"
                )
    elif isinstance(was, list):
        assert isinstance(now, list), where
        assert len(was) == len(now), where
        for index, pair in enumerate(zip(was, now, strict=True)):
            assert_kept(*pair, f"{where}[{index}]")
    else:
        assert was == now, where


@pytest.mark.parametrize(("release", "name"), CASES)
def test_a_newer_sender_may_say_more(release: str, name: str):
    """Unknown fields, at every depth, are ignored; an unknown word is shown as it is."""
    value = json.loads(message(release, name)["payload"])
    more = with_more(value)
    assert decode(json.dumps(more).encode(), KINDS[name]) == decode(json.dumps(value).encode(), KINDS[name])
    if "severity" in value:
        assert decode(json.dumps(value | {"severity": "purple"}).encode(), KINDS[name]).severity == "purple"


OPEN = {"data", "args", "recs", "pressure", "rtt_p99", "labels", "dropped"}  # objects whose keys are the sender's own


def with_more(value: object) -> object:
    """The same with a field of a later release in each record."""
    if isinstance(value, dict):
        return {key: item if key in OPEN else with_more(item) for key, item in value.items()} | {
            "from_a_later_release": {"x": [1]}
        }
    return [with_more(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("release", "name"), CASES)
def test_an_older_sender_may_say_less(release: str, name: str):
    """With only what was ever required, a message still decodes."""
    value = json.loads(message(release, name)["payload"])
    least = {key: item for key, item in value.items() if key in REQUIRED[KINDS[name]]}
    decode(json.dumps(least).encode(), KINDS[name])


@pytest.mark.parametrize("kind", REQUIRED, ids=lambda kind: kind.__name__)
def test_no_field_becomes_required_and_no_required_one_goes(kind: type):
    """A new field has a default: this list grows with a new kind of message only."""
    assert {field.name for field in msgspec.structs.fields(kind) if field.required} == REQUIRED[kind]


@pytest.mark.parametrize(("release", "name"), CASES)
def test_every_field_of_a_release_is_still_known(release: str, name: str):
    """A field that went would be ignored without a word by the new, and missed by the old."""
    unknown = list(unknown_fields(json.loads(message(release, name)["payload"]), KINDS[name]))
    assert not unknown


def unknown_fields(value: object, kind: object, where: str = "$"):
    """Paths of fields that the code has no place for."""
    parts = get_args(kind)
    if isinstance(kind, types.UnionType):
        kind = next(part for part in parts if part is not type(None))
    if isinstance(value, list) and parts:
        for index, item in enumerate(value):
            yield from unknown_fields(item, parts[0], f"{where}[{index}]")
    elif isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        for key, item in value.items():
            if key not in fields:
                yield f"{where}.{key}"
            else:
                yield from unknown_fields(item, fields[key], f"{where}.{key}")


@pytest.mark.parametrize("release", RELEASES)
def test_recorded_signatures_verify(release: str):
    """The bytes that are signed, and the domains, have not changed."""
    roster = roster_of(release)
    hub, admin = roster.hub("alpha"), roster.operator("admin")
    command, reply, lease = (message(release, name) for name in ("command", "reply", "lease"))
    for lane in ("evt", "met"):
        chunk = message(release, f"chunk-{lane}")
        signature = chunk["headers"][SIGNATURE_HEADER]
        assert open_chunk(hub.signing, chunk["subject"], chunk["payload"].encode(), signature)
    sent = command["payload"].encode()
    assert verify(admin.signing, COMMAND, command["subject"], sent, command["headers"][SIGNATURE_HEADER])
    answered = reply["payload"].encode()
    assert verify(hub.signing, REPLY, decode(sent, Command).cmd_id, answered, reply["headers"][SIGNATURE_HEADER])
    holder = roster.hub(decode(lease["payload"].encode(), LeaseRecord).holder)
    stored = lease["payload"].encode()
    assert verify(holder.signing, LEASE, lease["subject"], stored, lease["headers"][SIGNATURE_HEADER])


@pytest.mark.parametrize("release", RELEASES)
def test_records_of_recorded_chunks_are_events_and_rows(release: str):
    """Replay reads what is inside of them, too."""
    events = decode(message(release, "chunk-evt")["payload"].encode(), Chunk)
    assert [msgspec.convert(record, Record).kind for record in events.recs]
    rows = decode(message(release, "chunk-met")["payload"].encode(), Chunk)
    assert rows.cols[:2] == ["t", "mono"]
    assert all(len(row) == len(rows.cols) for row in rows.recs)


def unpacked(release: str, folder: Path) -> Path:
    """The recorded state directories of a release."""
    with tarfile.open(FIXTURES / "state" / f"{release}.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder


def open_spool(path: Path) -> tuple[Spool, ChunkLog]:
    """A spool on that file, not opened yet."""
    clock = SystemClock()
    log = ChunkLog("alpha", "boot", signing.signer(seed_from(b"k" * 32)), ChunkPolicy(), clock)
    return Spool(path, log, clock, quarantine=path.parent / "quarantine"), log


@pytest.mark.parametrize("release", RELEASES)
async def test_a_recorded_state_directory_opens_again(release: str, tmp_path: Path):
    """Numbers go on where they were, cursors are kept, and nothing goes to quarantine."""
    folder = unpacked(release, tmp_path) / "alpha"
    with sqlite3.connect(folder / "spool.db") as before:
        incarnation = before.execute("SELECT value FROM meta WHERE key = 'inc'").fetchone()
        newest = before.execute("SELECT max(n) FROM chunk WHERE lane = 'evt'").fetchone()[0]
        cursors = before.execute("SELECT count(*) FROM cursor").fetchone()[0]
    spool, log = open_spool(folder / "spool.db")
    await asyncio.to_thread(spool.open)
    try:
        assert len(await spool.read(lambda store: store.cursors())) == cursors > 0
        assert await spool.read(lambda store: (store.meta("inc"),)) == incarnation
        assert (await spool.read(lambda store: store.newest("evt"))).n >= newest
        assert log.durable
    finally:
        await asyncio.to_thread(spool.close)
    assert not (folder / "quarantine").exists()


@pytest.mark.parametrize("release", RELEASES)
def test_recorded_journals_tokens_and_books_are_read(release: str, tmp_path: Path):
    """A command that ran is not run again, and a token never falls, because of an upgrade."""
    folder = unpacked(release, tmp_path)
    journal = Journal(folder / "alpha" / "commands.journal")
    journal.load()
    entry = journal.seen("fixture-0000000001")
    assert entry is not None
    assert entry.ended
    token = Tokens(folder / "edge" / "tokens.json").load("core")
    assert (token.epoch, token.holder) == (1, "central")
    book = ReleaseStore(tmp_path / "web", folder / "alpha" / "rollout" / "web.book").load()
    assert book is None or msgspec.json.decode(book, type=Book) is not None
    assert [one["name"] for one in Keep(str(folder / "edge")).load()["services"]] == ["nats-server"]


async def test_a_spool_of_a_later_schema_is_refused_and_left_alone(tmp_path: Path):
    """Going back to an older agent says why it cannot be, instead of beginning anew over the records."""
    path = unpacked(RELEASES[-1], tmp_path) / "alpha" / "spool.db"
    with sqlite3.connect(path) as later:
        later.execute("PRAGMA user_version = 999")
        chunks = later.execute("SELECT count(*) FROM chunk").fetchone()
    spool, _ = open_spool(path)
    with pytest.raises(StoreFailed, match="schema 999 is newer than this agent's"):
        await asyncio.to_thread(spool.open)
    with sqlite3.connect(path) as after:
        assert after.execute("SELECT count(*) FROM chunk").fetchone() == chunks
        assert after.execute("PRAGMA user_version").fetchone() == (999,)
    assert not (path.parent / "quarantine").exists()
