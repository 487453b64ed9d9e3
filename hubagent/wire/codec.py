"""Bytes to records and back: limits before parsing, one error for anything that is not ours."""

from typing import Any, TypeVar

import msgspec

from hubagent.wire.sanitise import DEPTH_MAX, clean_line, clean_value, is_suspect

MESSAGE_BYTES_MAX = 1 << 20  # NATS' own default payload limit; larger is dropped and counted
T = TypeVar("T")


class WireError(ValueError):
    """A message that is no valid message of ours; the text is safe to print."""


def encode(record: msgspec.Struct) -> bytes:
    """Compact JSON of a record."""
    return msgspec.json.encode(record)


def decode(raw: bytes, kind: type[T], bytes_max: int = MESSAGE_BYTES_MAX) -> T:
    """One record from bytes, its text cleaned; WireError and never another exception for anything else."""
    if len(raw) > bytes_max:
        raise WireError(f"too large: {len(raw)} bytes, at most {bytes_max}")
    if is_too_deep(raw):
        raise WireError(f"too deep: at most {DEPTH_MAX} levels")
    try:
        if is_suspect(raw):
            return msgspec.convert(clean_value(msgspec.json.decode(raw)), kind)
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError, OverflowError) as error:
        raise WireError(clean_line(str(error), 200)) from error


def decode_any(raw: bytes, bytes_max: int = MESSAGE_BYTES_MAX) -> Any:
    """The same for JSON of any shape."""
    return decode(raw, object, bytes_max)


_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def is_too_deep(raw: bytes) -> bool:
    """Tell whether JSON nests deeper than any message of ours, without recursion: what recurses later must not break."""
    if raw.count(b"[") + raw.count(b"{") <= DEPTH_MAX:
        return False
    plain = raw.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in raw else raw
    brackets = b"".join(plain.split(b'"')[::2]).translate(None, _NO_BRACKETS)  # every second piece is no string
    for _ in range(DEPTH_MAX):
        shorter = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not shorter:
            return False
        if len(shorter) == len(brackets):
            return False  # unbalanced: no JSON at all, and the parser says so better
        brackets = shorter
    return True
