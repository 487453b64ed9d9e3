"""When this hub speaks: each second with its sample, soon after a change; and once in five seconds over a slow link."""

from collections.abc import Mapping

SLOW_SECONDS = 5.0
SLOW_BYTES_PER_S = 16 << 10  # at half of this, summaries once a second would take a tenth of the link
QUICK_BYTES_PER_S = 32 << 10  # a link that was slow counts as slow until it is clearly quicker
CHANGE_SECONDS_MIN = 0.1  # changes closer together than this share one summary
LATE_SECONDS = 0.05  # the summary of a second waits this long for a sample that is late


class Beat:
    """Says when the next summary is due (the first at once), and whether it is news; what one says, the next does not."""

    def __init__(self, interval_s: float, now: float) -> None:
        self._interval_s = interval_s
        self._due = self._news_from = now
        self._is_changed = self._is_sampled = False

    def changed(self) -> None:
        """Something changed that operators should see at once."""
        self._is_changed = True

    def sampled(self) -> None:
        """A sample was taken: the summary of this second goes out with it."""
        self._is_sampled = True

    def take(self, now: float) -> bool | None:
        """Count a summary as said now where one is due: True for news, False for the second's own, None for neither."""
        is_sampled, self._is_sampled = self._is_sampled, False
        is_second = now >= self._due or (is_sampled and now >= self._due - self._interval_s / 2)
        is_news = self._is_changed and (is_second or now >= self._news_from)
        if not is_second and not is_news:
            return None
        if is_second:
            self._due = now + self._interval_s + (LATE_SECONDS if is_sampled else 0.0)
        self._is_changed, self._news_from = False, now + CHANGE_SECONDS_MIN
        return is_news

    def deadline(self) -> float:
        """When to ask again if nothing happens before."""
        return min(self._news_from, self._due) if self._is_changed else self._due


class Pace:
    """Judges links by the rate that their chunks are acknowledged with, and says who is due."""

    def __init__(self, interval_s: float = 1.0) -> None:
        self._interval_s = interval_s
        self._slow: set[str] = set()
        self._said_at: dict[str, float] = {}

    def judge(self, rates: Mapping[str, float | None]) -> None:
        """Take in the measured rates, bytes a second; a link that was never measured is not slow."""
        for server, rate in rates.items():
            if rate is None or rate > QUICK_BYTES_PER_S:
                self._slow.discard(server)
            elif rate < SLOW_BYTES_PER_S:
                self._slow.add(server)

    def interval_s(self, server: str) -> float:
        """What a reader of this server has to expect."""
        return max(SLOW_SECONDS, self._interval_s) if server in self._slow else self._interval_s

    def is_due(self, server: str, now: float, *, is_news: bool) -> bool:
        """Tell whether this server is to hear from us now, and count it as said; news goes everywhere at once."""
        said = self._said_at.get(server)
        wait_s = SLOW_SECONDS - self._interval_s / 2  # summaries go on the grid of the others
        if server in self._slow and not is_news and said is not None and now - said < wait_s:
            return False
        self._said_at[server] = now
        return True
