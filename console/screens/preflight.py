"""Before anything changes: gates, warnings and a confirmation; then what became of it."""

from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING

from textual.app import ComposeResult

from console.dispatch import Dispatch
from console.errors import ConsoleError
from console.fleet import Fleet
from console.preflight import CANCEL, SEND, Preflight
from console.present.plans import Plan, Target, faults
from console.present.preflight import preflight_lines, progress_lines
from console.present.states import Outlook
from console.present.text import Line, wrap
from console.screens.deck_screen import DeckScreen
from console.widgets.text_lines import TextLines

if TYPE_CHECKING:
    from hubagent.wire.commands import Gate, Reply


ASK_AGAIN_SECONDS = 5.0  # gates age too: a hold runs out, another action ends


class PreflightScreen(DeckScreen):
    """Holds one plan; its targets are fixed here and looked at again when sent."""

    def __init__(self, plan: Plan, opened_at: float, *, may_force: bool) -> None:
        super().__init__(id="preflight")
        self.state = Preflight(plan, opened_at, may_force=may_force)
        self.dispatch: Dispatch | None = None
        self.asking: dict[str, Future[list[Gate]]] = {}
        self.asked_at = opened_at

    def compose(self) -> ComposeResult:
        """One pane of lines."""
        yield TextLines(id="body", can_focus=True)

    def on_mount(self) -> None:
        """Ask every target's hub for the gates."""
        self._ask_gates()

    def _ask_gates(self) -> None:
        plan = self.state.plan
        self.asked_at = self.deck.clock.monotonic()
        self.asking = {one.hub: self.deck.link.preflight(one.hub, plan.verb, one.args) for one in plan.targets}

    def paint(self, look: Outlook) -> None:
        """The preflight, or the progress once it was sent."""
        self._take_gates()
        if self.dispatch:
            self.dispatch.tick(self.deck.fleet, look.now)
            lines = progress_lines(self.dispatch, look)
        else:
            if not self.asking and not self.state.is_forcing and look.now - self.asked_at >= ASK_AGAIN_SECONDS:
                self._ask_gates()
            self.state.tick(faults(self.state.plan, self.deck.fleet, look))
            lines = preflight_lines(self.state, look)
        self._show(lines)

    def take_key(self, key: str) -> bool:
        """Every key belongs to the confirmation."""
        if self.dispatch:
            if key in {"escape", "q"} or (key == "enter" and self.dispatch.is_over):
                self.deck.close_screen()
            elif key == "ctrl+x" and self.state.plan.verb == "drill" and not self.dispatch.is_over:
                self._abort()
            return True
        if key in {"pagedown", "pageup"}:
            body = self.query_one("#body", TextLines)
            body.scroll_to(
                y=max(0, body.scroll_offset.y + (10 if key == "pagedown" else -10)), animate=False, force=True
            )
            return True
        now = self.deck.clock.monotonic()
        self.state.tick(faults(self.state.plan, self.deck.fleet, self.deck.look()))
        what = self.state.press(key, now)
        if what == CANCEL:
            self.deck.close_screen()
        elif what == SEND:
            self._send()
        return True

    def _send(self) -> None:
        self.dispatch = Dispatch(self.state.plan, self._send_one, self._check)
        self.deck.log_command(self.state.plan.how)

    def _abort(self) -> None:
        """Call the drill off: the countdown ends, or what is struck is undone at once."""
        for target in self.state.plan.targets:
            self.deck.link.send(target.hub, "abort", {"group": target.args["group"]}, "called off at the console")
        self.deck.say("asked the hub to call the drill off", "warn")

    def _send_one(self, target: Target) -> "Future[Reply]":
        return self.deck.link.send(target.hub, self.state.plan.verb, self.state.args(target.args), self.state.reason)

    def _check(self, target: Target, fleet: Fleet) -> str:
        """The target again, immediately before its command leaves; also whether we were locked meanwhile."""
        if not self.deck.me.is_unlocked:
            return "the console is read-only again"
        one = Plan(self.state.plan.action, self.state.plan.verb, (target,), "")
        return faults(one, fleet, self.deck.look())

    def _take_gates(self) -> None:
        for hub, asked in list(self.asking.items()):
            if not asked.done():
                continue
            del self.asking[hub]
            try:
                self.state.gates(hub, asked.result())
            except (ConsoleError, CancelledError) as error:
                self.state.failure(hub, str(error) or "stopped")

    def _show(self, lines: list[Line]) -> None:
        width = max(20, self.size.width - 4)
        self.query_one("#body", TextLines).show([part for one in lines for part in wrap(one, width)])
