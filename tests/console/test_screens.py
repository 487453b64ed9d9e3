"""The console as an operator uses it: keys in, words on the screen; data from a scripted link."""

import pytest

from console.errors import ConsoleError
from console.fleet import DetailSeen, LiveSeen, LogSeen, RecordsSeen, ServerChanged
from console.screens.fleet import FleetScreen
from console.screens.hub import HubScreen
from console.screens.preflight import PreflightScreen
from console.widgets.resource_table import ResourceTable
from console.widgets.text_lines import TextLines
from hubagent.wire.chunk import Record
from hubagent.wire.commands import Gate, Reply
from hubagent.wire.reports import LogLines, Result
from tests.fakes.console_link import detail, group, live
from tests.support.waiting import until

SIZE = (80, 24)


def shown(app):
    """The screen as text, as the terminal gets it."""
    lines = app.screen._compositor.render_strips()
    return "\n".join(strip.text for strip in lines)


async def press(app, pilot, *keys):
    """Take in what the link has, press keys, paint, and give the screen back."""
    for key in (None, *keys, None):
        if key:
            await pilot.press(key)
        app.tick()
        app.paint_now()
        await pilot.pause()
    return shown(app)


def again(hub, clock, seq, **changes):
    """A newer summary of a hub."""
    return LiveSeen("central", live(hub, seq, **changes))


async def test_it_paints_before_it_connects(make_app, link):
    """An operator sees the console, then the fleet."""
    link.drain()
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert "connecting" in shown(app)
        assert link.calls == ["start", "check_copies"]
    assert link.calls[-1] == "stop"


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 10)])
async def test_the_first_screen_answers_without_a_key(make_app, size):
    """Servers, group, witness, arming, who I am, each hub with its age."""
    app = make_app()
    async with app.run_test(size=size) as pilot:
        text = await press(app, pilot)
        for word in ("6 hubs", "central ok", "core: central ACTIVE") if size[0] > 40 else ("hubs",):
            assert word in text
        if size[0] > 40:
            for word in ("ARMED", "witness ok", "ana (operator): unlocked", "alpha", "gamma"):
                assert word in text


async def test_losing_both_servers_is_said_and_survived(make_app, link, clock):
    """Which server is down since when; nothing pretends to be fresh."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot)
        link.say(ServerChanged("central", "down", "refused"), ServerChanged("edge", "down", "timeout"))
        await press(app, pilot)
        clock.advance(42)
        text = await press(app, pilot)
        assert "central DOWN 42s" in text
        assert "no hub server reachable" in text
        assert "~ OLD" in text
        assert "● OK" not in text
        link.say(ServerChanged("edge", "up"), again("alpha", clock, 2))
        assert "edge ok" in await press(app, pilot)


async def test_the_cursor_follows_the_hub_and_sorting_waits_after_a_key(make_app, link, clock):
    """No row moves under a finger; five seconds later the worst is on top."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot, "j", "j")
        table = app.screen.query_one(ResourceTable)
        chosen = table.cursor_key
        before = list(table.keys)
        link.say(again("witness", clock, 2, severity="critical", why="disk"))
        await press(app, pilot)
        assert table.keys == before
        clock.advance(6)
        link.say(again("witness", clock, 3, severity="critical", why="disk"))
        await press(app, pilot)
        assert table.keys[0] == "witness"
        assert table.cursor_key == chosen


async def test_a_filter_narrows_as_it_is_typed_and_escape_clears_it(make_app):
    """`/` and text."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot, "slash", "g", "a", "m")
        table = app.screen.query_one(ResourceTable)
        assert table.keys == ["gamma"]
        await press(app, pilot, "enter", "escape")
        assert len(table.keys) == 6


async def test_marks_are_counted_and_cleared(make_app):
    """space, star, U."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        assert "2 marked" in await press(app, pilot, "space", "space")
        assert "6 marked" in await press(app, pilot, "asterisk")
        assert "marked" not in await press(app, pilot, "U")


async def test_views_open_by_number(make_app, link):
    """Each view shows the real thing."""
    link.say(
        DetailSeen("c", detail("alpha")),
        LogSeen(LogLines("alpha", "web", ["GET / 200"])),
        RecordsSeen("c", "alpha", (Record(1.0, 1.0, "b1", "note", "warning", "fan is loud"),)),
    )
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        for key, word in (
            ("2", "CHUNKS"),
            ("3", "1 of 1 run"),
            ("4", "fan is loud"),
            ("6", "AUTHORITY"),
            ("7", "GET / 200"),
        ):
            assert word in await press(app, pilot, key)
        assert "CPU%" in await press(app, pilot, "1")


async def test_the_detail_watches_its_hub_while_it_is_open(make_app, link):
    """Figures, services, events; nobody watches afterwards."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot, "enter")
        assert isinstance(app.screen, HubScreen)
        assert ("watch", "alpha") in link.calls
        link.say(DetailSeen("c", detail("alpha", cores=[0.5])))
        text = await press(app, pilot)
        assert "HUB alpha" in text
        assert "web" in text
        await press(app, pilot, "q")
        assert isinstance(app.screen, FleetScreen)
        assert link.calls[-1] == ("watch", None)


async def open_restart(app, pilot, link, clock):
    link.say(DetailSeen("c", detail("alpha")))
    await press(app, pilot, "enter", "R")
    assert isinstance(app.screen, PreflightScreen)
    clock.advance(0.5)


async def test_restart_is_one_key_then_y_and_ends_with_the_hubs_word(make_app, link, clock):
    """Gates by name, then a row that says done only when the hub does."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot)
        await open_restart(app, pilot, link, clock)
        text = shown(app)
        assert "web@alpha" in text
        assert "no-other-action" in text
        assert "▸[ Cancel ]" in text
        text = await press(app, pilot, "y")
        assert link.sent[0][:3] == ("alpha", "restart", {"service": "web"})
        assert "under way" in text
        assert "done" not in text
        link.say(again("alpha", clock, 9, results=[Result("cmd0", "done")]))
        assert "done" in await press(app, pilot)


async def test_a_red_gate_turns_the_button_off_in_words(make_app, link, clock):
    """Nothing leaves the console."""
    link.gates = [Gate("last-instance", False, "0", "1", "nobody serves")]
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot)
        await open_restart(app, pilot, link, clock)
        text = await press(app, pilot, "y")
        assert "off: gate last-instance does not pass" in text
        assert not link.sent


async def test_gates_are_asked_again_while_the_preflight_is_open(make_app, link, clock):
    """A hold that ran out turns the button on."""
    link.gates = [Gate("minimum-hold", False, "16 s", "30 s")]
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot)
        await open_restart(app, pilot, link, clock)
        link.gates = [Gate("minimum-hold", True, "31 s", "30 s")]
        clock.advance(5)
        link.say(again("alpha", clock, 5))
        assert "press y to restart" in await press(app, pilot)


async def test_the_cursor_is_on_the_worst_until_somebody_moves_it(make_app, link, clock):
    """Hubs are heard one after the other; the first heard is not the chosen one."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot)
        link.say(again("gamma", clock, 2, severity="critical", why="x"))
        await press(app, pilot)
        assert app.screen.query_one(ResourceTable).cursor_key == "gamma"


async def test_old_data_turns_the_button_off(make_app, link, clock):
    """The hub has been silent since the preflight opened."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot)
        await open_restart(app, pilot, link, clock)
        clock.advance(9)
        assert "off: the data of alpha is" in await press(app, pilot, "y")
        assert not link.sent


async def test_a_failover_needs_the_groups_name(make_app, link, clock):
    """F, the name, enter: told to the active hub."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot)
        await press(app, pilot, "6", "F")
        clock.advance(0.5)
        assert "to confirm, type core" in await press(app, pilot)
        await press(app, pilot, *"core", "enter")
        assert link.sent[0][:3] == ("central", "failover", {"group": "core", "to": "edge"})


async def test_a_hub_row_asks_which_service(make_app, link, clock):
    """The list fills when the hub has answered."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot)
        assert "which service?" in await press(app, pilot, "B")
        link.say(DetailSeen("c", detail("alpha")))
        await press(app, pilot)
        text = await press(app, pilot, "enter")
        assert "ROLLBACK  web@alpha" in text


async def test_read_only_has_no_dangerous_key_and_says_how_to_unlock(make_app, link, clock):
    """`:unlock` is noted by a hub first, and ends by itself."""
    app = make_app(is_unlocked=False)
    async with app.run_test(size=SIZE) as pilot:
        text = await press(app, pilot, "F")
        assert "read-only" in text
        assert isinstance(app.screen, FleetScreen)
        await press(app, pilot, "colon", *"unlock", "space", *"15m", "space", *"disk", "enter")
        assert link.sent[0][1:4] == ("unlock", {"seconds": 900.0}, "disk")
        assert "unlocked 15m left" in await press(app, pilot)
        clock.advance(901)
        assert "ana (operator): read-only" in await press(app, pilot)


async def test_a_refused_unlock_stays_read_only(make_app, link):
    """With the hub's reason."""
    app = make_app(is_unlocked=False)
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot)
        for hub in app.fleet.hubs:
            link.replies[hub] = Reply("c", "refused", "role", "viewer may not")
        text = await press(app, pilot, "colon", *"unlock", "space", *"15m", "space", "x", "enter")
        assert "not unlocked: gate role" in text


async def test_several_hubs_are_restarted_one_after_the_other(make_app, link, clock):
    """Marks, the count typed, a row each."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot, "space", "space", "R", *"web", "enter")
        clock.advance(0.5)
        assert "2 targets: web@alpha, web@beta" in await press(app, pilot)
        text = await press(app, pilot, "2", "enter")
        assert [one[0] for one in link.sent] == ["alpha"]
        assert "waiting" in text


async def test_freeze_stands_still_and_says_so(make_app, link, clock):
    """p, and p again."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot, "p")
        link.say(again("alpha", clock, 2, severity="critical", why="x"))
        text = await press(app, pilot)
        assert "FROZEN" in text
        assert "CRIT" not in text
        assert "CRIT" in await press(app, pilot, "p")


async def test_help_and_raw_and_palette_open_and_close(make_app):
    """Made from the same actions as the keys."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        assert "Next row" in await press(app, pilot, "question_mark")
        assert "the hub says critical" in await press(app, pilot, "G")
        await press(app, pilot, "q")
        assert '"hub": "alpha"' in await press(app, pilot, "y")
        await press(app, pilot, "q", "ctrl+p")
        assert type(app.screen).__name__ == "CommandPalette"
        await press(app, pilot, "escape")
        assert isinstance(app.screen, FleetScreen)


async def test_q_twice_leaves(make_app):
    """One `q` too many ends nothing."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot, "q")
        assert app.is_running
        await pilot.press("q")
        assert app.return_code == 0


@pytest.mark.parametrize("theme", ["okabe-ito", "dark", "light", "ansi", "mono"])
async def test_every_theme_paints_every_screen(make_app, theme):
    """And can be changed while it runs."""
    app = make_app(theme)
    async with app.run_test(size=SIZE) as pilot:
        assert "FLEET" in await press(app, pilot)
        await press(app, pilot, "colon", *"theme", "space", *"light", "enter")
        assert app.theme == "light"


async def test_ascii_mode_draws_ascii_only(make_app):
    """Word and ASCII symbol instead."""
    app = make_app("mono", is_ascii=True)
    async with app.run_test(size=SIZE) as pilot:
        text = await press(app, pilot)
        assert ". OK" in text
        assert text.isascii()


HOSTILE = "\x1b]0;pwned\x07\x1b[2J[red]x[/nope] \x9b31m \u202e evil [/] {0} %s"


async def test_hostile_text_never_reaches_the_terminal_and_never_raises(make_app, link, clock):
    """X7: ESC, OSC, C1, BiDi and markup in every field that a hub can fill."""
    bad = Record(1.0, 2.0, "b1", HOSTILE, HOSTILE, HOSTILE, {"group": HOSTILE}, HOSTILE, HOSTILE, HOSTILE)
    link.say(
        again(
            "alpha",
            clock,
            2,
            severity=HOSTILE,
            why=HOSTILE,
            version=HOSTILE,
            groups=[group(HOSTILE, HOSTILE, why=HOSTILE)],
        ),
        DetailSeen("c", detail("alpha", warnings=[HOSTILE], platform=HOSTILE)),
        RecordsSeen("c", "alpha", (bad,)),
        LogSeen(LogLines("alpha", HOSTILE, [HOSTILE])),
        ServerChanged(HOSTILE, "down", HOSTILE),
    )
    link.failure = ConsoleError(HOSTILE)
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        for key in ("2", "3", "4", "6", "7", "1", "enter", "y", "q", "q"):
            text = await press(app, pilot, key)
            assert not [
                char
                for char in text
                if (ord(char) < 32 and char != "\n") or 0x7F <= ord(char) < 0xA0 or char == "\u202e"
            ]


async def test_a_thousand_hubs_format_only_what_is_visible(make_app, link, clock):
    """And the healthy are one row until `z`."""
    link.say(*(LiveSeen("c", live(f"hub-{i:04d}")) for i in range(1000)))
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot)
        table = app.screen.query_one(ResourceTable)
        assert len(table.keys) == 1
        assert "1006 hubs" in app.screen.query_one("#head", TextLines).plain
        await press(app, pilot, "z")
        assert len(table.keys) == 1006
        assert len(table.visible_range()) < 24
        await press(app, pilot, "G")
        assert table.cursor_key == "witness"
        assert "witness" in shown(app)


async def test_only_the_rows_that_changed_are_painted_again(make_app, link, clock):
    """One dirty span for a changed row, none for the others."""
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await press(app, pilot)
        table = app.screen.query_one(ResourceTable)
        regions = []
        original = table.refresh
        table.refresh = lambda *args, **more: (regions.extend(args), original(*args, **more))[1]
        link.say(again("beta", clock, 2, cpu=0.99))
        await press(app, pilot)
        assert [(region.y, region.height) for region in regions if region.area] == [(2, 1)]
        assert regions[0].width < 10


async def test_a_window_that_is_drawn_out_is_painted_anew_once_after_its_last_size(make_app, monkeypatch):
    """Not once for each of the sizes that a window manager sends, and not at the start."""
    painted = []
    monkeypatch.setattr("console.screens.deck_screen.RESIZED_SECONDS", 2.0)
    monkeypatch.setattr("console.screens.deck_screen.DeckScreen._repaint", lambda _: painted.append(1))
    app = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(2.2)
        assert painted == []
        for columns in range(60, 70):
            await pilot.resize_terminal(columns, 20)
        await until(lambda: painted)
        await pilot.pause(2.2)
        assert len(painted) == 1
