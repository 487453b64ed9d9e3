"""What it costs to see something: CPU until the first complete frame of `hubdeck`, and of `hubdeck --help`.

`bench/first_paint.py [--quick] [--json]`: in a terminal of 120x40, with the demo's console config and no server at all
(it paints before it connects). A frame is complete when the first and the last line of the terminal have text. 9 runs
(quick: 3) after one that is not counted.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import pyte
from meter import cpu_s, spread

COLUMNS, ROWS = 120, 40
FRAME_S_MAX = 30.0
QUIT_S_MAX = 10.0


def main() -> None:
    """Measure both, print them, and with --json one object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 runs instead of 9")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    runs = 3 if options.quick else 9
    with tempfile.TemporaryDirectory(prefix="hubdeck-bench-") as directory:
        config = console_config(Path(directory) / "demo")
        painted = [first_frame([*hubdeck(), "-c", config]) for _ in range(runs + 1)][1:]
    helped = [help_cpu_s() for _ in range(runs + 1)][1:]
    result = {
        **spread("console_cpu", [cpu for cpu, _ in painted], "s"),
        **spread("console_wall", [wall for _, wall in painted], "s"),
        **spread("help_cpu", helped, "s"),
        "help_imports_textual": help_imports_textual(),
    }
    print(f"first frame  {line(result, 'console_cpu')} CPU, {line(result, 'console_wall')} on the clock")
    print(f"--help       {line(result, 'help_cpu')} CPU, imports Textual: {result['help_imports_textual']}")
    if options.json:
        print(json.dumps(result))


def line(result: dict, name: str) -> str:
    """Median and spread, in milliseconds."""
    middle, low, high = (result[f"{name}{part}_s"] * 1000 for part in ("", "_min", "_max"))
    return f"{middle:.0f} ms ({low:.0f} – {high:.0f})"


def hubdeck() -> list[str]:
    """The installed program, or the package where it is not installed."""
    script = Path(sys.executable).parent / "hubdeck"
    return [sys.executable, str(script)] if script.exists() else [sys.executable, "-m", "console"]


def console_config(directory: Path) -> str:
    """A console's config and keys, as the demo lays them out; nothing of it is started."""
    from console.demo.layout import lay_out

    directory.mkdir()
    return str(lay_out(directory, 3).console_config)


def first_frame(command: list[str]) -> tuple[float, float]:
    """(CPU seconds, seconds) until the first complete frame; the program is quit afterwards."""
    began = time.monotonic()
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.execve(command[0], command, {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"})
    try:
        return watch(pid, terminal, began)
    finally:
        quit_program(pid, terminal)
        os.close(terminal)


def watch(pid: int, terminal: int, began: float) -> tuple[float, float]:
    """Feed a terminal emulator until the frame is there; CPU is read before each feeding, which takes its own time."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    while time.monotonic() - began < FRAME_S_MAX:
        if not select.select([terminal], [], [], 0.5)[0]:
            continue
        try:
            raw = os.read(terminal, 1 << 16)
        except OSError:  # the program ended, and the terminal with it
            break
        cpu, wall = cpu_s(pid), time.monotonic() - began
        stream.feed(raw)
        if screen.display[0].strip() and screen.display[-1].strip():
            return cpu, wall
    shown = "\n".join(row for row in screen.display if row.strip())
    sys.exit(f"bench/first_paint.py: no complete frame within {FRAME_S_MAX:g} s; the terminal shows:\n{shown}")


def quit_program(pid: int, terminal: int) -> None:
    """Let it end by itself, or end it; its output is read on, or it could not."""
    deadline = time.monotonic() + QUIT_S_MAX
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        if select.select([terminal], [], [], 0.05)[0]:
            with contextlib.suppress(OSError):
                os.read(terminal, 1 << 16)


def help_cpu_s() -> float:
    """CPU seconds of `hubdeck --help`, all of it."""
    process = subprocess.Popen([*hubdeck(), "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"bench/first_paint.py: hubdeck --help ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def help_imports_textual() -> bool:
    """Tell whether `--help` loads Textual."""
    command = [sys.executable, "-X", "importtime", *hubdeck()[1:], "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return any(row.rpartition("|")[2].strip() == "textual" for row in shown.splitlines())


if __name__ == "__main__":
    main()
