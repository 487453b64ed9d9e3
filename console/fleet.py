"""The console's model of the fleet: reports go in, and everything a screen shows is read from it."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from hubagent.wire.reports import Detail, Live, LogLines, Result

if TYPE_CHECKING:  # signatures and their libraries are the link's; the first frame must not wait for them
    from hubagent.wire.chunk import Record
    from hubagent.wire.roster import Roster

CONNECTING, UP, DOWN = "connecting", "up", "down"

EVENTS_MAX = 1000  # newest are kept; older ones are read with `hubdeck events`
LOG_LINES_MAX = 2000  # newest are kept
HISTORY_SAMPLES = 60  # a minute at 1 Hz, enough for a sparkline
HUBS_MAX = 5000  # hubs that no roster names; beyond it they are counted, not kept
SEEN_MAX = 4000  # keys of records already shown, to drop the second server's copy


class ServerChanged(msgspec.Struct, frozen=True):
    """The console's own link to a hub server: state is connecting, up or down."""

    server: str
    state: str
    why: str = ""
    rtt_s: float | None = None


class LiveSeen(msgspec.Struct, frozen=True):
    """A hub's summary came over this server."""

    server: str
    live: Live


class DetailSeen(msgspec.Struct, frozen=True):
    """The full figures of the watched hub came over this server."""

    server: str
    detail: Detail


class RecordsSeen(msgspec.Struct, frozen=True):
    """Event records of a hub, oldest first, read from this server's stream."""

    server: str
    hub: str
    records: "tuple[Record, ...]"


class LogSeen(msgspec.Struct, frozen=True):
    """Output lines of the followed service."""

    lines: LogLines


class CopiesSeen(msgspec.Struct, frozen=True):
    """How the copies of one hub's lane on the hub servers compare: equal, explained, different or unknown."""

    hub: str
    lane: str
    state: str
    text: str


class RosterSeen(msgspec.Struct, frozen=True):
    """A verified roster: who belongs to the fleet."""

    roster: "Roster"


Report = ServerChanged | LiveSeen | DetailSeen | RecordsSeen | LogSeen | CopiesSeen | RosterSeen


@dataclass(slots=True)
class Server:
    """One hub server as the console's link sees it; `since` is monotonic."""

    name: str
    state: str
    since: float
    why: str = ""
    rtt_s: float | None = None


@dataclass(slots=True)
class Hub:
    """All that is known of one hub; times are the console's monotonic clock at receipt."""

    id: str
    labels: dict[str, str] = field(default_factory=dict)
    live: Live | None = None
    seen_at: float | None = None
    severity_since: float | None = None
    has_changed: bool = False  # False: the severity was there before this console, so `since` is not exact
    is_in_roster: bool = False
    detail: Detail | None = None
    detail_at: float | None = None
    cpu: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY_SAMPLES))
    mem: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY_SAMPLES))
    copies: dict[str, tuple[CopiesSeen, float]] = field(default_factory=dict)  # by lane, with when it was checked
    memo: object = None  # what present/ worked out from `live`; of no meaning here

    def age(self, now: float) -> float | None:
        """Seconds since the last word of this hub; None where there never was one."""
        return None if self.seen_at is None else max(0.0, now - self.seen_at)


class Event(msgspec.Struct, frozen=True):
    """One record and the hub that wrote it."""

    hub: str
    record: "Record"


class LogLine(msgspec.Struct, frozen=True):
    """One line of a service's output."""

    hub: str
    service: str
    text: str


class Fleet:
    """Everything the console knows; `apply` is the only way in, every collection has a bound."""

    def __init__(self, started_at: float, name: str = "") -> None:
        self.name = name
        self.started_at = started_at
        self.hubs: dict[str, Hub] = {}
        self.servers: dict[str, Server] = {}
        self.roster: Roster | None = None
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self.logs: deque[LogLine] = deque(maxlen=LOG_LINES_MAX)
        self.logs_total = 0
        self.logs_skipped = 0
        self.hubs_refused = 0
        self.records_from: float | None = None
        self._seen: dict[tuple[object, ...], None] = {}
        self._gone = Hub("")

    def apply(self, report: Report, now: float) -> set[str]:
        """Take in one report; the ids of the hubs that changed come back."""
        match report:
            case LiveSeen(live=live):
                return self._live(live, now)
            case ServerChanged():
                return self._server(report, now)
            case DetailSeen(detail=detail):
                return self._detail(detail, now)
            case RecordsSeen(hub=hub, records=records):
                return self._records(hub, records)
            case LogSeen(lines=lines):
                return self._log(lines)
            case CopiesSeen():
                return self._checked(report, now)
            case RosterSeen(roster=roster):
                return self._roster(roster)

    def hub(self, hub_id: str) -> Hub:
        """The hub of this id; an empty one where it is unknown."""
        return self.hubs.get(hub_id, self._gone)

    def has_link(self) -> bool:
        """Tell whether any hub server is reachable."""
        return any(server.state == UP for server in self.servers.values())

    def result(self, hub_id: str, cmd_id: str) -> Result | None:
        """What is known of a command's outcome: from the hub's summary, else from its record."""
        live = self.hub(hub_id).live
        found = next((one for one in live.results if one.cmd_id == cmd_id), None) if live else None
        if found and found.state != "accepted":
            return found
        return self._recorded_result(cmd_id) or found

    def events_of(self, hub_id: str) -> Iterator[Event]:
        """The records of one hub, newest first."""
        return (event for event in reversed(self.events) if event.hub == hub_id)

    def _known(self, hub_id: str) -> Hub | None:
        hub = self.hubs.get(hub_id)
        if hub is None and len(self.hubs) >= HUBS_MAX:
            self.hubs_refused += 1
            return None
        return hub or self.hubs.setdefault(hub_id, Hub(hub_id))

    def _live(self, live: Live, now: float) -> set[str]:
        hub = self._known(live.hub)
        if hub is None or _is_older(live, hub.live):
            return set()
        if hub.live is None or hub.live.severity != live.severity:
            hub.severity_since, hub.has_changed = now, hub.live is not None
        hub.live, hub.seen_at = live, now
        hub.cpu.append(live.cpu)
        hub.mem.append(live.mem)
        return {live.hub}

    def _server(self, report: ServerChanged, now: float) -> set[str]:
        server = self.servers.get(report.server)
        if server is None:
            server = self.servers[report.server] = Server(report.server, report.state, now)
        if server.state != report.state and not _is_same_outage(server.state, report.state):
            server.since = now
        server.state, server.why, server.rtt_s = report.state, report.why, report.rtt_s
        return set()

    def _detail(self, detail: Detail, now: float) -> set[str]:
        hub = self._known(detail.hub)
        if hub is None or (hub.detail and hub.detail.boot == detail.boot and detail.seq < hub.detail.seq):
            return set()
        hub.detail, hub.detail_at = detail, now
        return {detail.hub}

    def _records(self, hub_id: str, records: "tuple[Record, ...]") -> set[str]:
        news = [record for record in records if self._is_new(hub_id, record)]
        if not news:
            return set()
        oldest = min(record.t for record in news)
        is_late = bool(self.events) and oldest < self.events[-1].record.t
        self.events.extend(Event(hub_id, record) for record in news)
        if is_late:  # the other hub's records came first; people read by time
            self.events = deque(sorted(self.events, key=lambda one: one.record.t), maxlen=EVENTS_MAX)
        self.records_from = oldest if self.records_from is None else min(self.records_from, oldest)
        return {hub_id}

    def _is_new(self, hub_id: str, record: "Record") -> bool:
        key = (hub_id, record.boot, record.mono, record.kind, record.cmd_id, record.text)
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        return True

    def _log(self, lines: LogLines) -> set[str]:
        self.logs.extend(LogLine(lines.hub, lines.service, text) for text in lines.lines)
        self.logs_total += len(lines.lines)
        self.logs_skipped += lines.skipped
        return set()

    def _checked(self, report: CopiesSeen, now: float) -> set[str]:
        hub = self.hubs.get(report.hub)
        if hub is None:
            return set()
        hub.copies[report.lane] = (report, now)
        return {report.hub}

    def _roster(self, roster: "Roster") -> set[str]:
        self.roster, self.name = roster, roster.fleet
        named = {hub.id: hub.labels for hub in roster.hubs}
        for hub_id, labels in named.items():
            hub = self.hubs.setdefault(hub_id, Hub(hub_id))
            hub.labels, hub.is_in_roster = labels, True
        for hub_id in [one.id for one in self.hubs.values() if one.is_in_roster and one.id not in named]:
            del self.hubs[hub_id]
        return set(named)

    def _recorded_result(self, cmd_id: str) -> Result | None:
        for event in reversed(self.events):
            record = event.record
            if record.kind == "command_result" and record.cmd_id == cmd_id:
                state = str(record.data.get("state", "unknown"))
                why = str(record.data.get("why", "")) or record.text
                return Result(cmd_id, state, str(record.data.get("gate", "")), why)
        return None


def _is_older(live: Live, known: Live | None) -> bool:
    """Tell whether this is the other server's copy, or came late."""
    return known is not None and known.boot == live.boot and live.seq <= known.seq


def _is_same_outage(before: str, after: str) -> bool:
    """Connecting again after a loss is still the same outage."""
    return before == DOWN and after == CONNECTING
