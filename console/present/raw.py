"""The last message of a hub as it came, pretty and harmless."""

import msgspec

from console.fleet import Hub
from console.present.text import Line, Span, line, safe

LINES_MAX = 2000


def raw_lines(hub: Hub) -> list[Line]:
    """The summary, then the detail where there is one."""
    lines: list[Line] = []
    for name, message in (("live", hub.live), ("detail", hub.detail)):
        if message is not None:
            text = msgspec.json.format(msgspec.json.encode(message), indent=2).decode()
            lines += [line(Span(name.upper(), "head")), *(line(safe(one, 400)) for one in text.splitlines()), line()]
    return lines[:LINES_MAX] or [line(Span("nothing was heard of this hub yet", "dim"))]
