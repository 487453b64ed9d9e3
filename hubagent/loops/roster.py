"""Keeps the roster in force: takes a newer signed one from any hub server, refuses an older one."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from hubagent.core.roster import Refused, RosterBook, Taken
from hubagent.edges import jetstream, state_dir
from hubagent.edges.nats_link import Link, Message
from hubagent.errors import HubagentError, JetStreamError
from hubagent.loops.orders import Recorder
from hubagent.wire import subjects
from hubagent.wire.roster import ROSTER_BYTES_MAX, Roster
from hubagent.wire.streams import ROSTER

log = logging.getLogger(__name__)

READ_SECONDS = 60.0  # a missed announcement is found by the next read
RETRY_SECONDS = 1.0
OFFERS_MAX = 8


class Rosters:
    """The roster of one hub; `in_force` is always a verified one whose version never falls."""

    def __init__(self, path: Path, fleet_key: str, first: Roster, links: Sequence[Link], recorder: Recorder) -> None:
        self._book = RosterBook(fleet_key, first)
        self._path, self._links, self._recorder = path, links, recorder
        self._offers: asyncio.Queue[bytes] = asyncio.Queue(OFFERS_MAX)
        self._listeners: list[Callable[[Roster], None]] = []
        self._last_refusal = ""

    @property
    def in_force(self) -> Roster:
        """The roster that counts now."""
        return self._book.in_force

    def on_change(self, callback: Callable[[Roster], None]) -> None:
        """Call back when a newer roster has come into force."""
        self._listeners.append(callback)

    async def run(self) -> None:
        """Take newer rosters until cancelled."""
        for link in self._links:
            link.subscribe(subjects.ROSTER, self._offered)
        async with asyncio.TaskGroup() as started:
            for link in self._links:
                started.create_task(self._read(link))
            while True:
                await self._take(await self._offers.get())

    def _offered(self, message: Message) -> None:
        if not self._offers.full() and len(message.payload) <= ROSTER_BYTES_MAX:
            self._offers.put_nowait(message.payload)

    async def _read(self, link: Link) -> None:
        came_up = asyncio.Event()
        link.on_change(lambda is_up: came_up.set() if is_up else None)
        while True:
            came_up.clear()
            seconds = READ_SECONDS
            try:
                stored = await jetstream.last_message(link, ROSTER.name, subjects.ROSTER)
                if stored is not None:
                    await self._offers.put(stored.payload)
            except (HubagentError, JetStreamError):
                seconds = RETRY_SECONDS  # the link says itself what is wrong
            with contextlib.suppress(TimeoutError):  # what was announced while the link was down is read at once
                async with asyncio.timeout(seconds):
                    await came_up.wait()

    async def _take(self, sealed: bytes) -> None:
        verdict = self._book.judge(sealed)
        if isinstance(verdict, Refused) and verdict.why != self._last_refusal:
            log.warning("a roster was refused: %s", verdict.why)
            self._last_refusal = verdict.why
        if not isinstance(verdict, Taken):
            return
        offered = verdict.roster
        await asyncio.to_thread(state_dir.save_roster, self._path, sealed)
        self._book.take(offered, sealed)
        self._recorder.event(
            "note", "ok", f"roster version {offered.version} is in force", data={"roster_v": offered.version}
        )
        for callback in self._listeners:
            callback(offered)
