"""Help from the actions themselves, so that it cannot be wrong."""

from collections.abc import Iterable, Mapping
from itertools import groupby

from console.actions import SECTIONS, Action
from console.present.keys import label
from console.present.states import STATES
from console.present.text import Line, Span, line


def help_lines(actions: Iterable[Action], keys: Mapping[str, str], *, is_ascii: bool) -> list[Line]:
    """Every key of this console as it is now, then the states."""
    by_action: dict[str, list[str]] = {}
    for key, name in keys.items():
        by_action.setdefault(name, []).append(label(key))
    ordered = sorted(actions, key=lambda one: SECTIONS.index(one.section))
    lines: list[Line] = []
    for section, members in groupby(ordered, key=lambda one: one.section):
        lines.append(line(Span(section.upper(), "head")))
        lines += [_action_line(one, by_action.get(one.name, [])) for one in members]
    lines += [line(), line(Span("COMMAND LINE", "head")), *_COMMANDS, line(), line(Span("STATES", "head"))]
    return lines + [_state_line(word, is_ascii=is_ascii) for word in STATES]


def _action_line(one: Action, keys: list[str]) -> Line:
    shown = " ".join(keys) or "(locked)"
    return line(Span(f"  {shown:<17}", "key"), f" {one.help}")


def _state_line(word: str, *, is_ascii: bool) -> Line:
    mark = STATES[word][1 if is_ascii else 0]
    return line(Span(f"  {mark} {word:<15}", STATES[word][2]), f" {_MEANINGS[word]}")


_MEANINGS = {
    "CRIT": "the hub says critical, sheds, or is fenced",
    "LOST": "no word for longer than 15 s",
    "UNKN": "a severity that this console does not know",
    "WARN": "the hub says warning",
    "BUFF": "it buffers by a cause of its own, or loses within an hour",
    "OLD": "the data is old; what is green may not be",
    "BUSY": "a command is under way",
    "MUTE": "in maintenance",
    "OK": "healthy, and heard just now",
}
_COMMANDS = [
    line(Span("  :unlock 15m REASON", "key"), "  leave read-only mode for a time (audited)"),
    line(Span("  :lock", "key"), "  back to read-only"),
    line(Span("  :restart SERVICE@HUB REASON", "key"), "  also start, stop, rollback [--to RELEASE]"),
    line(Span("  :failover GROUP --to HUB REASON", "key"), "  nothing named: what the cursor is on"),
    line(Span("  :theme NAME", "key"), "  another theme   ", Span(":quit", "key")),
]
