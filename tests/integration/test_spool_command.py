"""`hubagent spool`, `destination` and `adopt`: what people on the machine can ask and do, and what they are told."""

import json
import os
import sqlite3

import pytest

from hubagent.__main__ import main
from hubagent.edges import state_dir
from hubagent.edges.spool_store import Store
from hubagent.loops.spool_desk import SpoolDesk
from hubagent.wire.chunk import open_chunk
from tests.support.hub import HubParts

CONFIG = """
hub: {{id: alpha, state_dir: {folder}}}
destinations: [{{name: central, urls: ["nats://127.0.0.1:4222"]}}]
"""


@pytest.fixture
def folder(tmp_path):
    """A state directory with a config beside it."""
    (tmp_path / "state").mkdir()
    (tmp_path / "hubagent.yaml").write_text(CONFIG.format(folder=tmp_path / "state"))
    return tmp_path / "state"


def ask(folder, *arguments):
    """The exit status of the command line; its lock ends with its process, and here the next one has the same."""
    (folder / "agent.lock").unlink(missing_ok=True)
    return main([*arguments, "-c", str(folder.parent / "hubagent.yaml")])


async def filled(folder, chunks=5):
    """A spool with some chunks and one event; gives its parts, closed."""
    parts = HubParts(folder, {})
    parts.spool.open()
    for value in range(chunks):
        await parts.chunk(value)
    await parts.event(100)
    parts.spool.close()
    return parts


def damage(folder, row_id=2):
    """Flip a bit in one body."""
    database = sqlite3.connect(folder / "spool.db")
    with database:
        payload = database.execute("SELECT payload FROM body WHERE id=?", (row_id,)).fetchone()[0]
        database.execute("UPDATE body SET payload=? WHERE id=?", (bytes([payload[0] ^ 1]) + payload[1:], row_id))
    database.close()


async def test_stats_tell_depth_and_age_from_the_rows(folder, capsys):
    """As text and as JSON, without an agent."""
    await filled(folder)
    assert ask(folder, "spool", "stats") == 0
    assert "met: 5 chunks, 5 records" in capsys.readouterr().out
    assert ask(folder, "spool", "stats", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["lane"]: one["chunks"] for one in found["lanes"]} == {"evt": 1, "met": 5}


async def test_export_writes_every_kept_chunk_byte_for_byte(folder, capsys, tmp_path):
    """One line of JSON each, with the signature that proves it; an existing file is not overwritten."""
    parts = await filled(folder)
    out = tmp_path / "out.jsonl"
    assert ask(folder, "spool", "export", "--output", str(out)) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(one["lane"], one["n"]) for one in lines] == [("evt", 1), *(("met", n) for n in range(1, 6))]
    for one in lines:
        assert open_chunk(parts.key.public, f"ops.{one['lane']}.alpha", one["payload"].encode(), one["sig"])
    assert ask(folder, "spool", "export", "--lane", "evt", "--output", str(out)) == 1
    assert "name a new file" in capsys.readouterr().err


async def test_check_finds_damage_and_repair_saves_the_rest(folder, capsys):
    """The old file is kept; the log goes on in a new incarnation, and the damaged chunk is declared."""
    await filled(folder)
    before = Store(folder / "spool.db")
    inc = int(before.meta("inc"))
    before.close()
    assert ask(folder, "spool", "check") == 0
    damage(folder)
    assert ask(folder, "spool", "check") == 1
    assert "have not the hash" not in capsys.readouterr().err
    assert ask(folder, "spool", "repair") == 0
    assert "5 chunks saved, 1 are damaged" in capsys.readouterr().out
    assert len(list((folder / "quarantine").glob("spool-*.db"))) == 1
    parts = HubParts(folder, {})
    parts.spool.open()
    assert parts.log.inc > inc
    assert parts.log.opened_log.why_new == "repaired"
    parts.spool.close()
    assert ask(folder, "spool", "repair") == 0
    assert "nothing to repair" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["check", "repair"])
async def test_check_and_repair_refuse_while_the_agent_has_the_spool(folder, capsys, action):
    """A second connection can corrupt it."""
    await filled(folder)
    descriptor = state_dir.lock(folder)
    assert main(["spool", action, "-c", str(folder.parent / "hubagent.yaml")]) == 1
    assert "its hub agent runs and has the spool open; stop the agent first" in capsys.readouterr().err
    os.close(descriptor)


def test_no_spool_is_said_so(folder, capsys):
    """Nothing is made by looking."""
    for action in ("stats", "check", "repair", "export"):
        assert ask(folder, "spool", action) == 1
        assert "there is no spool; the agent makes it at its first start" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("action", ["stats", "check", "repair"])
def test_a_spool_of_a_newer_agent_is_left_alone(folder, capsys, action):
    """What it means is not known here."""
    store = Store(folder / "spool.db")
    store.db.execute("PRAGMA user_version=7")
    store.close()
    assert ask(folder, "spool", action) == 1
    assert "schema 7 is newer than this agent's 1; it was written by a newer hubagent" in capsys.readouterr().err


def test_a_file_that_is_no_database_is_said_so_and_repaired_into_an_empty_one(folder, capsys):
    """What can be saved of it is nothing; it is kept aside."""
    (folder / "spool.db").write_bytes(b"no database" * 500)
    assert ask(folder, "spool", "stats") == 1
    assert "file is not a database; hubagent spool repair" in capsys.readouterr().err
    assert ask(folder, "spool", "check") == 1
    assert "damaged" in capsys.readouterr().out
    assert ask(folder, "spool", "repair") == 0
    assert "0 chunks saved" in capsys.readouterr().out


async def test_a_database_of_something_else_is_said_so(folder, capsys):
    """Its tables are not ours."""
    sqlite3.connect(folder / "spool.db").execute("CREATE TABLE x(y)").connection.close()
    assert ask(folder, "spool", "stats") == 1
    assert "it is no spool" in capsys.readouterr().err


async def test_a_running_agent_answers_stats_and_export_itself(tmp_path):
    """The file is open in its hands only."""
    parts = HubParts(tmp_path, {})
    async with running_without_servers(parts):
        desk = SpoolDesk(parts.spool, parts.delivery, parts.recorder)
        await parts.chunk(1)
        await parts.chunk(2)
        found = (await desk.stats({}, "local:0"))["stats"]
        assert next(one for one in found["lanes"] if one["lane"] == "met")["chunks"] == 2
        page = await desk.export({"lane": "met"}, "local:0")
        assert [one["n"] for one in page["chunks"]] == [1, 2]
        assert page["next"] is None
        assert (await desk.export({"lane": "met", "after": [parts.log.inc, 1]}, "local:0"))["chunks"][0]["n"] == 2


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"lane": "x"},
        {"lane": "met", "after": [1]},
        {"lane": "met", "after": ["a", 2]},
        {"lane": "met", "after": [1 << 63, 2]},
    ],
)
async def test_export_refuses_what_it_does_not_understand(tmp_path, fields):
    """The gate says which."""
    parts = HubParts(tmp_path, {})
    desk = SpoolDesk(parts.spool, parts.delivery, parts.recorder)
    with pytest.raises(Exception, match="form: export needs lane"):
        await desk.export(fields, "local:0")


async def test_adopt_begins_an_incarnation_and_is_audited(tmp_path):
    """Intent before the deed, result after it, with who asked."""
    parts = HubParts(tmp_path, {})
    async with running_without_servers(parts):
        inc = parts.log.inc
        await SpoolDesk(parts.spool, parts.delivery, parts.recorder).adopt(
            {"reason": "the other one is scrap"}, "local:0"
        )
        assert parts.log.inc > inc
        found = await parts.spool.read(
            lambda store: [store.body(row) for (row,) in store.db.execute("SELECT id FROM body")]
        )
    said = [record for payload in found for record in json.loads(payload)["recs"] if record.get("actor") == "local:0"]
    assert (said[0]["kind"], said[0]["data"]["verb"]) == ("command_intent", "adopt")
    assert said[0]["reason"] == "the other one is scrap"


async def test_removing_a_configured_destination_is_refused_and_that_is_audited(tmp_path):
    """Take it out of the configuration first."""
    parts = HubParts(tmp_path, {"central": "nats://127.0.0.1:1"})
    async with parts.running():
        desk = SpoolDesk(parts.spool, parts.delivery, parts.recorder)
        with pytest.raises(Exception, match="still configured"):
            await desk.remove_destination({"name": "central"}, "local:0")
        with pytest.raises(Exception, match="needs a name"):
            await desk.remove_destination({}, "local:0")
        assert await desk.remove_destination({"name": "old"}, "local:0") == {}


def running_without_servers(parts):
    """Only the spool and its recorder; there is nobody to deliver to."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def open_close():
        parts.spool.open()
        yield
        parts.spool.close()

    return open_close()


def test_commands_that_need_the_agent_say_that_it_does_not_run(folder, capsys):
    """Nothing is changed behind its back."""
    for arguments in (("destination", "remove", "old"), ("adopt",)):
        assert ask(folder, *arguments) == 1
        assert "the agent does not run" in capsys.readouterr().err
