"""The commands that change something: gates first, then one signed command a target, followed to its end."""

import argparse
import sys
from dataclasses import dataclass, field
from typing import Any

import msgspec

from console.actions import Action, action
from console.commands.asking import must_be_answerable
from console.commands.drill_schedule import schedule_orders
from console.commands.orders import Order, group_of, group_order, promote_order, service_order
from console.commands.output import note, safe, write, write_json
from console.commands.session import Session, session
from console.errors import (
    DONE,
    REFUSED,
    UNKNOWN,
    ConsoleError,
    NotAnswering,
    NotConnected,
    OutcomeUnknown,
    Refused,
    Usage,
)
from hubagent.wire.commands import Gate

EXITS = {"done": DONE, "would run": DONE, "refused": REFUSED, "failed": REFUSED, "skipped": REFUSED, "unknown": UNKNOWN}
REASON_CHARS_MAX = 500


@dataclass(slots=True)
class Answer:
    """What became of one order."""

    order: Order
    state: str
    gate: str = ""
    why: str = ""
    cmd_id: str = ""
    took_s: float | None = None
    score: dict[str, Any] = field(default_factory=dict)  # what a drill showed
    gates: list[Gate] = field(default_factory=list)


def run(options: argparse.Namespace) -> int:
    """Carry out one changing command; 0 done, 1 refused or failed, 2 usage, 3 outcome unknown."""
    what = action(options.command)
    assert what is not None, "cli.py offers actions only"
    _check(what, options)
    with session(options) as visit:
        if what.scope == "service":  # a wrong target is a usage error with or without a network
            orders = [service_order(what, target, options) for target in options.targets]
            visit.connect()
        else:
            visit.connect()
            is_plan = bool(getattr(options, "schedule", ""))
            orders = schedule_orders(options, visit) if is_plan else [group_order(what, options, visit)]
        answers = _carry_out(visit, what, orders, options)
    return _report(what, answers, options)


def _check(what: Action, options: argparse.Namespace) -> None:
    must_be_answerable(options, what.name)
    if options.force and not options.reason.strip():
        raise Usage(f"{what.name}: --force needs --reason, both are kept in the audit")
    if len(options.reason) > REASON_CHARS_MAX:
        raise Usage(f"{what.name}: --reason has at most {REASON_CHARS_MAX} characters")


def _carry_out(visit: Session, what: Action, orders: list[Order], options: argparse.Namespace) -> list[Answer]:
    if options.dry_run:
        return [_dry(visit, order) for order in orders]
    for order in orders:
        if order.note:
            note(order.note)
    if not options.yes and not _confirmed(visit, what, orders, options):
        return [Answer(order, "refused", "confirmed", "not confirmed; nothing was sent") for order in orders]
    answers: list[Answer] = []
    for order in orders:  # one after the other: what fails on the first target is not done to the rest
        held = not answers or answers[-1].state == "done"
        answers.append(
            _one(visit, order, options) if held else Answer(order, "skipped", "", "the one before did not end well")
        )
    return answers


def _one(visit: Session, order: Order, options: argparse.Namespace) -> Answer:
    answer = _send(visit, order, options)
    is_dead = order.verb == "failover" and answer.gate == "reachable"
    if is_dead:  # it died since its last word: the planned way is closed, the forced one is open
        order = promote_order(visit, group_of(visit, options.group), options)
        note(order.note)
        answer = _send(visit, order, options)
    return answer


def _send(visit: Session, order: Order, options: argparse.Namespace) -> Answer:
    """Send one order and follow it to its end."""
    link, began = visit.link, visit.clock.monotonic()
    try:
        reply = visit.get(link.send(order.hub, order.verb, order.args, options.reason))
    except ConsoleError as error:
        return _failed(order, error)
    if reply.state == "refused":
        return Answer(order, "refused", reply.gate, reply.why, reply.cmd_id)
    result = visit.get(link.outcome(order.hub, reply.cmd_id, options.timeout))
    if result is None:
        return Answer(
            order, "unknown", "", str(OutcomeUnknown(order.verb, reply.cmd_id, options.timeout)), reply.cmd_id
        )
    seen_s = visit.clock.monotonic() - began
    figures = visit.get(link.figures(order.hub, reply.cmd_id))
    took_s, score = figures.get("took_s"), figures.get("score")
    answer = Answer(order, result.state, result.gate, result.why, reply.cmd_id, seen_s)
    answer.took_s = float(took_s) if isinstance(took_s, int | float) else seen_s
    answer.score = score if isinstance(score, dict) else {}
    return answer


def _failed(order: Order, error: ConsoleError) -> Answer:
    match error:
        case OutcomeUnknown(cmd_id=cmd_id):
            return Answer(order, "unknown", "", str(error), cmd_id)
        case Refused(gate=gate, why=why):
            return Answer(order, "refused", gate, why)
        case NotAnswering():
            return Answer(order, "refused", "reachable", str(error))
        case NotConnected():
            return Answer(order, "refused", "connected", str(error))
    return Answer(order, "refused", "known", str(error))


def _dry(visit: Session, order: Order) -> Answer:
    """The gates as the hub sees them now; nothing changes."""
    try:
        gates = visit.get(visit.link.preflight(order.hub, order.verb, order.args))
    except ConsoleError as error:
        return _failed(order, error)
    forced = order.args.get("force", [])
    held = next(
        (gate for gate in gates if not gate.passed and not (isinstance(forced, list) and gate.name in forced)), None
    )
    if held:
        return Answer(order, "refused", held.name, held.why, gates=gates)
    return Answer(order, "would run", gates=gates)


def _confirmed(visit: Session, what: Action, orders: list[Order], options: argparse.Namespace) -> bool:
    """Show what, where, effect and gates, and ask; the name is typed where one letter is too easily said."""
    for order in orders:
        _ask_line(f"{order.verb} {order.target} on hub {order.hub}: {order.effect}")
        for gate in _dry(visit, order).gates:
            _ask_line("  " + _gate_line(gate))
    word = "y"
    if len(orders) > 1:
        word = str(len(orders))
    elif what.needs_typed_name or options.force:
        word = orders[0].target
    sys.stderr.write(f"type {word} to do this: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() == word


def _ask_line(text: str) -> None:
    sys.stderr.write(safe(text, 400) + "\n")


def _gate_line(gate: Gate) -> str:
    limit = f" (needs {gate.limit})" if gate.limit else ""
    why = f": {gate.why}" if gate.why and not gate.passed else ""
    return f"{'pass' if gate.passed else 'FAIL'}  {gate.name}  {gate.value}{limit}{why}"


def _report(what: Action, answers: list[Answer], options: argparse.Namespace) -> int:
    if options.json:
        rows = [_as_json(answer) for answer in answers]
        write_json({"action": what.name, "dry_run": options.dry_run, "results": rows})
    for answer in answers:
        _report_one(answer, options)
    return max((EXITS.get(answer.state, UNKNOWN) for answer in answers), default=DONE)


def _report_one(answer: Answer, options: argparse.Namespace) -> None:
    order = answer.order
    what = f"{order.verb} {order.target}" + ("" if order.target.endswith("@" + order.hub) else f" on {order.hub}")
    if not options.json:
        for gate in answer.gates:
            write(safe(_gate_line(gate), 400))
    if answer.state in {"done", "would run"}:
        took = "" if answer.took_s is None else f" in {answer.took_s:.1f} s"
        if not options.json:
            write(safe(f"{what}: {answer.state}{took}" + (f": {answer.why}" if answer.why else ""), 400))
        return
    held = f" (gate: {answer.gate})" if answer.gate else ""
    note(safe(f"{what}: {answer.state}{held}: {answer.why or 'no reason given'}", 500))


def _as_json(answer: Answer) -> dict[str, Any]:
    order = answer.order
    return {
        "target": order.target, "hub": order.hub, "verb": order.verb, "args": order.args, "note": order.note,
        "state": answer.state, "gate": answer.gate, "why": answer.why, "cmd_id": answer.cmd_id,
        "took_s": None if answer.took_s is None else round(answer.took_s, 3),
        **({"score": answer.score} if answer.score else {}),
        "gates": [msgspec.structs.asdict(gate) for gate in answer.gates],
    }  # fmt: skip
