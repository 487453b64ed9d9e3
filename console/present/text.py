"""What a screen is made of: spans of text with a tone, lines, rows and columns."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from hubagent.wire.sanitise import clean_line

# A tone is the name of a style class (`tone--crit`); the theme says what it looks like.
TONES = (
    "crit", "warn", "lost", "old", "buff", "busy", "mute", "ok", "dim", "title", "head", "rule", "key", "good", "bad",
)  # fmt: skip

CELL_CHARS_MAX = 300  # longer text of a hub is cut; the raw record has the rest


class Span(NamedTuple):
    """Some text and its tone; an empty tone is plain."""

    text: str
    tone: str = ""


Line = tuple[Span, ...]


class Row(NamedTuple):
    """One line of a table: a key that outlives sorting, and a span for each column."""

    key: str
    cells: tuple[Span, ...]


class Column(NamedTuple):
    """A column: its width in cells, and how much the reader misses it (0 is dropped last).

    `flex` > 0 shares what is left of the width.
    """

    title: str
    width: int
    is_right: bool = False
    flex: int = 0
    drop: int = 0


def safe(text: object, chars_max: int = CELL_CHARS_MAX) -> str:
    """Text of a hub, clean again at the last step before the terminal."""
    return clean_line(str(text), chars_max)


def line(*parts: "str | Span") -> Line:
    """A line of plain strings and spans."""
    return tuple(part if isinstance(part, Span) else Span(part) for part in parts)


def width_of(one: Sequence[Span]) -> int:
    """Cells that a line takes."""
    return sum(cell_len(span.text) for span in one)


def crop(one: Sequence[Span], width: int, end: str = "…") -> Line:
    """The line cut to a width, its last cell saying so."""
    if width_of(one) <= width:
        return tuple(one)
    kept: list[Span] = []
    left = max(0, width - cell_len(end))
    for span in one:
        size = cell_len(span.text)
        if size > left:
            kept.append(Span(set_cell_size(span.text, left) + end, span.tone))
            break
        kept.append(span)
        left -= size
    return tuple(kept)


def spread(left: Sequence[Span], right: Sequence[Span], width: int) -> Line:
    """Left part and right part at the two ends; the left one gives way."""
    room = width - width_of(right) - 2
    if room < 8:
        return crop(left, width)
    shown = crop(left, room)
    return (*shown, Span(" " * (width - width_of(shown) - width_of(right))), *right)


def spread_best(left: Sequence[Span], rights: Sequence[Sequence[Span]], width: int) -> Line:
    """The first right part that leaves the left one whole; else the last, shortest one."""
    need = width_of(left) + 2
    right = next((one for one in rights if need + width_of(one) <= width), rights[-1])
    return spread(left, right, width)


def pad(text: str, width: int, *, is_right: bool = False, end: str = "…") -> str:
    """Text in exactly this many cells."""
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, max(0, width - cell_len(end))) + end if width > 0 else ""
    blank = " " * (width - size)
    return blank + text if is_right else text + blank


def fit(columns: Sequence[Column], width: int, gap: int = 1) -> list[tuple[int, int]]:
    """Which columns fit, as (index, width): the most droppable go first, flexible ones take the rest."""
    kept = list(range(len(columns)))
    while len(kept) > 1 and sum(columns[i].width + gap for i in kept) - gap > width:
        victim = max(kept, key=lambda i: (columns[i].drop, i))
        if columns[victim].drop == 0:
            break
        kept.remove(victim)
    spare = width - sum(columns[i].width + gap for i in kept) + gap
    shares = sum(columns[i].flex for i in kept)
    return [(i, columns[i].width + (max(0, spare) * columns[i].flex // shares if shares else 0)) for i in kept]


def wrap(one: Line, width: int, indent: int = 8) -> list[Line]:
    """A long line as several, the later ones indented; words stay whole where they can."""
    if width_of(one) <= width:
        return [one]
    lines: list[list[Span]] = [[]]
    room = width
    for span in one:
        for word in _words(span.text):
            size = cell_len(word)
            if size > room and lines[-1]:
                lines.append([Span(" " * indent)])
                room = width - indent
                word = word.lstrip()  # noqa: PLW2901 - a broken line begins with a word
                size = cell_len(word)
            lines[-1].append(Span(word, span.tone))
            room -= size
    return [crop(line_, width) for line_ in lines]


def _words(text: str) -> list[str]:
    """Words, each with the blanks before it."""
    return re.findall(r"\s*\S+|\s+$", text)
