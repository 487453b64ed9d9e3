"""Lines, columns, numbers: they always fit, and hostile text is never more than text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from console.actions import ACTIONS
from console.errors import ConfigError
from console.present.commandline import parse
from console.present.keys import key_table
from console.present.prompt import ENTERED, GIVEN_UP, Prompt
from console.present.text import Column, Span, crop, fit, pad, safe, spread, width_of, wrap
from console.present.units import age, clock, millis, percent, size, span, sparkline

ANY_TEXT = st.text(max_size=60)


@given(ANY_TEXT, st.integers(1, 40))
def test_padded_text_has_exactly_its_width(text, width):
    """Columns stay under each other, with wide characters too."""
    assert cell_len(pad(safe(text), width)) == width


@given(st.lists(ANY_TEXT, max_size=5), st.integers(8, 80))
def test_lines_never_grow_beyond_the_screen(parts, width):
    """Cropped, spread or wrapped."""
    spans = tuple(Span(safe(part)) for part in parts)
    assert width_of(crop(spans, width)) <= width
    assert width_of(spread(spans, (Span("right"),), width)) <= width
    assert all(width_of(one) <= width for one in wrap(spans, width))


@given(ANY_TEXT)
def test_no_control_character_survives(text):
    """The last step before the terminal cleans again."""
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in safe(text))


@given(st.floats() | st.none())
def test_numbers_never_raise(value):
    """Infinity and not-a-number are dashes."""
    assert all(isinstance(make(value), str) for make in (age, clock, millis, percent, size))


def test_units_are_short_and_one_a_value():
    """What stands in a column of five."""
    assert [age(one) for one in (0.4, 59, 61, 7200, 200_000)] == ["0s", "59s", "1m", "2h", "2d"]
    assert [size(one) for one in (0, 999, 1234567, 5 << 30)] == ["0", "999", "1.2M", "5.0G"]
    assert (span(300, 480), span(300, 7200), span(300, None)) == ("5-8m", "5m-2h", ">5m")
    assert percent(0.333) == "33"


def test_a_sparkline_has_one_cell_a_value_and_blanks_for_gaps():
    """A gap is not a zero."""
    assert sparkline([0.0, None, 1.0], 4, top=1.0) == " ▁ █"
    assert sparkline([math.nan], 2) == "  "


def test_the_least_missed_columns_go_first():
    """What cannot be missed stays, however narrow."""
    columns = (Column("A", 4), Column("B", 4, drop=2), Column("C", 4, drop=1, flex=1))
    assert [index for index, _ in fit(columns, 9)] == [0, 2]
    assert fit(columns, 20)[-1] == (2, 10)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("unlock", "needs a time and a reason"),
        ("unlock 15m", "needs a time and a reason"),
        ("unlock 99h why", "at most"),
        ("explode", "no such command"),
        ("restart web", "SERVICE@HUB"),
        ("restart We\x1bb@alpha", "no valid name"),
        ("failover core --to ../x", "no valid name"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(text, wrong):
    """Nothing is guessed."""
    said = parse(text)
    assert isinstance(said, str)
    assert wrong in said


def test_command_lines_name_their_target_and_reason():
    """The rest of the line is the reason."""
    assert parse("restart web@alpha memory leak")[:3] == ("restart", "alpha", "web")
    order = parse("failover core --to edge planned work")
    assert (order.group, order.to, order.reason) == ("core", "edge", "planned work")
    assert parse("unlock 15m disk work").seconds == 900.0


def test_dangerous_keys_are_not_there_at_all_when_read_only():
    """Nothing to press by mistake."""
    assert {"F", "R", "B", "S", "K"} <= set(key_table(ACTIONS, {}, may_change=True))
    assert not {"F", "R", "B", "S", "K"} & set(key_table(ACTIONS, {}, may_change=False))


@pytest.mark.parametrize("own", [{"nothing": "x"}, {"restart": "F"}, {"sort": "ctrl+s"}])
def test_own_keys_that_cannot_work_are_refused(own):
    """Unknown names, clashes and terminal keys would pass silently in Textual."""
    with pytest.raises(ConfigError):
        key_table(ACTIONS, own, may_change=True)


def test_the_prompt_edits_completes_and_is_given_up():
    """One line, no widget."""
    prompt = Prompt(":", complete=lambda text: "restart" if text == "re" else None)
    for key in ("r", "x", "backspace", "e", "tab"):
        prompt.press(key)
    assert prompt.text == "restart"
    assert prompt.press("enter") == ENTERED
    assert prompt.press("escape") == GIVEN_UP
