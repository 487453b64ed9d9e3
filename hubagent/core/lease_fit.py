"""Whether a profile fits what is measured here, and which longer one does: a hub never renews faster than it can."""

from collections import deque
from collections.abc import Sequence

from hubagent.core.lease_policy import PROFILES, Profile

STEADY_S = 60.0  # measurements must fit for so long before a shorter profile is tried again
RATIO = 0.95  # a burst of a few slow answers is no reason; three renewals fit into a span
OBSERVED_MIN = 100  # fewer would let the slow moments of a start decide
STOPS_RATIO = 0.2  # stops that cost the lease, up to this share, are faults and not a rate of renewing
_BY_SPAN = sorted(PROFILES.values(), key=lambda profile: profile.span_s)


class RoundTrips:
    """How long the last answers took, one measured at a time: what waits behind a stalled one says nothing new.

    A wire that was silent for a second would count for each request that was under way, and look like a slow one.
    """

    def __init__(self, count: int) -> None:
        self.seconds: deque[float] = deque(maxlen=count)
        self._is_open = False

    def begin(self, now: float) -> float | None:
        """When a request is sent; hand the result to `end`."""
        if self._is_open:
            return None
        self._is_open = True
        return now

    def end(self, began: float | None, now: float, *, is_answered: bool) -> None:
        """When it is over."""
        if began is None:
            return
        self._is_open = False
        if is_answered:
            self.seconds.append(now - began)


def slow_s(seconds: Sequence[float], profile: Profile) -> float:
    """What nearly all of these took at most, in seconds; 0 while too few are known.

    A stop so long that the lease is lost by it (A - P and more) says that the process was frozen, not how fast it can
    renew. Such stops are left out, as long as they stay few.
    """
    if len(seconds) < OBSERVED_MIN:
        return 0.0
    in_time = [one for one in seconds if one < profile.span_s - profile.renew_s]
    is_stopped_often = len(seconds) - len(in_time) > len(seconds) * STOPS_RATIO
    counted = sorted(seconds if is_stopped_often else in_time)
    return counted[int(len(counted) * RATIO)]


def misfit(profile: Profile, round_trip_s: float, lag_s: float) -> str:
    """The inequality that does not hold, in words: a renewal must be answered before the next one is due."""
    if round_trip_s + lag_s <= profile.renew_s:
        return ""
    return (
        f"{profile.name} does not fit here: round trip {round_trip_s:.3f} s + loop lag {lag_s:.3f} s"
        f" > P = {profile.renew_s:g} s"
    )


def fitting(profile: Profile, round_trip_s: float, lag_s: float) -> Profile:
    """The profile itself where it fits, else the shortest longer one that does, else the longest there is."""
    longer = [one for one in _BY_SPAN if one.span_s > profile.span_s]
    for one in (profile, *longer):
        if not misfit(one, round_trip_s, lag_s):
            return one
    return longer[-1] if longer else profile


def longest(profile: Profile, other: Profile | None) -> Profile:
    """The one with the longer span."""
    return profile if other is None or other.span_s <= profile.span_s else other
