"""Reads what services leave behind: the end of their output, new lines as they come, their processes' usage."""

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hubagent.wire.sanitise import clean_line

TAIL_BYTES_MAX = 256 << 10
FOLLOW_BYTES_MAX = 64 << 10  # for each read; what a flood adds beyond is skipped and counted
LINE_CHARS_MAX = 2000
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """CPU seconds since its start, and resident bytes."""

    cpu_s: float
    rss: int


def read_usage(pid: int) -> Usage | None:
    """One process's usage: a single short read of /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return Usage((int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND, int(fields[21]) * PAGE_BYTES)
    except (OSError, IndexError, ValueError):
        return None


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of an output, those of the file before it included; cleaned, at most TAIL_BYTES_MAX read."""
    text = _end_of(path)
    if text.count(b"\n") < lines:
        text = _end_of(path.with_name(path.name + ".1")) + text
    return _lines(text)[-lines:] if lines > 0 else []


def _end_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES_MAX))
            text = file.read(TAIL_BYTES_MAX)
    except OSError:
        return b""
    return text.partition(b"\n")[2] if size > TAIL_BYTES_MAX else text


def _lines(text: bytes) -> list[str]:
    return [clean_line(line.decode("utf-8", "replace"), LINE_CHARS_MAX) for line in text.splitlines()]


class Follower:
    """New lines of one output since the follower began; rotation is followed, too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = b""
        self._file = self._open()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def _open(self) -> BinaryIO | None:
        try:
            return self._path.open("rb")
        except OSError:
            return None

    def read(self) -> list[str]:
        """The lines that have come, bounded; a skipped stretch is one line that says so."""
        skipped = self._skip()
        text = self._partial + (self._file.read(FOLLOW_BYTES_MAX) if self._file else b"")
        if self._is_rotated():
            self.close()
            self._file = self._open()
            text += self._file.read(FOLLOW_BYTES_MAX) if self._file else b""
        whole, _, self._partial = text.rpartition(b"\n")
        if len(self._partial) > FOLLOW_BYTES_MAX:
            self._partial = b""
        return [*skipped, *_lines(whole)]

    def _skip(self) -> list[str]:
        if self._file is None:
            return []
        behind = os.fstat(self._file.fileno()).st_size - self._file.tell() - FOLLOW_BYTES_MAX
        if behind <= 0:
            return []
        self._file.seek(behind, os.SEEK_CUR)
        self._partial = b""
        return [f"[{behind} bytes skipped: they came faster than they may be sent]"]

    def _is_rotated(self) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return False
        return self._file is None or there.st_ino != os.fstat(self._file.fileno()).st_ino

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def release_of(root: str, cwd: str) -> str:
    """The version whose folder (`ROOT/releases/VERSION`) this is, or empty: how a found process tells its release."""
    releases = Path(root).resolve() / "releases"
    if not root or not Path(cwd).is_relative_to(releases):
        return ""
    parts = Path(cwd).relative_to(releases).parts
    return parts[0] if parts else ""


def release_folder(root: str) -> Path | None:
    """The folder of the current release, its link resolved, so that a process keeps its own version."""
    try:
        return (Path(root) / "current").resolve(strict=True)
    except OSError:
        return None
