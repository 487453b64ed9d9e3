"""`1h`, `90s`, or a time in UTC: what `--since` takes."""

import re
from datetime import UTC, datetime

from console.errors import Usage

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def since(text: str, now: float) -> float:
    """Unix seconds of a moment in the past; raises Usage."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match:
        return now - float(match[1]) * _UNITS[match[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(
            f"--since: a span such as 90s, 15m, 1h, 7d or a UTC time such as 2026-01-31T03:00, found {ascii(text)[:60]}"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
