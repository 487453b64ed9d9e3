"""The nats-py client with its reconnection taken out: it reports that a connection is lost, and why, at once.

nats-py's own close can wait for a frozen peer to drain (seen: 300 s), and a pong that comes after a timed-out rtt()
ends its read loop. So whoever owns the client hears of a loss first, and abandons the socket without waiting.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hubagent.edges.lean_nats import Client, Error

RTT_SAMPLES_MAX = 256  # about four minutes of pings: enough for a p99, small enough to sort each second
PINGS_OUTSTANDING_MAX = 2
ABANDON_SECONDS = 0.5


class Connection(Client):
    """One connection to one server, for one life."""

    def __init__(self, ping_s: float, clock: Callable[[], float], patience: Callable[[], float]) -> None:
        super().__init__()
        self.lost = asyncio.Event()
        self.why = ""
        self.round_trips: deque[float] = deque(maxlen=RTT_SAMPLES_MAX)
        self.on_denied: Callable[[str], None] = lambda _text: None
        self.needs_tls = False
        self._ping_s = ping_s
        self._clock = clock
        self._patience = patience  # until when silence proves nothing, because something big is on its way
        self._ping_times: deque[float] = deque(maxlen=RTT_SAMPLES_MAX)
        self._inbox_id: int | None = None
        self._on_answer: Callable[[str, str, bytes, dict[str, str]], None] | None = None

    async def take_answers(self, inbox: str, callback: Callable[[str, str, bytes, dict[str, str]], None]) -> None:
        """Hand what comes on this subject to the callback (subject, reply, payload, headers) as it is read."""
        self._on_answer = callback
        self._inbox_id = (await self.subscribe(inbox))._id  # noqa: SLF001  # how messages name it; nobody reads its queue

    def lose(self, why: str) -> None:
        """Say that this connection is over; the first reason stays."""
        if not self.lost.is_set():
            self.why = why
            self.lost.set()

    async def abandon(self) -> None:
        """Let go of the socket without waiting for the peer."""
        self.lose("closed")
        self._pending, self._pending_data_size = [], 0
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        with suppress(Error, OSError, TimeoutError):
            async with asyncio.timeout(ABANDON_SECONDS):
                await self.close()

    # What follows replaces parts of nats-py 2.11 to 2.16; test_nats_link holds each against a real server.

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        # An answer over the subscription's own queue and task costs two more turns of the loop for each chunk.
        if self._on_answer is None or sid != self._inbox_id:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        found = await self._process_headers(headers) if headers else None
        self._on_answer(subject.decode(), reply.decode(), data, dict(found or {}))

    async def _flush_pending(self, force_flush: bool = False) -> Any:  # nats-py's own face
        # At once where the socket is free; a full one is left to the flusher's task, which waits for it.
        writer = getattr(self._transport, "_io_writer", None)
        if force_flush or writer is None or not self.is_connected or writer.transport.get_write_buffer_size():
            return await super()._flush_pending(force_flush)
        pending, self._pending, self._pending_data_size = self._pending, [], 0
        writer.writelines(pending)
        return None

    async def _process_op_err(self, e: Exception) -> None:
        self.lose(str(e) or type(e).__name__)

    async def _process_err(self, err_msg: str) -> None:
        text = err_msg.strip("' \r\n")
        if "permissions violation" in text.lower():
            self.on_denied(text)
        else:
            self.lose(text)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # nats-py itself logs in over plain text when the server behind a tls:// URL does not offer TLS.
        if initial_connection and self.needs_tls and not info.get("tls_required"):
            raise Error("the server does not offer TLS")
        await super()._process_info(info, initial_connection)

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        self._ping_times.append(self._clock())
        await super()._send_ping(future)

    async def _process_pong(self) -> None:
        if self._ping_times:
            self.round_trips.append(self._clock() - self._ping_times.popleft())
        await super()._process_pong()

    async def _ping_interval(self) -> None:
        received, unanswered = -1, 0
        while not self.lost.is_set():
            await asyncio.sleep(self._ping_s)
            signs = self.stats["in_msgs"] + self._pongs_received
            unanswered = 0 if signs != received else unanswered + 1
            received = signs
            if unanswered >= PINGS_OUTSTANDING_MAX and self._clock() >= self._patience():
                self.lose("no answer to pings")
            elif self.is_connected:
                await self._send_ping()
