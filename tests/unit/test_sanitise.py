"""Hostile text: nothing that a terminal would obey is left (fault X7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubagent.wire.sanitise import REPLACEMENT, TEXT_CHARS_MAX, clean, clean_line, clean_value, is_suspect

R = REPLACEMENT
HOSTILE = {
    "CSI colour": ("a\x1b[31mb", f"a{R}b"),
    "CSI with parameters": ("\x1b[?1049h", R),
    "CSI as C1": ("a\x9b2Jb", f"a{R}b"),
    "CSI without end": ("a\x1b[12", f"a{R}"),
    "OSC 52, clipboard": ("a\x1b]52;c;cm0gLXJm\x07b", f"a{R}b"),
    "OSC 8, link": ("\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", f"{R}text{R}"),
    "OSC title as C1": ("\x9d0;title\x9cb", f"{R}b"),
    "OSC without end": ("a\x1b]0;never ends", f"a{R}"),
    "DCS": ("a\x1bP+q544e\x1b\\b", f"a{R}b"),
    "DCS without end": ("a\x90q", f"a{R}"),
    "SOS PM APC": ("\x1bXx\x1b\\\x1b^y\x1b\\\x1b_z\x1b\\", R * 3),
    "charset": ("\x1b(0x", f"{R}x"),
    "reset": ("\x1bcx", f"{R}x"),
    "lone escape": ("a\x1b", f"a{R}"),
    "double escape": ("\x1b\x1b[31mx", f"{R}{R}x"),
    "C1": ("\x85\x84", R * 2),
    "carriage return": ("good\rbad", f"good{R}bad"),
    "backspace": ("good\b\b\b\bbad!", f"good{R * 4}bad!"),
    "bell, NUL, DEL": ("\x07\0\x7f", R * 3),
    "BiDi override": ("a\u202egnp.exe", f"a{R}gnp.exe"),
    "BiDi isolate": ("\u2066x\u2069", f"{R}x{R}"),
    "Arabic mark": ("\u061cx", f"{R}x"),
    "zero width": ("pay\u200bpal", f"pay{R}pal"),
    "line separator": ("a\u2028b", f"a{R}b"),
    "byte order mark": ("\ufeffa", f"{R}a"),
    "tag characters": ("a\U000e0041", f"a{R}"),
    "lone surrogate": ("a\ud800b", f"a{R}b"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_becomes_visible_and_harmless(name):
    """Each sequence is one replacement character."""
    text, expected = HOSTILE[name]
    assert clean(text) == expected


@pytest.mark.parametrize(
    "text", ["plain", "two\nlines\tand a tab", "größe – 5 °C", "日本語", "👩 🚀", "[bold]markup[/bold]"]
)
def test_ordinary_text_is_left_alone(text):
    """Markup is no terminal control: who renders it as markup has the bug."""
    assert clean(text) == text
    assert not is_suspect(text.encode())


def is_harmless(text: str) -> bool:
    """No control character but LF and TAB, nothing invisible, nothing that UTF-8 cannot carry."""
    text.encode()
    return not any(
        (ord(char) < 32 and char not in "\n\t") or 0x7F <= ord(char) < 0xA0 or char in "\u061c\u2028\u2029\ufeff"
        or 0x200B <= ord(char) <= 0x200F or 0x202A <= ord(char) <= 0x202E or 0x2060 <= ord(char) <= 0x206F
        for char in text
    )  # fmt: skip


CHARS = st.text(
    alphabet=st.one_of(st.characters(), st.sampled_from("\x1b\x9b\x9d\x90\x07\\[]P;m0\ud800\u202e")), max_size=60
)


@given(CHARS)
def test_any_text_becomes_harmless_and_stays_as_it_is_then(text):
    """X7: Cleaning twice changes nothing more; it never grows."""
    once = clean(text)
    assert is_harmless(once)
    assert clean(once) == once
    assert len(once) <= len(text)
    assert "\n" not in clean_line(text)
    assert "\t" not in clean_line(text)


@given(CHARS)
def test_raw_json_that_is_not_suspect_holds_nothing_to_clean(text):
    """The short cut never lets anything through, escaped or not."""
    import json

    for raw in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
        encoded = raw.encode("utf-8", "surrogatepass")
        assert is_suspect(encoded) or clean(text) == text


@pytest.mark.parametrize("escape", [r"\r", r"\b", r"\f", r"\u001b", r"\u202E", r"\ud800"])
def test_every_json_escape_of_a_control_is_suspect(escape):
    """A carriage return hides a line as well as an escape sequence does."""
    assert is_suspect(f'"{escape}"'.encode())


def test_long_text_is_cut_with_a_mark():
    """Bounded before it is searched."""
    assert clean("x" * 10_000) == "x" * (TEXT_CHARS_MAX - 1) + "…"
    assert len(clean_line("\x1b]" * 10_000, 10)) <= 10


def test_values_are_cleaned_with_their_keys_and_to_a_depth():
    """Every string of a document."""
    assert clean_value({"a\x1b": ["\x07", 1, None, {"b": "\x9b"}]}) == {f"a{R}": [R, 1, None, {"b": R}]}
    assert clean_value([[["deep"]]], depth=2) == [["(too deep)"]]
