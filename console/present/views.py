"""What every table view shares: a name, columns, an order of keys, a row for a key, and what a key stands for."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from console.fleet import Fleet
from console.present.filters import Filter
from console.present.states import Outlook
from console.present.text import Column, Row


class Subject(NamedTuple):
    """What a row stands for; empty where it stands for none."""

    hub: str = ""
    service: str = ""
    group: str = ""


class Order(NamedTuple):
    """How an operator wants to see a view: by which of its sorts, reversed, only trouble, which filter."""

    sort: str = ""
    is_reversed: bool = False
    is_folded: bool = False
    filter: Filter = Filter()


class View(Protocol):
    """One view of the fleet; pure, so that a test needs no screen."""

    name: str
    title: str
    sorts: Sequence[str]

    def columns(self, width: int, *, is_wide: bool) -> Sequence[Column]:
        """The columns for this width."""
        ...

    def keys(self, fleet: Fleet, look: Outlook, order: Order) -> list[str]:
        """The keys of all rows, in order."""
        ...

    def row(self, fleet: Fleet, key: str, look: Outlook) -> Row:
        """The row of a key; asked for visible rows only."""
        ...

    def subject(self, fleet: Fleet, key: str) -> Subject:
        """What this row stands for."""
        ...

    def empty(self, fleet: Fleet, look: Outlook) -> str:
        """What to say where there are no rows."""
        ...
