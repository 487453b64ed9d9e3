"""A real terminal for a program: a pty of a fixed size, read by a terminal emulator, driven key by key."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import threading
import time
from typing import Self

import pyte

KEYS = {"enter": "\r", "esc": "\x1b", "tab": "\t", "space": " ", "up": "\x1b[A", "down": "\x1b[B", "ctrl-c": "\x03"}
WAIT_SECONDS = 20.0


class Terminal:
    """A program in a terminal; a context manager that leaves no process behind."""

    def __init__(
        self, argv: list[str], *, columns: int = 80, rows: int = 24, env: dict[str, str] | None = None
    ) -> None:
        self.argv, self.columns, self.rows = argv, columns, rows
        sized = {"COLUMNS", "LINES"}  # a test worker says 80 by 24 in these, whatever the terminal
        outer = {name: value for name, value in os.environ.items() if name not in sized}
        self.env = {**outer, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})}
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = bytearray()
        self.status: int | None = None
        self._lock = threading.Lock()
        self._fd = self._pid = -1
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvpe(self.argv[0], self.argv, self.env)
        self._set_size()
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None and not self._ended(3.0, signal.SIGTERM):
            self._ended(3.0, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.close(self._fd)

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._pid

    def press(self, *keys: str) -> Self:
        """Type keys one at a time; names as in KEYS, anything else as it is."""
        for key in keys:
            os.write(self._fd, KEYS.get(key, key).encode())
            time.sleep(0.05)  # a TUI may drop keys of one burst
        return self

    def type(self, text: str) -> Self:
        """Type a text letter by letter."""
        return self.press(*text)

    def text(self) -> str:
        """What is on the screen now."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self.screen.display)

    def sees(self, text: str, seconds: float = WAIT_SECONDS) -> Self:
        """Wait until the text is on the screen."""
        deadline = time.monotonic() + seconds
        while text not in self.text():
            assert time.monotonic() < deadline, (
                f"{text!r} did not appear within {seconds:g} s; the screen:\n{self.text()}"
            )
            time.sleep(0.05)
        return self

    def loses(self, text: str, seconds: float = WAIT_SECONDS) -> Self:
        """Wait until the text is gone from the screen."""
        deadline = time.monotonic() + seconds
        while text in self.text():
            assert time.monotonic() < deadline, (
                f"{text!r} was still there after {seconds:g} s; the screen:\n{self.text()}"
            )
            time.sleep(0.05)
        return self

    def resize(self, columns: int, rows: int) -> Self:
        """Change the terminal's size, as a window manager does."""
        self.columns, self.rows = columns, rows
        with self._lock:
            self.screen.resize(rows, columns)
        self._set_size()
        return self

    def close(self) -> None:
        """Take the terminal away, as a window that is closed or a connection that ends."""
        fd, self._fd = self._fd, -1
        os.close(fd)

    def ends(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for the program's end: its exit status, negative for a signal."""
        assert self._ended(seconds), f"still running after {seconds:g} s; the screen:\n{self.text()}"
        assert self.status is not None
        self._reader.join(seconds)  # its last words are read
        return self.status

    def _ended(self, seconds: float, number: int = 0) -> bool:
        if number:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)
        deadline = time.monotonic() + seconds
        while self.status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                return False
            else:
                time.sleep(0.02)
        return True

    def _set_size(self) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                if not select.select([self._fd], [], [], 1.0)[0]:
                    continue
                data = os.read(self._fd, 65536)
            except (OSError, ValueError):
                return
            if not data:
                return
            with self._lock:
                self.raw += data
                # pyte lacks a few private sequences that Textual sends; they move nothing on the screen. Fed one by one,
                # for what stands behind such a one in the same piece would be lost with it.
                for piece in re.split(rb"(?=\x1b)", data):
                    with contextlib.suppress(TypeError, KeyError):
                        self._stream.feed(piece)
