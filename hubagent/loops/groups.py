"""The groups of this hub: tells the services what the lease keeper decided, and the gates what it knows."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from hubagent.clock import Clock
from hubagent.core.outcome import Outcome
from hubagent.core.preflight import GroupFacts
from hubagent.edges import hooks
from hubagent.edges.nats_link import Link, Message
from hubagent.errors import HubagentError
from hubagent.loops.keeper import Callbacks, Keeper
from hubagent.loops.orders import Recorder
from hubagent.wire import subjects
from hubagent.wire.codec import WireError, decode
from hubagent.wire.reports import GroupState, Lane, Live


@dataclass(frozen=True, slots=True)
class HookPolicy:
    """What a group's promotion and demotion run, with a deadline in seconds."""

    on_promote: tuple[str, ...] = ()
    on_demote: tuple[str, ...] = ()
    timeout_s: float = 5.0


class Services(Protocol):
    """What is needed of the supervised services."""

    def activate(self, group: str, epoch: int, holder: str) -> None:
        """Start the group's services."""
        ...

    def deactivate(self, group: str, why: str) -> None:
        """End them within their demotion grace."""
        ...

    async def drain_group(self, group: str) -> Outcome:
        """End them with their full grace."""
        ...


class Drills(Protocol):
    """What is needed of the drills."""

    def heard(self, live: Live) -> None:
        """A member's summary."""
        ...

    def promoted(self, group: str, epoch: int) -> None:
        """This hub has become active."""
        ...

    def shown(self, state: GroupState) -> GroupState:
        """The state with what is known of drills."""
        ...

    def proven_age_s(self, group: str) -> float | None:
        """How long ago a drill last proved the group."""
        ...

    def is_drained(self) -> bool:
        """Tell whether this hub owes nothing."""
        ...


class Groups:
    """Runs beside the keeper in the main loop; `keeper` and `drills` are given once they are built with this one."""

    keeper: Keeper
    drills: Drills

    def __init__(
        self,
        hub: str,
        services: Services,
        lanes: Callable[[], Sequence[Lane]],
        disk_full_s: Callable[[], float | None],
        recorder: Recorder,
        clock: Clock,
        links: Sequence[Link],
        hook_policies: Mapping[str, HookPolicy],
        changed: Callable[[], None],
    ) -> None:
        self._hub, self._services, self._lanes, self._disk_full_s = hub, services, lanes, disk_full_s
        self._recorder, self._clock, self._links = recorder, clock, links
        self._hooks, self._changed = hook_policies, changed
        self._heard: dict[str, tuple[float, float]] = {}  # peer: (monotonic receipt, its wall clock's lead)
        self._maintained: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None

    def callbacks(self) -> Callbacks:
        """What the keeper calls in the main loop."""
        return Callbacks(self._on_promoted, self._on_demoted, self._services.drain_group)

    async def run(self) -> None:
        """Start the keeper and pulse for it until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            self.keeper.start()
            for peer in self._peers():
                for link in self._links:
                    link.subscribe(subjects.live(peer), self._on_live)
            while True:
                self.keeper.pulse()
                await asyncio.sleep(self.keeper.pulse_s)

    def _peers(self) -> set[str]:
        groups = (self.keeper.standing(state.group) for state in self.keeper.groups())
        return {member for group in groups if group for member in group.members} - {self._hub}

    def _on_live(self, message: Message) -> None:
        with suppress(WireError):
            live = decode(message.payload, Live)
            self._heard[live.hub] = (self._clock.monotonic(), live.t - self._clock.wall())
            self._maintained = self._maintained - {live.hub} | ({live.hub} if live.maintenance else set())
            self.drills.heard(live)

    # What the keeper decided.

    def _on_promoted(self, group: str, epoch: int) -> None:
        self._services.activate(group, epoch, self._hub)
        self.drills.promoted(group, epoch)
        self._run_hook(group, epoch, self._hooks.get(group, HookPolicy()).on_promote, "on_promote")
        self._changed()

    def _on_demoted(self, group: str, why: str) -> None:
        self._services.deactivate(group, why)
        self._run_hook(group, 0, self._hooks.get(group, HookPolicy()).on_demote, "on_demote")
        self._changed()

    def _run_hook(self, group: str, epoch: int, argv: Sequence[str], name: str) -> None:
        if argv and self._tasks is not None:
            self._tasks.create_task(self._hook(group, epoch, argv, name))

    async def _hook(self, group: str, epoch: int, argv: Sequence[str], name: str) -> None:
        data: dict[str, Any] = {"group": group, "hook": name}
        try:
            environment = {"HUB_GROUP": group, "HUB_EPOCH": str(epoch), "HUB_ID": self._hub}
            result = await hooks.run(argv, environment, self._hooks[group].timeout_s)
        except HubagentError as error:
            self._recorder.event("lease", "critical", f"{group}: {name} was not run: {error}", data=data)
            return
        data |= {"status": result.status, "output": result.output}
        how = "was ended at its deadline" if result.status is None else f"ended with {result.status}"
        severity = "ok" if result.status == 0 else "critical"
        self._recorder.event("lease", severity, f"{group}: {name} {how}", data=data)

    # What gates and operators ask.

    def groups(self) -> list[GroupState]:
        """The groups as of now."""
        return [self.drills.shown(state) for state in self.keeper.groups()]

    def state(self, group: str) -> GroupState:
        """One group as of now, as the keeper has it."""
        return self.keeper.state(group)

    def claimed_at(self, group: str) -> float:
        """When this hub last concluded that it may take over (boottime)."""
        return self.keeper.claimed_at(group)

    def facts(self, group: str) -> GroupFacts:
        """What this hub knows of a group before it is moved."""
        standing = self.keeper.standing(group)
        members = standing.members if standing else ()
        heard = [self._heard[peer] for peer in members if peer in self._heard]
        now = self._clock.monotonic()
        owed = self._owed()
        return GroupFacts(
            group,
            self._hub,
            members,
            standing.state if standing else None,
            peer_age_s=min((now - at for at, _ in heard), default=None),
            handed_over=min(owed.values(), default=0) == 0,
            owed_chunks=min(owed.values(), default=0),
            disk_full_s=self._disk_full_s(),
            skew_s=max((lead for _, lead in heard), key=abs, default=None),
            held_s=standing.held_s if standing else None,
            changes=standing.changes if standing else 0,
            last_drill_s=self.drills.proven_age_s(group),
            is_drained=self.drills.is_drained(),
            maintained=sorted(self._maintained),
        )

    def _owed(self) -> dict[str, int]:
        """Chunks that each hub server lacks; what is on its way in a live lane counts as there."""
        owed: dict[str, int] = {}
        for lane in self._lanes():
            owed[lane.dest] = owed.get(lane.dest, 0) + (0 if lane.state == "LIVE" else lane.chunks or 1)
        return owed

    async def switchover(self, group: str, to: str, force: frozenset[str] = frozenset()) -> Outcome:
        """Hand over as planned, to the end."""
        return await self._timed(self.keeper.switchover(group, to, force))

    async def promote(self, group: str) -> Outcome:
        """Make this hub active by hand, to the end."""
        return await self._timed(self.keeper.promote(group))

    async def set_auto(self, group: str, auto: str) -> Outcome:
        """off, shadow or armed."""
        return await self._timed(self.keeper.set_auto(group, auto))

    def set_hub_maintenance(self, *, on: bool) -> None:
        """This hub becomes active in no group by itself while on."""
        self.keeper.set_hub_maintenance(on=on)
        self._changed()

    async def set_maintenance(self, group: str, on: bool) -> Outcome:
        """No automatic failover while on."""
        return await self._timed(self.keeper.set_maintenance(group, on))

    async def _timed(self, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        began = self._clock.monotonic()
        outcome = await work
        self._changed()
        return Outcome(outcome.ok, outcome.why, outcome.gate, round(self._clock.monotonic() - began, 3))
