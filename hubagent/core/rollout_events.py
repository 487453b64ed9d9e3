"""What a change of release is told, and what it asks for: frozen records, tied together by tickets."""

from dataclasses import dataclass

from hubagent.core.release_book import Book, Change


@dataclass(frozen=True, slots=True)
class Begin:
    """Change to another release."""

    change: Change


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on after a crash with what the book has open; `restart`: the service shall run here."""

    restart: bool


@dataclass(frozen=True, slots=True)
class Did:
    """What was asked under this ticket is done."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Failed:
    """What was asked under this ticket failed."""

    ticket: int
    why: str


@dataclass(frozen=True, slots=True)
class Observed:
    """The service as it is now; `healthy` None: no probe has answered. `restarts` tells a crash between two looks."""

    ticket: int
    state: str
    healthy: bool | None
    pid: int | None
    restarts: int


@dataclass(frozen=True, slots=True)
class Save:
    """Make this book durable."""

    ticket: int
    book: Book


@dataclass(frozen=True, slots=True)
class Check:
    """Is this release whole and fit to be switched to?"""

    ticket: int
    version: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the service."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Switch:
    """Point `current` at this release."""

    ticket: int
    version: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start the service; done when it is RUNNING and healthy."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Look:
    """Observe the service now."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Say:
    """Tell operators: an event for the records."""

    kind: str
    severity: str
    text: str


Event = Begin | Resume | Did | Failed | Observed
Effect = Save | Check | Stop | Switch | Start | Look | Say
