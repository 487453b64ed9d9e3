"""Asks a service whether it is well: over HTTP, TCP, NATS, by a command, or by its process."""

import asyncio
import contextlib
import os
import select
import signal
import ssl
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import SplitResult, urlsplit

from hubagent.errors import LinkDown, NoResponders, RequestTimeout

HEAD_BYTES_MAX = 4096  # of an HTTP answer: the status line is all that counts
COMMANDS_MAX = 4  # at once; the others wait their turn
ENVIRONMENT_KEPT = ("PATH", "HOME", "LANG")
PROBE_KINDS = ("http", "tcp", "command", "nats", "process")


class Answer(NamedTuple):
    """Well, not well and why, or None: the question could not be asked."""

    ok: bool | None
    why: str = ""


class Link(Protocol):
    """What is needed of a NATS link."""

    async def request(self, subject: str, payload: bytes, *, timeout_s: float) -> Any:
        """One request, one reply."""
        ...


class Prober:
    """Every kind of probe behind one method; `link` serves the NATS ones."""

    def __init__(self, link: Link | None = None) -> None:
        self._link = link
        self._commands = ThreadPoolExecutor(COMMANDS_MAX, "probe")

    async def check(self, kind: str, target: Sequence[str], timeout_s: float, pid: int | None = None) -> Answer:
        """Ask once; never longer than `timeout_s`, and never an exception for a service that is ill."""
        if kind == "process":
            return _process(pid)
        if kind == "command":
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._commands, _command, list(target), timeout_s)
        ask = {"http": _http, "tcp": _tcp, "nats": self._nats}[kind]
        try:
            async with asyncio.timeout(timeout_s):
                return await ask(target[0], timeout_s)
        except TimeoutError:
            return Answer(False, f"no answer within {timeout_s:g} s")
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            return Answer(False, _words(error))

    async def _nats(self, subject: str, timeout_s: float) -> Answer:
        if self._link is None:
            return Answer(None, "no NATS link")
        try:
            await self._link.request(subject, b"", timeout_s=timeout_s)
        except LinkDown as error:
            return Answer(None, str(error))
        except (NoResponders, RequestTimeout) as error:
            return Answer(False, str(error))
        return Answer(True)


def _words(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "the connection ended before an answer"
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__


def _process(pid: int | None) -> Answer:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return Answer(False, "no such process")
    return Answer(False, "it is a zombie") if state in (b"Z", b"X") else Answer(True)


async def _tcp(address: str, _timeout_s: float) -> Answer:
    parts = urlsplit(f"//{address}")
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"no address such as 127.0.0.1:80 or [::1]:80: {address!a}")
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.close()
    return Answer(True)


async def _http(url: str, _timeout_s: float) -> Answer:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise ValueError(f"no http URL: {url!a}")
    is_tls = parts.scheme == "https"
    context = ssl.create_default_context() if is_tls else None
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if is_tls else 80), ssl=context, limit=HEAD_BYTES_MAX
    )
    try:
        writer.write(_head(parts))
        status = await _status(reader)
    finally:
        writer.close()
    return Answer(True) if 200 <= status < 400 else Answer(False, f"HTTP {status}")


def _head(parts: SplitResult) -> bytes:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or any(char <= " " for char in path + parts.netloc):
        raise ValueError("the URL has characters that must be quoted")
    host = parts.netloc.rpartition("@")[2]
    return f"GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: hubagent\r\nConnection: close\r\n\r\n".encode()


async def _status(reader: asyncio.StreamReader) -> int:
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise ValueError("no HTTP answer: its first line never ends") from error
    words = line.split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError("no HTTP answer")
    return int(words[1][:4])


def _command(argv: list[str], timeout_s: float) -> Answer:
    """Run one command in a session of its own, in a thread that also reaps it: no recycled pid is ever signalled."""
    env = {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}
    null = subprocess.DEVNULL
    try:
        process = subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, env=env, start_new_session=True)
    except (OSError, ValueError) as error:
        return Answer(False, _words(error))
    has_ended = _has_ended(process.pid, timeout_s)
    with contextlib.suppress(ProcessLookupError):  # not reaped yet, so the group is still this one
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    if not has_ended:
        return Answer(False, f"no end within {timeout_s:g} s")
    return Answer(True) if code == 0 else Answer(False, f"exit {code}" if code > 0 else f"signal {-code}")


def _has_ended(pid: int, timeout_s: float) -> bool:
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))
    finally:
        os.close(pidfd)
