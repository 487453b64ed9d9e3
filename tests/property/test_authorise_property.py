"""Whatever arrives, only the operator's own bytes are granted."""

from hypothesis import given, settings
from hypothesis import strategies as st

from hubagent.core.authorise import Facts, Granted, Received, Refused, authorise
from hubagent.core.freshness import Freshness
from tests.support.commanding import command, make_roster, sign, signed

RAW, SIGNATURE = signed(command())
FACTS = Facts("alpha", make_roster(), {}, {}.get)
FRESH = Freshness("boot-1")
FRESH.note("boot-1", 7, 0.0)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_no_altered_byte_is_ever_granted(index, mask):
    """X1: Each byte, each change."""
    raw = bytearray(RAW)
    raw[index] ^= mask
    assert isinstance(authorise(Received(bytes(raw), SIGNATURE), FACTS, FRESH, 0.0), Refused)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.text(max_size=100))
def test_any_bytes_are_refused_in_printable_words(raw, signature):
    """No exception, no control characters."""
    verdict = authorise(Received(raw, signature), FACTS, FRESH, 0.0)
    assert isinstance(verdict, Refused)
    assert verdict.why.isprintable()


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["service", "to", "force", "group", "verb", "on", "auto", "x"]), json_values))
def test_any_args_are_granted_as_names_or_refused(args):
    """A signed command with any args raises nothing, and what is granted holds names only."""
    raw, _ = signed(command(args=args))
    verdict = authorise(Received(raw, sign(raw, "ana")), FACTS, FRESH, 0.0)
    if isinstance(verdict, Granted):
        assert verdict.command.args["service"].replace("-", "").isalnum()
