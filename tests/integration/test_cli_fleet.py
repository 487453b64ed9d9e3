"""The command line against real servers: what it prints, what it sends, and its exit status."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from hubagent.wire.commands import Gate, Reply
from hubagent.wire.reports import GroupState, Lane, Service
from tests.support.fake_hub import INC, FakeFleet, FakeHub, event, stranger

pytestmark = pytest.mark.real

HOSTILE = "web \x1b]0;owned\x07\x1b[31mred\x9b2J\u202e"


@pytest.fixture
def fleet(tmp_path):
    """Two hub servers, no hub yet."""
    with FakeFleet(tmp_path) as started:
        yield started


def assert_clean(text: str) -> None:
    """Nothing that a terminal would obey."""
    assert not [
        one for one in text if (ord(one) < 32 and one not in "\n\t") or 0x7F <= ord(one) < 0xA0 or one == "\u202e"
    ]


async def test_status_lists_every_hub_and_calls_a_silent_one_lost(fleet):
    """The roster says who there is; who says nothing is LOST, and first."""
    lanes = [Lane("central", "evt", "LIVE", 0, 0), Lane("edge", "evt", "BUFFERING", 3, 2048, 60.0)]
    groups = [GroupState("core", "ACTIVE", 7, 1.5, "armed")]
    async with FakeHub(fleet, "alpha", lanes=lanes, groups=groups, services=[Service("web", "RUNNING", release="1.1")]):
        ran = await fleet.hubdeck("status", "--json", "--wait", "1.5")
    assert (ran.status, ran.err) == (0, "")
    hubs = {hub["hub"]: hub for hub in ran.json["hubs"]}
    assert [hub["hub"] for hub in ran.json["hubs"]] == ["beta", "alpha"]
    assert (hubs["beta"]["state"], hubs["beta"]["age_s"], hubs["beta"]["heard"]) == ("LOST", None, False)
    alpha = hubs["alpha"]
    assert [lane["state"] for lane in alpha["lanes"]] == ["LIVE", "BUFFERING"]
    assert alpha["services"][0]["release"] == "1.1"
    assert tuple(ran.json["groups"][0][key] for key in ("active", "epoch", "auto")) == ("alpha", 7, "armed")
    assert {"up"} == {server["state"] for server in ran.json["servers"]}


async def test_status_goes_on_through_the_other_server(fleet):
    """One dead hub server is a line, not the end."""
    fleet.servers["edge"].kill()
    async with FakeHub(fleet, "alpha"), FakeHub(fleet, "beta"):
        ran = await fleet.hubdeck("status", "--plain")
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[0].split("\t")[:3] == ["STATE", "HUB", "ROLE"]
    assert {"alpha", "beta"} == {line.split("\t")[1] for line in lines[1:]}
    assert ran.out.isascii()


async def test_status_without_any_server_says_so_and_exits_1(fleet):
    """No link is no reason for a traceback, nor for an empty answer."""
    for server in fleet.servers.values():
        server.kill()
    ran = await fleet.hubdeck("status", "--json")
    assert ran.status == 1
    assert {"OLD"} == {hub["state"] for hub in ran.json["hubs"]}
    assert "no hub server can be reached" in ran.err
    assert "Traceback" not in ran.err


async def test_hostile_text_never_reaches_the_terminal(tmp_path):
    """X7: Escape sequences in a summary, a record and a log line come out visible and harmless."""
    with FakeFleet(tmp_path, servers=("central",)) as fleet:
        async with FakeHub(fleet, "alpha", why=HOSTILE, severity="warning", output=[HOSTILE]) as alpha:
            alpha.services = [Service("web", "RUNNING", why=HOSTILE)]
            await alpha.make_streams()
            await alpha.store(recs=[event(HOSTILE, t=time.time(), reason=HOSTILE)], t0=time.time(), t1=time.time())
            for words in (("status", "--services", "--wait", "1"), ("events",), ("logs", "web@alpha")):
                for form in ((), ("--plain",), ("--json",)):
                    ran = await fleet.hubdeck(*words, *form)
                    assert (ran.status, ran.err) == (0, "")
                    assert "red" in ran.out
                    assert_clean(ran.out)


async def test_restart_is_followed_to_its_end(fleet):
    """Accepted is not done: the hub's own word is."""
    async with FakeHub(fleet, "alpha") as alpha:
        ran = await fleet.hubdeck("restart", "web@alpha", "--yes", "--reason", "test", "--json")
    assert (ran.status, ran.err) == (0, "")
    result = ran.json["results"][0]
    assert (result["target"], result["state"], result["verb"]) == ("web@alpha", "done", "restart")
    assert result["took_s"] > 0
    command = alpha.commands[0]
    assert (
        command.verb, command.args, command.operator, command.reason,
    ) == ("restart", {"service": "web"}, "operator", "test")  # fmt: skip


async def test_a_refusal_names_its_gate_and_exits_1(fleet):
    """The hub decides; the command line says why."""

    def refuse(command):
        return Reply(command.cmd_id, "refused", "last-healthy-instance", "nobody else serves")

    async with FakeHub(fleet, "alpha", answer=refuse):
        ran = await fleet.hubdeck("stop", "web@alpha", "--yes")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "hubdeck: stop web@alpha: refused (gate: last-healthy-instance): nobody else serves\n"


async def test_a_failed_result_exits_1_with_the_gate(fleet):
    """What was accepted and then failed is no success."""
    async with FakeHub(fleet, "alpha", result="failed", why="probe says no"):
        ran = await fleet.hubdeck("rollback", "web@alpha", "--to", "1.0", "--yes", "--json")
    assert ran.status == 1
    assert (ran.json["results"][0]["state"], ran.json["results"][0]["gate"]) == ("failed", "health")
    assert ran.json["results"][0]["args"] == {"service": "web", "to": "1.0"}


async def test_no_reply_exits_3_and_sends_the_same_bytes_only(fleet):
    """Sent and unanswered is unknown, never failed; a second try is the same command."""
    async with FakeHub(fleet, "alpha", answer=lambda command: None) as alpha:
        ran = await fleet.hubdeck("restart", "web@alpha", "--yes", "--json")
    assert ran.status == 3
    assert ran.json["results"][0]["state"] == "unknown"
    assert len({command.cmd_id for command in alpha.commands}) == 1
    assert len(alpha.commands) > 1


async def test_no_result_exits_3(fleet):
    """Accepted, and then no word: unknown."""
    async with FakeHub(fleet, "alpha", result=""):
        ran = await fleet.hubdeck("restart", "web@alpha", "--yes", "--timeout", "0.5")
    assert ran.status == 3
    assert "unknown" in ran.err


async def test_a_rogue_first_reply_is_ignored(fleet):
    """X13: An answer that does not verify, however early, decides nothing."""
    async with (
        FakeHub(fleet, "alpha", "edge", signer=stranger()),
        FakeHub(
            fleet, "alpha", "central", delay_s=0.3, answer=lambda one: Reply(one.cmd_id, "refused", "busy", "drill")
        ),
    ):
        ran = await fleet.hubdeck("restart", "web@alpha", "--yes", "--json")
    assert (ran.json["results"][0]["state"], ran.json["results"][0]["gate"]) == ("refused", "busy")


async def test_a_silent_hub_is_not_sent_to_and_exits_1(fleet):
    """Nothing waits in a queue for an absent hub."""
    async with FakeHub(fleet, "alpha"):
        ran = await fleet.hubdeck("restart", "web@beta", "--yes")
    assert ran.status == 1
    assert "gate: reachable" in ran.err


async def test_dry_run_prints_the_gates_and_changes_nothing(fleet):
    """The same list as the hub's own."""
    gates = [Gate("running", True, "RUNNING"), Gate("last-healthy-instance", False, "0 others", "at least 1", "alone")]
    async with FakeHub(fleet, "alpha", gates=gates) as alpha:
        ran = await fleet.hubdeck("restart", "web@alpha", "--dry-run", "--json")
        words = await fleet.hubdeck("restart", "web@alpha", "--dry-run")
    assert (ran.status, words.status) == (1, 1)
    result = ran.json["results"][0]
    assert (result["state"], result["gate"]) == ("refused", "last-healthy-instance")
    assert [gate["name"] for gate in result["gates"]] == ["running", "last-healthy-instance"]
    assert "FAIL  last-healthy-instance" in words.out
    assert {"preflight"} == {command.verb for command in alpha.commands}


async def test_failover_goes_to_the_active_hub(fleet):
    """Planned: the one that holds the group hands it over."""
    active, standby = [GroupState("core", role, 4, auto="armed") for role in ("ACTIVE", "STANDBY")]
    async with FakeHub(fleet, "alpha", groups=[active]) as alpha, FakeHub(fleet, "beta", groups=[standby]):
        ran = await fleet.hubdeck("failover", "core", "--to", "beta", "--yes", "--json")
    assert ran.status == 0
    assert [(one.verb, one.args) for one in alpha.commands] == [("failover", {"group": "core", "to": "beta"})]


async def test_failover_of_a_silent_holder_is_forced_and_says_so(fleet):
    """Nobody active answers: the successor is told to take over, and the operator is told that it is forced."""
    async with FakeHub(fleet, "beta", groups=[GroupState("core", "STANDBY", 4)]) as beta:
        ran = await fleet.hubdeck("failover", "core", "--yes", "--json")
    assert ran.status == 0
    assert [(one.verb, one.args) for one in beta.commands] == [("promote", {"group": "core"})]
    assert "forced takeover, sent to beta" in ran.err


async def test_a_viewer_is_refused_before_anything_is_sent(fleet):
    """The roster's role decides, here and on the hub."""
    async with FakeHub(fleet, "alpha") as alpha:
        ran = await fleet.hubdeck("restart", "web@alpha", "--yes", identity="viewer")
    assert ran.status == 1
    assert "gate: role" in ran.err
    assert not alpha.commands


async def test_without_a_terminal_and_yes_nothing_is_asked_or_sent(fleet):
    """A script that forgot --yes gets a usage error."""
    ran = await fleet.hubdeck("restart", "web@alpha")
    assert (ran.status, ran.out) == (2, "")
    assert "add --yes" in ran.err


async def test_events_are_merged_from_both_servers_by_number(fleet):
    """The second copy is the same event; what only one server has is shown too."""
    now = time.time()
    async with FakeHub(fleet, "alpha", "central") as here, FakeHub(fleet, "alpha", "edge") as there:
        for hub in (here, there):
            await hub.make_streams()
            await hub.store(recs=[event("one", t=now - 60)], t0=now - 60, t1=now - 60)
        await there.store(recs=[event("two", t=now - 30, actor="ana")], t0=now - 30, t1=now - 30)
        ran = await fleet.hubdeck("events", "alpha", "--since", "10m", "--json")
        late = await fleet.hubdeck("events", "--since", "45s", "--plain")
    assert [one["text"] for one in ran.json["events"]] == ["one", "two"]
    assert [line.split("\t")[1:] for line in late.out.splitlines()] == [["ok", "alpha", "note", "two (by ana)"]]


async def test_followed_events_come_as_lines_until_interrupted(fleet):
    """What was before first, then what is stored now, each once, as JSON lines; Ctrl-C ends it without a traceback."""
    now = time.time()
    async with FakeHub(fleet, "alpha") as alpha, FakeHub(fleet, "alpha", "edge") as edge:
        for hub in (alpha, edge):
            await hub.make_streams()
            await hub.store(recs=[event("before", t=now - 60)], t0=now - 60, t1=now - 60)
        async with fleet.following("events", "alpha", "--follow", "--json") as process:
            assert json.loads(await process.stdout.readline())["text"] == "before"
            for hub in (alpha, edge):
                await hub.store(recs=[event("now", t=time.time())], t0=now, t1=time.time())
            line = await asyncio.wait_for(process.stdout.readline(), 10)
            assert json.loads(line)["text"] == "now"
            process.send_signal(signal.SIGINT)
            rest, said = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, rest, said) == (130, b"", b"")


async def test_a_person_is_asked_with_the_gates_and_the_name_is_typed(fleet):
    """What, where, effect, gates; a failover wants the group's name, and anything else sends nothing."""
    gates = [Gate("peer-fresh", True, "0.2 s ago")]
    active = [GroupState("core", "ACTIVE", 4, auto="armed")]
    async with FakeHub(fleet, "alpha", groups=active, gates=gates) as alpha:
        for typed, status, verbs in (("yes", 1, {"preflight"}), ("core", 0, {"preflight", "failover"})):
            shown, code = await asyncio.to_thread(at_terminal, fleet, typed, "failover", "core")
            assert "failover core on hub alpha" in shown
            assert "pass  peer-fresh  0.2 s ago" in shown
            assert "type core to do this" in shown
            assert code == status
            assert {one.verb for one in alpha.commands} == verbs


def at_terminal(fleet: FakeFleet, typed: str, *words: str) -> tuple[str, int]:
    """Run a command line on a pseudo-terminal and type one line when it asks."""
    command = [sys.executable, "-m", "console", "-c", str(fleet.config()), *words]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True) as process:
        os.close(theirs)
        shown, has_typed = "", False
        while True:
            try:
                part = os.read(ours, 4096).decode()
            except OSError:  # the other end is closed: the command has ended
                break
            shown += part
            if "to do this: " in shown and not has_typed:
                has_typed = True
                os.write(ours, typed.encode() + b"\n")
        os.close(ours)
        return shown, process.wait(10)


async def test_records_counts_missing_twice_and_foreign_and_exits_1(fleet):
    """A hole, a repeat and a message that nobody signed are found, each in its stream."""
    async with FakeHub(fleet, "alpha", "central") as here, FakeHub(fleet, "alpha", "edge") as there:
        await here.make_streams()
        await there.make_streams()
        for _ in range(3):
            await there.store("met", [[1.0]])
        await here.store("met", [[1.0]])
        await here.store("met", [[1.0]], skip=1)
        await here.store("met", [[2.0]], n=1)
        await here.put("met", b"{}", headers={})
        ran = await fleet.hubdeck("records", "alpha", "--lane", "met", "--verify", "--json")
    assert ran.status == 1
    central, edge = ran.json["streams"]
    assert tuple(central[key] for key in ("chunks", "missing", "twice", "foreign")) == (2, 1, 1, 1)
    assert tuple(edge[key] for key in ("chunks", "missing", "twice", "foreign")) == (3, 0, 0, 0)
    assert ran.json["complete"]
    assert ran.json["lanes"][0]["statement"] == "met: complete: 3 chunks accepted = 3 received + 0 declared lost"


async def test_records_of_a_whole_hub_are_complete(fleet):
    """Declared losses count as declared; nothing is missing; the exit status is 0."""
    async with FakeHub(fleet, "alpha", "central") as here, FakeHub(fleet, "alpha", "edge") as there:
        for hub in (here, there):
            await hub.make_streams()
            for lane in ("evt", "met"):
                await hub.store(lane, [])
                await hub.store(lane, kind="tombstone", n_to=4, reason="over budget", hash="")
                hub.n[lane] = 4
                await hub.store(lane, [])
        ran = await fleet.hubdeck("records", "alpha", "--verify", "--json")
        words = await fleet.hubdeck("records", "alpha")
    assert (ran.status, ran.err) == (0, "")
    assert {(2, 0, 0, 3)} == {
        tuple(one[key] for key in ("chunks", "missing", "twice", "declared")) for one in ran.json["streams"]
    }
    assert "declared tombstone 1800000000/2-4: over budget" in words.out


async def test_copies_are_compared_by_number_and_hash(fleet):
    """Equal; then another's message, a substitute and a chunk that one server lacks: each is named, with its cause."""
    async with FakeHub(fleet, "alpha", "central") as here, FakeHub(fleet, "alpha", "edge") as there:
        for hub in (here, there):
            await hub.make_streams()
            await hub.store("met", [[1.0]], t0=1.0, t1=1.0)
            await hub.store("met", [[2.0]], t0=2.0, t1=2.0)
        equal = await fleet.hubdeck("records", "alpha", "--compare", "--lane", "met", "--json")
        await here.put("met", b"{}", headers={})
        await here.store("met", kind="tombstone", n_to=3, reason="over budget", hash="")
        await there.store("met", [[3.0]], t0=3.0, t1=3.0)
        explained = await fleet.hubdeck("records", "--compare", "--lane", "met", "--json")
        await here.store("met", [[4.0]], t0=4.0, t1=4.0)
        await there.store("met", [[5.0]], t0=4.0, t1=4.0)
        different = await fleet.hubdeck("records", "alpha", "--compare", "--lane", "met")
        neither = await fleet.hubdeck("records")
    assert (equal.status, equal.json["copies"][0]["text"]) == (0, "copies equal, 2 chunks")
    alpha = next(one for one in explained.json["copies"] if one["hub"] == "alpha")
    assert (explained.status, alpha["state"], alpha["foreign"]) == (0, "explained", {"central": 1})
    assert [(one["server"], one["kind"], one["n0"]) for one in alpha["differences"]] == [("central", "substitute", 3)]
    assert different.status == 1
    assert "other bytes (than on central)" in different.out
    assert (neither.status, "which hub?" in neither.err) == (2, True)


async def test_a_hole_of_both_copies_is_refilled_by_the_hub_itself(fleet):
    """The lane is complete then; the streams keep their hole, and it is said."""
    async with FakeHub(fleet, "alpha", "central") as here, FakeHub(fleet, "alpha", "edge") as there:
        for hub in (here, there):
            await hub.make_streams()
            await hub.store("evt", [])
            await hub.store("evt", [], skip=2)
            hub.keep("evt", 2)
        ran = await fleet.hubdeck("records", "alpha", "--lane", "evt", "--json")
    assert ran.status == 1
    assert {2} == {one["missing"] for one in ran.json["streams"]}
    lane = ran.json["lanes"][0]
    assert (lane["refilled"], lane["missing_ranges"]) == (1, [{"inc": INC, "n0": 3, "n1": 3}])


async def test_logs_of_an_unknown_service_names_those_there_are(fleet):
    """A typing error is told from a service without output."""
    async with FakeHub(fleet, "alpha", services=[Service("web", "RUNNING")], output=["hello", "world"]):
        wrong = await fleet.hubdeck("logs", "wbe@alpha")
        right = await fleet.hubdeck("logs", "web@alpha", "--json")
    assert wrong.status == 1
    assert "known: web" in wrong.err
    assert json.loads(right.out)["lines"] == ["hello", "world"]
