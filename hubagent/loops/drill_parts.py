"""What drills work with: the faces of the parts of the hub agent that they need."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hubagent.core.outcome import Outcome
from hubagent.core.preflight import GroupFacts
from hubagent.loops.drill_schedule import Order
from hubagent.wire.reports import GroupState, Lane, Service


class Groups(Protocol):
    """What is needed of the groups."""

    def state(self, group: str) -> GroupState:
        """One group as this hub sees it."""
        ...

    def facts(self, group: str) -> GroupFacts:
        """What gates know of it."""
        ...

    def claimed_at(self, group: str) -> float:
        """When this hub last concluded that it may take over."""
        ...

    async def set_auto(self, group: str, auto: str) -> Outcome:
        """off, shadow or armed."""
        ...


class Services(Protocol):
    """What is needed of the services."""

    def snapshot(self, with_usage: bool = False) -> list[Service]:
        """Every service."""
        ...

    async def signal(self, name: str, number: int) -> bool:
        """Signal one."""
        ...


@dataclass(frozen=True, slots=True)
class DrillParts:
    """What drills work with."""

    hub: str
    groups: Groups
    services: Services
    lanes: Callable[[], list[Lane]]
    state_dir: Path
    changed: Callable[[], None]
    order: Order  # one from this machine itself, through the same gates and the same audit
    cut: Callable[[float], None]  # every link of this hub, for so many seconds; 0 ends it
