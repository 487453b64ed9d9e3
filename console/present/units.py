"""Numbers to words: the only place that formats durations, sizes, ratios and times of day."""

import math
from datetime import UTC, datetime

_STEPS = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"))
NONE = "-"


def age(seconds: float | None) -> str:
    """A duration in one short unit: `0s` `41s` `12m` `3h` `9d`; `-` where there is none."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    for size, unit in _STEPS:
        if seconds >= size:
            return f"{min(int(seconds / size), 9999)}{unit}"
    return f"{max(0, int(seconds))}s"


def took(seconds: float | None) -> str:
    """How long something took, with a tenth below ten seconds."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    return f"{seconds:.1f}s" if 0 <= seconds < 10 else age(seconds)


def millis(seconds: float | None) -> str:
    """A short time in milliseconds."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if 0 < seconds < 0.001:
        return "<1ms"
    return (
        f"{seconds * 1000:.1f}ms"
        if 0.001 <= seconds < 0.01 and seconds * 1000 % 1 > 0.05
        else f"{min(seconds * 1000, 99999):.0f}ms"
    )


def span(low: float, high: float | None) -> str:
    """A forecast's interval: `5-8m`, `5m-2h`, `>5m`."""
    if high is None or not math.isfinite(high):
        return ">" + age(low)
    near, far = age(low), age(high)
    if near == far:
        return near
    return f"{near[:-1]}-{far}" if near[-1] == far[-1] else f"{near}-{far}"


def percent(ratio: float | None) -> str:
    """A ratio as whole percent, without the sign."""
    if ratio is None or not math.isfinite(ratio):
        return NONE
    return f"{min(max(ratio, 0.0), 9.99) * 100:.0f}"


def number(value: float | None, digits: int = 2) -> str:
    """A plain number."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{digits}f}"


def size(amount: float | None) -> str:
    """Bytes with a binary unit: `900` `1.2M` `34G`."""
    if amount is None or not math.isfinite(amount):
        return NONE
    amount = max(0.0, amount)
    for unit in ("", "K", "M", "G", "T"):
        if amount < 1000:
            return f"{amount:.0f}{unit}" if amount >= 10 or not unit else f"{amount:.1f}{unit}"
        amount /= 1024
    return f"{amount:.0f}P"


def rate(amount: float | None) -> str:
    """Bytes a second."""
    return NONE if amount is None else size(amount) + "/s"


def clock(unix: float | None) -> str:
    """Time of day in UTC, as everywhere in hubdeck."""
    return _moment(unix, "%H:%M:%S")


def clock_short(unix: float | None) -> str:
    """Hours and minutes in UTC."""
    return _moment(unix, "%H:%M")


def _moment(unix: float | None, form: str) -> str:
    if unix is None or not math.isfinite(unix) or not 0 <= unix < 4e9:
        return NONE
    return datetime.fromtimestamp(unix, UTC).strftime(form)


_BARS = " ▁▂▃▄▅▆▇█"
_ASCII_BARS = " .:-=+*#@"


def sparkline(values: "list[float | None]", width: int, *, top: float | None = None, is_ascii: bool = False) -> str:
    """The newest values as one bar each, gaps as blanks."""
    bars = _ASCII_BARS if is_ascii else _BARS
    shown = values[-width:]
    known = [value for value in shown if value is not None and math.isfinite(value)]
    highest = top or max(known, default=0.0) or 1.0
    return "".join(_bar(value, highest, bars) for value in shown).rjust(width)


def _bar(value: float | None, highest: float, bars: str) -> str:
    if value is None or not math.isfinite(value):
        return " "
    return bars[min(len(bars) - 1, 1 + int(max(0.0, value) / highest * (len(bars) - 2)))]
