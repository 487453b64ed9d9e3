"""The console's link to the fleet: NATS on a thread of its own; the console takes reports and hands in commands."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from console.clock import Clock, SystemClock
from console.config import Settings
from console.errors import ConsoleError, LinkEnded, Stopped
from console.fleet import Report
from console.mailbox import Mailbox
from hubagent.wire.sanitise import clean_line

if TYPE_CHECKING:  # NATS and signatures cost 100 ms of CPU: they are imported on the thread, after the first frame
    from console.commander import Commander
    from console.completeness import LaneReading
    from console.nats_side import NatsSide
    from hubagent.wire.commands import Gate, Reply
    from hubagent.wire.reports import Result

T = TypeVar("T")
WHY_CHARS_MAX = 200
STOP_SECONDS = 3.0


class Link:
    """One link to all hub servers; every method returns at once, what takes time returns a future."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.identity = settings.identity
        self._clock = clock or SystemClock()
        self._mailbox = Mailbox()
        self._thread = threading.Thread(target=self._main, name="nats", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._ready, self._over = asyncio.Event(), asyncio.Event()  # set on the loop
        self._side: NatsSide | None = None
        self._commander: Commander | None = None
        self._failure: ConsoleError | None = None

    @property
    def role(self) -> str:
        """What the roster lets this operator do; viewer until a roster is known."""
        roster = self._side.roster if self._side else None
        me = roster.operator(self.identity) if roster else None
        return me.role if me else "viewer"

    @property
    def dropped(self) -> int:
        """Messages dropped because they were no valid messages of ours."""
        return self._side.dropped if self._side else 0

    @property
    def failure(self) -> ConsoleError | None:
        """Why the link cannot work at all (key file, fleet key); None where it can."""
        return self._failure

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """Close every connection; the thread is gone afterwards."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._end)
            self._thread.join(STOP_SECONDS)

    def drain(self) -> list[Report]:
        """Take what came since the last call: the latest per hub, records and lines in order."""
        return self._mailbox.drain()

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is something to take (for one-shot commands; a screen drains on its own timer)."""
        return self._mailbox.wait(timeout_s)

    def watch(self, hub: str | None) -> None:
        """Have one hub send its detail; None ends it."""
        self.call(lambda side: side.watching.watch(hub or ""))

    def follow(self, hub: str, service: str | None, lines: int = 100) -> None:
        """Have one hub send a service's output, its last lines first; None ends it."""
        self.call(lambda side: side.watching.follow(hub, service or "", lines))

    def send(self, hub: str, verb: str, args: Mapping[str, object], reason: str = "") -> "Future[Reply]":
        """Send a signed command; the future fails with NotAnswering, OutcomeUnknown or Refused."""
        return self.call(lambda _: self._command().send(hub, verb, args, reason))

    def preflight(self, hub: str, verb: str, args: Mapping[str, object]) -> "Future[list[Gate]]":
        """The named gates of an action; nothing changes."""
        return self.call(lambda _: self._command().preflight(hub, verb, args))

    def outcome(self, hub: str, cmd_id: str, timeout_s: float) -> "Future[Result | None]":
        """What became of an accepted command; None where no word came in time."""
        return self.call(lambda side: side.results.wait(hub, cmd_id, timeout_s))

    def figures(self, hub: str, cmd_id: str) -> "Future[dict[str, object]]":
        """What the hub measured of a command, once its record is there; empty where it is not soon."""
        return self.call(lambda side: side.results.figures(hub, cmd_id))

    def check_copies(self) -> None:
        """From now on hold the servers' copies of each hub against each other, slowly; the word comes as CopiesSeen."""
        self.call(lambda side: side.check_copies())

    def completeness(self, hub: str, since: float) -> "Future[list[LaneReading]]":
        """Read every lane of a hub from that moment on, on every server."""

        async def work(side: "NatsSide") -> "list[LaneReading]":
            from console.completeness import read_lane
            from hubagent.wire.subjects import LANES

            return [await read_lane(side, hub, lane, since=since) for lane in LANES]

        return self.call(work)

    def call(self, work: "Callable[[NatsSide], Coroutine[Any, Any, T]]") -> "Future[T]":
        """Run something on the NATS side, as soon as that is there."""
        waiting = self._when_ready(work)
        try:
            return asyncio.run_coroutine_threadsafe(waiting, self._loop)
        except RuntimeError:  # the loop is closed
            waiting.close()
            failed: Future[T] = Future()
            failed.set_exception(Stopped())
            return failed

    async def _when_ready(self, work: "Callable[[NatsSide], Coroutine[Any, Any, T]]") -> T:
        await self._ready.wait()
        if self._failure or self._side is None:
            raise self._failure or Stopped
        return await work(self._side)

    def _command(self) -> "Commander":
        assert self._commander is not None
        return self._commander

    def _end(self) -> None:
        self._over.set()
        if self._side:
            self._side.stop()

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        """Until `stop`; what ends the link before is kept, so that the screen and whoever asks hear why."""
        (error,) = await asyncio.gather(self._live(), return_exceptions=True)
        if isinstance(error, ConsoleError):
            self._failure = error
        elif error is not None:
            self._failure = LinkEnded(clean_line(repr(error), WHY_CHARS_MAX))
        self._ready.set()
        await self._over.wait()

    async def _live(self) -> None:
        self._build()
        self._ready.set()
        if self._side and not self._over.is_set():
            await self._side.run()

    def _build(self) -> None:
        from console.commander import Commander
        from console.key_files import own_keys
        from console.nats_side import NatsSide

        self._side = NatsSide(self.settings, own_keys(Path(self.settings.key_file)), self._mailbox, self._clock)
        self._commander = Commander(self._side)
