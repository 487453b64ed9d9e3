"""Disks that go wrong: small mounts, errors at the store's seam, hands on the file, no descriptors left."""

import os
import resource
import sqlite3
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hubagent.edges.spool_store import Store

IO_WRITE, IO_FSYNC = 778, 1034  # SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC


@contextmanager
def tmpfs(folder: Path, size: str):
    """A disk of this size; skips, with a word, where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no mounting here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Another size, or read-only."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


class Trouble:
    """What the next calls of a store run into; `store` is what a Spool takes as `make`."""

    def __init__(self) -> None:
        self.at: dict[
            str, tuple[int, bool]
        ] = {}  # by method: the error's code, and whether the work is done all the same
        self.times = 0

    def once(self, method: str, code: int, *, done: bool = False) -> None:
        """The next call of a method fails."""
        self.at[method] = code, done

    def store(self, path: Path) -> Store:
        """A store that obeys."""
        return _Troubled(path, self)


class _Troubled(Store):
    def __init__(self, path: Path, trouble: Trouble) -> None:
        self._trouble = trouble
        super().__init__(path)

    def _run(self, name: str, *arguments):
        code, done = self._trouble.at.pop(name, (0, False))
        work = getattr(super(), name)
        if not code:
            return work(*arguments)
        self._trouble.times += 1
        if done:
            work(*arguments)
        error = sqlite3.OperationalError(f"disk I/O error {code}")
        error.sqlite_errorcode = code
        raise error

    def add_open(self, row):
        return self._run("add_open", row)

    def begin(self):
        return self._run("begin")

    def commit(self):
        return self._run("commit")

    def release(self, lane, inc, n, rows_max=500):
        return self._run("release", lane, inc, n, rows_max)


@contextmanager
def by_hand(folder: Path):
    """The file of a spool that nobody has open."""
    database = sqlite3.connect(folder / "spool.db")
    try:
        with database:
            yield database
    finally:
        database.close()


@contextmanager
def no_descriptors():
    """This process may open nothing more; what is open stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        with suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
