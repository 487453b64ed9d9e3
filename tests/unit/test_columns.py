"""The list of metric columns."""

import pytest

from hubagent.wire.columns import BYTES, BYTES_PER_S, COLUMNS, COUNT, RATIO, SECONDS, describe, key_of, pattern_of


def test_every_column_has_a_known_unit_and_one_sentence():
    """What stands in the list is shown to people."""
    assert {column.unit for column in COLUMNS} == {RATIO, BYTES, BYTES_PER_S, SECONDS, COUNT}
    assert all(column.text.endswith(".") and column.text.count(". ") == 0 for column in COLUMNS)
    assert len({column.pattern for column in COLUMNS}) == len(COLUMNS)


@pytest.mark.parametrize(
    ("column", "pattern", "key"),
    [
        ("cpu.total", "cpu.total", ""),
        ("disk[/var].used", "disk[*].used", "/var"),
        ("disk[/odd]name].used", "disk[*].used", "/odd]name"),
        ("psi[io].some", "psi[io].some", "io"),
        ("agent.rtt_p99[central]", "agent.rtt_p99[*]", "central"),
        ("]disk[", "]disk[", ""),
    ],
)
def test_a_column_is_known_by_its_pattern(column, pattern, key):
    """Keys may be anything that a mount is called."""
    assert (pattern_of(column), key_of(column)) == (pattern, key)


@pytest.mark.parametrize("column", ["", "cpu", "disk[/var].fullness", "psi[gpu].some", "[]", "disk[/]"])
def test_an_unknown_column_is_none(column):
    """A reader shows it as it is, without a unit."""
    assert describe(column) is None
