"""Subjects: built and parsed by one strict rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubagent.wire import subjects
from hubagent.wire.subjects import NameRefused, is_name, is_version, parse

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
ONE = [
    subjects.live, subjects.detail, subjects.watch, subjects.hello, subjects.command, subjects.fetch, subjects.lease,
    lambda hub: subjects.ops("evt", hub), lambda hub: subjects.ops("met", hub),
]  # fmt: skip
TWO = [subjects.peer, subjects.logs]
BAD = {
    "X5 tokens": ["", ".", "a.b", "..", "*", ">", "$JS"],
    "X5 protocol": ["a b", "a\r\nPUB x", "a\n", "a\0", "a\u200b", "\ud800"],
    "X5 letters": ["A", "-a", "a_b", "é", "a/b"],
    "X5 look-alikes": ["аlpha", "ａ", "٣"],
    "X5 lengths": ["x" * 64, "x" * 10_000],
}


@pytest.mark.parametrize("names", BAD.values(), ids=BAD)
def test_a_bad_name_is_refused_in_every_subject_and_shown_escaped(names):
    """No protocol injection, and the refusal itself is safe to print; no subject with it is parsed either."""
    for bad in names:
        assert not is_name(bad)
        for build in (
            *ONE,
            subjects.inbox_prefix,
            *(lambda name, b=b: b("ok", name) for b in TWO),
            *(lambda name, b=b: b(name, "ok") for b in TWO),
        ):
            with pytest.raises(NameRefused) as caught:
                build(bad)
            assert str(caught.value).isascii()
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 200
        for subject in (f"live.{bad}", f"ops.evt.{bad}", f"peer.ok.{bad}", f"peer.{bad}.ok"):
            with pytest.raises(NameRefused):
                parse(subject)


@pytest.mark.parametrize("bad", [None, 1, b"a", ["a"]])
def test_what_is_no_text_is_no_name(bad):
    """Wire values may have any type."""
    assert not is_name(bad)


def test_an_unknown_lane_is_refused():
    """There are two."""
    with pytest.raises(NameRefused):
        subjects.ops("log", "alpha")


@given(NAMES, NAMES)
def test_what_is_built_parses_to_its_parts(one, two):
    """Round trip of every kind."""
    for build in ONE:
        assert parse(build(one))[-1] == one
    for build in TWO:
        assert parse(build(one, two))[-2:] == (one, two)


@given(st.text(max_size=80))
def test_any_text_parses_to_names_or_is_refused(text):
    """X5: Never another exception."""
    try:
        kind, *rest = parse(text)
    except NameRefused:
        return
    assert ".".join((kind, *rest)) == text
    assert all(is_name(token) for token in rest)


@pytest.mark.parametrize(
    "subject",
    [
        "live",
        "live.",
        "live.a.b",
        "live.*",
        "ops.evt",
        "ops.evt.a.b",
        "peer.a",
        "roster.x",
        "$SYS.a",
        "LIVE.a",
        "live. a",
    ],
)
def test_subjects_of_another_shape_are_refused(subject):
    """Only what this module could have built."""
    with pytest.raises(NameRefused):
        parse(subject)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("1.0", True),
        pytest.param("v1.2.3-rc1+b", True, id="release candidate"),
        ("..", False),
        (".a", False),
        ("a/b", False),
        ("", False),
        ("1\n", False),
        ("x" * 65, False),
    ],
)
def test_a_version_is_one_safe_part_of_a_path(text, good):
    """It becomes a directory's name."""
    assert is_version(text) is good
