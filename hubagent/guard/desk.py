"""The guard's socket: who may speak, lines in, lines out, all of it bounded."""

import contextlib
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator

from hubagent.guard.leases import Hold

LINE_BYTES_MAX = 256 << 10  # a start request with its environment; longer is no request of ours
READ_BYTES_MAX = 64 << 10  # for each connection and turn
UNSENT_BYTES_MAX = 1 << 20  # a client that does not read loses its connection, not the guard its memory
CONNECTIONS_MAX = 64
REQUESTS_MAX = 8  # for each connection and turn: the rest waits for the next one, deadlines and other clients do not
WAITING_MAX = 1_000  # requests of one client that wait for the disk
Fields = dict[str, object]


class Connection:
    """One client, non-blocking both ways."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.is_agent = False  # said `"agent": true` in hello: it is told of the exits that it missed
        self.is_closed = False
        self.has_ended = False  # by the client: not one that we hung up on
        self.has_said_bye = False  # an agent that ends as it should
        self.on_gone: dict[str, list[str]] = {}  # what to run for each group when the agent dies instead
        self.waiting: deque[Fields | str | Hold] = deque()  # requests whose turn has not come
        self._is_at_end = False  # the client has hung up: nothing more comes
        self._is_deaf = False  # it takes no answers any more; what it has asked still counts
        self._partial = bytearray()
        self._is_skipping = False  # inside a line that was too long
        self._unsent = bytearray()

    @property
    def has_unsent(self) -> bool:
        """Tell whether the client still has to take something."""
        return bool(self._unsent)

    @property
    def has_more(self) -> bool:
        """Tell whether `read` has something to give without anything new from the client."""
        return b"\n" in self._partial and not self.is_closed

    def read(self) -> Iterator[Fields | str]:
        """Requests that have come, REQUESTS_MAX at most: each an object, or the reason why it is none."""
        if not self.has_more:
            self._receive()
        for _ in range(REQUESTS_MAX):
            end = self._partial.find(b"\n")
            if end < 0 or self.is_closed:
                break
            line = bytes(self._partial[:end])
            del self._partial[: end + 1]
            if not self._is_skipping:
                yield parse(line)
            self._is_skipping = False
        if not self.has_more and len(self._partial) > LINE_BYTES_MAX:
            self._partial.clear()
            if not self._is_skipping:
                yield f"a line of more than {LINE_BYTES_MAX} bytes"
            self._is_skipping = True
        if self._is_at_end and not self.has_more:
            self.is_closed = self.has_ended = True

    def _receive(self) -> None:
        try:
            raw = self.sock.recv(READ_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            raw = b""
        self._is_at_end = not raw
        self._partial += raw

    def forget_starts(self) -> None:
        """Of a client that is gone: who comes next looks at what runs, and decides by that."""
        self.waiting = deque(one for one in self.waiting if not isinstance(one, dict) or one.get("op") != "start")

    def wait(self, request: Fields | str | Hold) -> bool:
        """Keep a request until its turn; False where too many wait already."""
        if len(self.waiting) >= WAITING_MAX:
            return False
        self.waiting.append(request)
        return True

    def send(self, fields: Fields) -> None:
        """Queue one line and send what the client takes now."""
        if self._is_deaf or self.is_closed:
            return
        self._unsent += json.dumps(fields).encode() + b"\n"
        self.flush()
        if len(self._unsent) > UNSENT_BYTES_MAX:
            self.is_closed = True

    def flush(self) -> None:
        """Send what the client takes now; its end is heard by reading, with whatever it still asked."""
        try:
            del self._unsent[: self.sock.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._is_deaf = True
            self._unsent.clear()

    @property
    def is_heard(self) -> bool:
        """Tell whether an answer reaches somebody, as far as can be known."""
        return not self._is_deaf and not self.is_closed


def parse(line: bytes) -> Fields | str:
    """One request, or why it is none."""
    try:
        request = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return "not a JSON object"
    return request if isinstance(request, dict) else "not a JSON object"


def _no_constant(word: str) -> object:
    raise ValueError(word)  # NaN and Infinity would make deadlines that never pass


def listen(state_dir: str) -> socket.socket:
    """The socket, mode 0600 from its first moment; bound by a short name, since a path may have 107 bytes."""
    os.chdir(state_dir)
    with contextlib.suppress(FileNotFoundError):
        os.unlink("guard.sock")  # the lock says that nobody answers there
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    listener.bind("guard.sock")
    os.umask(before)
    listener.listen(CONNECTIONS_MAX)
    listener.setblocking(False)
    return listener


def accept(listener: socket.socket, count: int) -> Connection | None:
    """The next client, when it is our own user or root and there is room."""
    try:
        sock, _ = listener.accept()
    except OSError:  # it left already, or no descriptor is free: the next turn tries again
        return None
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid not in (0, os.geteuid()) or count >= CONNECTIONS_MAX:
        sock.close()
        return None
    sock.setblocking(False)
    return Connection(sock)
