"""The command plane of a hub over links without a server."""

import asyncio
import contextlib

import pytest

from hubagent.core.outcome import Outcome
from hubagent.edges.journal import Entry
from hubagent.errors import NotAllowed, StoreFailed
from hubagent.loops.commands import BAD_BURST, GOOD_BURST, Commands
from hubagent.wire.codec import decode
from hubagent.wire.commands import Gate, Hello, Reply
from hubagent.wire.signing import REPLY, SIGNATURE_HEADER, verify
from tests.fakes.clock import FakeClock
from tests.fakes.journal import FakeJournal
from tests.fakes.links import FakeLink
from tests.fakes.recorder import FakeRecorder
from tests.support.commanding import command, headers, key, make_roster, signed
from tests.support.waiting import until


class Restart:
    """An action that ends when the test says so."""

    def __init__(self, outcome=None):
        self.ran, self.may_end, self.outcome = [], asyncio.Event(), outcome or Outcome(True, took_s=0.5)
        self.failing = []
        self.error = None

    def gates(self, args):
        """One gate, which fails when told."""
        return [Gate("peer-fresh", "peer-fresh" not in self.failing, "x", "y", "peer-fresh is not fresh")]

    async def run(self, args, force, actor):
        """End when told, as told."""
        self.ran.append((args["service"], force, actor))
        await self.may_end.wait()
        if self.error:
            raise self.error
        return self.outcome


class World:
    """One hub with two links; `ask` sends a command and gives the verified reply."""

    def __init__(self, *, journal=None, boot="boot-1", recorder=None):
        self.clock, self.recorder, self.journal = FakeClock(), recorder or FakeRecorder(boot), journal or FakeJournal()
        self.links = [FakeLink("central"), FakeLink("edge")]
        self.restart = Restart()
        self.commands = Commands(
            "alpha", make_roster, key("alpha"), self.links, self.recorder, self.journal, self.clock,
            {"restart": self.restart},
        )  # fmt: skip
        self.commands.note_seq(7)

    async def ask(self, one, *, link=0, by=None):
        """Sign and send a command; its reply."""
        raw, signature = signed(one, by)
        return await self.send(raw, headers(signature), link=link)

    async def send(self, raw, head, *, link=0):
        """Send bytes; the reply, verified."""
        published = self.links[link].published
        before = len(published)
        self.links[link].deliver("cmd.alpha", raw, head)
        await until(lambda: len(published) > before, 2)
        _, payload, head = published[before]
        reply = decode(payload, Reply)
        assert verify(key("alpha").public, REPLY, reply.cmd_id, payload, head[SIGNATURE_HEADER])
        return reply

    async def results(self, state):
        """What live would show, once something is in this state."""
        await until(lambda: [one for one in self.commands.results() if one.state == state], 2)
        return self.commands.results()


@contextlib.asynccontextmanager
async def running(**options):
    """A world whose commands are served."""
    world = World(**options)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(world.commands.run())
        await until(lambda: "hello.alpha" in world.links[1].subscribed)
        yield world
        serving.cancel()


async def test_an_accepted_command_is_audited_before_it_acts_and_after():
    """Intent first, durable; then the effect; then the result, in the records and in live."""
    async with running() as world:
        assert await world.ask(command(reason="slow")) == Reply("cmd-00000001", "accepted")
        assert world.recorder.kinds() == ["command_intent"]
        assert world.journal.on_disk["cmd-00000001"].ended is False
        await until(lambda: world.restart.ran)
        world.restart.may_end.set()
        results = await world.results("done")
        assert [(one.cmd_id, one.state) for one in results] == [("cmd-00000001", "done")]
        await until(lambda: world.journal.on_disk["cmd-00000001"].ended)
        intent, result = world.recorder.durable
        assert (intent.actor, intent.cmd_id, intent.reason) == ("ana", "cmd-00000001", "slow")
        assert (result.kind, result.data["state"], result.data["took_s"]) == ("command_result", "done", 0.5)
        assert world.restart.ran == [("web", frozenset(), "ana")]


async def test_the_same_command_through_both_servers_acts_once():
    """X2: The second gets the stored reply, signed again, marked as such, also while the first is being decided."""
    async with running() as world:
        raw, signature = signed(command())
        for link in world.links:
            link.deliver("cmd.alpha", raw, headers(signature))
        await until(lambda: world.links[0].published and world.links[1].published, 2)
        replies = [decode(link.published[0][1], Reply) for link in world.links]
        assert [(one.state, one.again) for one in replies] == [("accepted", False), ("accepted", True)]
        assert (await world.send(raw, headers(signature))).again
        world.restart.may_end.set()
        await world.results("done")
        assert len(world.restart.ran) == 1


async def test_a_refused_command_is_refused_again_though_its_gate_passes_now():
    """One id, one answer."""
    async with running() as world:
        world.restart.failing = ["peer-fresh"]
        raw, signature = signed(command())
        first = await world.send(raw, headers(signature))
        assert (first.state, first.gate, first.why) == ("refused", "peer-fresh", "peer-fresh is not fresh")
        world.restart.failing = []
        again = await world.send(raw, headers(signature))
        assert (again.state, again.again, world.restart.ran) == ("refused", True, [])


async def test_refusals_are_answered_and_audited_without_believing_the_name():
    """X1: An unsigned command names ana; the audit does not say that ana did it."""
    async with running() as world:
        reply = await world.send(signed(command())[0], {})
        assert (reply.state, reply.gate) == ("refused", "signature")
        (event,) = world.recorder.events
        assert (event.kind, event.actor, event.data["claimed"]) == ("command_result", None, "ana")
        assert world.restart.ran == []
        assert world.commands.bad_messages == 1


async def test_noise_is_answered_and_audited_at_a_bounded_rate():
    """X1: A flood fills neither the records nor the link, and a good command gets through after it."""
    async with running() as world:
        for _ in range(int(BAD_BURST) + 100):
            world.links[0].deliver("cmd.alpha", b"noise")
        await until(lambda: world.commands.bad_messages == BAD_BURST + 100)
        assert len(world.recorder.events) == BAD_BURST
        assert (await world.ask(command())).state == "accepted"
        world.restart.may_end.set()


async def test_an_operator_may_not_command_without_end():
    """Past the burst the gate is `rate`."""
    async with running() as world:
        world.restart.failing = ["peer-fresh"]
        gates = [(await world.ask(command(cmd_id=f"cmd-{n:08}"))).gate for n in range(int(GOOD_BURST) + 1)]
        assert gates == ["peer-fresh"] * int(GOOD_BURST) + ["rate"]


async def test_one_action_at_a_time_for_each_target_and_it_says_whose():
    """A second restart of web waits for nobody: it is refused by name."""
    async with running() as world:
        await world.ask(command())
        second = await world.ask(command(cmd_id="cmd-00000002", operator="root"))
        assert (second.gate, second.why) == ("no-other-action", "another action is running: restart web by ana")
        other = await world.ask(command(cmd_id="cmd-00000003", args={"service": "api"}))
        assert other.state == "accepted"
        world.restart.may_end.set()
        await until(lambda: len(world.restart.ran) == 2)
        await world.results("done")
        await until(lambda: sum(one.state == "done" for one in world.commands.results()) == 2)
        assert (await world.ask(command(cmd_id="cmd-00000004"))).state == "accepted"


async def test_a_gate_is_forced_by_an_admin_with_a_reason_only():
    """By name, and audited."""
    forced = {"service": "web", "force": ["peer-fresh"]}
    async with running() as world:
        world.restart.failing = ["peer-fresh"]
        world.restart.may_end.set()
        refusals = [
            await world.ask(command(cmd_id="cmd-00000001", args=forced, reason="r")),
            await world.ask(command(cmd_id="cmd-00000002", args=forced, operator="root")),
            await world.ask(
                command(cmd_id="cmd-00000003", args={**forced, "force": ["other"]}, operator="root", reason="r")
            ),
        ]
        assert [one.gate for one in refusals] == ["force", "force", "peer-fresh"]
        accepted = await world.ask(command(cmd_id="cmd-00000004", args=forced, operator="root", reason="peer is dead"))
        assert accepted.state == "accepted"
        await world.results("done")
        assert world.restart.ran == [("web", frozenset({"peer-fresh"}), "root")]
        assert world.recorder.durable[0].data["forced"] == ["peer-fresh"]


async def test_a_second_action_on_a_target_cannot_be_forced():
    """Two restarts of one service at once help nobody."""
    async with running() as world:
        await world.ask(command())
        args = {"service": "web", "force": ["no-other-action"]}
        reply = await world.ask(command(cmd_id="cmd-00000002", args=args, operator="root", reason="now"))
        assert reply.gate == "no-other-action"
        world.restart.may_end.set()


async def test_preflight_answers_gates_and_changes_nothing():
    """The role of the verb asked about is one of them."""
    async with running() as world:
        world.restart.failing = ["peer-fresh"]
        reply = await world.ask(command(verb="preflight", args={"verb": "restart", "service": "web"}))
        gates = {gate["name"]: gate["passed"] for gate in reply.data["gates"]}
        assert gates == {"role": True, "no-other-action": True, "peer-fresh": False}
        reply = await world.ask(command(verb="preflight", args={"verb": "arm", "group": "core", "auto": "armed"}))
        gates = {gate["name"]: gate["passed"] for gate in reply.data["gates"]}
        assert (gates["role"], gates["verb"]) == (False, False)
        assert (world.restart.ran, world.journal.entries, world.recorder.events) == ([], {}, [])


async def test_what_cannot_be_audited_is_not_done():
    """A full or broken store refuses, in the journal and in the records."""
    async with running() as world:
        world.recorder.fail = StoreFailed("spool.db", "no space left")
        assert (await world.ask(command())).gate == "audit"
        world.recorder.fail, world.journal.fail = None, StoreFailed("commands.db", "no space left")
        assert (await world.ask(command(cmd_id="cmd-00000002"))).gate == "audit"
        assert world.restart.ran == []
        world.journal.fail = None
        assert (await world.ask(command(cmd_id="cmd-00000003"))).state == "accepted"
        world.restart.may_end.set()


@pytest.mark.parametrize(
    ("outcome", "error", "gate", "why"),
    [
        (Outcome(False, "exit code 1 three times"), None, "", "exit code 1 three times"),
        (None, NotAllowed("lease-held", "lost it"), "lease-held", "lost it"),
        (
            None,
            StoreFailed("x", "eio"),
            "",
            "spool x: eio; the store is closed and will be checked before it is used again",
        ),
    ],
)
async def test_a_failed_action_is_a_failed_result(outcome, error, gate, why):
    """Outcome or error, the reason reaches the operator."""
    async with running() as world:
        world.restart.outcome, world.restart.error = outcome, error
        world.restart.may_end.set()
        await world.ask(command())
        (result,) = await world.results("failed")
        assert (result.gate, result.why) == (gate, why)


async def test_a_command_cut_off_by_a_crash_is_reported_unknown_and_never_run_again():
    """What the journal holds without an end becomes a result of the next run."""
    raw, signature = signed(command())
    open_entry = Entry("cmd-00000001", "digest", 1.0, "restart", "web", "ana", Reply("cmd-00000001", "accepted"))
    journal = FakeJournal({"cmd-00000001": open_entry})
    async with running(journal=journal, boot="boot-2") as world:
        (result,) = world.commands.results()
        assert (result.cmd_id, result.state) == ("cmd-00000001", "unknown")
        (event,) = world.recorder.durable
        assert (event.kind, event.actor, event.data["state"]) == ("command_result", "ana", "unknown")
        assert journal.on_disk["cmd-00000001"].ended
        assert (await world.send(raw, headers(signature))).gate == "fresh"
        assert (await world.ask(command(hub_boot="boot-2"))).gate == "repeated"
        assert world.restart.ran == []


async def test_a_store_that_fails_at_the_start_does_not_stop_the_agent():
    """What could not be reported stays open for the next start, and live says it all the same."""
    open_entry = Entry("cmd-00000001", "digest", 1.0, "restart", "web", "ana", Reply("cmd-00000001", "accepted"))
    journal, recorder = FakeJournal({"cmd-00000001": open_entry}), FakeRecorder("boot-2")
    recorder.fail = StoreFailed("spool.db", "no space left")
    async with running(journal=journal, recorder=recorder) as world:
        assert [one.state for one in world.commands.results()] == ["unknown"]
        assert not journal.entries["cmd-00000001"].ended
        assert world.recorder.kinds() == ["note"]


async def test_hello_answers_with_what_makes_a_command_fresh():
    """A console that has seen no live yet can command all the same."""
    async with running() as world:
        world.links[1].deliver("hello.alpha", b"")
        await until(lambda: world.links[1].published)
        hello = decode(world.links[1].published[0][1], Hello)
        assert (hello.hub, hello.boot) == ("alpha", "boot-1")
        assert (await world.ask(command(hub_seq=hello.seq))).state == "accepted"
        world.restart.may_end.set()


async def test_a_reply_that_cannot_be_sent_changes_nothing():
    """The link fell between the two; the action goes on."""
    async with running() as world:
        world.links[0].down = True
        raw, signature = signed(command())
        world.links[0].deliver("cmd.alpha", raw, headers(signature))
        world.restart.may_end.set()
        await world.results("done")


async def test_results_leave_live_after_five_minutes():
    """Live is the news; the events are the record."""
    async with running() as world:
        world.restart.may_end.set()
        await world.ask(command())
        await world.results("done")
        world.clock.advance(301)
        assert world.commands.results() == []


async def test_a_local_order_passes_the_same_gates_and_audit():
    """The socket on the machine needs no signature, and skips nothing else."""
    async with running() as world:
        world.restart.may_end.set()
        outcome = await world.commands.local("restart", {"service": "web"}, "local:0", "at the machine")
        assert (outcome.ok, outcome.took_s) == (True, 0.5)
        assert [event.actor for event in world.recorder.durable] == ["local:0", "local:0"]
        world.restart.failing = ["peer-fresh"]
        assert (await world.commands.local("restart", {"service": "web"}, "local:0")).gate == "peer-fresh"
        assert (await world.commands.local("restart", {"service": "../x"}, "local:0")).gate == "form"
        assert (await world.commands.local("shell", {}, "local:0")).gate == "verb"
