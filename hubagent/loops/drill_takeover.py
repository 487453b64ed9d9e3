"""The takeover of a drilled group as its successor measures it, all on its own clock."""

import asyncio

from hubagent.clock import Clock
from hubagent.core.drill import phases
from hubagent.loops.drill_parts import DrillParts
from hubagent.loops.orders import Recorder
from hubagent.wire.reports import DrillNotice, GroupState

SERVE_LOOK_S, SERVE_S_MAX = 0.005, 10.0
PHASES_S = 120.0  # the measures are told for so long; the drilled hub is back long before


class Takeovers:
    """Hears when another member will be struck, and how long this hub then took to serve."""

    def __init__(self, parts: DrillParts, recorder: Recorder, clock: Clock) -> None:
        self._parts, self._recorder, self._clock = parts, recorder, clock
        self._notices: dict[str, tuple[str, float, DrillNotice]] = {}  # group: (struck hub, its strike here, words)
        self._phases: dict[str, tuple[float, dict[str, float]]] = {}
        self.tasks: asyncio.TaskGroup | None = None

    def hear(self, hub: str, group: GroupState) -> None:
        """What a member says of a group: the moment of a strike counts from the quickest message."""
        now = self._clock.boottime()
        notice, known = group.drill, self._notices.get(group.group)
        if notice is not None and notice.in_s is not None:
            strike_at = now + notice.in_s
            if known is not None and known[0] == hub:
                strike_at = min(strike_at, known[1])
            self._notices[group.group] = (hub, strike_at, notice)
        elif notice is None and known is not None and known[0] == hub:
            del self._notices[group.group]

    def promoted(self, group: str, epoch: int) -> None:
        """This hub has become active: in a drill of the one before, measure how."""
        now = self._clock.boottime()
        notice = self._notices.pop(group, None)
        if notice is not None and notice[1] - 1.0 <= now <= notice[1] + SERVE_S_MAX and self.tasks is not None:
            self.tasks.create_task(self._measure(group, epoch, now, *notice))

    async def _measure(
        self, group: str, epoch: int, promoted_at: float, hub: str, strike_at: float, notice: DrillNotice
    ) -> None:
        while not self._serves(group) and self._clock.boottime() < promoted_at + SERVE_S_MAX:  # noqa: ASYNC110  # a pid has no event
            await asyncio.sleep(SERVE_LOOK_S)
        now = self._clock.boottime()
        found = phases(epoch, strike_at, self._parts.groups.claimed_at(group), promoted_at, now)
        self._phases[group] = (now, found)
        text = f"{group}: took over from {hub} in a drill ({notice.kind} by {notice.by}) in {found['took_s']:.2f} s"
        self._recorder.event("lease", "ok", text, data={"group": group, **found}, actor=notice.by)
        self._parts.changed()
        if notice.back_to:
            await self._parts.groups.set_auto(group, notice.back_to)

    def _serves(self, group: str) -> bool:
        active = [one for one in self._parts.services.snapshot() if one.run == "active" and one.group == group]
        return all(one.pid is not None for one in active)

    def phases(self, group: str) -> dict[str, float]:
        """The measures of a takeover just now; empty where there was none."""
        at, told = self._phases.get(group, (0.0, {}))
        return told if told and self._clock.boottime() < at + PHASES_S else {}
