"""When a scheduled drill of a group is due: a slot that was missed is not made up for."""

from hubagent.wire.drills import DAYS, Schedule

SLOT_S = 30.0  # a slot noticed later than this is missed: the agent did not run, or the machine slept
DAY_S = 86_400.0
FIRST_DAY = DAYS.index("thursday")  # 1970-01-01


def slot_until(schedule: Schedule, now: float) -> float:
    """The last slot that is not after `now`; Unix seconds, which know no summer time."""
    day = int(now // DAY_S)
    if day * DAY_S + schedule.second > now:
        day -= 1
    if schedule.weekday is not None:
        day -= (day + FIRST_DAY - schedule.weekday) % len(DAYS)
    return day * DAY_S + schedule.second


def due(schedule: Schedule, since: float, now: float) -> float | None:
    """The slot that has come since `since`, if it has only just come."""
    slot = slot_until(schedule, now)
    return slot if since < slot and now - slot < SLOT_S else None
