"""A command whose agent restarts (as an upgrade does) between taking it and answering it."""

from hubagent.wire.commands import FRESH_SECONDS, Reply
from tests.support.commanding import command, headers, signed
from tests.unit.test_commands import running


async def test_a_console_that_asks_again_after_a_restart_hears_what_was_answered():
    """Told `refused: fresh` it would believe that nothing had been done, and it would be wrong."""
    raw, signature = signed(command())
    async with running() as before:
        before.restart.may_end.set()
        assert (await before.send(raw, headers(signature))).state == "accepted"
        journal = before.journal
        await before.results("done")
    async with running(journal=journal, boot="boot-2") as after:
        assert await after.send(raw, headers(signature)) == Reply("cmd-00000001", "accepted", again=True)
        assert after.restart.ran == []


async def test_the_same_replayed_later_is_refused_as_stale():
    """X2, X4: A recorded command is worth nothing once a console would have stopped asking."""
    raw, signature = signed(command())
    async with running() as before:
        before.restart.may_end.set()
        await before.send(raw, headers(signature))
        journal = before.journal
        await before.results("done")
    async with running(journal=journal, boot="boot-2") as after:
        after.clock.advance(FRESH_SECONDS + 1)
        assert (await after.send(raw, headers(signature))).gate == "fresh"


async def test_another_command_under_the_id_of_one_that_ran_is_refused():
    """The id alone proves nothing: the bytes must be the same."""
    async with running() as before:
        before.restart.may_end.set()
        await before.ask(command())
        journal = before.journal
        await before.results("done")
    async with running(journal=journal, boot="boot-2") as after:
        assert (await after.ask(command(reason="altered"))).gate == "fresh"
        assert after.restart.ran == []
