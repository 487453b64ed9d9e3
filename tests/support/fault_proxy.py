"""A TCP proxy that breaks connections on purpose: latency, bandwidth, one-way stalls, cuts in mid-frame, resets.

As a program: `python -m tests.support.fault_proxy LISTEN_PORT TARGET_PORT --schedule 'SECONDS FAULT=VALUE …; …'`, for
example `--schedule '0 latency_s=0.05; 10 stall_down=1; 12 heal; 20 reset'`, or `--seed N` for a random schedule; with
neither the wire is healthy until the program is ended or stopped. Loopback only.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import math
import random
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from tests.support import ledger

READ_BYTES = 64 << 10
RANDOM_S = 60.0
BUFFERED_BYTES_MAX = 4 << 20  # a stalled direction holds this much, then the sender feels it, as on a real wire


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with the wire now; each holds for old and new connections alike. `up` is client to server."""

    latency_s: float = 0.0  # each way
    jitter_s: float = 0.0  # added at random, each way; order is kept
    bytes_per_s: float = 0.0  # each way and connection; 0: no limit
    stall_up: bool = False  # nothing passes, no connection ends (a silent drop)
    stall_down: bool = False
    slice_bytes: int = 0  # passed on in pieces of this size
    cut_after_bytes: int = 0  # each connection ends in mid-frame after so many bytes down
    reset_after: int = 0  # each connection is reset after so many reads from the server
    refuse: bool = False  # no connection lives: the server is gone for whoever comes this way
    slow_close_s: float = 0.0  # an end is passed on this late

    @property
    def words(self) -> str:
        """What differs from a healthy wire."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return " ".join(name if value is True else f"{name}={value:g}" for name, value in values.items() if value)


HEALTHY = Faults()


class FaultProxy:
    """One listening port in front of one server; an async context manager. Faults can change at any time."""

    def __init__(self, target_port: int, *, port: int = 0, seed: int = 0, target: str = "127.0.0.1") -> None:
        self.target_port, self.target, self.port = target_port, target, port
        self.faults = HEALTHY
        self.passed_up = self.passed_down = self.accepted = 0
        self._random = random.Random(seed)
        self._changed = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=READ_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._end_all(reset=False)
        while self._connections:
            await asyncio.sleep(0.01)

    def set(self, faults: Faults = HEALTHY, **changes: object) -> None:
        """Put faults in force, at once; keyword changes are laid over them."""
        self.faults = dataclasses.replace(faults, **changes)
        if self.faults != HEALTHY:
            ledger.inject(f"wire {self.faults.words}")
        self._changed.set()
        self._changed = asyncio.Event()
        if self.faults.refuse:
            self.cut()

    def heal(self) -> None:
        """Put a healthy wire back; connections that were cut stay cut."""
        self.set(HEALTHY)

    def cut(self, *, reset: bool = False) -> None:
        """End every connection: politely, or with a reset."""
        if self._connections and self.faults == HEALTHY:
            ledger.inject("wire reset" if reset else "wire cut")
        self._end_all(reset=reset)

    def _end_all(self, *, reset: bool) -> None:
        for connection in list(self._connections):
            connection.end(reset=reset)

    async def play(self, schedule: "list[tuple[float, Faults | str]]") -> None:
        """Put each entry in force at its second: Faults, or the words cut, reset, heal."""
        began = asyncio.get_running_loop().time()
        for at, what in schedule:
            await asyncio.sleep(max(0.0, began + at - asyncio.get_running_loop().time()))
            if isinstance(what, Faults):
                self.set(what)
            elif what == "heal":
                self.heal()
            else:
                self.cut(reset=what == "reset")

    def delay(self) -> float:
        """How long the next piece is held, drawn from the seed."""
        return self.faults.latency_s + self._random.uniform(0, self.faults.jitter_s)

    async def until_changed(self) -> None:
        """Return when other faults come into force."""
        await self._changed.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.faults.refuse:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(self.target, self.target_port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(self, (reader, writer), (server_reader, server_writer))
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


class _Connection:
    """One client's connection and its twin to the server."""

    def __init__(self, proxy: FaultProxy, client, server) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._tasks: list[asyncio.Task] = []
        self._reads = self._down = 0

    async def run(self) -> None:
        up: asyncio.Queue = asyncio.Queue(BUFFERED_BYTES_MAX // READ_BYTES)
        down: asyncio.Queue = asyncio.Queue(BUFFERED_BYTES_MAX // READ_BYTES)
        self._tasks = [
            asyncio.ensure_future(self._read(self._client[0], up)),
            asyncio.ensure_future(self._write(self._server[1], up, is_up=True)),
            asyncio.ensure_future(self._read(self._server[0], down)),
            asyncio.ensure_future(self._write(self._client[1], down, is_up=False)),
        ]
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(self._proxy.faults.slow_close_s)
        self.end()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def end(self, *, reset: bool = False) -> None:
        for _, writer in (self._client, self._server):
            if reset:
                with contextlib.suppress(OSError):
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort() if reset else writer.close()
        for task in self._tasks:
            task.cancel()

    async def _read(self, reader: asyncio.StreamReader, queue: asyncio.Queue) -> None:
        loop = asyncio.get_running_loop()
        last = 0.0
        while data := await reader.read(READ_BYTES):
            last = max(last, loop.time() + self._proxy.delay())
            await queue.put((last, data))

    async def _write(self, writer: asyncio.StreamWriter, queue: asyncio.Queue, *, is_up: bool) -> None:
        loop = asyncio.get_running_loop()
        while True:
            at, data = await queue.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            await self._held(is_up)
            for piece in self._pieces(data):
                await self._paced(len(piece))
                await self._held(is_up)
                if not is_up and self._is_over(piece, writer):
                    return
                writer.write(piece)
                await writer.drain()
                self._count(len(piece), is_up)

    def _is_over(self, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        """Cut in mid-frame, or reset, when this connection's count is full."""
        faults = self._proxy.faults
        self._reads += 1
        self._down += len(piece)
        if faults.reset_after and self._reads >= faults.reset_after:
            self.end(reset=True)
            return True
        if faults.cut_after_bytes and self._down >= faults.cut_after_bytes:
            writer.write(piece[: max(1, len(piece) // 2)])
            return True
        return False

    async def _held(self, is_up: bool) -> None:
        while self._proxy.faults.stall_up if is_up else self._proxy.faults.stall_down:
            await self._proxy.until_changed()

    async def _paced(self, size: int) -> None:
        if self._proxy.faults.bytes_per_s:
            await asyncio.sleep(size / self._proxy.faults.bytes_per_s)

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        size = self._proxy.faults.slice_bytes or (1024 if self._proxy.faults.bytes_per_s else len(data))
        return (data[start : start + size] for start in range(0, len(data), size))

    def _count(self, size: int, is_up: bool) -> None:
        if is_up:
            self._proxy.passed_up += size
        else:
            self._proxy.passed_down += size


def parse_schedule(text: str) -> list[tuple[float, Faults | str]]:
    """`0 latency_s=0.05; 10 cut; 12 heal` as a schedule; ValueError names the part that cannot be read."""
    schedule: list[tuple[float, Faults | str]] = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        at, *words = part.split()
        if words in (["cut"], ["reset"], ["heal"]):
            schedule.append((float(at), words[0]))
            continue
        kinds = {field.name: type(field.default) for field in dataclasses.fields(Faults)}
        pairs = dict(word.split("=", 1) for word in words)
        if not pairs or not pairs.keys() <= kinds.keys():
            raise ValueError(f"{part!r}: expected SECONDS cut|reset|heal|{'|'.join(kinds)}=VALUE")
        values = {name: kinds[name](float(value)) for name, value in pairs.items()}
        schedule.append((float(at), Faults(**values)))
    return schedule


def random_schedule(seed: int, seconds: float) -> list[tuple[float, Faults | str]]:
    """Faults and heals for that long, all drawn from the seed; the last entry heals."""
    draw = random.Random(seed)
    schedule: list[tuple[float, Faults | str]] = []
    at = draw.uniform(0.2, 1.0)
    while at < seconds:
        fault = draw.choice(
            [
                Faults(latency_s=draw.uniform(0.01, 0.3), jitter_s=draw.uniform(0, 0.1)),
                Faults(bytes_per_s=draw.uniform(4e3, 4e5)),
                Faults(stall_up=True),
                Faults(stall_down=True),
                Faults(stall_up=True, stall_down=True),
                Faults(slice_bytes=draw.choice([1, 7, 100])),
                Faults(cut_after_bytes=draw.randrange(200, 20_000)),
                Faults(refuse=True),
                "cut",
                "reset",
            ]
        )
        schedule += [(at, fault), (at + draw.uniform(0.1, 2.5), "heal")]
        at = schedule[-1][0] + draw.uniform(0.1, 1.5)
    return [*schedule, (max(at, seconds), "heal")]


def parsed(argv: list[str] | None = None) -> tuple[argparse.Namespace, list[tuple[float, Faults | str]]]:
    """The options and the schedule of the program; no schedule and no seed: a healthy wire."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("listen", type=int)
    parser.add_argument("target", type=int)
    faults = parser.add_mutually_exclusive_group()
    faults.add_argument("--schedule", default="", help="'0 latency_s=0.05; 10 cut; 12 heal'")
    faults.add_argument("--seed", type=int, help="a random schedule instead")
    parser.add_argument("--seconds", type=float, default=math.inf, help="how long it lives (random schedule: 60)")
    options = parser.parse_args(argv)
    if options.seed is None:
        return options, parse_schedule(options.schedule)
    options.seconds = min(options.seconds, RANDOM_S)
    return options, random_schedule(options.seed, options.seconds)


async def _main() -> None:
    options, schedule = parsed()
    async with FaultProxy(options.target, port=options.listen, seed=options.seed or 0) as proxy:
        print(f"127.0.0.1:{proxy.port} -> 127.0.0.1:{options.target}", flush=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if math.isinf(options.seconds) else options.seconds):
                await proxy.play(schedule)
                await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
