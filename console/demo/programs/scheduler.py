"""The demo's service that must run in one place only: it says where it runs and under which epoch."""

import os
import sys
import time


def main() -> None:
    """Tick until ended."""
    hub = sys.argv[sys.argv.index("--hub") + 1]
    print(f"scheduler runs on {hub}, epoch {os.environ.get('HUB_EPOCH', '?')}", flush=True)
    tick = 0
    while True:
        time.sleep(5)
        tick += 1
        print(f"{hub} tick {tick}", flush=True)


if __name__ == "__main__":
    main()
