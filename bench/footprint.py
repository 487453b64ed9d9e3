"""What a hub costs: CPU of a core and memory of agent and guard, next to other monitoring agents.

`bench/footprint.py [--quick] [--json]`: a member of the demo's fleet (1 Hz, two hub servers, one idle service) over 60 s
(quick: 20 s). In the same seconds, where they are installed: `glances --export nats` to a server of its own at 1 Hz, and
`prometheus-node-exporter` scraped at 1 Hz. Peak memory includes the start.
"""

import argparse
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from meter import cpu_s, find, memory, spread, words_of

MEMBER = "alpha"
READY_S = 120.0
SETTLE_S = 10.0  # the start's work (imports, first connections, first resync) is not the running cost
STOP_S = 40.0


def main() -> None:
    """Measure, print a table, and with --json one object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 s instead of 60")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    seconds = 20 if options.quick else 60
    with tempfile.TemporaryDirectory(prefix="hubdeck-bench-") as directory, contextlib.ExitStack() as stack:
        root = Path(directory)
        ready = stack.enter_context(fleet(root / "fleet"))
        pids = {"agent": ready["agents"][MEMBER]["pid"], "guard": guard_of(ready)}
        port = None
        for name, start in (("glances", glances), ("node_exporter", node_exporter)):
            started = stack.enter_context(start(root))
            if started is None:
                print(f"{name}: not installed, skipped")
                continue
            pids[name], scraped = started
            port = scraped or port
        time.sleep(SETTLE_S)
        result = {"seconds_s": seconds, **figures(pids, slices(pids, seconds, port))}
    show(pids, result)
    if options.json:
        print(json.dumps(result))


@contextlib.contextmanager
def fleet(directory: Path) -> Iterator[dict]:
    """The demo's fleet with one member, and what it printed when ready."""
    command = [sys.executable, "-m", "console", "demo", "--headless", "--hubs", "1", "--dir", str(directory)]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = demo.stdout.readline()
        if not line:
            sys.exit(f"bench/footprint.py: the demo ended with {demo.wait()} before its fleet was ready")
        yield json.loads(line)
    finally:
        stop(demo)


def guard_of(ready: dict) -> int:
    """The guard of the measured hub: its command line has `guard`, and the hub's directory or config."""
    state = ready["agents"][MEMBER]["state_dir"]

    def is_guard(words: list[str]) -> bool:
        named = any("guard" in word and "/" not in word for word in words[1:])
        return named and any(word == state or word.startswith(state + "/") for word in words)

    found = find(is_guard)
    if len(found) != 1:
        sys.exit(f"bench/footprint.py: expected one guard of {MEMBER}, found {[words_of(pid) for pid in found]}")
    return found[0]


@contextlib.contextmanager
def glances(root: Path) -> Iterator[tuple[int, None] | None]:
    """glances exporting to a nats-server of its own once a second."""
    program = shutil.which("glances")
    server = shutil.which("nats-server") or shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if program is None or server is None:
        yield None
        return
    port = free_port()
    config = root / "glances.conf"
    config.write_text(f"[nats]\nhost=nats://127.0.0.1:{port}\nprefix=glances\n")
    with (
        running([server, "-a", "127.0.0.1", "-p", str(port)], root),
        running(
            [program, "-C", str(config), "--export", "nats", "-q", "--time", "1", "--disable-check-update"], root
        ) as process,
    ):
        yield process.pid, None


@contextlib.contextmanager
def node_exporter(root: Path) -> Iterator[tuple[int, int] | None]:
    """prometheus-node-exporter on a free port; main scrapes it."""
    program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if program is None:
        yield None
        return
    port = free_port()
    with running([program, f"--web.listen-address=127.0.0.1:{port}"], root) as process:
        yield process.pid, port


@contextlib.contextmanager
def running(command: list[str], root: Path) -> Iterator[subprocess.Popen]:
    """A process that ends with the block."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root
    )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen) -> None:
    """Ask, wait, and only then kill."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def slices(pids: dict[str, int], seconds: int, scraped_port: int | None) -> dict[str, list[float]]:
    """CPU ratio of each process in each tenth of the time, all measured over the same moments."""
    found: dict[str, list[float]] = {name: [] for name in pids}
    for _ in range(10):
        began, before = time.monotonic(), {name: cpu_s(pid) for name, pid in pids.items()}
        for second in range(1, max(seconds // 10, 1) + 1):
            if scraped_port is not None:
                scrape(scraped_port)
            time.sleep(max(0.0, began + second - time.monotonic()))
        took = time.monotonic() - began
        for name, pid in pids.items():
            found[name].append((cpu_s(pid) - before[name]) / took)
    return found


def scrape(port: int) -> None:
    """Read all metrics once, as Prometheus would."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        answer.read()


def figures(pids: dict[str, int], ratios: dict[str, list[float]]) -> dict[str, float]:
    """Everything measured, by key; the CPU ratio is that of the whole time, min and max are of its tenths."""
    result: dict[str, float] = {}
    for name, pid in pids.items():
        used = memory(pid)
        mean = sum(ratios[name]) / len(ratios[name])
        result |= {**spread(f"{name}_cpu", ratios[name], "ratio"), f"{name}_cpu_ratio": round(mean, 5)}
        result |= {f"{name}_rss_bytes": used["peak"], f"{name}_anon_bytes": used["anon"]}
    result["together_cpu_ratio"] = round(result["agent_cpu_ratio"] + result["guard_cpu_ratio"], 5)
    result["together_rss_bytes"] = result["agent_rss_bytes"] + result["guard_rss_bytes"]
    result["together_anon_bytes"] = result["agent_anon_bytes"] + result["guard_anon_bytes"]
    return result


def show(pids: dict[str, int], result: dict[str, float]) -> None:
    """A table for people."""
    print(f"over {result['seconds_s']} s   CPU of a core (min – max of tenths)   peak RSS   anonymous")
    for name in (*pids, "together"):
        low, high = result.get(f"{name}_cpu_min_ratio"), result.get(f"{name}_cpu_max_ratio")
        between = "" if low is None else f"({low:.2%} – {high:.2%})"
        rss, anon = result[f"{name}_rss_bytes"] / 1e6, result[f"{name}_anon_bytes"] / 1e6
        print(f"{name:14}{result[f'{name}_cpu_ratio']:>7.2%}  {between:28}{rss:>8.1f} MB {anon:>8.1f} MB")


if __name__ == "__main__":
    main()
