"""The observer itself: two at once must be seen, however short, or every other verdict is worth nothing."""

import subprocess
import sys
import time

import pytest

from tests.support.demo import wait
from tests.support.observer import Observer

pytestmark = [pytest.mark.real, pytest.mark.alone]


def begin(program, hub):
    """A process that looks like a hub's scheduler."""
    return subprocess.Popen([sys.executable, "-I", "-S", str(program), "--hub", hub])


@pytest.fixture
def program(tmp_path):
    """A scheduler that only waits."""
    path = tmp_path / "scheduler.py"
    path.write_text("import time\ntime.sleep(60)\n")
    return path


def end(process):
    process.kill()
    process.wait()


def test_two_at_once_for_a_twentieth_of_a_second_are_seen(program):
    """And when each of them ran."""
    with Observer(program) as observer:
        one = begin(program, "central")
        wait("one", lambda: len(observer.intervals) == 1, 5)
        two = begin(program, "edge")
        time.sleep(0.05)
        end(one)
        end(two)
        wait("looks", lambda: observer.looks > 110, 10)
    assert "two hubs" in observer.verdict()
    assert {one.hub for one in observer.intervals.values()} == {"central", "edge"}


def test_one_after_the_other_is_no_overlap(program):
    """A process that was killed and reaped does not run."""
    with Observer(program) as observer:
        one = begin(program, "central")
        wait("one", lambda: len(observer.intervals) == 1, 5)
        end(one)
        began = time.monotonic()
        two = begin(program, "edge")
        wait("the other", lambda: observer.first_after("edge", began) is not None, 5)
        end(two)
        wait("looks", lambda: observer.looks > 110, 10)
    assert observer.verdict() == ""


def test_too_few_looks_are_no_proof(program):
    """An observer that did not look says so."""
    with Observer(program) as observer:
        pass
    assert "looks" in observer.verdict()
