"""The quick look before the walk never overlooks what the expression would find."""

from hypothesis import given
from hypothesis import strategies as some

from hubagent.wire import sanitise


@given(some.binary(max_size=12) | some.text(max_size=8).map(str.encode))
def test_the_quick_look_agrees_with_the_expression(raw):
    """It only saves time."""
    assert sanitise.is_suspect(raw) == (sanitise._SUSPECT.search(raw) is not None)
