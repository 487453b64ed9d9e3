"""The fault proxy does what it says, and a healthy one changes nothing."""

import asyncio
import time

import pytest

from tests.support.fault_proxy import FaultProxy, Faults, parse_schedule, parsed, random_schedule


@pytest.fixture
async def echo():
    """A server that sends back what it gets; its port."""

    async def answer(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def ask(port: int, data: bytes, seconds: float = 5.0) -> bytes:
    """Send and read as much back; fewer bytes where the connection ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    got = b""
    try:
        async with asyncio.timeout(seconds):
            while len(got) < len(data) and (piece := await reader.read(65536)):
                got += piece
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return got


async def test_a_healthy_wire_passes_every_byte(echo: int) -> None:
    """A megabyte comes back as it was sent."""
    async with FaultProxy(echo) as proxy:
        data = bytes(range(256)) * 4096
        assert await ask(proxy.port, data) == data


async def test_latency_counts_each_way(echo: int) -> None:
    """Fifty milliseconds each way are a hundred there and back."""
    async with FaultProxy(echo) as proxy:
        proxy.set(latency_s=0.05)
        began = time.monotonic()
        assert await ask(proxy.port, b"x") == b"x"
        assert time.monotonic() - began >= 0.1


async def test_a_one_way_stall_ends_nothing_and_loses_nothing(echo: int) -> None:
    """What was held comes after the heal."""
    async with FaultProxy(echo) as proxy:
        proxy.set(stall_down=True)
        asked = asyncio.ensure_future(ask(proxy.port, b"held"))
        while not proxy.passed_up:
            await asyncio.sleep(0.01)
        assert proxy.passed_down == 0
        proxy.heal()
        assert await asked == b"held"


async def test_a_cut_in_mid_frame_gives_a_part_only(echo: int) -> None:
    """Some bytes arrive, then the end."""
    async with FaultProxy(echo) as proxy:
        proxy.set(cut_after_bytes=10)
        got = await ask(proxy.port, b"0123456789abcdef")
        assert 0 < len(got) < 16


async def test_slices_and_bandwidth_change_the_pace_only(echo: int) -> None:
    """One-byte slices and a narrow wire still pass every byte."""
    async with FaultProxy(echo) as proxy:
        proxy.set(slice_bytes=1)
        assert await ask(proxy.port, b"abc" * 20) == b"abc" * 20
        proxy.set(bytes_per_s=20_000)
        began = time.monotonic()
        assert len(await ask(proxy.port, bytes(2000))) == 2000
        assert time.monotonic() - began >= 0.15


async def test_a_refusing_wire_ends_what_was_open_and_takes_nothing_new(echo: int) -> None:
    """Both the old and the new connection end; after the heal it works again."""
    async with FaultProxy(echo) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        proxy.set(refuse=True)
        assert await reader.read(1) == b""
        assert await ask(proxy.port, b"x") == b""
        proxy.heal()
        assert await ask(proxy.port, b"x") == b"x"


def test_a_schedule_is_read_or_refused_with_the_part_that_is_wrong() -> None:
    """Words and figures, in order."""
    assert parse_schedule("0 latency_s=0.05; 10 cut; 12 heal") == [
        (0.0, Faults(latency_s=0.05)),
        (10.0, "cut"),
        (12.0, "heal"),
    ]
    with pytest.raises(ValueError, match="3 wobble=1"):
        parse_schedule("3 wobble=1")


def test_a_random_schedule_repeats_by_its_seed_and_ends_healthy() -> None:
    """Two draws of one seed are equal; another seed differs."""
    assert random_schedule(7, 20) == random_schedule(7, 20)
    assert random_schedule(7, 20) != random_schedule(8, 20)
    assert random_schedule(7, 20)[-1][1] == "heal"


def test_the_program_hurts_nothing_that_it_was_not_asked_to():
    """A benchmark that wants a bare wire to freeze gets one, and for as long as it likes."""
    options, schedule = parsed(["1", "2"])
    assert (schedule, options.seconds) == ([], float("inf"))
    options, schedule = parsed(["1", "2", "--seed", "0"])
    assert (schedule, options.seconds) == (random_schedule(0, 60.0), 60.0)
    assert parsed(["1", "2", "--schedule", "3 heal"])[1] == [(3.0, "heal")]
