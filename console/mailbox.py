"""What the NATS thread leaves for the console: latest wins per hub, everything else bounded."""

import threading
from collections import deque

from console.fleet import CopiesSeen, DetailSeen, LiveSeen, LogSeen, RecordsSeen, Report, RosterSeen, ServerChanged

RECORDS_MAX = 2000  # reports of records that nobody took yet; the oldest are dropped and can be read from the streams
LOGS_MAX = 500  # the same for output lines


class Mailbox:
    """Reports from one thread to another; `put` never waits, and a slow reader costs no memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._latest: dict[tuple[type[Report], str], Report] = {}
        self._records: deque[Report] = deque(maxlen=RECORDS_MAX)
        self._logs: deque[Report] = deque(maxlen=LOGS_MAX)

    def put(self, report: Report) -> None:
        """Leave one report."""
        with self._lock:
            match report:
                case RecordsSeen():
                    self._records.append(report)
                case LogSeen():
                    self._logs.append(report)
                case _:
                    self._latest[type(report), _subject(report)] = report
        self._news.set()

    def drain(self) -> list[Report]:
        """Take everything that is there, roster and servers first."""
        with self._lock:
            self._news.clear()
            taken = [*self._latest.values(), *self._records, *self._logs]
            self._latest.clear()
            self._records.clear()
            self._logs.clear()
        return sorted(taken, key=lambda report: not isinstance(report, RosterSeen | ServerChanged))

    def wait(self, timeout_s: float) -> bool:
        """Wait until something is there, at most so long."""
        return self._news.wait(timeout_s)


def _subject(report: Report) -> str:
    """What the latest report replaces: one per hub, per server, or the only one of its kind."""
    match report:
        case LiveSeen(live=live):
            return live.hub
        case DetailSeen(detail=detail):
            return detail.hub
        case ServerChanged(server=server):
            return server
        case CopiesSeen(hub=hub, lane=lane):
            return f"{hub}/{lane}"
    return ""
