"""False failovers: a group with nothing wrong but a stolen core and ten times the load, watched from outside.

`bench/calm.py [--quick] [--json] [--only fast|normal] [--seconds N]`: for each profile a demo fleet whose hubs sample ten
times a second in place of once, and a busy loop that holds one core. The process table says where `scheduler` runs: every
change of place or process is a false failover. Full: 30 minutes a profile; quick: 15 s.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from pair import NotMeasured, Pair

SAMPLE_S = 0.1
BUSY = "import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"


class Loaded(Pair):
    """The pair, its hubs at ten times their load."""

    def __init__(self, root: Path, profile: str) -> None:
        super().__init__(root, profile)
        for hub in self.layout.hubs:
            path = self.layout.config(hub)
            settings = yaml.safe_load(path.read_text())
            settings["sampling"] = {**settings.get("sampling", {}), "interval_s": SAMPLE_S}
            path.write_text(yaml.safe_dump(settings))


@contextlib.contextmanager
def thief() -> Iterator[None]:
    """A busy loop that holds one core."""
    with subprocess.Popen([sys.executable, "-c", BUSY.format(core=min(os.sched_getaffinity(0)))]) as process:
        try:
            yield
        finally:
            process.kill()


def watch(root: Path, profile: str, seconds: float) -> dict[str, float]:
    """One profile for so long: false failovers and instants with two."""
    with Loaded(root, profile) as pair, thief():
        before = len(pair.observer.intervals)
        time.sleep(seconds)
        return {
            "seconds": seconds,
            "false_failovers": len(pair.observer.intervals) - before,
            "overlaps": len(pair.observer.overlaps),
            "load": round(os.getloadavg()[1], 1),
        }


def main() -> None:
    """Watch each profile; 1 where a group moved."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=["fast", "normal"])
    parser.add_argument("--seconds", type=float, default=0.0)
    options = parser.parse_args()
    seconds = options.seconds or (15.0 if options.quick else 1800.0)
    figures = {}
    for profile in [options.only] if options.only else ["fast", "normal"]:
        with tempfile.TemporaryDirectory(prefix="hubdeck-bench-") as folder:
            try:
                found = figures[profile] = watch(Path(folder) / "d", profile, seconds)
            except NotMeasured as error:
                sys.exit(f"bench/calm.py: {profile}: {error}")
        print(f"{profile}: {found['false_failovers']} false failovers, {found['overlaps']} overlaps in {seconds:g} s "
              f"with a stolen core and ten times the load (load average {found['load']})")  # fmt: skip
    if options.json:
        print(json.dumps(figures))
    sys.exit(any(one["false_failovers"] or one["overlaps"] for one in figures.values()))


if __name__ == "__main__":
    main()
