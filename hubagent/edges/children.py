"""The agent's line to its guard: requests and events over the Unix socket, and how a guard is started."""

import asyncio
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import hubagent
from hubagent.errors import GuardGone

REQUEST_S_MAX = 5.0  # the guard answers at once or not at all
BEGIN_S_MAX = 10.0  # from the start of a guard's process to its socket
LOG_BYTES_MAX = 1 << 20
UNPARSED_BYTES_MAX = 4 << 20  # a hello of 256 services with their exits fits many times

Event = dict[str, Any]


class GuardClient(asyncio.Protocol):
    """One connection; every method belongs to the event loop that called `connect`.

    Events arrive in the callbacks as the guard sent them, and `{"event": "gone"}` when the connection ends.
    """

    def __init__(self, path: Path | str, leash: str = "") -> None:
        self._path = Path(path)
        self._leash = leash
        self._callbacks: list[Callable[[Event], None]] = []
        self._answers: dict[int, asyncio.Future[Event]] = {}
        self._ids = itertools.count(1)
        self._transport: asyncio.Transport | None = None
        self._partial = bytearray()

    @property
    def is_connected(self) -> bool:
        """Tell whether a request can be sent."""
        return self._transport is not None

    def on_event(self, callback: Callable[[Event], None]) -> None:
        """Call back for each event, from now on and after each new connection."""
        self._callbacks.append(callback)

    async def connect(self) -> None:
        """Connect; raises GuardGone when no guard answers."""
        self.close()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            _connect(sock, self._path)
            await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=sock)
        except OSError as error:
            sock.close()
            raise GuardGone(str(self._path), error.strerror or "no answer") from error

    async def revive(self) -> None:
        """Connect, starting a guard first when none answers; raises GuardGone when that fails too."""
        try:
            await self.connect()
        except GuardGone:
            await self._begin()

    async def _begin(self) -> None:
        try:
            await spawn_guard(self._path.parent, self._leash)
        except GuardGone as refusal:
            try:  # refused perhaps because another thread has begun one at the same moment
                await self.connect()
            except GuardGone:
                raise refusal from None
            return
        await self.connect()

    def close(self) -> None:
        """Hang up; the guard goes on."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        self._fail_answers()

    async def request(self, op: str, **fields: Any) -> Event:
        """The guard's reply, whatever it says (`ok`, `why`); raises GuardGone when none comes."""
        if self._transport is None:
            raise GuardGone(str(self._path), "not connected")
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._transport.write(msgspec.json.encode({"id": number, "op": op, **fields}) + b"\n")
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                reply: Event = await answer
                return reply
        except TimeoutError as error:
            raise GuardGone(str(self._path), f"no answer to {op} within {REQUEST_S_MAX:g} s") from error
        finally:
            self._answers.pop(number, None)

    # asyncio.Protocol: callbacks instead of a reading task, so that the client fits any event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A fresh connection begins with an empty line."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._partial.clear()

    def data_received(self, data: bytes) -> None:
        """Hand each whole line on; a guard that sends nonsense is hung up on."""
        self._partial += data
        *lines, rest = self._partial.split(b"\n")
        self._partial = bytearray(rest)
        try:
            for line in lines:
                self._take(msgspec.json.decode(line, type=dict[str, Any]))
        except msgspec.DecodeError:
            self.close()
        if len(self._partial) > UNPARSED_BYTES_MAX:
            self.close()

    def _take(self, message: Event) -> None:
        if "event" in message:
            for callback in self._callbacks:
                callback(message)
            return
        answer = self._answers.get(message.get("id") or 0)
        if answer is not None and not answer.done():
            answer.set_result(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits, then say so; a connection that we closed ourselves says nothing."""
        was_ours = self._transport is None
        self._transport = None
        self._fail_answers()
        if not was_ours:
            for callback in self._callbacks:
                callback({"event": "gone"})

    def _fail_answers(self) -> None:
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(GuardGone(str(self._path), "the connection ended"))


def _connect(sock: socket.socket, path: Path) -> None:
    """Connect through a descriptor of the folder: the address of a Unix socket may have 107 bytes only."""
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


async def spawn_guard(state_dir: Path | str, leash: str = "") -> None:
    """Start a guard that belongs to nobody, and return when its socket is there; raises GuardGone."""
    await asyncio.to_thread(_spawn_guard, Path(state_dir), leash)


def _spawn_guard(state_dir: Path, leash: str) -> None:
    log_path = state_dir / "guard.log"
    if log_path.exists() and log_path.stat().st_size > LOG_BYTES_MAX:
        log_path.replace(state_dir / "guard.log.1")
    # -S: no site-packages, which cost memory and which it does not need; the detached child has no parent of ours.
    argv = [sys.executable, "-S", "-m", "hubagent.guard", str(state_dir), *(["--leash", leash] if leash else [])]
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env["PYTHONPATH"] = str(Path(hubagent.__file__).parents[1])
    with log_path.open("ab") as log:
        start = log.tell()
        try:
            ended = subprocess.run(
                [*argv, "--detach"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
                timeout=BEGIN_S_MAX,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GuardGone(str(state_dir / "guard.sock"), str(error)) from error
    if ended.returncode != 0:
        said = log_path.read_bytes()[start:].decode("utf-8", "replace").strip()
        raise GuardGone(str(state_dir / "guard.sock"), said.splitlines()[-1] if said else "it did not begin")
