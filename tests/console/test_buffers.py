"""The buffers view: what it says of the servers' copies, and the completeness statement on enter."""

from console.completeness import LaneReading
from console.fleet import CopiesSeen, LiveSeen
from console.records import Spans
from console.screens.text import TextScreen
from tests.fakes.console_link import lane, live
from tests.unit.test_copies import copy


def words(app) -> str:
    """Everything on the screen."""
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


async def test_the_buffers_view_says_how_the_copies_compare_and_when_that_was_checked(make_app, link, clock):
    """Equal, with its age; a difference is said even where the lane has another trouble."""
    app = make_app()
    async with app.run_test(size=(140, 40)) as pilot:
        link.say(
            CopiesSeen("alpha", "met", "equal", "copies equal, 12 chunks"),
            CopiesSeen("beta", "met", "different", "copies DIFFER: edge 7/3: missing"),
        )
        app.tick()
        clock.advance(12)
        await pilot.press("2")
        await pilot.pause()
        shown = words(app)
        assert "check_copies" in link.calls
        assert "copies equal, checked 12s ago" in shown
        assert "copies DIFFER: edge 7/3: missing" in shown


async def test_enter_in_the_buffers_view_shows_the_completeness_statement(make_app, link):
    """Accepted = received + declared, each cause, and the copies."""
    app = make_app()
    tallies = {"central": copy(1, 2, 3), "edge": copy(1, -2, 3)}
    link.readings = [LaneReading("alpha", "met", tallies, {}, Spans())]
    async with app.run_test(size=(140, 40)) as pilot:
        app.tick()
        await pilot.press("2")
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, TextScreen)
        shown = words(app)
        assert "met: complete: 3 chunks accepted = 3 received + 0 declared lost" in shown
        assert "declared tombstone 7/2-2: over budget" in shown
        assert "copies differ, explained: edge 7/2: substitute (tombstone: over budget)" in shown


async def test_the_nearest_loss_stands_first(make_app, link):
    """Sorted by time to loss, whatever the hub's name."""
    app = make_app()
    async with app.run_test(size=(140, 40)) as pilot:
        app.tick()
        link.say(
            LiveSeen("central", live("beta", 2, lanes=[lane("edge", state="BUFFERING", bytes=9, loss_s=7000.0)])),
            LiveSeen("central", live("gamma", 2, lanes=[lane("edge", state="BUFFERING", bytes=5, loss_s=60.0)])),
        )
        app.tick()
        await pilot.press("2")
        await pilot.pause()
        assert app.screen.table.keys[:2] == ["gamma/edge/met", "beta/edge/met"]
