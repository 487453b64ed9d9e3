"""What the command line says of a record: who and why once, in ASCII where that is asked for."""

import argparse

import pytest

from console.commands.events import _write
from console.commands.output import to_ascii
from console.errors import NotThere
from console.fleet import Event
from hubagent.wire.chunk import Record


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (Record(0, 0, "b", "command_intent", "ok", "restart web", actor="ana"), "restart web (by ana)"),
        (
            Record(0, 0, "b", "command_result", "ok", "restart web done in 0.6 s", actor="ana", reason="slow"),
            "restart web done in 0.6 s (by ana, because: slow)",
        ),
        (Record(0, 0, "b", "service_state", "ok", "web STOPPING: restart by ana", actor="ana"), "restart by ana"),
        (Record(0, 0, "b", "release", "ok", "web: 1.1 → 1.0"), "web: 1.1 -> 1.0"),
    ],
)
def test_an_event_names_who_and_why_once(capsys, record, says):
    """And not inside the sentence, where it would change its meaning."""
    _write(Event("alpha", record), argparse.Namespace(json=False, plain=True))
    assert capsys.readouterr().out.rstrip("\n").endswith(says)


def test_ascii_spells_what_it_can():
    """An arrow is no question mark."""
    assert to_ascii("a → b… é") == "a -> b... ?"


def test_an_unknown_name_is_told_in_a_sentence():
    """With what there is."""
    assert (
        str(NotThere("member of core", "alpha", "central, edge")) == "alpha is no member of core; known: central, edge"
    )
    assert str(NotThere("hub", "nope", "alpha")) == "hub nope is not known; known: alpha"
