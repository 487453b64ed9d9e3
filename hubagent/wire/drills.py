"""The words of drills: their kinds, and when those of a group are due (one form, a day and a time in UTC)."""

import re
from typing import NamedTuple

KINDS = ("kill-agent", "freeze", "kill-server", "cut")  # the first where nobody says which
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAILY, OFF = "daily", "off"
FORM = "'daily HH:MM' or '<weekday> HH:MM', in UTC"
_TEXT = re.compile(r"([a-z]{1,16}) ([01][0-9]|2[0-3]):([0-5][0-9])")


class Schedule(NamedTuple):
    """Every day (None), or one day of the week (0: Monday), so many seconds after midnight UTC."""

    weekday: int | None
    second: int


def parse(text: str) -> Schedule | None:
    """What these words mean, or None where they mean nothing."""
    found = _TEXT.fullmatch(text)
    if found is None or found[1] not in (DAILY, *DAYS):
        return None
    weekday = None if found[1] == DAILY else DAYS.index(found[1])
    return Schedule(weekday, int(found[2]) * 3600 + int(found[3]) * 60)
