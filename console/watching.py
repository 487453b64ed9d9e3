"""What hubs are asked to send while somebody looks: their detail, and the output of a service."""

import asyncio
from collections.abc import Sequence

from console.server_line import Callback, ServerLine
from hubagent.wire import subjects
from hubagent.wire.codec import encode
from hubagent.wire.reports import Watch

RENEW_SECONDS = 5.0  # a hub sends detail and output for 15 s after each asking
HUBS_MAX = 5_000  # hubs whose way is remembered


class Watching:
    """Asks again and again, over whichever line reaches the hub; used on the NATS side's loop only."""

    def __init__(self, lines: Sequence[ServerLine], on_logs: Callback) -> None:
        self._lines, self._on_logs = lines, on_logs
        self._last_via: dict[str, ServerLine] = {}
        self._watched = ""
        self._asked: list[str] = []
        self._followed: tuple[str, str] | None = None
        self._follow_line: ServerLine | None = None
        self._tail = 0  # lines of before that were asked for and have not come yet

    async def run(self) -> None:
        """Renew what is asked for, until cancelled."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self._ask_watched()
            if self._followed is None:
                continue
            line, best = self._follow_line, self._best_line(self._followed[0])
            if best is not line and line is not None:
                await line.unsubscribe(subjects.logs(*self._followed))
            await self._follow_over(best)

    async def watch(self, hub: str) -> None:
        """Ask this hub for its detail until told otherwise; an empty name ends it."""
        self._watched = hub and subjects.name(hub, "hub")
        await self._ask_watched()

    async def ask_details(self, hubs: list[str]) -> None:
        """Ask each of these hubs for its detail: now, and over each line that comes up later."""
        self._asked = hubs
        for line in self._lines:
            await self.ask_over(line)

    async def ask_over(self, line: ServerLine) -> None:
        """Ask over a line that has just come up."""
        for hub in {*self._asked, self._watched} - {""}:
            await line.publish(subjects.watch(hub), encode(Watch()))

    async def follow(self, hub: str, service: str, lines: int) -> None:
        """Follow a service's output, its last lines first; empty names end it."""
        await self._unfollow()
        if not (hub and service):
            return
        subjects.logs(hub, service)  # refuses bad names before anything is kept
        self._followed, self._tail = (hub, service), lines
        await self._follow_over(self._best_line(hub))

    def is_followed(self, hub: str, service: str) -> bool:
        """Tell whether these lines are wanted; the first ones end the asking for those of before."""
        if (hub, service) != self._followed:
            return False
        self._tail = 0
        return True

    def note_way(self, hub: str, line: ServerLine) -> None:
        """A hub may be linked to one server only: what it is asked goes where it was heard."""
        if hub in self._last_via or len(self._last_via) < HUBS_MAX:
            self._last_via[hub] = line

    async def _unfollow(self) -> None:
        if self._followed and self._follow_line:
            await self._follow_line.unsubscribe(subjects.logs(*self._followed))
        self._followed = self._follow_line = None

    async def _follow_over(self, line: ServerLine | None) -> None:
        """Over one line only: a hub sends its output over each, and equal lines could not be told apart."""
        if self._followed is None or line is None:
            return
        hub, service = self._followed
        self._follow_line = line
        await line.subscribe(subjects.logs(hub, service), self._on_logs)
        await line.publish(subjects.watch(hub), encode(Watch(detail=False, logs=service, lines=self._tail)))

    def _best_line(self, hub: str) -> ServerLine | None:
        last = self._last_via.get(hub)
        if last is not None and last.is_connected:
            return last
        return next((line for line in self._lines if line.is_connected), None)

    async def _ask_watched(self) -> None:
        if self._watched:
            for line in self._lines:
                await line.publish(subjects.watch(self._watched), encode(Watch()))
