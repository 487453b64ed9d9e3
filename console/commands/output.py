"""What the command line writes: clean text only, as a table, as tab-separated lines, or as JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hubagent.wire.sanitise import clean_line

CELL_CHARS_MAX = 200


def write(text: str = "") -> None:
    """One line to standard output; every text of a hub goes through `safe` before."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """One line to standard error: what is being done, where data goes to standard output."""
    sys.stderr.write(f"hubdeck: {text}\n")
    sys.stderr.flush()


def safe(value: object, chars_max: int = CELL_CHARS_MAX) -> str:
    """Text of a hub, clean again at the last step before the terminal."""
    return clean_line("-" if value is None or value == "" else str(value), chars_max)


def write_json(value: Mapping[str, Any], *, is_line: bool = False) -> None:
    """One JSON document, ASCII only: whatever a hub sent, no control character can be in it."""
    sys.stdout.write(json.dumps(value, indent=None if is_line else 1, allow_nan=False) + "\n")
    sys.stdout.flush()


def to_ascii(text: str) -> str:
    """For screen readers and scripts: signs that have a usual spelling in ASCII get it, others become `?`."""
    return text.replace("→", "->").replace("…", "...").encode("ascii", "replace").decode()


def write_table(head: Sequence[str], rows: Sequence[Sequence[object]], *, is_plain: bool, right: str = "") -> None:
    """Rows under a head; plain: tab-separated and ASCII. `right` names the right-aligned columns, space-separated."""
    cells = [[safe(cell) for cell in row] for row in rows]
    if is_plain:
        for line in ([*head], *cells):
            write(to_ascii("\t".join(line)))
        return
    widths = [max(len(line[index]) for line in ([*head], *cells)) for index in range(len(head))]
    to_right = [title in right.split() for title in head]
    for line in ([*head], *cells):
        padded = [
            text.rjust(width) if flush else text.ljust(width)
            for text, width, flush in zip(line, widths, to_right, strict=True)
        ]
        write("  ".join(padded).rstrip())
