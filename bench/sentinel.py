"""The peer of `failover.py`: Redis with one replica and 3 Sentinels on loopback, kill -9 of the primary."""

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

DOWN_AFTER_MS = 500
TAKEOVER_S_MAX = 30.0


@dataclass
class Peer:
    """What came of it, in words and seconds."""

    text: str
    seconds: list[float] = field(default_factory=list)


def failovers(trials: int) -> Peer:
    """Kill the primary so often, each time with a fresh set; seconds until the replica takes a write."""
    if not shutil.which("redis-server"):
        return Peer("Redis + 3 Sentinels: skipped, redis-server is not installed")
    if not trials:
        return Peer("Redis + 3 Sentinels: skipped, the time of --quick is over")
    seconds = []
    for _ in range(trials):
        with tempfile.TemporaryDirectory(prefix="redis-bench-") as folder:
            seconds.append(_trial(Path(folder)))
    runs = sorted(seconds)
    return Peer(
        f"Redis + 3 Sentinels, down-after {DOWN_AFTER_MS} ms, kill -9 of the primary, {trials} trials: min {runs[0]:.3f} /"
        f" median {runs[len(runs) // 2]:.3f} / max {runs[-1]:.3f} s until the replica takes a write",
        seconds,
    )


def _trial(folder: Path) -> float:
    with ExitStack() as stack:
        ports = _free_ports(5)
        primary, replica, *sentinels = ports
        first = _start(stack, folder, primary, [])
        _start(stack, folder, replica, ["--replicaof", f"127.0.0.1 {primary}"])
        _until(lambda: b"master_link_status:up" in _ask(replica, "INFO replication"), "a replica in step")
        for port in sentinels:
            _start_sentinel(stack, folder, port, primary)
        _until(lambda: all(_knows_all(port) for port in sentinels), "three sentinels that know each other")
        began = time.monotonic()
        first.kill()
        _until(lambda: _ask(replica, "SET bench 1").startswith(b"+OK"), "a failover")
        return time.monotonic() - began


def _start(stack: ExitStack, folder: Path, port: int, more: list[str]) -> subprocess.Popen:
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *more]
    return _run(stack, argv)


def _start_sentinel(stack: ExitStack, folder: Path, port: int, primary: int) -> None:
    path = folder / f"sentinel-{port}.conf"
    path.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor bench 127.0.0.1 {primary} 2\n"
        f"sentinel down-after-milliseconds bench {DOWN_AFTER_MS}\nsentinel failover-timeout bench 5000\n"
    )
    _run(stack, ["redis-server", str(path), "--sentinel"])


def _run(stack: ExitStack, argv: list[str]) -> subprocess.Popen:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _knows_all(port: int) -> bool:
    words = _ask(port, "SENTINEL master bench").split(b"\r\n")
    pairs = dict(zip(words[2::4], words[4::4], strict=False))
    return pairs.get(b"num-other-sentinels") == b"2" and pairs.get(b"num-slaves") == b"1"


def _ask(port: int, line: str) -> bytes:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as link:
        link.settimeout(1.0)
        link.sendall(line.encode() + b"\r\n")
        return link.recv(16384)
    return b""


def _until(test, what: str) -> None:
    deadline = time.monotonic() + TAKEOVER_S_MAX
    while not test():
        if time.monotonic() > deadline:
            raise RuntimeError(f"Redis: {what} did not happen within {TAKEOVER_S_MAX:g} s")
        time.sleep(0.005)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


if __name__ == "__main__":  # `make bench` runs every file here; this one only serves another
    print("sentinel.py: measures nothing by itself")
