"""What is remembered of a service's releases: the good ones, the pin, the history, and the change that is under way."""

import re
from collections.abc import Sequence

import msgspec

HISTORY_MAX = 20
GOOD_MAX = 20
WHY_CHARS_MAX = 200


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change of release. `restart`: the service ran before, so it is stopped and started."""

    old: str
    new: str
    restart: bool = True
    cause: str = ""
    t: float = 0.0
    step: str = ""
    result: str = ""
    why: str = ""


class Book(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything durable about a service's releases: one document, so that a commit is one write."""

    good: list[str] = msgspec.field(default_factory=list)  # proven by a gate, oldest first
    pinned: str = ""  # why no release is changed by itself any more
    pinned_t: float = 0.0
    history: list[Change] = msgspec.field(default_factory=list)
    open: Change | None = None


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts 1.9 before 1.10, and a pre-release after its number."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|[A-Za-z]+", version)
    )


def last_good(book: Book, current: str, installed: Sequence[str]) -> str:
    """Where a rollback goes: the newest proven release that is not current, or else the newest older one."""
    for version in reversed(book.good):
        if version != current and version in installed:
            return version
    older = [version for version in installed if current and version_order(version) < version_order(current)]
    return max(older, key=version_order, default="")


def committed(book: Book, change: Change) -> Book:
    """The book after a change that held: the pin is lifted, and what was rolled away from is good no more."""
    went_back = version_order(change.new) < version_order(change.old)
    kept = [one for one in book.good if one not in (change.old, change.new)]
    good = [*kept, *([] if went_back or not change.old else [change.old]), change.new][-GOOD_MAX:]
    return Book(good=good, history=_history(book, change, "done", ""))


def restored(book: Book, change: Change, result: str, why: str, t: float) -> Book:
    """The book after a change that did not hold: pinned, and the new release is good no more."""
    good = [one for one in book.good if one != change.new]
    pinned = f"{change.new} did not hold: {why}"[:WHY_CHARS_MAX]
    return Book(good=good, pinned=pinned, pinned_t=t, history=_history(book, change, result, why))


def _history(book: Book, change: Change, result: str, why: str) -> list[Change]:
    closed = msgspec.structs.replace(change, step="", result=result, why=why[:WHY_CHARS_MAX])
    return [*book.history, closed][-HISTORY_MAX:]
