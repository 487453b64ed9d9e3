"""The two lines at the bottom: where we are and what was just said; and at most eight keys."""

from collections.abc import Iterable, Mapping

from console.actions import Action
from console.present.keys import label
from console.present.text import Line, Span, crop, line, safe, spread
from console.present.views import Order

KEYS_MAX = 8


def key_line(actions: Iterable[Action], keys: Mapping[str, str], width: int) -> Line:
    """At most eight keys with what they do; keys that change something are there only when they would."""
    by_action: dict[str, str] = {}
    for key, name in keys.items():
        by_action.setdefault(name, key)
    shown = [one for one in actions if one.is_in_footer and one.name in by_action]
    shown = sorted(shown, key=lambda one: one.name == "help")[:KEYS_MAX]
    spans: list[Span] = []
    for one in shown:
        spans += [Span(label(by_action[one.name]), "key"), Span(f" {one.label}  " if one.name != "help" else "  ")]
    if not any(one.changes for one in shown):
        spans += [Span(":unlock", "key"), Span(" 15m REASON")]
    return crop(spans, width)


def status_line(
    title: str, rows: tuple[int, int, int], order: Order, marked: int, notice: Span | None, width: int
) -> Line:
    """What was just said, else how the view is narrowed; at the right which rows are on screen."""
    first, last, count = rows
    where = f"{title} {first + 1}-{last} of {count}" if count else f"{title} 0 rows"
    left: list[Span] = []
    if marked:
        left.append(Span(f"{marked} marked  ", "key"))
    if order.filter.text:
        left.append(Span(f"filter /{safe(order.filter.text, 60)}  ", "key"))
    if order.is_folded:
        left.append(Span("only troubled (z)  ", "dim"))
    if notice:
        left.insert(0, Span(f"{notice.text}  ", notice.tone))
    way = " reversed" if order.is_reversed else ""
    return spread(left, line(Span(f"{where} by {order.sort}{way}", "dim")), width)
