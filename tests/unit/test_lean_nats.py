"""The stand-ins for what nats-py imports hold what its core looks up, and are gone afterwards."""

import subprocess
import sys


def run(code: str) -> str:
    """The output of a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_header_names_are_those_of_the_package() -> None:
    """An upgrade of nats-py that renames one fails here."""
    from nats.js.api import Header as Real

    from hubagent.edges.lean_nats import Header

    assert {one.name: one.value for one in Header} == {one.name: Real[one.name].value for one in Header}


def test_the_agent_does_not_carry_the_jetstream_client() -> None:
    """Neither it nor the metadata reader is there once the daemon is imported."""
    code = "import hubagent.daemon, sys; print([m for m in ('nats.js', 'importlib.metadata', 'zipfile') if m in sys.modules])"
    assert run(code) == "[]"


def test_whoever_asks_later_gets_the_real_ones() -> None:
    """The stand-ins are no trap for other code."""
    code = (
        "import hubagent.edges.lean_nats; from importlib.metadata import version; from nats.js.api import Header;"
        "print(version('nats-py') > '2', Header.MSG_ID.value)"
    )
    assert run(code) == "True Nats-Msg-Id"
