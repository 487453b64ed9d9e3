"""Looks after the hub's own nats-server: its configuration follows the roster, its streams are made and verified."""

import asyncio
import logging
import secrets
from contextlib import suppress
from pathlib import Path

from hubagent.edges import jetstream
from hubagent.edges.nats_link import Link
from hubagent.edges.server import EmbeddedServer, server_config, write_config
from hubagent.errors import HubagentError, JetStreamError
from hubagent.loops.orders import Recorder
from hubagent.loops.streams import ensure
from hubagent.wire import subjects
from hubagent.wire.permissions import WITNESS
from hubagent.wire.roster import Roster, RosterRefused, Server, parse_roster
from hubagent.wire.streams import HUB_SERVER_STREAMS, ROSTER, WITNESS_STREAMS

log = logging.getLogger(__name__)

CHECK_SECONDS = 60.0
RETRY_SECONDS = 0.5


class Embedded:
    """One embedded server, seen from its own hub."""

    def __init__(
        self, server: EmbeddedServer, known: Server, config: Path, roster_file: Path, link: Link, recorder: Recorder
    ) -> None:
        self.server, self._known, self._config, self._roster_file = server, known, config, roster_file
        self._link, self._recorder = link, recorder
        self.drift: list[str] = []
        self._is_up = asyncio.Event()
        link.on_change(lambda up: self._is_up.set() if up else None)
        self._version = 0

    def configure(self, roster: Roster, now: float = 0.0) -> bool:
        """Write the server's configuration from the roster; tell whether it changed."""
        known = next((one for one in roster.servers if one.name == self._known.name), self._known)
        self._version = roster.version
        return write_config(self._config, server_config(self.server, roster, known, now))

    async def run(self) -> None:
        """Make what is missing and say what drifted, until cancelled."""
        streams = WITNESS_STREAMS if self._known.role == WITNESS else HUB_SERVER_STREAMS
        while True:
            try:
                found = await ensure(self._link, streams, self.server.max_store, lambda: secrets.token_hex(8))
                if self._known.role != WITNESS:
                    await self._publish_roster()
            except (HubagentError, JetStreamError) as error:
                log.debug("streams of %s: %s", self.server.name, error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._say(found)
            await self._until_next()

    async def _until_next(self) -> None:
        """A server that comes back may have lost its store: it is looked at once, and otherwise now and then."""
        self._is_up.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(CHECK_SECONDS):
                await self._is_up.wait()

    async def _publish_roster(self) -> None:
        """A server that is new, was replaced or was away gets the roster from its own hub's file."""
        stored = await jetstream.last_message(self._link, ROSTER.name, subjects.ROSTER)
        if stored is None or _version(stored.payload) < self._version:
            sealed = await asyncio.to_thread(self._roster_file.read_bytes)
            await self._link.request(subjects.ROSTER, sealed, timeout_s=2.0)

    def _say(self, found: list[str]) -> None:
        if found != self.drift:
            for words in found:
                self._recorder.event("note", "warning", f"stream drift on {self.server.name}: {words}")
            self.drift = found


def _version(sealed: bytes) -> int:
    """The version that a stored roster claims; 0 where it is none (readers verify, and refuse that one)."""
    try:
        return parse_roster(sealed.partition(b"\n")[2]).version
    except RosterRefused:
        return 0
