"""The demo fleet as a test sees it: started headless, read from the process table and the streams only."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.guards import is_alive

READY_SECONDS = 90.0
END_SECONDS = 30.0


def processes(root: Path) -> dict[int, str]:
    """Every live process whose command line names the directory: pid to command line."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                line = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if f"{root}" in line and is_alive(int(entry.name)):
                    found[int(entry.name)] = line
    return found


def wait(what: str, test: Callable[[], object], seconds: float = 30.0) -> float:
    """Poll the outside world until it holds; seconds it took."""
    began = time.monotonic()
    while not test():
        assert time.monotonic() - began < seconds, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.05)
    return time.monotonic() - began


def hubdeck(ready: dict, *words: str, status: int | None = 0) -> dict:
    """`hubdeck … --json` as the demo's admin."""
    command = [sys.executable, "-m", "console", *words, "--json", "-c", ready["console_config"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert status is None or done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout.strip() else {}


@contextlib.contextmanager
def headless(root: Path, *options: str) -> Iterator[tuple[subprocess.Popen, dict]]:
    """A running demo and the line of JSON it printed; nothing of it is left afterwards."""
    command = [sys.executable, "-m", "console", "demo", "--headless", "--dir", str(root), *options]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        line = demo.stdout.readline()
        assert line, f"the demo printed nothing and ended with {demo.wait()}"
        yield demo, json.loads(line)
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            demo.wait(END_SECONDS)
        demo.stdout.close()
        left = processes(root)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"left behind: {left}"
