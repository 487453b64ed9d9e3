"""Hooks run with a deadline and their output is kept; one that others may change is never run."""

import time
from pathlib import Path

import pytest

from hubagent.edges import hooks
from hubagent.edges.hooks import HookRefused
from tests.support.guards import is_alive

pytestmark = pytest.mark.real


def script(folder: Path, text: str, mode: int = 0o755) -> str:
    """An executable shell script."""
    path = folder / "hook.sh"
    path.write_text("#!/bin/sh\n" + text + "\n")
    path.chmod(mode)
    return str(path)


async def test_a_hook_gets_its_environment_and_its_output_is_kept(tmp_path: Path) -> None:
    """HUB_EPOCH and HUB_GROUP are there, and the status is its own."""
    result = await hooks.run(
        [script(tmp_path, 'echo "$HUB_GROUP $HUB_EPOCH"; exit 3')], {"HUB_GROUP": "core", "HUB_EPOCH": "7"}, 5
    )
    assert (result.status, result.output) == (3, "core 7\n")


async def test_a_hook_that_hangs_is_ended_with_its_children_at_its_deadline(tmp_path: Path) -> None:
    """No process of it is left, and the time is kept."""
    marker = tmp_path / "pid"
    began = time.monotonic()
    result = await hooks.run([script(tmp_path, f"sleep 60 & echo $! > {marker}; echo begun; wait")], {}, 2.0)
    assert result.status is None
    assert result.output == "begun\n"
    assert time.monotonic() - began < 10
    child = int(marker.read_text())
    while is_alive(child):
        assert time.monotonic() - began < 10, "the grandchild lives on"


async def test_hostile_output_is_harmless(tmp_path: Path) -> None:
    """X7: Escape sequences are replaced."""
    result = await hooks.run([script(tmp_path, r"printf '\033]52;c;x\007done'")], {}, 5)
    assert "\x1b" not in result.output
    assert result.output.endswith("done")


@pytest.mark.parametrize(
    ("mode", "word"), [(0o644, "executable"), (0o777, "others may write"), (0o775, "others may write")]
)
async def test_a_hook_that_cannot_be_trusted_is_refused(tmp_path: Path, mode: int, word: str) -> None:
    """The reason names what to do."""
    with pytest.raises(HookRefused, match=word):
        await hooks.run([script(tmp_path, "true", mode)], {}, 5)


async def test_a_hook_that_is_not_there_or_relative_is_refused() -> None:
    """Only a full path is taken."""
    for program in ("/nonexistent/hook", "hook.sh"):
        with pytest.raises(HookRefused):
            await hooks.run([program], {}, 5)
