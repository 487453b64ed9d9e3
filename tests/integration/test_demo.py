"""The demo as a stranger uses it: one line of JSON, everything live, and nothing left behind however it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.demo import headless, hubdeck, processes, wait

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


def test_a_headless_demo_says_where_everything_is_and_sigterm_ends_it_all(tmp_path: Path) -> None:
    """The line of JSON names servers, agents, configs and keys; SIGTERM leaves no process and exits 0."""
    root = tmp_path / "d"
    with headless(root) as (demo, ready):
        assert ready["ready"] is True
        assert set(ready["servers"]) == {"central", "edge", "witness"}
        assert set(ready["agents"]) == {"central", "edge", "witness", "alpha", "beta", "gamma"}
        pids = [one["pid"] for one in (*ready["servers"].values(), *ready["agents"].values())]
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        for key in ready["keys"].values():
            assert len(Path(key).read_text().split()) == 2
            assert Path(key).stat().st_mode & 0o077 == 0
        hubs = {hub["hub"]: hub for hub in hubdeck(ready, "status")["hubs"]}
        assert set(hubs) == set(ready["agents"])
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(8) == 0  # 0.6 s where nothing else runs; a lease that nobody can take holds nobody up
        assert not processes(root)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_interrupted_or_killed_leaves_no_process(tmp_path: Path, number: int) -> None:
    """Ctrl-C and even kill -9 of the demo end agents, guards, servers and services."""
    root = tmp_path / "d"
    with headless(root, "--hubs", "1") as (demo, _):
        assert len(processes(root)) > 8
        demo.send_signal(number)
        demo.wait(30)
        wait("the end of all processes", lambda: not processes(root), 30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_temporary_directory_goes_with_the_demo(tmp_path: Path, number: int) -> None:
    """However it ends: nothing of it stays behind in the place for temporary files."""
    command = [sys.executable, "-m", "console", "demo", "--headless", "--hubs", "1"]
    # As a shell starts it in the background: with SIGINT ignored.
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        root = Path(json.loads(demo.stdout.readline())["dir"])
        assert root.parent == tmp_path
        demo.send_signal(number)
        demo.wait(30)
        wait("the end of all processes", lambda: not processes(root), 30)
        wait("the end of the directory", lambda: not root.exists(), 10)
    finally:
        demo.kill()
        demo.stdout.close()


def test_a_service_whose_guard_was_killed_does_not_outlive_the_demo(tmp_path: Path) -> None:
    """The sweeper ends what no guard looks after any more."""
    root = tmp_path / "d"
    with headless(root, "--hubs", "1") as (demo, ready):
        victims = [pid for pid, line in processes(root / "alpha").items() if "hubagent" in line]
        assert ready["agents"]["alpha"]["pid"] in victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        assert any("web.py" in line for line in processes(root / "alpha").values()) or processes(root)
        demo.send_signal(signal.SIGTERM)
        demo.wait(30)
        wait("the end of all processes", lambda: not processes(root), 30)


def test_a_directory_that_cannot_be_is_told_in_words(tmp_path: Path) -> None:
    """No traceback and no internal error; exit status 2."""
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "d", tmp_path / ("x" * 300)):
        command = [sys.executable, "-m", "console", "demo", "--headless", "--dir", str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, "cannot be used" in done.stderr) == (2, True), done.stderr


def test_a_directory_that_is_in_use_is_refused_with_a_word(tmp_path: Path) -> None:
    """Nothing is written over; exit status 2."""
    (tmp_path / "mine").write_text("precious")
    command = [sys.executable, "-m", "console", "demo", "--headless", "--dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert (tmp_path / "mine").read_text() == "precious"
