"""A hub with the real command plane on a real server: what it was told, what it did and what it wrote down can be seen."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Self

from nats.aio.client import Client
from nats.aio.msg import Msg

from hubagent.clock import Clock, SystemClock
from hubagent.core.outcome import Outcome
from hubagent.edges.nats_link import Message
from hubagent.loops.commands import Commands
from hubagent.wire.commands import Gate
from tests.fakes.journal import FakeJournal
from tests.fakes.recorder import FakeRecorder
from tests.support.fake_hub import BOOT, FakeFleet, FakeHub


class Held:
    """A restart that ends when the test says so."""

    def __init__(self) -> None:
        self.ran, self.may_end = 0, asyncio.Event()

    def gates(self, args: Mapping[str, object]) -> list[Gate]:
        """One gate, which passes."""
        return [Gate("running", True, "RUNNING")]

    async def run(self, args: Mapping[str, object], force: frozenset[str], actor: str) -> Outcome:
        """Count, and wait."""
        self.ran += 1
        await self.may_end.wait()
        return Outcome(True)


class _Wire:
    """The test client's connection as the command plane wants it."""

    def __init__(self, client: Callable[[], Client], server: str) -> None:
        self.server, self._client = server, client
        self.heard: dict[str, Callable[[Message], None]] = {}

    def subscribe(self, subject: str, callback: Callable[[Message], None]) -> None:
        """Remember who wants it."""
        self.heard[subject] = callback

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send."""
        await self._client().publish(subject, payload, headers=dict(headers or {}))

    def take(self, message: Msg) -> None:
        """Hand over what came."""
        self.heard[message.subject](Message(message.subject, message.reply, message.data, message.headers or {}))


class AuditedHub(FakeHub):
    """Its summaries and detail are the test's own; commands are judged, written down and carried out as on a real hub."""

    def __init__(self, fleet: FakeFleet, hub: str, server: str = "central", *, clock: Clock | None = None) -> None:
        super().__init__(fleet, hub, server)
        self.recorder, self.action = FakeRecorder(BOOT), Held()
        self._wire = _Wire(lambda: self.client, server)
        self.plane = Commands(
            hub, lambda: fleet.roster, fleet.keys(hub).signer, [self._wire], self.recorder, FakeJournal(),
            clock or SystemClock(), {"restart": self.action},
        )  # fmt: skip

    @asynccontextmanager
    async def serving(self):
        """The hub for the length of a block."""
        plane = asyncio.get_running_loop().create_task(self.plane.run())
        try:
            while not self._wire.heard:
                await asyncio.sleep(0)
            async with self:
                yield self
        finally:
            plane.cancel()
            with suppress(asyncio.CancelledError):
                await plane

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    @property
    def audit(self) -> list[tuple[str, str]]:
        """What was written down: kind, and the state where there is one."""
        return [(event.kind, event.data.get("state", "")) for event in self.recorder.events]

    async def say(self) -> None:
        """One summary, with what became of commands; its number makes the next command fresh."""
        self.results = self.plane.results()
        await super().say()
        self.plane.note_seq(self.seq)

    async def _on_hello(self, message: Msg) -> None:
        self._wire.take(message)

    async def _on_command(self, message: Msg) -> None:
        self._wire.take(message)
