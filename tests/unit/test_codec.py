"""Bytes to records: the record, or WireError, and never another exception."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from hubagent.wire import chunk, commands, leases, reports, roster
from hubagent.wire.codec import MESSAGE_BYTES_MAX, WireError, decode, decode_any, encode, is_too_deep
from hubagent.wire.sanitise import DEPTH_MAX, clean

KINDS = [
    kind
    for module in (chunk, commands, leases, reports, roster)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
]
TEXT = st.text(max_size=20).map(clean)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def strategy(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a wire type."""
    match kind:
        case inspect.StructType():
            return records(kind.cls)
        case inspect.UnionType():
            return st.one_of([strategy(one) for one in kind.types])
        case inspect.ListType():
            return st.lists(strategy(kind.item_type), max_size=3)
        case inspect.DictType():
            return st.dictionaries(strategy(kind.key_type), strategy(kind.value_type), max_size=3)
        case inspect.IntType():
            return st.integers(-(2**53) if kind.ge is None else kind.ge, 2**53)
        case inspect.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
    if isinstance(kind, inspect.StrType) and kind.pattern:
        return st.from_regex(kind.pattern, fullmatch=True).map(str.strip)
    plain = {inspect.StrType: TEXT, inspect.BoolType: st.booleans(), inspect.NoneType: st.none(), inspect.AnyType: JSON}
    return st.binary(max_size=20) if isinstance(kind, inspect.BytesType) else plain[type(kind)]


def records(kind: type) -> st.SearchStrategy[Any]:
    """Records of one kind."""
    fields = inspect.type_info(kind).fields
    return st.fixed_dictionaries({field.name: strategy(field.type) for field in fields}).map(lambda made: kind(**made))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_record_comes_back_as_it_was_and_ignores_new_fields(kind):
    """One version of skew: an older reader of a newer writer."""

    @given(records(kind))
    @settings(max_examples=15, deadline=None)
    def check(record):
        assert decode(encode(record), kind) == record
        newer = {**json.loads(encode(record)), "field_of_tomorrow": {"a": [1]}}
        assert decode(json.dumps(newer, ensure_ascii=False).encode(), kind) == record

    check()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_any_json_is_a_record_or_a_wire_error(kind):
    """Wrong types, missing fields, odd shapes."""

    @given(st.dictionaries(st.sampled_from([field.name for field in msgspec.structs.fields(kind)]), JSON))
    @settings(max_examples=15, deadline=None)
    def check(document):
        try:
            decode(json.dumps(document).encode(), kind)
        except WireError:
            return

    check()


@given(st.binary(max_size=400))
def test_any_bytes_are_a_record_or_a_wire_error_safe_to_print(raw):
    """Never another exception, and no control character in the message."""
    for kind in (reports.Live, chunk.Chunk, object):
        try:
            decode(raw, kind)
        except WireError as error:
            assert str(error).isprintable()  # noqa: PT017  most inputs raise, some do not


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[" * 100_000, pytest.param(b"[" * 10_000 + b"]" * 10_000, id="X9 lists 10000 deep"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="X9 objects 10000 deep"),
        pytest.param(b"1" * 5000, id="X9 huge integer"), b"1e999", b"NaN", b"\xff\xfe", b'"\xed\xa0\x80"', b'"\\ud800"', b'{"v": 1e400}', b"\0" * 100,
        b'{"v":' + b"9" * 400 + b"}",
    ],
)  # fmt: skip
def test_bombs_and_odd_numbers_are_refused(raw):
    """Bounded time and memory."""
    with pytest.raises(WireError):
        decode(raw, reports.Live)


def test_a_million_keys_are_too_large():
    """X9: The limit comes before parsing."""
    raw = b"{" + b",".join(b'"k%d":1' % number for number in range(1_000_000)) + b"}"
    with pytest.raises(WireError, match="too large"):
        decode_any(raw)
    assert len(raw) > MESSAGE_BYTES_MAX


@pytest.mark.parametrize("depth", [1, DEPTH_MAX, DEPTH_MAX + 1, 50])
@pytest.mark.parametrize(
    ("start", "end"), [("[", "]"), ('{"a":', "}"), ('["]", ', "]"), (r'["\"]", ', "]"), (r'["\\", ', "]")]
)
def test_depth_is_bounded_whatever_stands_in_strings(depth, start, end):
    """Brackets in strings neither hide nor make depth."""
    raw = (start * depth + "1" + end * depth).encode()
    json.loads(raw)
    assert is_too_deep(raw) is (depth > DEPTH_MAX)
    if depth > DEPTH_MAX:
        with pytest.raises(WireError, match="too deep"):
            decode_any(raw)
    else:
        assert decode_any(raw) is not None


@given(JSON)
def test_the_depth_check_agrees_with_the_parsed_depth(document):
    """Against a plain walk."""

    def depth(value) -> int:
        if isinstance(value, dict | list):
            return 1 + max((depth(item) for item in (value.values() if isinstance(value, dict) else value)), default=0)
        return 0

    wrapped = [document] * 20
    assert is_too_deep(json.dumps(wrapped).encode()) is (depth(wrapped) > DEPTH_MAX)


def test_hostile_text_is_cleaned_in_every_field():
    """Names, reasons, keys; escaped or raw."""
    raw = json.dumps({"cmd_id": "a\x1b[31m", "state": "x\u202ey", "why": "one\rtwo"})
    for text in (raw, json.dumps(json.loads(raw), ensure_ascii=False)):
        result = decode(text.encode(), reports.Result)
        assert (result.cmd_id, result.state, result.why) == ("a\ufffd", "x\ufffdy", "one\ufffdtwo")


def test_long_binary_survives_beside_words_with_dashes():
    """A fetched chunk is longer than any text may be."""
    reply = commands.FetchReply([commands.FetchedChunk(1, b"x" * 100_000, "sig")], why="kept – in part’s order")
    assert decode(encode(reply), commands.FetchReply) == reply


def test_unknown_words_and_records_of_the_last_version_are_read():
    """A decoder that rejects an unknown word would make a newer agent vanish."""
    old = {"v": 1, "hub": "a", "boot": "b", "seq": 1, "t": 1.0, "version": "0", "roster_v": 1, "severity": "mauve"}
    assert decode(json.dumps(old).encode(), reports.Live).severity == "mauve"
    assert decode(b'{"mount": "/", "used": 0.5, "eta": null}', reports.DiskUse).eta_low is None
