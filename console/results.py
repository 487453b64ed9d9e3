"""What became of commands: the hub's summary is the news, its record is the proof and knows how long it took."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hubagent.wire.chunk import Record
from hubagent.wire.reports import Result

RESULTS_MAX = 2000  # the newest are kept
FINAL = frozenset({"done", "failed", "refused", "unknown"})
RECORD_SECONDS = 3.0  # after the news the record is this long awaited, for its figures only

Key = tuple[str, str]  # hub, command id: no hub can speak for another
T = TypeVar("T")


@dataclass(slots=True)
class Board(Generic[T]):
    """The first value of each key, for those who wait and those who come later; used on one event loop."""

    _known: OrderedDict[Key, T] = field(default_factory=OrderedDict)
    _waiting: list[tuple[Key, asyncio.Future[T]]] = field(default_factory=list)

    def note(self, key: Key, value: T) -> None:
        """Keep the first value of a key and tell who waits for it."""
        if key in self._known:
            return
        self._known[key] = value
        if len(self._known) > RESULTS_MAX:
            self._known.popitem(last=False)
        for wanted, waiting in self._waiting:
            if wanted == key and not waiting.done():
                waiting.set_result(value)

    async def wait(self, key: Key, timeout_s: float) -> T | None:
        """The value; None where none came in time."""
        if key in self._known:
            return self._known[key]
        wanted: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        entry = (key, wanted)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout_s):
                return await wanted
        except TimeoutError:
            return None
        finally:
            self._waiting.remove(entry)


class Results:
    """Final results of commands."""

    def __init__(self) -> None:
        self._results: Board[Result] = Board()
        self._figures: Board[dict[str, object]] = Board()

    def note(self, hub: str, result: Result) -> None:
        """Take in one line of a hub's summary; what is not final yet is left aside."""
        if result.state in FINAL:
            self._results.note((hub, result.cmd_id), result)

    def note_record(self, hub: str, record: Record) -> None:
        """Take in a `command_result`."""
        if record.kind != "command_result" or not record.cmd_id:
            return
        facts = record.data
        gate, why = str(facts.get("gate", "")), str(facts.get("why", ""))
        self._figures.note((hub, record.cmd_id), facts)
        self.note(hub, Result(record.cmd_id, str(facts.get("state", "")), gate, why))

    async def wait(self, hub: str, cmd_id: str, timeout_s: float) -> Result | None:
        """The final result; None where none came in time: the outcome is unknown."""
        return await self._results.wait((hub, cmd_id), timeout_s)

    async def figures(self, hub: str, cmd_id: str) -> dict[str, object]:
        """What the hub measured, once its record is there; empty where it is not soon."""
        return await self._figures.wait((hub, cmd_id), RECORD_SECONDS) or {}
