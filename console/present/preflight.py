"""The preflight and its progress as lines."""

from collections.abc import Iterable, Iterator

from console.dispatch import ACCEPTED, DONE, FAILED, SENDING, UNKNOWN, UNSENT, Dispatch, Progress
from console.preflight import ON_CANCEL, Asked, Preflight
from console.present.states import Outlook
from console.present.text import Line, Span, line, safe
from console.present.units import took
from hubagent.wire.commands import Gate

TARGETS_SHOWN = 8
STATE_TONES = {DONE: "good", FAILED: "crit", UNKNOWN: "lost", UNSENT: "warn", SENDING: "busy", ACCEPTED: "busy"}


def preflight_lines(state: Preflight, look: Outlook) -> list[Line]:
    """What, where, effect, how, gates, warnings, and how to go on."""
    plan = state.plan
    lines = [
        line(Span(f"{plan.action.label.upper()}  ", "title"), Span(_where(state), "title")),
        line(),
        line(Span("effect  ", "head"), safe(plan.effect)),
        line(Span("how     ", "head"), Span(f"signed command, audited; same as: {safe(plan.how, 160)}", "dim")),
    ]
    lines += [line(Span("warning ", "head"), Span(safe(text), "warn")) for text in plan.warnings]
    lines += [line(), *_gate_lines(state, look), line()]
    return [*lines, *_ask_lines(state), line(), _buttons(state)]


def progress_lines(dispatch: Dispatch, look: Outlook) -> list[Line]:
    """A row a hub: done, failed or unknown; nothing that was only wished for."""
    plan = dispatch.plan
    lines = [line(Span(f"{plan.action.label.upper()}  ", "title"), Span(safe(plan.effect), "dim")), line()]
    lines += [_progress_line(row, look) for row in dispatch.rows]
    lines.append(line())
    off = "ctrl+x calls the drill off; " if plan.verb == "drill" else ""
    told = (
        "enter closes"
        if dispatch.is_over
        else f"{off}esc closes this; the command goes on, and the events tell its end"
    )
    return [*lines, line(Span(told, "dim"))]


def _where(state: Preflight) -> str:
    names = [target.name for target in state.plan.targets]
    more = f" and {len(names) - TARGETS_SHOWN} more" if len(names) > TARGETS_SHOWN else ""
    count = f"{len(names)} targets: " if len(names) > 1 else ""
    return f"{count}{', '.join(names[:TARGETS_SHOWN])}{more}"


def _gate_lines(state: Preflight, look: Outlook) -> Iterator[Line]:
    if len(state.asked) == 1:
        yield from _one_hub(next(iter(state.asked.values())), look)
        return
    for hub, asked in list(state.asked.items())[:TARGETS_SHOWN]:
        word, tone = _summary(asked)
        yield line(Span("gates   ", "head"), f"{hub:<16} ", Span(word, tone))


def _one_hub(asked: Asked, look: Outlook) -> Iterator[Line]:
    if asked.failure:
        yield line(Span("gates   ", "head"), Span(safe(asked.failure), "crit"))
    elif asked.gates is None:
        yield line(Span("gates   ", "head"), Span("asking the hub …", "busy"))
    else:
        yield from _gates(asked.gates, look)


def _gates(gates: Iterable[Gate], look: Outlook) -> Iterator[Line]:
    for gate in sorted(gates, key=lambda one: one.passed):
        good, bad = (".", "X") if look.is_ascii else ("✔", "✖")
        mark = Span(f"{good} pass  ", "good") if gate.passed else Span(f"{bad} FAIL  ", "bad")
        limit = f" (needs {safe(gate.limit, 60)})" if gate.limit and not gate.passed else ""
        why = f": {safe(gate.why, 120)}" if gate.why else ""
        yield line(Span("gate    ", "head"), mark, f"{safe(gate.name, 30):<18} {safe(gate.value, 60)}{limit}{why}")


def _summary(asked: Asked) -> tuple[str, str]:
    if asked.failure:
        return safe(asked.failure, 60), "crit"
    if asked.gates is None:
        return "asking …", "busy"
    if asked.failed:
        return f"FAIL: {safe(', '.join(asked.failed), 80)}", "bad"
    return f"all {len(asked.gates)} pass", "good"


def _ask_lines(state: Preflight) -> Iterator[Line]:
    if state.is_in_reason:
        yield line(Span("reason for forcing (then enter): "), Span(safe(state.reason, 200), "key"), Span("_", "key"))
        return
    if state.needed:
        what = "force, type the gate's name" if state.is_forcing else "confirm, type"
        yield line(
            f"to {what} ",
            Span(safe(state.needed, 80), "title"),
            ": ",
            Span(safe(state.typed, 80), "key"),
            Span("_", "key"),
        )
    elif not state.off:
        yield line("press ", Span("y", "key"), f" to {state.plan.action.label}, esc to leave")
    if state.off:
        yield line(Span(f"off: {safe(state.off)}", "warn"))
    if state.failed_gates and state.may_force and not state.is_forcing:
        yield line(Span(f"{'ctrl+f' if state.needed else 'f'} forces a gate by name, with a reason", "dim"))


def _buttons(state: Preflight) -> Line:
    """Which of the two has the focus is said by brackets, so that monochrome shows it too."""
    cancel, send = "Cancel", state.plan.action.label.capitalize()
    on_cancel = state.focus == ON_CANCEL
    first = Span(f"▸[ {cancel} ]" if on_cancel else f"   {cancel}  ", "key" if on_cancel else "")
    second = Span(
        f"▸[ {send} ]" if not on_cancel else f"   {send}  ", "crit" if not on_cancel else "dim" if state.off else ""
    )
    return line("  ", first, "   ", second)


def _progress_line(row: Progress, look: Outlook) -> Line:
    tone = STATE_TONES.get(row.state, "dim")
    spent = "" if not row.since else took((row.ended or look.now) - row.since)
    return line(Span(f"{row.state:<10}", tone), f" {safe(row.target.name, 60):<20} {spent:>6}  {safe(row.why, 200)}")
