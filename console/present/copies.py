"""What the buffers view says of copies, and the completeness statement as lines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from console.fleet import Hub
from console.present.text import Line, Span, line, safe
from console.present.units import age

if TYPE_CHECKING:  # counting is imported when somebody asks
    from console.completeness import LaneReading

CAUSES_MAX = 20
_TONES = {"equal": "good", "explained": "busy", "different": "crit"}


def copies_span(hub: Hub, lane: str, now: float) -> Span:
    """`copies equal, checked 12s ago`; empty before the first check."""
    known = hub.copies.get(lane)
    if known is None:
        return Span("")
    seen, at = known
    if seen.state == "equal":
        return Span(f"copies equal, checked {age(max(now - at, 0.0))} ago", "good")
    return Span(f"{safe(seen.text)}, checked {age(max(now - at, 0.0))} ago", _TONES.get(seen.state, "dim"))


def completeness_lines(readings: "Sequence[LaneReading]", span: str) -> list[Line]:
    """The statement of each lane, what is declared and why, and how the copies compare."""
    lines = [line(Span(f"what the hub servers hold, {span}", "dim")), line()]
    for one in readings:
        said, compared = one.statement(), one.comparison()
        lines.append(line(Span(safe(said.text), "good" if said.is_complete else "crit")))
        lines += [
            line(
                f"  declared {safe(cause.kind)} {cause.span.inc}/{cause.span.n0}-{cause.span.n1}: {safe(cause.reason)}"
            )
            for cause in dict.fromkeys(said.causes[:CAUSES_MAX])
        ]
        lines.append(line("  ", Span(safe(compared.text), _TONES.get(compared.state, "warn"))))
        lines += [line("  ", safe(other.text)) for other in compared.differences[:CAUSES_MAX]]
        lines.append(line())
    return lines
