"""What the screens need of a link; the real one is `console/link.py`, its scripted twin stands in tests/fakes."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol

from console.errors import ConsoleError
from console.fleet import Report
from hubagent.wire.commands import Gate, Reply

if TYPE_CHECKING:
    from console.completeness import LaneReading


class ConsoleLink(Protocol):
    """Every method returns at once."""

    @property
    def identity(self) -> str:
        """Who this operator is."""
        ...

    @property
    def role(self) -> str:
        """What the roster lets them do."""
        ...

    @property
    def failure(self) -> ConsoleError | None:
        """Why the link cannot work at all; None where it can."""
        ...

    def start(self) -> None:
        """Begin to connect."""
        ...

    def stop(self) -> None:
        """Close every connection."""
        ...

    def drain(self) -> list[Report]:
        """Take what came since the last call."""
        ...

    def watch(self, hub: str | None) -> None:
        """Have one hub send its detail."""
        ...

    def follow(self, hub: str, service: str | None, lines: int = 100) -> None:
        """Have one hub send a service's output."""
        ...

    def send(self, hub: str, verb: str, args: Mapping[str, object], reason: str = "") -> "Future[Reply]":
        """Send a signed command."""
        ...

    def preflight(self, hub: str, verb: str, args: Mapping[str, object]) -> "Future[list[Gate]]":
        """Ask for the named gates of an action."""
        ...

    def check_copies(self) -> None:
        """Begin to hold the servers' copies against each other."""
        ...

    def completeness(self, hub: str, since: float) -> "Future[list[LaneReading]]":
        """Read every lane of a hub from that moment on, on every server."""
        ...
