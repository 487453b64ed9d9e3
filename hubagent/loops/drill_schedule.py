"""The scheduled drills of this hub's groups: each slot is decided once, and run where this hub is active and all gates pass."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hubagent.clock import Clock
from hubagent.core.drill_schedule import due
from hubagent.core.outcome import Outcome
from hubagent.edges.drill_book import DrillBook, Planned
from hubagent.errors import StoreFailed
from hubagent.loops.orders import Recorder
from hubagent.wire.drills import OFF, parse
from hubagent.wire.reports import DrillSchedule

LOOK_S = 1.0
REASON = "scheduled"
Order = Callable[[str, Mapping[str, Any], str, str], Awaitable[Outcome]]  # (verb, args, actor, reason)


class Schedules:
    """`order` carries a drill out as any order from this machine: the same gates, none forced, the same audit."""

    def __init__(
        self, book: DrillBook, order: Order, is_active: Callable[[str], bool], recorder: Recorder, clock: Clock
    ) -> None:
        self._book, self._order, self._is_active = book, order, is_active
        self._recorder, self._clock = recorder, clock
        self._began = clock.wall()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as started:
            while True:
                for group, planned in self.due():
                    started.create_task(self.drill(group, planned))
                await asyncio.sleep(LOOK_S)

    def due(self) -> list[tuple[str, Planned]]:
        """What is to be run now; every slot that has come is decided with this, also where another hub is active."""
        found, now = [], self._clock.wall()
        for group, planned in self._book.planned().items():
            schedule = parse(planned.at)
            slot = due(schedule, max(planned.decided, planned.t, self._began), now) if schedule else None
            if slot is not None and self._decide(group, planned, slot) and self._is_active(group):
                found.append((group, planned))
        return found

    def _decide(self, group: str, planned: Planned, slot: float) -> bool:
        """On disk before it is run: a drill that kills this agent must not be run again by the next one."""
        try:
            self._book.decide(group, slot)
        except StoreFailed as error:
            self._skipped(group, planned, "store", str(error))
            return False
        return True

    async def drill(self, group: str, planned: Planned) -> None:
        """Run it to its end, which is recorded as that of any drill; or say why it was not begun."""
        args = {"group": group, "kind": planned.kind}
        outcome = await self._order("drill", args, f"schedule:{planned.by}", REASON)
        if not outcome.ok and outcome.gate != "drill":
            self._skipped(group, planned, outcome.gate, outcome.why)

    def _skipped(self, group: str, planned: Planned, gate: str, why: str) -> None:
        text = f"{group}: scheduled drill {planned.kind} skipped: {gate + ': ' if gate else ''}{why}"
        data = {"group": group, "kind": planned.kind, "passed": False, "skipped": True, "gate": gate, "why": why}
        self._recorder.event("drill", "warning", text, data=data, actor=f"schedule:{planned.by}")

    async def set(self, group: str, at: str, kind: str, by: str) -> Outcome:
        """Keep it, or forget it where `at` is off; raises StoreFailed."""
        self._book.plan(group, None if at == OFF else Planned(at, kind, by, self._clock.wall()))
        text = (
            f"{group}: no drill is scheduled any more" if at == OFF else f"{group}: drill {kind} {at} UTC from now on"
        )
        self._recorder.event("drill", "ok", text, data={"group": group, "kind": kind, "schedule": at}, actor=by)
        return Outcome(True)

    def shown(self, group: str) -> DrillSchedule | None:
        """What is scheduled for a group here."""
        planned = self._book.planned().get(group)
        return DrillSchedule(planned.at, planned.kind, planned.by) if planned else None
