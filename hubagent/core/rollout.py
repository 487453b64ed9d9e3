"""One change of release: each step journalled before it is done; it ends in the new release or back in the old one."""

from dataclasses import dataclass

import msgspec

from hubagent.core.outcome import Outcome
from hubagent.core.release_book import Book, Change, committed, restored
from hubagent.core.rollout_events import (
    Begin,
    Check,
    Effect,
    Event,
    Failed,
    Look,
    Observed,
    Resume,
    Save,
    Say,
    Start,
    Stop,
    Switch,
)

IDLE, PRE_CHECK, STOP, SWITCH, START = "idle", "pre-check", "stop", "switch", "start"
GATE, BAKE, COMMIT, DONE, REFUSED = "gate", "bake", "commit", "done", "refused"
BACK_STOP, BACK_SWITCH, BACK_START = "back-stop", "back-switch", "back-start"
BACK_GATE, BACK_COMMIT, RESTORED, ALARM = "back-gate", "back-commit", "restored", "alarm"

# Legal moves. Forward to the left, and every way back below it; there is no way forward again, and none around.
MOVES: dict[str, frozenset[str]] = {
    IDLE: frozenset({PRE_CHECK, BACK_STOP, BACK_SWITCH}),  # the way back: resumed after a crash
    PRE_CHECK: frozenset({STOP, SWITCH, REFUSED}),
    STOP: frozenset({SWITCH, REFUSED, BACK_START}),  # a stop that failed switched nothing: start the old one again
    SWITCH: frozenset({START, COMMIT, REFUSED, BACK_SWITCH}),
    START: frozenset({GATE, BACK_STOP}),
    GATE: frozenset({BAKE, BACK_STOP}),
    BAKE: frozenset({COMMIT, BACK_STOP}),
    COMMIT: frozenset({DONE, BACK_STOP, BACK_SWITCH}),
    BACK_STOP: frozenset({BACK_SWITCH, ALARM}),
    BACK_SWITCH: frozenset({BACK_START, BACK_COMMIT, ALARM}),
    BACK_START: frozenset({BACK_GATE, ALARM}),
    BACK_GATE: frozenset({BACK_COMMIT, ALARM}),
    BACK_COMMIT: frozenset({RESTORED, ALARM}),
    DONE: frozenset(),
    REFUSED: frozenset(),
    RESTORED: frozenset(),
    ALARM: frozenset(),
}
ENDS = frozenset({DONE, REFUSED, RESTORED, ALARM})
WATCHED = frozenset({GATE, BAKE, BACK_GATE})
DOWN = frozenset({"BACKOFF", "EXITED", "STOPPED"})  # it ran when START was done, so it has crashed since
BACK = frozenset({BACK_STOP, BACK_SWITCH, BACK_START, BACK_GATE, BACK_COMMIT})
_FORWARD = {GATE: BAKE, BAKE: COMMIT, COMMIT: DONE, STOP: SWITCH, START: GATE}
_BACKWARD = {BACK_STOP: BACK_SWITCH, BACK_START: BACK_GATE, BACK_GATE: BACK_COMMIT, BACK_COMMIT: RESTORED}


@dataclass(frozen=True, slots=True)
class RolloutPolicy:
    """How long each step may take, in seconds; `gate_s` is absolute, from the start of the new release."""

    gate_s: float = 20.0
    bake_s: float = 2.0
    stop_s: float = 60.0
    switch_s: float = 10.0
    poll_s: float = 0.1

    def __post_init__(self) -> None:
        assert self.bake_s >= 0, "bake_s must not be negative"
        assert 0 < self.poll_s <= self.gate_s, "poll_s must be above 0 and at most gate_s"
        assert self.stop_s > 0, "stop_s must be above 0"
        assert self.switch_s > 0, "switch_s must be above 0"


class Rollout:
    """One service's change of release; `outcome` is there once it has ended."""

    def __init__(self, service: str, policy: RolloutPolicy, book: Book) -> None:
        self.service, self.policy, self.book = service, policy, book
        self.state = IDLE
        self.outcome: Outcome | None = None
        self._change = Change("", "")
        self._ticket = 0
        self._is_saving = False
        self._until = self._gate_until = self._look_at = self._baked_at = 0.0
        self._seen: tuple[int | None, int] | None = None
        self._failed_at = self._why = ""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take an event; answers to earlier tickets are ignored, for they came too late."""
        if isinstance(event, Begin):
            return self._begin(event.change, now)
        if isinstance(event, Resume):
            return self._resume(event.restart, now)
        if event.ticket != self._ticket or self.state in ENDS:
            return []
        if isinstance(event, Failed):
            return self._fail(event.why, now)
        if isinstance(event, Observed):
            return self._judge(event, now)
        return self._done(now)

    def tick(self, now: float) -> list[Effect]:
        """Give a step up whose time is over; look again where the service is watched."""
        if self.state in ENDS or self.state == IDLE:
            return []
        if now >= self._until:
            return self._fail("not in time", now)
        if self._is_watching and now >= self._look_at:
            self._look_at = now + self.policy.poll_s
            return [Look(self._ticket)]
        return []

    def deadline(self) -> float | None:
        """When to tick next."""
        if self.state in ENDS or self.state == IDLE:
            return None
        return min(self._until, self._look_at) if self._is_watching else self._until

    @property
    def change(self) -> Change:
        """What is being changed."""
        return self._change

    @property
    def _is_watching(self) -> bool:
        return self.state in WATCHED and not self._is_saving

    def _begin(self, change: Change, now: float) -> list[Effect]:
        self._change = change
        text = f"{self.service}: {change.old or 'no release'} → {change.new}, {change.cause}"
        return [Say("release", "ok", text), *self._become(PRE_CHECK, now)]

    def _resume(self, restart: bool, now: float) -> list[Effect]:
        assert self.book.open is not None, "there is nothing to go on with"
        self._change = msgspec.structs.replace(self.book.open, restart=restart)
        self._failed_at, self._why = self._change.step, f"the agent ended during {self._change.step}"
        text = f"{self.service}: {self._why}; going back to {self._change.old}"
        return [Say("release", "warning", text), *self._become(BACK_STOP if restart else BACK_SWITCH, now)]

    def _become(self, state: str, now: float) -> list[Effect]:
        assert state in MOVES[self.state], f"{self.state} does not lead to {state}"
        self.state = state
        if state in ENDS:
            return self._end()
        self._is_saving = state != PRE_CHECK
        self._until = self._limit(state, now)
        return self._ask(now)

    def _limit(self, state: str, now: float) -> float:
        policy = self.policy
        if state in (START, BACK_START):
            self._gate_until = now + policy.gate_s
        if state in (START, GATE, BACK_START, BACK_GATE):
            return self._gate_until
        if state == BAKE:
            self._baked_at = now + policy.bake_s
            return self._baked_at + policy.switch_s
        return now + (policy.stop_s if state in (STOP, BACK_STOP) else policy.switch_s)

    def _ask(self, now: float) -> list[Effect]:
        """The intent first, and once that is durable, the step itself."""
        self._ticket += 1
        if not self._is_saving:
            return self._step(now)
        return [Save(self._ticket, self._page(now))]

    def _page(self, now: float) -> Book:
        if self.state == COMMIT:
            return committed(self.book, self._change)
        if self.state == BACK_COMMIT:
            return restored(self.book, self._change, RESTORED, self._reason, self._change.t)
        open_change = msgspec.structs.replace(self._change, step=self.state)
        return msgspec.structs.replace(self.book, open=open_change)

    def _step(self, now: float) -> list[Effect]:
        change = self._change
        if self.state in WATCHED:
            self._look_at = now + self.policy.poll_s
            return [Look(self._ticket)]
        steps: dict[str, Effect] = {
            PRE_CHECK: Check(self._ticket, change.new),
            STOP: Stop(self._ticket),
            SWITCH: Switch(self._ticket, change.new),
            START: Start(self._ticket),
            BACK_STOP: Stop(self._ticket),
            BACK_SWITCH: Switch(self._ticket, change.old),
            BACK_START: Start(self._ticket),
        }
        return [steps[self.state]]

    def _done(self, now: float) -> list[Effect]:
        if not self._is_saving:
            return self._become(self._next(), now)
        self._is_saving = False
        if self.state in (COMMIT, BACK_COMMIT):  # the write was the step
            return self._become(self._next(), now)
        return self._ask(now)

    def _next(self) -> str:
        restart = self._change.restart
        if self.state == PRE_CHECK:
            return STOP if restart else SWITCH
        if self.state == SWITCH:
            return START if restart else COMMIT
        if self.state == BACK_SWITCH:
            return BACK_START if restart else BACK_COMMIT
        return (_FORWARD | _BACKWARD)[self.state]

    def _fail(self, why: str, now: float) -> list[Effect]:
        if self.state in BACK:
            return self._fail_back(why, now)
        self._failed_at, self._why = self.state, why
        to = self._way_back()
        if to == REFUSED:
            return self._become(REFUSED, now)
        text = f"{self.service}: {self._reason}; going back to {self._change.old}"
        return [Say("release", "warning", text), *self._become(to, now)]

    def _way_back(self) -> str:
        """Nothing touched: nothing to take back. Otherwise undo from where it stopped."""
        first = STOP if self._change.restart else SWITCH
        if self.state == PRE_CHECK or (self.state == first and self._is_saving):
            return REFUSED
        if self.state == STOP:
            return BACK_START
        if self.state == SWITCH or not self._change.restart:
            return BACK_SWITCH
        return BACK_STOP

    def _fail_back(self, why: str, now: float) -> list[Effect]:
        if self._is_saving and self.state != BACK_COMMIT:  # the old release matters more than the note of it
            self._is_saving = False
            self._until = self._limit(self.state, now)
            return self._ask(now)
        self._why = f"{self._why}; then {self.state}: {why}"
        return self._become(ALARM, now)

    def _judge(self, seen: Observed, now: float) -> list[Effect]:
        crashed = self._seen is not None and self._seen != (seen.pid, seen.restarts)
        down = seen.state == "FATAL" or (self.state != BACK_GATE and seen.state in DOWN)
        if down or (self.state == BAKE and (crashed or seen.state != "RUNNING")):
            return self._fail(f"the service is {seen.state}" if seen.state != "RUNNING" else "it crashed", now)
        if self.state == BAKE and seen.healthy is False:
            return self._fail("unhealthy", now)
        if seen.state != "RUNNING" or seen.healthy is False:
            return []
        self._seen = (seen.pid, seen.restarts) if self.state == GATE else self._seen
        if self.state == BAKE and now < self._baked_at:
            return []
        return self._become(self._next(), now)

    @property
    def _reason(self) -> str:
        return f"{self._failed_at}: {self._why}"

    def _end(self) -> list[Effect]:
        change, state = self._change, self.state
        self.outcome = Outcome(state == DONE, self._ending(), "" if state == DONE else self._failed_at)
        severity = {DONE: "ok", REFUSED: "warning", RESTORED: "warning", ALARM: "critical"}[state]
        effects: list[Effect] = [Say("release", severity, f"{self.service}: {self.outcome.why}")]
        if state in (RESTORED, ALARM):
            effects.append(Say("alert_raised", severity, f"{self.service}: {self.outcome.why}"))
        if state == ALARM:
            self._ticket += 1
            book = restored(self.book, change, ALARM, self._reason, change.t)
            # Last attempts: whatever `current` names shall run, and the supervision goes on trying.
            effects += [Save(self._ticket, book), *([Start(self._ticket)] if change.restart else [])]
        return effects

    def _ending(self) -> str:
        change = self._change
        return {
            DONE: f"{change.new} runs" if change.restart else f"{change.new} is current; the service was not running",
            REFUSED: f"{self._reason}; nothing was changed",
            RESTORED: f"{change.new} did not hold ({self._reason}); back at {change.old}, pinned",
            ALARM: f"{change.new} did not hold and {change.old} could not be proven ({self._reason}); look at it now",
        }[self.state]
