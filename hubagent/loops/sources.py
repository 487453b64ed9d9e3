"""What the reporter tells is read from the parts here, one line each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from hubagent.edges.nats_link import Link
from hubagent.loops.commands import Commands
from hubagent.loops.delivery import Delivery
from hubagent.loops.reporter import HostView
from hubagent.loops.rollout import Rollouts
from hubagent.loops.roster import Rosters
from hubagent.loops.sampling import Sampling
from hubagent.loops.services import Services
from hubagent.wire.reports import (
    AgentFigures,
    Alert,
    Detail,
    Forecast,
    GroupState,
    Lane,
    Result,
    Service,
    ServiceTotals,
)


class Groups(Protocol):
    """The lease keeper, where this hub is a member of a group."""

    def groups(self) -> list[GroupState]:
        """The groups as this hub sees them."""
        ...


@dataclass(frozen=True, slots=True)
class AgentSources:
    """The parts of one hub agent, as the reporter sees them."""

    sampling: Sampling
    delivery: Delivery
    services_loop: Services
    rollouts: Rollouts
    commands: Commands
    rosters: Rosters
    keeper: Groups | None
    links: Sequence[Link]
    budget: int
    notes: Callable[[], list[str]]
    certificate_alerts: Callable[[], list[Alert]] = list
    maintained_by: Callable[[], str] = str

    def host_live(self) -> HostView:
        """The machine in four figures."""
        return HostView(**self.sampling.live_host())

    def host_detail(self, detail: Detail) -> Detail:
        """The machine's figures put in."""
        return self.sampling.detail_host(detail)

    def agent(self) -> AgentFigures:
        """The agent's own cost."""
        return self.sampling.agent

    def lanes(self) -> list[Lane]:
        """Every lane to every destination."""
        return self.delivery.lanes()

    def groups(self) -> list[GroupState]:
        """The groups of this hub."""
        return self.keeper.groups() if self.keeper else []

    def services(self, with_usage: bool) -> list[Service]:
        """Every service, with its releases."""
        return [self._with_releases(service) for service in self.services_loop.snapshot(with_usage)]

    def _with_releases(self, service: Service) -> Service:
        view = self.rollouts.view(service.name)
        if view is None:
            return service
        return msgspec.structs.replace(
            service, release=service.release or view.current, releases=view.installed, last_good=view.last_good
        )

    def totals(self) -> ServiceTotals:
        """How many run of those wanted."""
        return self.services_loop.totals()

    def alerts(self) -> list[Alert]:
        """What is raised."""
        return [*self.certificate_alerts(), *self.sampling.alerts(), *self.rollouts.alerts()]

    def forecasts(self) -> list[Forecast]:
        """What will be full."""
        return self.sampling.forecasts()

    def results(self) -> list[Result]:
        """What became of commands."""
        return self.commands.results()

    def spool(self) -> tuple[int, int]:
        """(bytes used, budget)."""
        return self.delivery.spool_bytes(), self.budget

    def tail(self, service: str, lines: int) -> list[str]:
        """The last lines of a service's output."""
        return self.services_loop.tail(service, lines)

    def roster_version(self) -> int:
        """The roster in force."""
        return self.rosters.in_force.version

    def warnings(self) -> list[str]:
        """What an operator should know of this agent itself."""
        return self.notes()

    def maintenance(self) -> str:
        """Whoever put this hub in maintenance."""
        return self.maintained_by()

    def foreign(self) -> int:
        """Messages that were no valid messages of ours."""
        return self.commands.bad_messages
