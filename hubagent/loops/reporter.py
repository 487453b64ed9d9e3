"""Says once a second, and at once when a state changes, what this hub is; its detail only while somebody watches."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from hubagent.clock import Clock
from hubagent.core.pacing import Beat, Pace
from hubagent.core.severity import worst
from hubagent.edges.nats_link import Link, Message
from hubagent.errors import HubagentError
from hubagent.wire import subjects
from hubagent.wire.codec import WireError, decode, encode
from hubagent.wire.reports import (
    INTERVAL_SECONDS,
    AgentFigures,
    Alert,
    AlertTotals,
    Detail,
    DiskUse,
    Forecast,
    GroupState,
    Lane,
    Live,
    LogLines,
    Result,
    Service,
    ServiceTotals,
    Watch,
)

WATCH_SECONDS = 15.0
LOG_LINES_MAX = 200  # in one message; more in one interval are counted as skipped
FOLLOWS_MAX = 64  # outputs followed at once; whoever asks for more waits until one is no longer followed


@dataclass(frozen=True, slots=True)
class HostView:
    """What the machine contributes to a summary."""

    cpu: float | None = None
    mem: float | None = None
    load1: float | None = None
    disk: DiskUse | None = None


class Sources(Protocol):
    """Everything that a summary is made of; the daemon gives it from its parts."""

    def host_live(self) -> HostView:
        """The machine in four figures."""
        ...

    def host_detail(self, detail: Detail) -> Detail:
        """The detail with the machine's figures put in."""
        ...

    def agent(self) -> AgentFigures:
        """The agent's own cost."""
        ...

    def lanes(self) -> list[Lane]:
        """Every lane to every destination."""
        ...

    def groups(self) -> list[GroupState]:
        """The groups that this hub is a member of."""
        ...

    def services(self, with_usage: bool) -> list[Service]:
        """Every supervised service."""
        ...

    def totals(self) -> ServiceTotals:
        """How many run of those wanted."""
        ...

    def alerts(self) -> list[Alert]:
        """What is raised."""
        ...

    def forecasts(self) -> list[Forecast]:
        """What will be full, and when."""
        ...

    def results(self) -> list[Result]:
        """What became of commands of the last 5 minutes."""
        ...

    def spool(self) -> tuple[int, int]:
        """(bytes used, budget)."""
        ...

    def tail(self, service: str, lines: int) -> list[str]:
        """The last lines of a service's output."""
        ...

    def roster_version(self) -> int:
        """The roster in force."""
        ...

    def warnings(self) -> list[str]:
        """What an operator should know of this agent itself."""
        ...

    def maintenance(self) -> str:
        """Whoever put this hub in maintenance; empty where nobody did."""
        ...

    def foreign(self) -> int:
        """Messages dropped because they were no valid messages of ours."""
        ...


_SHORT = ("dest", "lane", "state", "chunks", "bytes", "oldest_s", "loss_s", "why")


def _short(lane: Lane) -> Lane:
    """A lane without what only detail shows."""
    return Lane(**{name: getattr(lane, name) for name in _SHORT})


def _rounded(group: GroupState) -> GroupState:
    """Milliseconds say all that a reader can use."""
    return group if group.left_s is None else msgspec.structs.replace(group, left_s=round(group.left_s, 3))


@dataclass(slots=True)
class _Follow:
    until: float
    lines: list[str] = field(default_factory=list)
    skipped: int = 0

    def add(self, line: str) -> None:
        if len(self.lines) < LOG_LINES_MAX:
            self.lines.append(line)
        else:
            self.skipped += 1


class Reporter:
    """The live plane of one hub: fire and forget, to every hub server that is connected."""

    def __init__(
        self,
        hub: str,
        boot: str,
        version: str,
        links: Sequence[Link],
        sources: Sources,
        clock: Clock,
        *,
        note_seq: Callable[[int], None],
        follow: Callable[[str, Callable[[str], None]], Callable[[], None]],
        interval_s: float = 1.0,
        rates: Callable[[], Mapping[str, float | None]] = dict,
    ) -> None:
        self._hub, self._boot, self._version = hub, boot, version
        self._links, self._sources, self._clock = links, sources, clock
        self._note_seq, self._follow = note_seq, follow
        self._rates, self._pace = rates, Pace(interval_s)
        self._beat, self._wake = Beat(interval_s, clock.monotonic()), asyncio.Event()
        self._watched_until = 0.0
        self._follows: dict[str, _Follow] = {}
        self._unfollow: dict[str, Callable[[], None]] = {}
        self.seq = 0
        self.bad_messages = 0

    def changed(self) -> None:
        """Something changed that operators should see at once."""
        self._beat.changed()
        self._wake.set()

    def sampled(self) -> None:
        """A sample was taken: the summary of this second goes out with it."""
        self._beat.sampled()
        self._wake.set()

    async def run(self) -> None:
        """Report until cancelled."""
        for link in self._links:
            link.subscribe(subjects.watch(self._hub), self._on_watch)
        while True:
            is_news = await self._next()
            await self._report(self._clock.monotonic(), is_news=is_news)

    async def _next(self) -> bool:
        """Return when a summary is due: True where it is news."""
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            is_news = self._beat.take(now)
            if is_news is not None:
                return is_news
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._beat.deadline() - now):
                    await self._wake.wait()

    async def _report(self, now: float, *, is_news: bool) -> None:
        self.seq += 1
        self._note_seq(self.seq)
        self._pace.judge(self._rates())
        due = [link for link in self._links if self._pace.is_due(link.server, now, is_news=is_news)]
        await self._send_live(due)
        if now < self._watched_until:
            await self._send(subjects.detail(self._hub), encode(self.detail()), due)
        await self._send_logs(now)

    async def _send_live(self, due: Sequence[Link]) -> None:
        """The same summary to all, each with the interval that its readers have to expect."""
        live = self.live()
        for interval_s in {self._pace.interval_s(link.server) for link in due}:
            is_usual = interval_s == INTERVAL_SECONDS
            payload = encode(live if is_usual else msgspec.structs.replace(live, interval_s=interval_s))
            among = [link for link in due if self._pace.interval_s(link.server) == interval_s]
            await self._send(subjects.live(self._hub), payload, among)

    async def _send(self, subject: str, payload: bytes, among: Sequence[Link] | None = None) -> None:
        for link in self._links if among is None else among:
            if link.is_connected:
                try:
                    await link.publish(subject, payload)
                except HubagentError:
                    continue  # the link says itself that it is down; live is fresh or visibly stale

    def live(self) -> Live:
        """The short summary as of now."""
        sources = self._sources
        lanes, groups, alerts = sources.lanes(), sources.groups(), sources.alerts()
        severity, why = worst(sources.services(False), lanes, groups, alerts)
        host = sources.host_live()
        return Live(
            v=1, hub=self._hub, boot=self._boot, seq=self.seq, t=round(self._clock.wall(), 3),
            version=self._version, roster_v=sources.roster_version(), severity=severity, why=why[:120],
            cpu=host.cpu, mem=host.mem, load1=host.load1, disk=host.disk,
            lanes=[_short(lane) for lane in lanes], groups=[_rounded(group) for group in groups],
            services=sources.totals(),
            alerts=AlertTotals(len(alerts), alerts[0].text[:80] if alerts else ""), results=sources.results(),
            maintenance=sources.maintenance(),
        )  # fmt: skip

    def detail(self) -> Detail:
        """The full figures as of now."""
        sources = self._sources
        used, budget = sources.spool()
        detail = Detail(
            v=1, hub=self._hub, boot=self._boot, seq=self.seq, t=round(self._clock.wall(), 3),
            agent=sources.agent(), lanes=sources.lanes(), groups=sources.groups(), services=sources.services(True),
            alerts=sources.alerts(), forecasts=sources.forecasts(), warnings=sources.warnings(),
            spool_bytes=used, spool_budget=budget, foreign=sources.foreign() + self.bad_messages,
        )  # fmt: skip
        return sources.host_detail(detail)

    def _on_watch(self, message: Message) -> None:
        try:
            wanted = decode(message.payload or b"{}", Watch, 4096)
        except WireError:
            self.bad_messages += 1
            return
        now = self._clock.monotonic()
        if wanted.detail and now >= self._watched_until:
            self.changed()
        if wanted.detail:
            self._watched_until = now + WATCH_SECONDS
        if wanted.logs:
            self._watch_logs(wanted.logs, min(wanted.lines, LOG_LINES_MAX), now)

    def _watch_logs(self, service: str, lines: int, now: float) -> None:
        known = self._follows.get(service)
        if not subjects.is_name(service) or (known is None and len(self._follows) >= FOLLOWS_MAX):
            self.bad_messages += 1
            return
        entry = known or self._follows.setdefault(service, _Follow(now))
        entry.until = now + WATCH_SECONDS
        if lines:
            entry.lines = self._sources.tail(service, lines)
        if known is None:
            self._unfollow[service] = self._follow(service, entry.add)
        self.changed()

    async def _send_logs(self, now: float) -> None:
        for service, entry in list(self._follows.items()):
            if entry.lines or entry.skipped:
                lines = LogLines(self._hub, service, entry.lines, entry.skipped)
                entry.lines, entry.skipped = [], 0
                await self._send(subjects.logs(self._hub, service), msgspec.json.encode(lines))
            if now >= entry.until:
                del self._follows[service]
                self._unfollow.pop(service)()
