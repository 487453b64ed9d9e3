"""The confirmation of one plan, without a screen: gates come in, keys come in, and it says when to send."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from console.present.plans import Plan
from hubagent.wire.commands import Gate

DEAF_SECONDS = 0.3  # keys pressed sooner were meant for the screen before
REASON_CHARS_MAX = 200
TYPED_CHARS_MAX = 80

STAY, CANCEL, SEND = "stay", "cancel", "send"
ON_CANCEL, ON_SEND = "cancel", "send"


@dataclass(slots=True)
class Asked:
    """What one target's hub said of the gates: nothing yet, a list, or why it could not say."""

    gates: Sequence[Gate] | None = None
    failure: str = ""

    @property
    def failed(self) -> list[str]:
        """Names of gates that do not pass."""
        return [gate.name for gate in self.gates or () if not gate.passed]


@dataclass(slots=True)
class Preflight:
    """One opened preflight; its target list never changes."""

    plan: Plan
    opened_at: float
    may_force: bool = False
    fault: str = ""  # why it may not be sent now, as the model sees it
    focus: str = ON_CANCEL
    typed: str = ""
    reason: str = ""
    is_forcing: bool = False
    is_in_reason: bool = False
    asked: dict[str, Asked] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.asked = {target.hub: Asked() for target in self.plan.targets}
        self.reason = self.plan.reason

    def gates(self, hub: str, gates: Sequence[Gate]) -> None:
        """A hub answered."""
        self.asked[hub] = Asked(gates)

    def failure(self, hub: str, why: str) -> None:
        """A hub's gates could not be had."""
        self.asked[hub] = Asked(failure=why)

    @property
    def failed_gates(self) -> list[str]:
        """Every gate that fails on some target, once."""
        return list(dict.fromkeys(name for asked in self.asked.values() for name in asked.failed))

    @property
    def needed(self) -> str:
        """What must be typed; empty where `y` is enough."""
        return ",".join(self.failed_gates) if self.is_forcing else self.plan.typed

    @property
    def off(self) -> str:
        """Why the button is off, in words; empty where it is on."""
        if self.fault:
            return self.fault
        for hub, asked in self.asked.items():
            if asked.failure:
                return f"{hub}: {asked.failure}"
            if asked.gates is None:
                return f"waiting for the gates of {hub}"
        failed = self.failed_gates
        if failed and not self.is_forcing:
            return f"gate {failed[0]} does not pass" + (f" (+{len(failed) - 1})" if len(failed) > 1 else "")
        if self.is_forcing and not self.reason.strip():
            return "forcing a gate needs a reason"
        return ""

    @property
    def can_send(self) -> bool:
        """Tell whether the button is on and everything asked for was typed."""
        return not self.off and self.typed == self.needed

    def args(self, target_args: dict[str, object]) -> dict[str, object]:
        """A target's arguments, with the gates forced by name."""
        return {**target_args, "force": self.failed_gates} if self.is_forcing else dict(target_args)

    def tick(self, fault: str) -> None:
        """The model was looked at again; a button that went off loses the focus."""
        self.fault = fault
        if self.off:
            self.focus = ON_CANCEL

    def press(self, key: str, now: float) -> str:
        """One key (a visible character, or a name); what to do comes back: stay, cancel or send."""
        if key in {"escape", "ctrl+x"}:  # leaving is safe at any moment; everything else waits until it was read
            return CANCEL
        if now - self.opened_at < DEAF_SECONDS:
            return STAY
        if self.is_in_reason:
            return self._reason_key(key)
        if key in {"tab", "shift+tab", "left", "right"}:
            self.focus = ON_SEND if self.focus == ON_CANCEL and self.can_send else ON_CANCEL
            return STAY
        if key == "enter":
            return self._enter()
        return self._type(key) if self.needed else self._letter(key)

    def _enter(self) -> str:
        if self.focus == ON_CANCEL:
            return STAY if self.needed and self.typed else CANCEL  # a wrong name is no wish to leave
        return SEND if self.can_send else STAY

    def _letter(self, key: str) -> str:
        if key == "y" and self.can_send:
            return SEND
        if key == "f" and self.may_force and self.failed_gates:
            self.is_forcing = self.is_in_reason = True
            return STAY
        return CANCEL if key in {"q", "n"} else STAY

    def _type(self, key: str) -> str:
        if key == "backspace":
            self.typed = self.typed[:-1]
        elif key == "ctrl+u":
            self.typed = ""
        elif key == "ctrl+f" and self.may_force and self.failed_gates and not self.is_forcing:
            self.is_forcing, self.is_in_reason, self.typed = True, True, ""
        elif len(key) == 1 and len(self.typed) < TYPED_CHARS_MAX:
            self.typed += key
        self.focus = ON_SEND if self.can_send else ON_CANCEL
        return STAY

    def _reason_key(self, key: str) -> str:
        if key == "enter" and self.reason.strip():
            self.is_in_reason = False
        elif key == "backspace":
            self.reason = self.reason[:-1]
        elif len(self.reason) < REASON_CHARS_MAX:
            self.reason += " " if key == "space" else key if len(key) == 1 else ""
        return STAY
