"""Growing pauses between tries, spread by a random number that the caller brings."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """The shortest and the longest pause, in seconds."""

    min_s: float = 0.25
    max_s: float = 5.0

    def __post_init__(self) -> None:
        assert 0 < self.min_s <= self.max_s, "min_s must not exceed max_s"


class Backoff:
    """Doubles from the shortest pause to the longest; success starts anew."""

    def __init__(self, policy: BackoffPolicy) -> None:
        self._policy = policy
        self._tries = 0

    def next_s(self, jitter: float) -> float:
        """The next pause: between half and all of the step, by a jitter of 0 to 1."""
        step: float = min(self._policy.min_s * 2.0 ** min(self._tries, 16), self._policy.max_s)
        self._tries += 1
        return step * (0.5 + jitter / 2)

    def reset(self) -> None:
        """Start anew."""
        self._tries = 0
