"""Where a loop's events wait for their turn: callbacks only put, the loop takes one after another."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from hubagent.clock import Clock

T = TypeVar("T")
EVENTS_MAX = 65_536  # a loop this far behind is broken; newer events are dropped and counted


class Inbox(Generic[T]):
    """A queue with a deadline, for one consumer on one event loop."""

    def __init__(self, clock: Clock, events_max: int = EVENTS_MAX) -> None:
        self.dropped = 0
        self._clock = clock
        self._events: deque[T] = deque()
        self._events_max = events_max
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: T) -> None:
        """Add an event, from the loop that consumes."""
        if len(self._events) >= self._events_max:
            self.dropped += 1
            return
        self._events.append(event)
        self._wake()

    def put_threadsafe(self, event: T) -> None:
        """Add an event from any thread; after the consumer's loop has ended it is simply never seen."""
        loop = self._loop
        if loop is None:
            self.put(event)  # nobody waits yet, so there is nobody to wake
        elif not loop.is_closed():
            loop.call_soon_threadsafe(self.put, event)

    async def next(self, until: float | None) -> T | None:
        """The next event, or None once the monotonic time `until` has passed."""
        self._loop = asyncio.get_running_loop()
        while not self._events:
            left = None if until is None else until - self._clock.monotonic()
            if left is not None and left <= 0:
                return None
            await self._wait(self._loop, left)
        return self._events.popleft()

    async def _wait(self, loop: asyncio.AbstractEventLoop, seconds: float | None) -> None:
        self._waiter = waiter = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, self._wake)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
