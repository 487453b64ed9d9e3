"""Drills of this hub's groups: strikes and scores its own, and says what was proven."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec

from hubagent.clock import Clock
from hubagent.core import preflight
from hubagent.core.drill import (
    Abort,
    Drill,
    DrillPlan,
    DrillPolicy,
    Effect,
    Looked,
    Score,
    Scored,
    Strike,
    Undo,
)
from hubagent.core.outcome import Outcome
from hubagent.core.preflight import GroupFacts, PeerFacts
from hubagent.edges import striker
from hubagent.edges.drill_book import DrillBook, OpenDrill, PastDrill, boot_id
from hubagent.errors import GuardGone, StoreFailed
from hubagent.loops.actions import Verb
from hubagent.loops.drill_parts import DrillParts
from hubagent.loops.drill_schedule import Schedules
from hubagent.loops.drill_takeover import Takeovers
from hubagent.loops.orders import Action, Recorder
from hubagent.wire.commands import Gate
from hubagent.wire.drills import KINDS, OFF
from hubagent.wire.reports import DrillNotice, GroupState, Live, Proof

LOOK_S = 0.1
TREND = 8
SERVER = "nats-server"
NO_SERVER_WHY = "this hub has no embedded server"


class Drills:
    """One drill a group at a time; `run` goes on with those that an earlier run of the agent began."""

    def __init__(self, parts: DrillParts, recorder: Recorder, clock: Clock, policy: DrillPolicy | None = None) -> None:
        self._parts, self._recorder, self._clock = parts, recorder, clock
        self._policy = policy or DrillPolicy()
        self._book = DrillBook(parts.state_dir / "drills.json")
        self._drills: dict[str, Drill] = {}
        self._ended: dict[str, asyncio.Future[Score]] = {}
        self._strikers: dict[str, Any] = {}
        self._heard: dict[str, tuple[float, Live]] = {}
        self._takeovers = Takeovers(parts, recorder, clock)
        self._schedules = Schedules(self._book, parts.order, self._is_active, recorder, clock)
        self._tasks: asyncio.TaskGroup | None = None
        self._take_up()

    def _take_up(self) -> None:
        """A drill that struck this agent itself goes on; one of another boot of the machine is over."""
        for one in self._book.open_drills():
            if one.boot_id == boot_id():
                plan = DrillPlan(one.group, one.kind, one.by, one.epoch, one.strike_at, one.lost_before, one.back_to)
                is_struck = self._clock.boottime() >= one.strike_at
                self._drills[one.group] = Drill(plan, self._policy, is_struck=is_struck)
            else:
                self._book.end(one.group, PastDrill(self._clock.wall(), one.kind, passed=False))

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._takeovers.tasks = self._tasks
                for group in self._drills:
                    self._begin(group)
                await self._schedules.run()
        finally:
            for group in self._strikers:  # an agent that ends as told is not struck any more
                self._call_striker_off(group)

    def _begin(self, group: str) -> None:
        assert self._tasks is not None, "run has begun"
        self._tasks.create_task(self._conduct(group, self._drills[group]))

    def _is_active(self, group: str) -> bool:
        facts = self._parts.groups.facts(group)
        return facts.state is not None and facts.state.role.startswith("ACTIVE")

    def _ending(self, group: str) -> asyncio.Future[Score]:
        """Where the score of the drill under way will be; asked for before or after `run` has begun it."""
        if group not in self._ended:
            self._ended[group] = asyncio.get_running_loop().create_future()
        return self._ended[group]

    # --- the drilled hub

    async def drill(self, group: str, kind: str, by: str) -> Outcome:
        """Until everything is as before, or is not in time."""
        state = self._parts.groups.state(group)
        back_to = "" if state.auto == "armed" else state.auto
        if back_to:
            outcome = await self._parts.groups.set_auto(group, "armed")
            if not outcome.ok:
                return outcome
        strike_at = self._clock.boottime() + self._policy.countdown_s
        plan = DrillPlan(group, kind, by, state.epoch, strike_at, self._lost(), back_to)
        self._book.begin(
            OpenDrill(group, kind, by, state.epoch, strike_at, plan.lost_before, back_to, boot_id())
        )  # fmt: skip
        self._drills[group] = Drill(plan, self._policy)
        if kind in striker.KINDS:
            self._strikers[group] = striker.begin(
                kind, strike_at, self._policy.hold_s, self._parts.state_dir, dict(os.environ)
            )
        self._begin(group)
        return await self.outcome(group)

    async def outcome(self, group: str) -> Outcome:
        """What becomes of the drill that is under way."""
        score = await asyncio.shield(self._ending(group))
        return Outcome(score.passed, score.text, "" if score.passed else "drill", score.took_s, score.data())

    def resume(self, verb: str, target: str) -> Awaitable[Outcome] | None:
        """The outcome of a drill that ended the agent that was told to do it."""
        group = target.removeprefix("group ")
        return self._resumed(group) if verb == "drill" and group in self._drills else None

    async def _resumed(self, group: str) -> Outcome:
        return await self.outcome(group)

    async def abort(self, group: str, by: str) -> Outcome:
        """Call it off, or undo it at once."""
        drill = self._drills.get(group)
        if drill is None:
            return Outcome(False, f"no drill of {group} is under way here", "no-drill")
        await self._carry_out(group, drill, drill.handle(Abort(by), self._clock.boottime()))
        return Outcome(True)

    async def _conduct(self, group: str, drill: Drill) -> None:
        while group in self._drills:
            await self._carry_out(group, drill, drill.handle(self._look(drill.plan), self._clock.boottime()))
            self._parts.changed()
            left = (drill.deadline() or 0.0) - self._clock.boottime()
            await asyncio.sleep(min(LOOK_S, max(left, 0.0)))

    async def _carry_out(self, group: str, drill: Drill, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Strike("kill-server"):
                    await self._kill_server()
                case Strike("cut"):
                    self._parts.cut(self._policy.cut_s)
                case Strike():
                    pass  # the striker does it, at the same moment: this agent may not be there to
                case Undo() if drill.plan.kind == "cut":
                    self._parts.cut(0.0)
                case Undo():
                    self._call_striker_off(group)
                case Scored(score):
                    await self._finish(group, drill, score)

    async def _kill_server(self) -> None:
        try:
            await self._parts.services.signal(SERVER, signal.SIGKILL)
        except GuardGone as error:
            self._recorder.event("drill", "warning", f"the server was not struck: {error}")

    def _call_striker_off(self, group: str) -> None:
        process = self._strikers.get(group)
        if process is not None and process.poll() is None:
            process.terminate()

    async def _finish(self, group: str, drill: Drill, score: Score) -> None:
        plan = drill.plan
        self._call_striker_off(group)
        del self._drills[group]
        has_struck = score.took_s is not None or score.way_back_s is not None or self._clock.boottime() > plan.strike_at
        past = PastDrill(self._clock.wall(), plan.kind, score.passed, score.took_s) if has_struck else None
        try:
            self._book.end(group, past)
        except StoreFailed as error:
            self._recorder.event("note", "warning", f"the drill of {group} is not remembered: {error}")
        if plan.back_to and self._parts.groups.state(group).role.startswith("ACTIVE"):
            await self._parts.groups.set_auto(group, plan.back_to)
        word, severity = ("passed", "ok") if score.passed else ("not passed", "warning")
        text = f"{group}: drill {plan.kind} {word}: {score.text}"
        self._recorder.event("drill", severity, text, data={**_facts(plan), **score.data()}, actor=plan.by)
        self._ending(group).set_result(score)
        del self._ended[group]
        self._parts.changed()

    def _look(self, plan: DrillPlan) -> Looked:
        state = self._parts.groups.state(plan.group)
        return Looked(state.role, state.epoch, self.is_drained(), self._lost(), self._told(plan))

    def _told(self, plan: DrillPlan) -> Mapping[str, float]:
        """The measures of whoever took over, from its summaries."""
        for _, live in self._heard.values():
            for group in live.groups:
                if group.group == plan.group and group.phases.get("epoch", 0) > plan.epoch:
                    return group.phases
        return {}

    def is_drained(self) -> bool:
        """Tell whether this hub owes nothing to any hub server."""
        lanes = self._parts.lanes()
        return bool(lanes) and all(lane.state == "LIVE" for lane in lanes)

    def _lost(self) -> int:
        """Records that are declared as dropped or damaged, in whichever lane most are."""
        return max((sum(int(gap.get("count") or 0) for gap in lane.dropped) for lane in self._parts.lanes()), default=0)

    # --- the other members

    def heard(self, live: Live) -> None:
        """A member's summary: its drill, or what it has proven."""
        now = self._clock.boottime()
        self._heard[live.hub] = (now, live)
        for group in live.groups:
            self._takeovers.hear(live.hub, group)
            self._hear_proof(group)

    def _hear_proof(self, group: GroupState) -> None:
        proven, own = group.proven, self._book.proven(group.group)
        if proven is not None and (own is None or proven.t > own.t + 0.01):
            try:
                self._book.learn(group.group, PastDrill(proven.t, "member", passed=True, took_s=proven.took_s))
            except StoreFailed:
                return  # it is told again every second

    def promoted(self, group: str, epoch: int) -> None:
        """This hub has become active."""
        self._takeovers.promoted(group, epoch)

    # --- what is shown, and the gates

    def shown(self, state: GroupState) -> GroupState:
        """A group's state with what is known of its drills."""
        now, drill = self._clock.boottime(), self._drills.get(state.group)
        proven = self._book.proven(state.group)
        past = [one.took_s for one in self._book.past(state.group) if one.passed and one.took_s is not None]
        return msgspec.structs.replace(
            state,
            drill=self._notice(drill, now) if drill else None,
            proven=Proof(round(proven.t, 3), proven.took_s) if proven and proven.took_s is not None else None,
            trend=[round(one, 2) for one in past[-TREND:]],
            phases=self._takeovers.phases(state.group),
            schedule=self._schedules.shown(state.group),
        )

    def _notice(self, drill: Drill, now: float) -> DrillNotice:
        plan, left = drill.plan, drill.plan.strike_at - now
        return DrillNotice(plan.kind, plan.by, round(left, 4) if left > 0 else None, plan.back_to)

    def proven_age_s(self, group: str) -> float | None:
        """How long ago a drill last proved the group."""
        proven = self._book.proven(group)
        return None if proven is None else max(0.0, self._clock.wall() - proven.t)

    def verbs(self) -> dict[str, Action]:
        """drill, abort, schedule."""

        async def drill(args: Mapping[str, Any], actor: str) -> Outcome:
            return await self.drill(args["group"], args.get("kind", KINDS[0]), actor)

        async def abort(args: Mapping[str, Any], actor: str) -> Outcome:
            return await self.abort(args["group"], actor)

        async def schedule(args: Mapping[str, Any], actor: str) -> Outcome:
            outcome = await self._schedules.set(args["group"], args["at"], args.get("kind", KINDS[0]), actor)
            self._parts.changed()
            return outcome

        return {
            "drill": Verb(self._drill_gates, drill),
            "abort": Verb(lambda args: [], abort),
            "schedule": Verb(self._schedule_gates, schedule),
        }

    def _schedule_gates(self, args: Mapping[str, Any]) -> list[Gate]:
        impossible = self._impossible(args.get("kind", KINDS[0])) if args["at"] != OFF else ""
        return preflight.schedule(self._parts.groups.facts(args["group"]), impossible)

    def _drill_gates(self, args: Mapping[str, Any]) -> list[Gate]:
        group, kind = args["group"], args.get("kind", KINDS[0])
        facts = self._parts.groups.facts(group)
        running = self._drills.get(group)
        busy = f"{running.plan.kind} by {running.plan.by}" if running else ""
        return preflight.drill(facts, self._peer(facts), self._impossible(kind), busy)

    def _impossible(self, kind: str) -> str:
        has_server = any(one.name == SERVER for one in self._parts.services.snapshot())
        return NO_SERVER_WHY if kind == "kill-server" and not has_server else ""

    def _peer(self, facts: GroupFacts) -> PeerFacts:
        """The member that would take over, as its last summary shows it."""
        now = self._clock.boottime()
        best = PeerFacts()
        for member in facts.members:
            at, live = self._heard.get(member, (0.0, None))
            if live is None or member == facts.hub:
                continue
            role = next((one.role for one in live.groups if one.group == facts.group), "UNKNOWN")
            best = PeerFacts(role, _peer_fault(member, live, role, now - at, facts))
            if not best.why:
                break
        return best


def _peer_fault(member: str, live: Live, role: str, age_s: float, facts: GroupFacts) -> str:
    if age_s > preflight.PEER_FRESH_SECONDS:
        return f"{member} was last heard {age_s:.1f} s ago"
    if role != "STANDBY":
        return f"{member} is {role}"
    why = next((one.why for one in live.groups if one.group == facts.group), "")
    is_armed = facts.state is not None and facts.state.auto == "armed"
    if is_armed and why.startswith("automatic failover off"):
        return f"{member}: {why}"
    stuck = next((lane for lane in live.lanes if lane.state != "LIVE"), None)
    return f"{member} still owes records to {stuck.dest}" if stuck else ""


def _facts(plan: DrillPlan) -> dict[str, Any]:
    return {"group": plan.group, "kind": plan.kind, "epoch": plan.epoch}
