"""`hubdeck wire --schema`: every record of the wire is there, and every reference leads somewhere."""

import json

import msgspec

from console.__main__ import main
from hubagent.wire import chunk, commands, contract, enrolment, leases, manifests, micro, reports, roster

# On paper or inside an agent only; none of these travels in a message of its own.
NO_MESSAGES = {"Token"}


def records() -> set[str]:
    """The names of all records in the modules of the wire."""
    modules = (chunk, commands, enrolment, leases, manifests, micro, reports, roster)
    return {
        name for module in modules for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, msgspec.Struct) and one.__module__ == module.__name__
    }  # fmt: skip


def test_every_record_is_in_the_schema(capsys):
    """Printed by the command line, without a fleet."""
    assert main(["wire", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert records() - NO_MESSAGES == set(schema["$defs"])
    refs = set(_refs(schema))
    assert {ref.removeprefix("#/$defs/") for ref in refs} <= set(schema["$defs"])
    assert len(schema["uses"]) == len(contract.USES)


def test_the_table_names_every_subject(capsys):
    """For people."""
    assert main(["wire"]) == 0
    printed = capsys.readouterr().out
    assert all(use.subject in printed for use in contract.USES)


def _refs(value):
    if isinstance(value, dict):
        yield from (one for key, one in value.items() if key == "$ref")
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _refs(one)
