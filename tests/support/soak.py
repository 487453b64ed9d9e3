"""Many seeds of a simulation, on all cores, going on where the last run stopped; ends at the first seed that fails.

    python -m tests.support.soak delivery|lease [--seeds N] [--from N] [--jobs N]

What is behind it stands in build/soak-<name>: the next seed. A failure prints its seed and trace, and stays the next
seed until it is repaired. HUBDECK_SEEDS is the number of seeds where --seeds is not given.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

SEEDS = 100_000
BATCH = 50  # seeds between two notes of how far it came, for each process
FOLDER = Path("build")


def delivery(seed: int) -> list[str]:
    """What does not hold, and the trace."""
    from dataclasses import replace

    from tests.support.delivery_world import RESTORING, run_seed

    return run_seed(seed) or (run_seed(seed, replace(RESTORING)) if seed % 4 == 3 else [])


def lease(seed: int) -> list[str]:
    """The same for the leases, with and without changing profiles."""
    from hubagent.core.lease import Lease
    from tests.support import lease_faults
    from tests.support.lease_world import Broken

    hubs = ("a", "b", "c") if seed % 4 == 0 else ("a", "b")
    for kinds in ((), lease_faults.CHANGING):
        try:
            lease_faults.seeded(seed, Lease, hubs=hubs, kinds=kinds)
        except (Broken, AssertionError) as error:
            return [f"--seed={seed} {'with changing profiles' if kinds else ''}", str(error)]
    return []


SIMULATIONS = {"delivery": delivery, "lease": lease}


def soak(name: str, first: int, last: int, jobs: int, notes: Path) -> int:
    """Run seeds first…last-1; 0 when all hold."""
    run = SIMULATIONS[name]
    with ProcessPoolExecutor(jobs) as pool:
        for start in range(first, last, BATCH * jobs):
            seeds = range(start, min(start + BATCH * jobs, last))
            for seed, found in zip(seeds, pool.map(run, seeds, chunksize=5), strict=True):
                if found:
                    notes.write_text(f"{seed}\n")
                    print("\n".join(found))
                    return 1
            notes.write_text(f"{seeds[-1] + 1}\n")
            print(f"{name}: {seeds[-1] + 1} of {last} seeds hold", file=sys.stderr)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SIMULATIONS)
    parser.add_argument("--seeds", type=int, default=int(os.environ.get("HUBDECK_SEEDS", SEEDS)))
    parser.add_argument("--from", dest="first", type=int, help="begin here, whatever was done before")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    FOLDER.mkdir(exist_ok=True)
    notes = FOLDER / f"soak-{options.name}"
    first = options.first if options.first is not None else int(notes.read_text()) if notes.exists() else 0
    if first >= options.seeds:
        print(f"{options.name}: all {options.seeds} seeds were done; remove {notes} to begin anew")
        return 0
    return soak(options.name, first, options.seeds, options.jobs, notes)


if __name__ == "__main__":
    sys.exit(main())
