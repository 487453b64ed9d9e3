"""One record for each thing an operator can do: it feeds key, `:` line, palette, footer, help, command line and docs."""

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote

from hubagent.wire import drills
from hubagent.wire.commands import VERBS

_STRIKES = {
    "kill-agent": "its agent is killed after a countdown of 3 s, started again 3 s later",
    "freeze": "its agent is stopped after a countdown of 3 s, goes on 3 s later",
    "kill-server": "its NATS server is killed after a countdown of 3 s, and started again",
    "cut": "its agent closes all its links after a countdown of 3 s, dials again 6 s later",
}


def drill_effect(kind: str) -> str:
    """What a drill of this kind does, before it is confirmed."""
    moves = "nothing may move" if kind == "kill-server" else "its active services move to another hub"
    return f"{_STRIKES[kind]}; {moves}"


# The order in which help lists them.
SECTIONS = ("move", "find", "select", "look", "act", "else")


@dataclass(frozen=True, slots=True)
class Action:
    """One thing an operator can do.

    `key` is what is typed, `also` are further keys for the same (single characters or Textual's key names).
    `verb` is the verb on the wire, empty where nothing leaves the console; `scope` is what it acts on: hub, service,
    group, or empty for the view. Lower case looks, upper case changes. `needs_typed_name`: the target's name is typed
    before it is sent.
    """

    name: str
    key: str
    label: str
    help: str
    section: str
    also: tuple[str, ...] = ()
    verb: str = ""
    scope: str = ""
    is_dangerous: bool = False
    needs_typed_name: bool = False
    is_in_footer: bool = False

    @property
    def min_role(self) -> str:
        """The lowest role that may do it: the wire's own table, so that console and hub never differ."""
        return VERBS.get(self.verb, "viewer")

    @property
    def changes(self) -> bool:
        """Tell whether it changes anything on a hub; such an action is not bound in read-only mode."""
        return bool(self.verb)


def _change(
    name: str, key: str, label: str, scope: str, text: str, *, typed: bool = False, foot: bool = False
) -> Action:
    """An action whose name is its verb."""
    return Action(
        name, key, label, text, "act", (), name, scope, is_dangerous=True, needs_typed_name=typed, is_in_footer=foot
    )


FAILOVER = _change(
    "failover", "F", "failover", "group", "Hand a group over to another hub; forced where the active hub is silent",
    typed=True, foot=True,
)  # fmt: skip
RESTART = _change("restart", "R", "restart", "service", "Stop a service with its grace and start it again", foot=True)
ROLLBACK = _change("rollback", "B", "rollback", "service", "Return a service to its last good release", foot=True)
START = _change("start", "S", "start", "service", "Start a service")
STOP = _change("stop", "K", "stop", "service", "Stop a service with its grace")
MAINTENANCE = _change("maintenance", "M", "maintenance", "group", "Switch automatic failover of a group off or on")
ARM = _change("arm", "A", "arm", "group", "Arm a group's automatic failover, put it in shadow, or switch it off")
DRILL = _change(
    "drill",
    "X",
    "drill",
    "group",
    "Prove a group's failover: strike its active hub on purpose, and score it",
    typed=True,
)

CHANGES = (FAILOVER, RESTART, ROLLBACK, START, STOP, MAINTENANCE, ARM, DRILL)

LOOKS = (
    Action("down", "j", "down", "Next row", "move", ("down",)),
    Action("up", "k", "up", "Previous row", "move", ("up",)),
    Action("top", "g", "top", "First row", "move", ("home",)),
    Action("bottom", "G", "bottom", "Last row", "move", ("end",)),
    Action("page_down", "ctrl+d", "page down", "Half a screen down", "move", ("pagedown",)),
    Action("page_up", "ctrl+u", "page up", "Half a screen up", "move", ("pageup",)),
    Action("open", "enter", "open", "Open what is under the cursor", "move", is_in_footer=True),
    Action("back", "q", "back", "Back; on the first screen: quit", "move", ("escape",)),
    Action("filter", "/", "filter", "Filter: text, !inverse, or label=value", "find", is_in_footer=True),
    Action("next_match", "n", "next", "Next match", "find"),
    Action("previous_match", "N", "previous", "Previous match", "find"),
    Action("command", ":", "command", "Command line with completion", "find"),
    Action("palette", "ctrl+p", "palette", "Everything that can be done, by name", "find"),
    Action("mark", "space", "mark", "Mark or unmark this row", "select", is_in_footer=True),
    Action("mark_all", "*", "mark all", "Mark all filtered rows", "select"),
    Action("unmark_all", "U", "unmark all", "Clear all marks", "select"),
    Action("details", "d", "details", "The hub's figures, lanes, services and events", "look"),
    Action("raw", "y", "raw", "The last message as it came, made harmless", "look"),
    Action("logs", "l", "logs", "Follow a service's output", "look"),
    Action("wide", "w", "wide", "More columns", "look"),
    Action("troubled", "z", "troubled", "Only what is not healthy", "look"),
    Action("sort", "s", "sort", "Sort by the next column", "look", is_in_footer=True),
    Action("reverse", "o", "reverse", "Reverse the order", "look"),
    Action("freeze", "p", "freeze", "Freeze the view, or let it go on", "look"),
    Action("view_fleet", "1", "fleet", "View: fleet", "look"),
    Action("view_buffers", "2", "buffers", "View: what each hub still owes each hub server", "look"),
    Action("view_services", "3", "services", "View: services", "look"),
    Action("view_alerts", "4", "alerts", "View: alerts and events", "look"),
    Action("view_groups", "6", "groups", "View: groups, who is active, armed or not", "look"),
    Action("view_logs", "7", "logs view", "View: followed output", "look"),
    Action("view_previous", "-", "previous view", "The view before this one", "look"),
    Action("help", "?", "help", "Help of this view", "else", is_in_footer=True),
)

ACTIONS = (*LOOKS, *CHANGES)


def action(name: str) -> Action | None:
    """The action of this name."""
    return next((one for one in ACTIONS if one.name == name), None)


def command_line(one: Action, hub: str, args: Mapping[str, object], reason: str = "") -> str:
    """What to type in a shell for the same: the command log shows it."""
    target = str(args.get("group", "")) if one.scope == "group" else f"{args.get('service', '')}@{hub}"
    words = ["hubdeck", one.name, *([target] if target else ["--hub", hub])]
    if to := args.get("to"):
        words += ["--to", str(to)]
    if one is MAINTENANCE and not args.get("on", True):
        words += ["--off"]
    if one is ARM:
        words += ["--auto", str(args.get("auto", "armed"))]
    if one is DRILL:
        words += ["--kind", str(args.get("kind", drills.KINDS[0]))]
    if reason:
        words += ["--reason", reason]
    return " ".join(quote(word) for word in words)
