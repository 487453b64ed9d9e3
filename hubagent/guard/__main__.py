"""`python -m hubagent.guard STATE_DIR [--leash FIFO] [--detach]`."""

import sys

from hubagent.guard import main

USAGE = "usage: python -m hubagent.guard STATE_DIR [--leash FIFO] [--detach]"


def run(arguments: list[str]) -> int:
    """Read the few arguments by hand: argparse would cost the guard a megabyte."""
    words = [word for word in arguments if word != "--detach"]
    is_detached = len(words) != len(arguments)
    match words:
        case [state_dir] if not state_dir.startswith("-"):
            return main(state_dir, detach=is_detached)
        case [state_dir, "--leash", leash] if not state_dir.startswith("-"):
            return main(state_dir, leash, detach=is_detached)
    print(USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
