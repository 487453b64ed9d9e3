"""The command line of the demo: with the console, headless, or as a tour."""

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from console.demo import tour
from console.demo.fleet import DemoFailed, Fleet, wait_until
from console.demo.layout import HUBS_MAX, Layout, lay_out
from console.demo.watcher import Watcher
from console.trust.changes import PROFILES

READY_SECONDS = 60.0
DONE, FAILED, USAGE = 0, 1, 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hubdeck demo",
        description="A whole fleet on this machine: three servers, their hubs and some members, on loopback. "
        "Everything it starts ends with it.",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--headless", action="store_true", help="no console: one line of JSON when ready, then run until SIGTERM"
    )
    how.add_argument(
        "--tour", action="store_true", help="drive the fleet through the command line and print what was measured"
    )
    parser.add_argument("--dir", type=Path, help="a new or empty directory to use and keep (default: a temporary one)")
    parser.add_argument(
        "--hubs", type=int, default=3, metavar="N", help=f"how many members (1 to {HUBS_MAX}, default 3)"
    )
    parser.add_argument(
        "--profile", choices=PROFILES, default="fast", help="how quickly the group `core` fails over (default fast)"
    )
    parser.add_argument("--json", action="store_true", help="with --tour: print the table as JSON")
    return parser


def main(argv: list[str]) -> int:
    """Run the demo; 0 done (a tour: every step held), 1 failed, 2 usage."""
    parser = _parser()
    options = parser.parse_args(argv)
    if not 1 <= options.hubs <= HUBS_MAX:
        parser.error(f"--hubs: a number from 1 to {HUBS_MAX}, found {options.hubs}")
    try:
        root = _root(parser, options.dir)
    except OSError as error:
        parser.error(f"--dir: {options.dir or tempfile.gettempdir()} cannot be used: {error.strerror}")
    # SIGINT too: a shell that starts us in the background has it ignored, and Python would keep it so.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        layout = lay_out(root, options.hubs, options.profile)
        with Fleet(layout, is_temporary=options.dir is None) as fleet:
            return _run(options, fleet)
    except KeyboardInterrupt:
        return DONE if options.headless else FAILED
    except DemoFailed as error:
        print(f"hubdeck demo: {error}; the logs are in {root}", file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"hubdeck demo: {error.filename or root}: {error.strerror}", file=sys.stderr)
        return FAILED


def _root(parser: argparse.ArgumentParser, wanted: Path | None) -> Path:
    """The directory, made where it is not there; what is in use is refused."""
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="hubdeck-demo-")).absolute()
    wanted.mkdir(parents=True, exist_ok=True)
    if any(wanted.iterdir()):
        parser.error(f"--dir: {wanted} is not empty; remove it or name another")
    return wanted.absolute()


def _run(options: argparse.Namespace, fleet: Fleet) -> int:
    """What was asked for; where it failed, the directory stays for whoever looks for the reason."""
    try:
        status = _run_fleet(options, fleet)
    except DemoFailed:
        fleet.keep()
        raise
    if options.tour and status != DONE:
        fleet.keep()
        print(f"hubdeck demo: a step did not hold; the logs are in {fleet.layout.root}", file=sys.stderr)
    return status


def _run_fleet(options: argparse.Namespace, fleet: Fleet) -> int:
    fleet.start()
    if not options.headless and not options.tour:
        return _console(fleet.layout)
    _wait_ready(fleet)
    if options.headless:
        print(json.dumps(fleet.ready()), flush=True)
        while True:
            signal.pause()
    return _tour(options, fleet)


def _console(layout: Layout) -> int:
    from console.__main__ import main as hubdeck  # brings Textual, which the other ways do without

    status = hubdeck(["-c", str(layout.console_config)])
    print("hubdeck demo: ending what it started …", file=sys.stderr)
    return status


def _wait_ready(fleet: Fleet) -> None:
    """Until every hub is live on both servers, `core` has an active hub and every service runs."""
    with Watcher(fleet.layout.console_config) as watcher:

        def ready() -> bool:
            for hub in fleet.died():
                raise DemoFailed(f"the agent of {hub} ended: {_last_words(fleet.layout, hub)}")
            return watcher.is_ready(fleet.layout)

        wait_until("a live and complete fleet", ready, READY_SECONDS)


def _last_words(layout: Layout, hub: str) -> str:
    lines = (layout.state(hub) / "agent.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _tour(options: argparse.Namespace, fleet: Fleet) -> int:
    steps = tour.Tour(fleet, lambda line: print(line, file=sys.stderr if options.json else sys.stdout, flush=True))
    held = steps.run()
    print(tour.as_json(steps.steps) if options.json else "\n" + tour.table(steps.steps))
    return DONE if held else FAILED
