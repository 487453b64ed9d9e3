"""Read-only or unlocked: a console changes nothing until it was unlocked for a time, and a hub has noted it."""

from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from console.errors import ConsoleError
from hubagent.wire.commands import Reply


@dataclass(slots=True)
class Lock:
    """`until` is monotonic; None while unlocked means until the console ends."""

    is_unlocked: bool = False
    until: float | None = None
    why: str = ""
    asked: "Future[Reply] | None" = None
    seconds: float = 0.0

    def ask(self, asked: "Future[Reply]", seconds: float) -> None:
        """A hub was asked to note it."""
        self.asked, self.seconds, self.why = asked, seconds, ""

    def close(self) -> None:
        """Read-only from now on."""
        self.is_unlocked, self.until, self.asked = False, None, None

    def tick(self, now: float) -> bool:
        """Take the hub's answer, and lock when the time is over; True where something changed."""
        if self.asked is not None and self.asked.done():
            return self._answer(self.asked, now)
        if self.is_unlocked and self.until is not None and now >= self.until:
            self.close()
            self.why = "read-only again"
            return True
        return False

    def _answer(self, asked: "Future[Reply]", now: float) -> bool:
        self.asked = None
        try:
            reply = asked.result()
        except (ConsoleError, CancelledError) as error:
            self.why = f"not unlocked: {error}"
            return True
        if reply.state == "refused":
            self.why = f"not unlocked: gate {reply.gate}: {reply.why}"
            return True
        self.is_unlocked, self.until = True, now + self.seconds
        self.why = "unlocked"
        return True
