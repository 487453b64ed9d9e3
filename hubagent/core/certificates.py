"""When a server's certificate is renewed: from two thirds of its life on, until it has been; and what to say of it."""

from dataclasses import dataclass

from hubagent.wire.certificates import Validity

RENEW_AT_RATIO = 2 / 3  # of its life
WARN_AT_RATIO = 5 / 6  # renewal should have happened long since: say so
RETRY_SECONDS_MAX = 3600.0
RETRY_RATIO = 1 / 100  # of its life, so that short lives are tried again soon


@dataclass(frozen=True, slots=True)
class Installed:
    """A certificate is in use: at the start, and after each renewal."""

    validity: Validity


@dataclass(frozen=True, slots=True)
class Failed:
    """A renewal did not come about."""

    why: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody wants it renewed now."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Make a new key, have it certified for as long as the last one, put it in use."""

    life_s: float


Event = Installed | Failed | Asked


class Renewal:
    """One certificate. `now` is Unix time: that is what a certificate's end is written in."""

    def __init__(self) -> None:
        self._held: Validity | None = None
        self._next: float | None = None
        self._is_busy = False
        self.why = ""

    def handle(self, event: Event, now: float) -> list[Renew]:
        """Take note of what happened; what is to be done now."""
        match event:
            case Installed(validity):
                self._held, self._is_busy, self.why = validity, False, ""
                self._next = validity.begins + validity.life_s * RENEW_AT_RATIO
            case Failed(why):
                self._is_busy, self.why, self._next = False, why, now + self._retry_s()
            case Asked():
                self._next = now
                return self.tick(now)
        return []  # what is due now is said by `tick`: the loop takes note of files between its turns

    def tick(self, now: float) -> list[Renew]:
        """Renew where it is time, one attempt at once."""
        if self._held is None or self._next is None or self._is_busy or now < self._next:
            return []
        self._is_busy, self._next = True, None
        return [Renew(self._held.life_s)]

    def deadline(self) -> float | None:
        """When `tick` is due (Unix time)."""
        return self._next

    def severity(self, now: float) -> str:
        """ok, warning (the renewal is late), critical (expired)."""
        if self._held is None:
            return "ok"
        if now >= self._held.ends:
            return "critical"
        return "warning" if now >= self._held.begins + self._held.life_s * WARN_AT_RATIO else "ok"

    def left_s(self, now: float) -> float | None:
        """How long it still holds; negative once it has expired."""
        return None if self._held is None else self._held.ends - now

    def _retry_s(self) -> float:
        return min(self._held.life_s * RETRY_RATIO, RETRY_SECONDS_MAX) if self._held else RETRY_SECONDS_MAX
