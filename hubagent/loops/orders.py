"""Carries out what operators order: gates, one at a time for each target, intent before effect, result after."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hubagent.clock import Clock
from hubagent.core import preflight
from hubagent.core.outcome import Outcome
from hubagent.edges.journal import Entry
from hubagent.errors import HubagentError, NotAllowed, StoreFailed
from hubagent.wire.commands import Gate, Reply
from hubagent.wire.reports import Result

RESULT_SECONDS = 300.0
RESULTS_MAX = 16  # they ride in every live message; the events are the record
CUT_OFF = "the agent ended while this was running; look at what it was about, then decide"
ACCEPTED, REFUSED, DONE, FAILED, UNKNOWN = "accepted", "refused", "done", "failed", "unknown"


class Action(Protocol):
    """What one verb does; the daemon gives one for each verb that this hub offers."""

    def gates(self, args: Mapping[str, Any]) -> list[Gate]:
        """The conditions as of now; quick, and without effect."""
        ...

    async def run(self, args: Mapping[str, Any], force: frozenset[str], actor: str) -> Outcome:
        """Do it; may raise HubagentError."""
        ...


class Recorder(Protocol):
    """How an order is audited."""

    boot: str

    def event(
        self,
        kind: str,
        severity: str,
        text: str,
        *,
        data: dict[str, Any] | None = None,
        actor: str | None = None,
        cmd_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Record soon."""
        ...

    async def event_durable(
        self,
        kind: str,
        severity: str,
        text: str,
        *,
        data: dict[str, Any] | None = None,
        actor: str | None = None,
        cmd_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Record and sync; raises StoreFailed."""
        ...


class Journal(Protocol):
    """The ids that have been seen; `edges.journal.Journal`, its fake in `tests/fakes/journal.py`."""

    def seen(self, cmd_id: str) -> Entry | None:
        """The entry of this id."""
        ...

    def put(self, entry: Entry) -> None:
        """Remember at once, in memory."""
        ...

    async def sync(self) -> None:
        """Make all that was put durable; raises StoreFailed."""
        ...

    def unfinished(self) -> list[Entry]:
        """Accepted and never ended."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to do, by whom and why; `role` decides whether gates may be forced."""

    cmd_id: str
    verb: str
    args: Mapping[str, Any]
    actor: str
    role: str
    reason: str = ""
    digest: str = ""

    @property
    def target(self) -> str:
        """What only one action at a time may touch: `web`, `group core`, or nothing."""
        if self.verb == "abort":
            return ""  # it is about another action on the same target
        if "service" in self.args:
            return str(self.args["service"])
        return f"group {self.args['group']}" if "group" in self.args else ""

    @property
    def force(self) -> frozenset[str]:
        """The gates to pass over, by name."""
        return frozenset(self.args.get("force", []))

    @property
    def text(self) -> str:
        """`restart web`: what it is in words."""
        return f"{self.verb} {self.target}".rstrip()


@dataclass(slots=True)
class _Running:
    order: Order
    done: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Orders:
    """`take` answers accepted or refused and starts the effect; `perform` also waits for its outcome."""

    def __init__(
        self,
        recorder: Recorder,
        journal: Journal,
        clock: Clock,
        actions: Mapping[str, Action],
        started: asyncio.TaskGroup,
        changed: Callable[[], None] = lambda: None,
        resume: Callable[[str, str], Awaitable[Outcome] | None] = lambda verb, target: None,
    ) -> None:
        self._recorder, self._journal, self._clock = recorder, journal, clock
        self._actions, self._started, self._changed, self._resume = actions, started, changed, resume
        self._running: dict[str, _Running] = {}  # by target
        self._results: deque[tuple[float, Result]] = deque(maxlen=RESULTS_MAX)

    def gates(self, order: Order) -> list[Gate]:
        """Every condition of an order as of now, the one of no other action first."""
        action = self._actions.get(order.verb)
        if action is None:
            return [preflight.gate("verb", False, order.verb, "a verb this hub offers", "this hub does not offer it")]
        running = self._running.get(order.target) if order.target else None
        other = f"{running.order.text} by {running.order.actor}" if running else ""
        return [preflight.no_other_action(other), *action.gates(order.args)]

    async def take(self, order: Order) -> Reply:
        """Accepted once intent is durable, or refused with the gate; remembered under its id either way."""
        reply, _ = await self._take(order)
        return reply

    async def perform(self, order: Order) -> Outcome:
        """The same, and wait for the outcome."""
        reply, running = await self._take(order)
        if running is None:
            return Outcome(False, reply.why, reply.gate)
        return await asyncio.shield(running.done)

    async def _take(self, order: Order) -> tuple[Reply, _Running | None]:
        refusal = self._refusal(order)
        if refusal is not None:
            return self._refused(order, refusal.gate, refusal.why), None
        running = _Running(order)
        if order.target:
            self._running[order.target] = running
        reply = Reply(order.cmd_id, ACCEPTED)
        self._journal.put(self._entry(order, reply))
        try:
            await self._journal.sync()
            await self._recorder.event_durable(
                "command_intent", "ok", order.text, data=self._data(order), **_who(order)
            )
        except StoreFailed as error:
            self._release(order)
            return self._refused(order, "audit", f"what is not audited is not done: {error}"), None
        self._note(Result(order.cmd_id, ACCEPTED))
        self._started.create_task(self._carry_out(running))
        return reply, running

    def _refusal(self, order: Order) -> NotAllowed | None:
        """Run the gates again, right before acting: a preflight seen by the operator may be minutes old."""
        if order.force and (order.role != "admin" or not order.reason.strip()):
            return NotAllowed("force", "to force a gate needs the role admin and a reason")
        held = preflight.refusal(self.gates(order), order.force)
        return NotAllowed(held.name, held.why or f"{held.value}, needs {held.limit}") if held else None

    def _refused(self, order: Order, gate: str, why: str) -> Reply:
        reply = Reply(order.cmd_id, REFUSED, gate, why)
        self._journal.put(self._entry(order, reply, ended=True))
        self._note(Result(order.cmd_id, REFUSED, gate, why))
        data = {**self._data(order), "state": REFUSED, "gate": gate, "why": why}
        self._recorder.event(
            "command_result", "warning", f"{order.text} refused: {gate}: {why}", data=data, **_who(order)
        )
        return reply

    async def _carry_out(self, running: _Running, resumed: Awaitable[Outcome] | None = None) -> None:
        order, begun = running.order, self._clock.monotonic()
        try:
            outcome = await (resumed or self._actions[order.verb].run(order.args, order.force, order.actor))
        except NotAllowed as error:
            outcome = Outcome(False, error.why, error.gate)
        except HubagentError as error:
            outcome = Outcome(False, str(error))
        took = outcome.took_s if outcome.took_s is not None else self._clock.monotonic() - begun
        try:
            await self._end(order, outcome, took)
        finally:
            self._release(order)
            running.done.set_result(Outcome(outcome.ok, outcome.why, outcome.gate, took, outcome.score))

    async def _end(self, order: Order, outcome: Outcome, took: float) -> None:
        state, severity = (DONE, "ok") if outcome.ok else (FAILED, "warning")
        self._note(Result(order.cmd_id, state, outcome.gate, outcome.why))
        text = f"{order.text} {state} in {took:.1f} s" + (f": {outcome.why}" if outcome.why else "")
        data = {**self._data(order), "state": state, "gate": outcome.gate, "why": outcome.why, "took_s": round(took, 3)}
        if outcome.score is not None:
            data["score"] = dict(outcome.score)
        self._journal.put(self._entry(order, Reply(order.cmd_id, ACCEPTED), ended=True))
        try:
            await self._recorder.event_durable("command_result", severity, text, data=data, **_who(order))
            await self._journal.sync()
        except StoreFailed as error:
            self._recorder.event("note", "warning", f"the result of {order.text} is not durable: {error}")

    async def report_unknown(self) -> None:
        """After a start: what an earlier run accepted and never ended is reported, and never run again."""
        unfinished = [entry for entry in self._journal.unfinished() if not self._take_up(entry)]
        for entry in unfinished:
            self._note(Result(entry.cmd_id, UNKNOWN, "", CUT_OFF))
        try:
            for entry in unfinished:
                await self._report_cut_off(entry)
            if unfinished:
                await self._journal.sync()
        except StoreFailed as error:  # still open in the journal, so the next start reports them
            self._recorder.event("note", "warning", f"results of an earlier run are not durable: {error}")

    def _take_up(self, entry: Entry) -> bool:
        """A drill ends the agent that was told to do it: its order goes on in the next one."""
        resumed = self._resume(entry.verb, entry.target)
        if resumed is None:
            return False
        args = {"group": entry.target.removeprefix("group ")}
        running = _Running(Order(entry.cmd_id, entry.verb, args, entry.actor, "admin", digest=entry.digest))
        self._running[entry.target] = running
        self._note(Result(entry.cmd_id, ACCEPTED))
        self._started.create_task(self._carry_out(running, resumed))
        return True

    async def _report_cut_off(self, entry: Entry) -> None:
        text = f"{entry.verb} {entry.target} unknown: {CUT_OFF}"
        data = {"verb": entry.verb, "target": entry.target, "state": UNKNOWN, "why": CUT_OFF}
        await self._recorder.event_durable(
            "command_result", "warning", text, data=data, actor=entry.actor, cmd_id=entry.cmd_id
        )
        self._journal.put(_ended(entry))

    def results(self) -> list[Result]:
        """What became of the commands of the last 5 minutes, one row for each, newest last."""
        since = self._clock.monotonic() - RESULT_SECONDS
        latest = {result.cmd_id: result for at, result in self._results if at >= since}
        return list(latest.values())

    def _note(self, result: Result) -> None:
        kept = [one for one in self._results if one[1].cmd_id != result.cmd_id]
        self._results = deque([*kept, (self._clock.monotonic(), result)], maxlen=RESULTS_MAX)
        self._changed()

    def _release(self, order: Order) -> None:
        self._running.pop(order.target, None)

    def _entry(self, order: Order, reply: Reply, *, ended: bool = False) -> Entry:
        return Entry(
            order.cmd_id, order.digest, self._clock.wall(), order.verb, order.target, order.actor, reply, ended
        )

    def _data(self, order: Order) -> dict[str, Any]:
        forced = {"forced": sorted(order.force)} if order.force else {}
        return {"verb": order.verb, "target": order.target, "args": dict(order.args), **forced}


def _who(order: Order) -> dict[str, Any]:
    return {"actor": order.actor, "cmd_id": order.cmd_id, "reason": order.reason or None}


def _ended(entry: Entry) -> Entry:
    return Entry(entry.cmd_id, entry.digest, entry.t, entry.verb, entry.target, entry.actor, entry.reply, ended=True)
