"""The local socket: operate this hub on the machine itself, with every server dead; one JSON object a line."""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from hubagent.core.outcome import Outcome
from hubagent.errors import AgentNotRunning, HubagentError, NotAllowed
from hubagent.wire.sanitise import clean_value
from hubagent.wire.subjects import is_name

LINE_BYTES_MAX = 64 << 10
ANSWER_BYTES_MAX = 8 << 20
CLIENTS_MAX = 16  # people and scripts on one machine; more are turned away
READ_SECONDS = 10.0  # a client that says nothing is hung up on
CALL_SECONDS = 180.0  # a rollback with its gate and its way back fits
PATH_BYTES_MAX = 100  # what the kernel takes for a socket's path is 107
LOG_LINES, LOG_LINES_MAX = 100, 5000
_CREDENTIALS = struct.Struct("3i")

Handler = Callable[[Mapping[str, Any], str], Awaitable[dict[str, Any]]]


class LocalOrders(Protocol):
    """Who carries out what is ordered here: `loops.commands.Commands`."""

    async def local(self, verb: str, args: Mapping[str, Any], actor: str, reason: str = "") -> Outcome:
        """Same gates and audit as a signed command."""
        ...


def handlers(
    orders: LocalOrders, status: Callable[[], dict[str, Any]], tail: Callable[[str, int], list[str]]
) -> dict[str, Handler]:
    """Every op of the socket: status, logs, and the verbs that work without any server."""

    async def show(fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
        return {"status": status()}

    async def logs(fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
        service, lines = fields.get("service"), fields.get("lines", LOG_LINES)
        if not is_name(service) or not isinstance(lines, int):
            raise NotAllowed("form", "logs needs service, a name, and may have lines, a number")
        return {"lines": tail(str(service), max(1, min(lines, LOG_LINES_MAX)))}

    def verb(name: str) -> Handler:
        async def order(fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
            args = {key: value for key, value in fields.items() if key in ("service", "group", "to", "force")}
            outcome = await orders.local(name, args, actor, str(fields.get("reason", ""))[:512])
            if not outcome.ok:
                raise NotAllowed(outcome.gate, outcome.why)
            return {"took_s": outcome.took_s, "why": outcome.why}

        return order

    verbs = ("start", "stop", "restart", "rollback", "demote")
    return {"status": show, "logs": logs, **{name: verb(name) for name in verbs}}


class ControlServer:
    """Serves `path` to root and to the agent's own user; each request says who asked as `local:<uid>`."""

    def __init__(self, path: Path, ops: Mapping[str, Handler], read_s: float = READ_SECONDS) -> None:
        self._path, self._ops, self._read_s = path, ops, read_s
        self._clients: set[asyncio.StreamWriter] = set()

    async def run(self) -> None:
        """Serve until cancelled, then take the socket away."""
        listener = _listen(self._path)
        server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_BYTES_MAX)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            for writer in self._clients:  # a client that only listens must not hold up the agent's end
                writer.transport.abort()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            with contextlib.suppress(OSError, TimeoutError):  # the client has gone; what it began goes on
                await self._converse(reader, writer)
        finally:
            self._clients.discard(writer)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = _peer_uid(writer.get_extra_info("socket"))
        refusal = self._refusal(uid)
        while True:
            line = b"" if refusal else await self._line(reader)
            if not line and not refusal:
                return
            answer = refusal or await self._answer(line, f"local:{uid}")
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
            if refusal or line == _TOO_LONG:
                return

    def _refusal(self, uid: int) -> dict[str, Any] | None:
        if uid not in (0, os.geteuid()):
            return _failed("user", f"only root and the agent's own user may; this is uid {uid}")
        if len(self._clients) > CLIENTS_MAX:
            return _failed("busy", f"more than {CLIENTS_MAX} clients at once")
        return None

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._read_s):
                return await reader.readline()
        except ValueError:  # longer than the limit
            return _TOO_LONG

    async def _answer(self, line: bytes, actor: str) -> dict[str, Any]:
        request = _parse(line)
        if request is None:
            return _failed(
                "form", f'a request is one JSON object with "op", on one line of at most {LINE_BYTES_MAX} bytes'
            )
        handler = self._ops.get(request.pop("op"))
        if handler is None:
            return _failed("verb", f"there are only: {', '.join(sorted(self._ops))}")
        try:
            return {"ok": True, **await handler(request, actor)}
        except NotAllowed as error:
            return _failed(error.gate, error.why)
        except HubagentError as error:
            return _failed("", str(error))


_TOO_LONG = b"\0"


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        request = clean_value(json.loads(line))
    except (ValueError, RecursionError):
        return None
    return request if isinstance(request, dict) and isinstance(request.get("op"), str) else None


def _failed(gate: str, why: str) -> dict[str, Any]:
    return {"ok": False, "gate": gate, "why": why}


def _peer_uid(connection: socket.socket) -> int:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """A name of the socket that the kernel takes: long paths go through a handle of the folder."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _listen(path: Path) -> socket.socket:
    """The lock of the state directory says that no other agent lives, so a socket that is there is a leftover."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # made closed, not closed after it was made
    try:
        with _address(path) as address:
            listener.bind(address)
        listener.listen(CLIENTS_MAX)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


def call(path: Path, op: str, *, timeout_s: float = CALL_SECONDS, **fields: Any) -> dict[str, Any]:
    """Ask the agent on this machine one thing; the answer's `ok` says whether it was done. Raises AgentNotRunning."""
    request = json.dumps({"op": op, **fields}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            with _address(path) as address:
                connection.connect(address)
            with contextlib.suppress(BrokenPipeError):  # refused before it was read: the answer says why
                connection.sendall(request)
            line = _read_line(connection)
        except TimeoutError as error:
            raise AgentNotRunning(str(path), f"no answer within {timeout_s:g} s; the outcome is unknown") from error
        except PermissionError as error:
            raise AgentNotRunning(str(path), "permission denied; ask as root or as the agent's user") from error
        except OSError as error:
            raise AgentNotRunning(str(path), "the agent does not run; start it with hubagent run") from error
    answer = json.loads(line) if line.endswith(b"\n") else None
    if not isinstance(answer, dict):
        raise AgentNotRunning(str(path), "the agent ended before it answered; the outcome is unknown")
    return answer


def _read_line(connection: socket.socket) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < ANSWER_BYTES_MAX:
        piece = connection.recv(64 << 10)
        if not piece:
            break
        line += piece
    return bytes(line)
