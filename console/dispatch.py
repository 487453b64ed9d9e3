"""What became of a plan: one command after the other, each followed until it is done, failed or unknown."""

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from console.errors import ConsoleError, OutcomeUnknown
from console.fleet import Fleet
from console.present.plans import Plan, Target
from hubagent.wire.commands import Reply

RESULT_SECONDS = 120.0  # no word of an accepted command for this long: its outcome is unknown

WAITING, SENDING, ACCEPTED, DONE, FAILED, UNKNOWN, UNSENT = (
    "waiting", "sending", "under way", "done", "failed", "unknown", "not sent",
)  # fmt: skip
MOVES: dict[str, frozenset[str]] = {
    WAITING: frozenset({SENDING, UNSENT}),
    SENDING: frozenset({ACCEPTED, DONE, FAILED, UNKNOWN}),
    ACCEPTED: frozenset({DONE, FAILED, UNKNOWN}),
    UNKNOWN: frozenset({DONE, FAILED}),  # a late word still counts
    DONE: frozenset(),
    FAILED: frozenset(),
    UNSENT: frozenset(),
}


@dataclass(slots=True)
class Progress:
    """One target's row; `since` and `ended` are monotonic."""

    target: Target
    state: str = WAITING
    why: str = ""
    cmd_id: str = ""
    since: float = 0.0
    ended: float | None = None
    reply: "Future[Reply] | None" = None

    def become(self, state: str, now: float, why: str = "") -> None:
        """The one place that changes a state."""
        assert state in MOVES[self.state], f"{self.state} to {state}"
        self.state, self.why = state, why
        self.ended = now if not MOVES[state] or state == UNKNOWN else None


class Dispatch:
    """Sends a plan's commands one at a time, stops at the first that does not succeed, and never wishes."""

    def __init__(
        self, plan: Plan, send: "Callable[[Target], Future[Reply]]", check: Callable[[Target, Fleet], str]
    ) -> None:
        self.plan = plan
        self.rows = [Progress(target) for target in plan.targets]
        self._send = send
        self._check = check

    @property
    def is_over(self) -> bool:
        """Tell whether no row can change any more but by a late word."""
        return all(row.state in {DONE, FAILED, UNKNOWN, UNSENT} for row in self.rows)

    def tick(self, fleet: Fleet, now: float) -> None:
        """Look at answers and results; send the next when its turn has come."""
        for row in self.rows:
            self._follow(row, fleet, now)
        if any(row.state in {FAILED, UNKNOWN} for row in self.rows):
            for row in self.rows:
                if row.state == WAITING:
                    row.become(UNSENT, now, "stopped at the first that did not succeed")
            return
        following = next((row for row in self.rows if row.state != DONE), None)
        if following is not None and following.state == WAITING:
            self._start(following, fleet, now)

    def _start(self, row: Progress, fleet: Fleet, now: float) -> None:
        if fault := self._check(row.target, fleet):
            row.become(UNSENT, now, fault)
            return
        row.since = now
        row.become(SENDING, now)
        row.reply = self._send(row.target)

    def _follow(self, row: Progress, fleet: Fleet, now: float) -> None:
        if row.state == SENDING and row.reply is not None and row.reply.done():
            self._answer(row, row.reply, now)
        if row.state in {ACCEPTED, UNKNOWN} and row.cmd_id:
            self._result(row, fleet, now)

    def _answer(self, row: Progress, reply: "Future[Reply]", now: float) -> None:
        try:
            answer = reply.result()
        except OutcomeUnknown as error:
            row.cmd_id = error.cmd_id
            row.become(UNKNOWN, now, str(error))
            return
        except (ConsoleError, CancelledError) as error:
            row.become(FAILED, now, f"{error or 'stopped'}")
            return
        row.cmd_id = answer.cmd_id
        if answer.state == "refused":
            row.become(FAILED, now, f"refused, gate {answer.gate}: {answer.why}")
        elif answer.state == "failed":
            row.become(FAILED, now, answer.why)
        else:
            row.become(ACCEPTED, now, "accepted; its end is awaited")

    def _result(self, row: Progress, fleet: Fleet, now: float) -> None:
        result = fleet.result(row.target.hub, row.cmd_id)
        if result is not None and result.state == "done":
            row.become(DONE, now, result.why)
        elif result is not None and result.state in {"failed", "refused"}:
            gate = f"gate {result.gate}: " if result.gate else ""
            row.become(FAILED, now, f"{gate}{result.why}")
        elif row.state == ACCEPTED and now - row.since > RESULT_SECONDS:
            row.become(
                UNKNOWN, now, f"no word of the outcome for {RESULT_SECONDS:.0f} s; look at the events of the hub"
            )
