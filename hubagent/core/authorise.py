"""Whether a received command may be obeyed: one pipeline of gates, the cheapest and most general first."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hubagent.core.freshness import Freshness
from hubagent.wire import drills, subjects
from hubagent.wire.codec import WireError, decode
from hubagent.wire.commands import COMMAND_BYTES_MAX, VERBS, Command, allows
from hubagent.wire.roster import Operator, Roster, selects
from hubagent.wire.signing import COMMAND, payload_hash, verify

# The gate words, in the order in which they are asked (7-security).
SIZE, FORM, VERB, OPERATOR, SIGNATURE = "size", "form", "verb", "operator", "signature"
ROLE, SELECTOR, HUB, FRESH, REPEATED, EPOCH = "role", "selector", "hub", "fresh", "repeated", "epoch"

ARGS_DEPTH_MAX = 6  # commands are flat; deeper is hostile
TEXT_CHARS_MAX = 512  # reasons and notes
AUTO_WORDS = ("armed", "shadow", "off")
FORCE_MAX = 16  # no action has more gates

_CMD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{7,63}")
# verb → the args it cannot do without, each a name.
NEEDS: dict[str, tuple[str, ...]] = {
    "start": ("service",),
    "stop": ("service",),
    "restart": ("service",),
    "rollback": ("service",),
    "failover": ("group",),
    "promote": ("group",),
    "arm": ("group",),
    "drill": ("group",),
    "schedule": ("group", "at"),
    "abort": ("group",),
    "demote": ("group",),  # on the local socket only
}


@dataclass(frozen=True, slots=True)
class Received:
    """A command as it came: the bytes, and the signature from its header."""

    raw: bytes
    signature: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What this hub knows: itself, the roster, the highest epoch of each group, the digests of ids it has seen."""

    hub: str
    roster: Roster
    epochs: Mapping[str, int]
    seen: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Granted:
    """May be obeyed, unless its action's own gates say no."""

    command: Command
    role: str
    digest: str


@dataclass(frozen=True, slots=True)
class Again:
    """The very same bytes came before: their stored reply is the answer."""

    cmd_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """May not; `operator` is filled only once the signature has verified, `claimed` is what the message says."""

    gate: str
    why: str
    cmd_id: str = ""
    verb: str = ""
    operator: str = ""
    claimed: str = ""


Verdict = Granted | Again | Refused


def authorise(received: Received, facts: Facts, freshness: Freshness, now: float) -> Verdict:
    """Size, form, signature, role, address, freshness, uniqueness, epoch: the first that fails is the answer."""
    command = _read(received.raw)
    if isinstance(command, Refused):
        return command
    operator = facts.roster.operator(command.operator)
    gate, why = _unproven(command, operator, received)
    if gate or operator is None:
        return Refused(gate, why, command.cmd_id, command.verb, claimed=command.operator)
    digest = payload_hash(received.raw)
    seen = facts.seen(command.cmd_id)
    gate, why = _unfit(command, operator, facts) or _untimely(command, freshness, now, seen, digest) or ("", "")
    if not gate and seen is not None:
        return Again(command.cmd_id)
    gate, why = (gate, why) if gate else _stale(command, facts.epochs)
    if gate:
        return Refused(gate, why, command.cmd_id, command.verb, command.operator, command.operator)
    return Granted(command, operator.role, digest)


def _read(raw: bytes) -> Command | Refused:
    if len(raw) > COMMAND_BYTES_MAX:
        return Refused(SIZE, f"{len(raw)} bytes, at most {COMMAND_BYTES_MAX}")
    try:
        command = decode(raw, Command, COMMAND_BYTES_MAX)
    except WireError as error:
        return Refused(FORM, str(error))
    fault = form_fault(command)
    known = command.cmd_id if _CMD_ID.fullmatch(command.cmd_id) else ""
    if fault:
        return Refused(FORM, fault, known)
    if command.verb not in VERBS:
        return Refused(VERB, f"there is no verb {ascii(command.verb)[:40]}", known, claimed=command.operator)
    return command


def form_fault(command: Command) -> str:
    """What is wrong with the shape of a command; empty when it may go on."""
    if command.v != 1:
        return f"version {command.v} of the contract, this hub speaks 1"
    if not _CMD_ID.fullmatch(command.cmd_id):
        return "cmd_id must be 8 to 64 letters, digits, - or _"
    for field in ("hub", "operator"):
        if not subjects.is_name(getattr(command, field)):
            return f"{field} must match [a-z0-9][a-z0-9-]{{0,62}}, found {ascii(getattr(command, field))[:80]}"
    if len(command.reason) > TEXT_CHARS_MAX:
        return f"reason: at most {TEXT_CHARS_MAX} characters"
    if _depth(command.args) > ARGS_DEPTH_MAX:
        return f"args nest deeper than {ARGS_DEPTH_MAX}"
    return args_fault(command.verb, command.args)


def args_fault(verb: str, args: Mapping[str, Any]) -> str:
    """What is wrong with the args of a verb: a needed one missing, or a name that is none."""
    if verb == "preflight":
        asked = args.get("verb")
        if not isinstance(asked, str) or asked not in VERBS or asked == "preflight":
            return "preflight needs args.verb, the verb whose gates are asked"
        verb = asked
    for key in NEEDS.get(verb, ()):
        if key not in args:
            return f"{verb} needs args.{key}"
    for key in ("service", "group"):
        if key in args and not subjects.is_name(args[key]):
            return f"args.{key} must match [a-z0-9][a-z0-9-]{{0,62}}, found {ascii(args[key])[:80]}"
    if args.get("to") is not None and not subjects.is_version(args["to"]):
        return f"args.to must be a version or a hub, found {ascii(args['to'])[:80]}"
    if verb == "maintenance" and not isinstance(args.get("on"), bool):
        return "maintenance needs args.on, true or false"
    if verb == "arm" and args.get("auto") not in AUTO_WORDS:
        return f"arm needs args.auto, one of {', '.join(AUTO_WORDS)}"
    if verb in ("drill", "schedule") and args.get("kind", drills.KINDS[0]) not in drills.KINDS:
        return f"{verb} takes args.kind, one of {', '.join(drills.KINDS)}"
    if verb == "schedule" and not _is_schedule(args["at"]):
        return f"schedule needs args.at, {drills.FORM}, or off"
    force = args.get("force", [])
    if not isinstance(force, list) or len(force) > FORCE_MAX or not all(subjects.is_name(gate) for gate in force):
        return "args.force must be a list of gate names"
    return ""


def _is_schedule(at: object) -> bool:
    return isinstance(at, str) and (at == drills.OFF or drills.parse(at) is not None)


def _depth(value: object) -> int:
    """Levels of nesting, without recursion and no deeper than the bound needs."""
    level, depth = [value], 0
    while level and depth <= ARGS_DEPTH_MAX:
        inner = [one for one in level if isinstance(one, dict | list)]
        level = [item for one in inner for item in (one.values() if isinstance(one, dict) else one)]
        depth += bool(inner)
    return depth


def _unproven(command: Command, operator: Operator | None, received: Received) -> tuple[str, str]:
    if not received.signature:
        return SIGNATURE, "the command is not signed"
    if operator is None:
        return OPERATOR, f"the roster has no operator {command.operator}"
    subject = subjects.command(command.hub)
    if not verify(operator.signing, COMMAND, subject, received.raw, received.signature):
        return SIGNATURE, f"the signature is not {command.operator}'s over these bytes"
    return "", ""


def _unfit(command: Command, operator: Operator, facts: Facts) -> tuple[str, str] | None:
    if not allows(operator.role, command.verb):
        return ROLE, f"{command.verb} needs the role {VERBS[command.verb]}; {operator.name} is {operator.role}"
    hub = facts.roster.hub(facts.hub)
    if hub is None or not selects(operator.selector, hub):
        return SELECTOR, f"{operator.name} may command {operator.selector} only"
    if command.hub != facts.hub:
        return HUB, f"addressed to {command.hub}, this is {facts.hub}"
    return None


def _untimely(
    command: Command, freshness: Freshness, now: float, seen: str | None, digest: str
) -> tuple[str, str] | None:
    if fault := freshness.fault(command.hub_boot, command.hub_seq, now):
        return FRESH, fault
    if seen is not None and seen != digest:
        return REPEATED, "another command of this id came before"
    return None


def _stale(command: Command, epochs: Mapping[str, int]) -> tuple[str, str]:
    if command.epoch is None:
        return "", ""
    group = command.args.get("group")
    if group is None:
        return EPOCH, "an epoch needs args.group"
    if command.epoch < epochs.get(group, 0):
        return EPOCH, f"epoch {command.epoch} of {group} is over; the present one is {epochs[group]}"
    return "", ""
