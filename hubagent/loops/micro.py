"""Answers NATS micro's questions on every link, at a bounded rate."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from hubagent.clock import Clock
from hubagent.core.freshness import Allowance
from hubagent.edges.nats_link import Message
from hubagent.errors import HubagentError
from hubagent.wire import micro
from hubagent.wire.codec import encode

WAITING_MAX = 32  # questions not answered yet; more are dropped, and whoever asked asks again
RATE, BURST = 10.0, 30.0  # answers a second; tools ask now and then


class MicroLink(Protocol):
    """What is needed of a link."""

    @property
    def received(self) -> Mapping[str, int]:
        """Messages handed over, by subject."""
        ...

    def subscribe(self, subject: str, callback: Callable[[Message], None]) -> None:
        """Hand over every message on the subject."""
        ...

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send, or raise LinkDown."""
        ...


class Micro:
    """One hub agent as a NATS micro service; `errors` gives, by endpoint, what was dropped there."""

    def __init__(
        self,
        hub: str,
        boot: str,
        version: str,
        links: Sequence[MicroLink],
        clock: Clock,
        errors: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._hub, self._boot, self._version = hub, boot, version
        self._links, self._clock, self._errors = links, clock, errors
        self._inbox: asyncio.Queue[tuple[MicroLink, str, str]] = asyncio.Queue(WAITING_MAX)
        self._allowance = Allowance(RATE, BURST)
        self._started = micro.timestamp(clock.wall())

    async def run(self) -> None:
        """Answer until cancelled."""
        for link in self._links:
            self._listen(link)
        while True:
            link, verb, reply = await self._inbox.get()
            try:
                await link.publish(reply, self._answer(verb))
            except (HubagentError, ValueError):  # the link is down, or the reply subject is none: nobody waits there
                continue

    def _listen(self, link: MicroLink) -> None:
        def asked(message: Message) -> None:
            verb = micro.asked_verb(message.subject, self._boot)
            has_room = verb and message.reply and not self._inbox.full()
            if has_room and self._allowance.take(self._clock.monotonic()):
                self._inbox.put_nowait((link, verb, message.reply))

        link.subscribe(micro.EVERYTHING, asked)

    def _answer(self, verb: str) -> bytes:
        who = (micro.NAME, self._boot, self._version, {"hub": self._hub})
        if verb == micro.INFO:
            return encode(micro.Info(*who, f"hub agent of {self._hub}", micro.endpoints(self._hub)))
        if verb == micro.STATS:
            return encode(micro.Stats(*who, self._started, self._stats()))
        return encode(micro.Ping(*who))

    def _stats(self) -> list[micro.EndpointStats]:
        errors = self._errors()
        return [
            micro.EndpointStats(
                one.name,
                one.subject,
                num_requests=sum(link.received.get(one.subject, 0) for link in self._links),
                num_errors=errors.get(one.name, 0),
            )
            for one in micro.endpoints(self._hub)
        ]
