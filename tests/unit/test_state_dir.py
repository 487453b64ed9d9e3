"""The lock of a state directory: one agent at a time, and a release in passing."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hubagent.edges import state_dir
from hubagent.edges.state_dir import RELEASING, StateRefused, lock


def dead_pid() -> int:
    """A number that no process has."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    return pid


def test_another_agent_that_lives_is_refused_at_once(tmp_path):
    """With what to do."""
    held = lock(tmp_path)
    began = time.monotonic()
    with pytest.raises(StateRefused, match="another hub agent uses it; stop that one"):
        lock(tmp_path)
    assert time.monotonic() - began < state_dir.RELEASE_WAIT_S / 4
    os.close(held)


@pytest.mark.parametrize("note", [f"{os.getpid()} {RELEASING}", f"{dead_pid()} ", ""], ids=["said", "not-yet", "empty"])
def test_a_release_is_waited_for_whether_it_has_said_so_or_not_yet(tmp_path, note):
    """Between the lock and its note stands the note of the agent that died."""
    held = lock(tmp_path)
    (tmp_path / "agent.lock").write_text(f"{note}\n")
    waits = threading.Event()

    def release() -> None:
        waits.wait()
        os.close(held)

    with ThreadPoolExecutor() as pool:
        pool.submit(release)
        taken = pool.submit(lock, tmp_path)
        time.sleep(3 * state_dir.LOCK_POLL_S)  # it polls
        assert not taken.done()
        waits.set()
        os.close(taken.result(state_dir.RELEASE_WAIT_S))
    assert (tmp_path / "agent.lock").read_text().split() == [str(os.getpid())]
