"""A recorder that keeps what it was given in lists."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recorded:
    """One event as it was recorded."""

    kind: str
    severity: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)
    actor: str | None = None
    cmd_id: str | None = None
    reason: str | None = None


class FakeRecorder:
    """Keeps events and samples; `fail` makes durable events raise it."""

    def __init__(self, boot: str = "boot-1") -> None:
        self.boot = boot
        self.events: list[Recorded] = []
        self.durable: list[Recorded] = []
        self.samples: list[tuple[tuple[str, ...], list[float | int | None]]] = []
        self.fail: Exception | None = None

    def kinds(self) -> list[str]:
        """The kinds of all events in order."""
        return [event.kind for event in self.events]

    def event(self, kind, severity, text, *, data=None, actor=None, cmd_id=None, reason=None) -> None:
        """Record an event."""
        self.events.append(Recorded(kind, severity, text, dict(data or {}), actor, cmd_id, reason))

    async def event_durable(self, kind, severity, text, *, data=None, actor=None, cmd_id=None, reason=None) -> None:
        """Record an event, or raise `fail`."""
        if self.fail is not None:
            raise self.fail
        self.event(kind, severity, text, data=data, actor=actor, cmd_id=cmd_id, reason=reason)
        self.durable.append(self.events[-1])

    def sample(self, columns, row) -> None:
        """Record a sample."""
        self.samples.append((tuple(columns), list(row)))
