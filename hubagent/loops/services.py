"""Supervises all services: their cores decide, the guard or systemd carries out, probes tell how they are."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hubagent.clock import Clock
from hubagent.core import supervision as core
from hubagent.core.health import Answered, Begun, Check, Ended, Turned
from hubagent.core.health import Event as HealthEvent
from hubagent.core.outcome import Outcome
from hubagent.core.service_policy import ServicePolicy
from hubagent.core.supervision import Supervision
from hubagent.edges.outputs import release_folder, release_of, tail
from hubagent.edges.probes import Answer
from hubagent.edges.systemd import Units
from hubagent.loops.follows import Follows
from hubagent.loops.hands import Guard, GuardHands, UnitFace, UnitHands, exited
from hubagent.loops.inbox import Inbox
from hubagent.loops.service_records import Recorder, ServiceRecords
from hubagent.loops.supervised import BUSY_S, Supervised, is_down, is_up, measure, patience_s, shown, totals
from hubagent.wire import reports

PATIENCE_S = 10.0  # the grace of a service that no config names any more


class Prober(Protocol):
    """How a service is asked how it is."""

    async def check(self, kind: str, target: Sequence[str], timeout_s: float, pid: int | None = None) -> Answer:
        """Ask once."""
        ...


class _Waiter:
    """Somebody waits for what became of one service; put into the inbox behind the events that began it."""

    def __init__(self, name: str, judge: Callable[[Supervision], Outcome | None]) -> None:
        self.name, self.judge = name, judge
        self.done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()


RELOADED = "configuration reloaded"
Item = tuple[str, core.Event] | tuple[str, HealthEvent] | dict[str, Any] | list[dict[str, Any]] | _Waiter


class Services:
    """All services of this hub; `run` is the only place where their states change."""

    def __init__(
        self,
        policies: Sequence[ServicePolicy],
        guard: Guard,
        prober: Prober,
        recorder: Recorder,
        clock: Clock,
        *,
        hub: str,
        output_dir: Path,
        units: UnitFace | None = None,
        kept_stopped: frozenset[str] = frozenset(),
        busy_s: float = BUSY_S,
        on_agent_gone: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._guard, self._prober, self._clock = guard, prober, clock
        self._output_dir, self._busy_s, self._kept_stopped = output_dir, busy_s, kept_stopped
        self._inbox: Inbox[Item] = Inbox(clock)
        self._hands = GuardHands(guard, hub, output_dir, self._inbox.put, on_agent_gone)
        self._unit_hands = UnitHands(units or Units())
        self._services = {policy.name: self._supervised(policy) for policy in policies}
        self._waiters: list[_Waiter] = []
        self._follows = Follows(output_dir)
        self._records = ServiceRecords(recorder)
        self._is_first = True
        self._tasks: asyncio.TaskGroup | None = None
        guard.on_event(self._inbox.put)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back when a state or a verdict has changed, so that it is seen at once."""
        self._records.on_change = callback

    async def run(self) -> None:
        """Supervise until cancelled; services outlive that, in the guard."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._hands.keep(self._records.no_guard))
                self._tasks.create_task(self._unit_hands.keep(self._policies(), self._tell))
                self._want_units()
                while True:
                    self._take(await self._inbox.next(until=self._deadline()))
        finally:
            self._guard.close()

    def _policies(self) -> list[ServicePolicy]:
        return [service.policy for service in self._services.values()]

    def _want_units(self) -> None:
        for policy in self._policies():
            if policy.unit and policy.run == "always" and policy.name not in self._kept_stopped:
                self._tell(policy.name, core.Wanted("run: always"))

    def _deadline(self) -> float | None:
        times = [at for one in self._services.values() for at in (one.core.deadline(), one.health.deadline())]
        return min((at for at in times if at is not None), default=None)

    def _tell(self, name: str, event: core.Event) -> None:
        self._inbox.put((name, event))

    # One turn of the loop.

    def _take(self, item: Item | None) -> None:
        match item:
            case None:
                self._tick()
            case _Waiter():
                self._waiters.append(item)
                self._look_after(item.name)
            case list():
                self._found(item)
            case dict():
                self._guard_said(item)
            case (str(name), event):
                if name in self._services:  # a reload may have taken it away meanwhile
                    self._feed(self._services[name], event)

    def _tick(self) -> None:
        now = self._clock.monotonic()
        for service in self._services.values():
            self._carry_out_health(service, service.health.tick(now))
            self._carry_out(service, service.core.tick(now))

    def _feed(self, service: Supervised, event: core.Event | HealthEvent) -> None:
        now = self._clock.monotonic()
        if isinstance(event, Begun | Ended | Answered):
            self._carry_out_health(service, service.health.handle(event, now))
            return
        before = service.core.pid
        effects = service.core.handle(event, now)
        self._carry_out(service, effects)
        pid = service.core.pid
        if pid != before:
            up_s = now - service.core.started_at if service.core.started_at is not None else 0.0
            self._feed(service, Begun(up_s) if pid is not None else Ended())
        self._look_after(service.policy.name)

    def _carry_out(self, service: Supervised, effects: Sequence[core.Effect]) -> None:
        assert self._tasks is not None
        for effect in effects:
            match effect:
                case core.Changed():
                    self._records.changed(service, effect)
                case core.Spawn():
                    self._tasks.create_task(self._spawn(service))
                case core.Stop(grace_s):
                    self._tasks.create_task(self._stop(service, grace_s))
        if effects:
            self._look_after(service.policy.name)

    def _carry_out_health(self, service: Supervised, effects: Sequence[Check | Turned]) -> None:
        assert self._tasks is not None
        for effect in effects:
            if isinstance(effect, Check):
                self._tasks.create_task(self._check(service, effect))
            else:
                self._records.turned(service, effect)
                self._feed(service, core.HealthTurned(effect.healthy))

    # What takes time; each outcome comes back as an event.

    async def _spawn(self, service: Supervised) -> None:
        one = service.core
        service.token = self._hands.tokens.get(service.policy.group)
        folder = release_folder(service.policy.release_root) if service.policy.release_root else None
        service.release = folder.name if folder is not None else ""
        event = await service.hands.spawn(
            service.policy, lambda: one.state == core.STARTING and one.pid is None and one.wanted
        )
        if event is not None:
            self._tell(service.policy.name, event)

    async def _stop(self, service: Supervised, grace_s: float) -> None:
        event = await service.hands.stop(service.policy, grace_s)
        if event is not None:
            self._tell(service.policy.name, event)

    async def _check(self, service: Supervised, check: Check) -> None:
        policy = service.policy.probes[check.probe]
        answer = await self._prober.check(policy.kind, policy.target, policy.timeout_s, service.core.pid)
        self._inbox.put((service.policy.name, Answered(check.run, check.probe, answer.ok, answer.why)))

    # What the guard says.

    def _guard_said(self, event: dict[str, Any]) -> None:
        service = self._services.get(str(event.get("name", "")))
        if event.get("event") == "exit" and service is not None:
            self._ended(service, exited(event))

    def _ended(self, service: Supervised, event: core.Exited) -> None:
        """Where the guard ended it at a deadline and this hub is active all the same, it is wanted again.

        Where it is not active any more, the guard refuses the start, since there is no live deadline.
        """
        was_up = service.core.state in (core.STARTING, core.RUNNING)
        self._feed(service, event)
        is_lapse = was_up and event.asked and service.policy.run == "active"
        if is_lapse and service.policy.group in self._hands.tokens:
            self._tell(
                service.policy.name, core.Wanted("ended at a deadline; starts again only if the lease is still held")
            )

    def _found(self, running: list[dict[str, Any]]) -> None:
        """A guard answers: take up what it runs, notice what it does not run, want what shall always run."""
        found = {str(one["name"]): one for one in running}
        if not self._is_first:
            self._records.guard_again([name for name, one in found.items() if one.get("pid")])
        for name, one in found.items():
            service = self._services.get(name)
            if service is not None and not service.policy.unit:
                self._take_up(service, one)
            elif one.get("pid"):
                self._stop_stray(name, one["pid"])
        for name, service in self._services.items():
            if service.core.pid is not None and not service.policy.unit and not found.get(name, {}).get("pid"):
                self._ended(service, _end_of(service, found.get(name, {})))
            if self._is_first and service.policy.run == "always" and not service.policy.unit:
                self._want_at_start(service)
        self._is_first = False

    def _want_at_start(self, service: Supervised) -> None:
        """What an operator stopped before this agent began stays stopped until somebody starts it."""
        if service.policy.name not in self._kept_stopped:
            self._feed(service, core.Wanted("run: always"))

    def _take_up(self, service: Supervised, one: dict[str, Any]) -> None:
        for ended in one["exits"]:
            if self._is_first:
                service.core.exits.append(core.exit_text(exited(ended)))
            if ended.get("missed"):
                self._records.missed(service, ended)
        if not one.get("pid"):
            return
        if service.core.pid not in (None, one["pid"]):  # the one we knew ended while nobody looked
            self._feed(service, _end_of(service, one))
        service.release = release_of(service.policy.release_root, one["cwd"])
        service.token = (one["epoch"], "") if one["mode"] == "active" else None
        self._feed(service, core.Adopted(one["pid"], one["up_s"]))
        if service.core.state == core.STOPPING:
            self._carry_out(service, [core.Stop(service.policy.grace_s)])

    def _stop_stray(self, name: str, pid: int) -> None:
        """A service that the config does not name any more is stopped: nobody else would."""
        assert self._tasks is not None
        self._records.stray(name, pid)
        self._tasks.create_task(self._hands.stop_name(name, PATIENCE_S))

    # What is asked of us.

    async def start(self, name: str, *, cause: str = "") -> Outcome:
        """Until RUNNING and healthy, or failed."""
        return await self._change(name, [core.Wanted(cause)], is_up)

    async def stop(self, name: str, *, cause: str = "") -> Outcome:
        """Until STOPPED."""
        return await self._change(name, [core.Unwanted(cause)], is_down)

    async def restart(self, name: str, *, cause: str = "") -> Outcome:
        """Until RUNNING anew and healthy, or failed."""
        return await self._change(name, [core.Unwanted(cause), core.Wanted(cause)], is_up)

    async def _change(
        self, name: str, events: Sequence[core.Event], judge: Callable[[Supervision], Outcome | None]
    ) -> Outcome:
        service = self._services.get(name)
        if service is None:
            return Outcome(False, f"no service {name} on this hub", "service")
        group = service.policy.group
        if judge is is_up and service.policy.run == "active" and group not in self._hands.tokens:
            return Outcome(False, f"{name} runs on the active hub of {group} only, and this one is not", "lease")
        began = self._clock.monotonic()
        for event in events:
            self._tell(name, event)
        outcome = await self._wait(_Waiter(name, judge), service)
        return Outcome(outcome.ok, outcome.why, outcome.gate, round(self._clock.monotonic() - began, 3))

    async def _wait(self, waiter: _Waiter, service: Supervised) -> Outcome:
        self._inbox.put(waiter)
        try:
            async with asyncio.timeout(patience_s(service.policy, self._busy_s)):
                return await waiter.done
        except TimeoutError:
            one = service.core
            words = "; ".join(word for word in (one.why, service.health.why, self._hands.why) if word)
            return Outcome(False, f"{one.policy.name} is still {one.state}: {words}", "time")
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _look_after(self, name: str) -> None:
        for waiter in self._waiters:
            if waiter.name == name and not waiter.done.done() and name in self._services:
                outcome = waiter.judge(self._services[name].core)
                if outcome is not None:
                    waiter.done.set_result(outcome)

    def activate(self, group: str, epoch: int, holder: str) -> None:
        """This hub holds the group's lease: start its services; those of an earlier epoch are started anew."""
        self._hands.tokens[group] = (epoch, holder)
        for service in self._active_in(group):
            name = service.policy.name
            if service.core.pid is not None and service.token is not None and service.token[0] != epoch:
                self._tell(name, core.Unwanted(f"epoch {epoch}", service.policy.demote_grace_s))
            self._tell(name, core.Wanted(f"active in {group}, epoch {epoch}"))

    def deactivate(self, group: str, why: str) -> None:
        """This hub is not active any more: end the group's services within their demotion grace."""
        self._hands.tokens.pop(group, None)
        for service in self._active_in(group):
            self._tell(service.policy.name, core.Unwanted(why, service.policy.demote_grace_s))

    async def drain_group(self, group: str) -> Outcome:
        """Stop the group's services with their full grace; done when each is STOPPED."""
        names = [service.policy.name for service in self._active_in(group)]
        ended = await asyncio.gather(*(self.stop(name, cause=f"drain of {group}") for name in names))
        failed = [outcome.why for outcome in ended if not outcome.ok]
        return Outcome(not failed, "; ".join(failed), took_s=max((one.took_s or 0.0 for one in ended), default=0.0))

    async def signal(self, name: str, number: int) -> bool:
        """Send a signal to a service's process; False where none runs."""
        return bool((await self._guard.request("signal", name=name, signal=number)).get("ok"))

    async def say_bye(self) -> None:
        """Tell the guard that this agent ends as it should, with nothing held any more."""
        await self._hands.say_bye()

    def reconfigure(self, policies: Sequence[ServicePolicy]) -> None:
        """Take over another list: missing services stop, new ones start, changed ones stop and start anew."""
        assert self._tasks is not None
        wanted = {policy.name: policy for policy in policies}
        for name, service in list(self._services.items()):
            if name not in wanted:
                del self._services[name]
                if service.core.pid is not None:
                    self._tasks.create_task(service.hands.stop(service.policy, service.policy.grace_s))
            elif wanted[name] != service.policy:
                self._replace(service, wanted[name])
        for name, policy in wanted.items():
            if name not in self._services:
                self._services[name] = self._supervised(policy)
                if policy.run == "always" or policy.group in self._hands.tokens:
                    self._tell(name, core.Wanted(RELOADED))

    def _replace(self, service: Supervised, policy: ServicePolicy) -> None:
        """Restart it under its new policy, as an operator would; what was stopped stays stopped."""
        old, name = service.core, policy.name
        new = self._services[name] = self._supervised(policy)
        new.release, new.token = service.release, service.token
        if old.pid is not None:
            up_s = self._clock.monotonic() - (old.started_at or self._clock.monotonic())
            self._tell(name, core.Adopted(old.pid, up_s))
            self._tell(name, core.Unwanted(RELOADED, service.policy.grace_s))
        is_newly_always = policy.run == "always" and service.policy.run != "always"
        if policy.group in self._hands.tokens if policy.run == "active" else old.wanted or is_newly_always:
            self._tell(name, core.Wanted(RELOADED))

    def _supervised(self, policy: ServicePolicy) -> Supervised:
        return Supervised(policy, self._unit_hands if policy.unit else self._hands)

    async def shutdown(self) -> None:
        """Stop every service with its grace, then the guard: only for a hub that is taken out of service."""
        names = [name for name, service in self._services.items() if not service.policy.unit]
        await asyncio.gather(*(self.stop(name, cause="shutdown") for name in names))
        await self._hands.shutdown()

    def _active_in(self, group: str) -> list[Supervised]:
        return [one for one in self._services.values() if one.policy.run == "active" and one.policy.group == group]

    # What is shown.

    def snapshot(self, with_usage: bool = False) -> list[reports.Service]:
        """Every service as of now; CPU and memory of its process only where somebody watches."""
        now = self._clock.monotonic()
        if with_usage:
            for service in self._services.values():
                measure(service, now)
        return [shown(service, now, with_usage=with_usage) for service in self._services.values()]

    def totals(self) -> reports.ServiceTotals:
        """How many run of those wanted, and the worst one."""
        return totals(list(self._services.values()))

    def tail(self, name: str, lines: int) -> list[str]:
        """The last lines of a service's output."""
        return tail(self._output_dir / f"{name}.log", lines) if name in self._services else []

    def follow(self, name: str, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call back with each new line of a service's output, until the returned function is called."""
        assert self._tasks is not None
        return self._follows.follow(name, callback, self._tasks)


def _end_of(service: Supervised, one: dict[str, Any]) -> core.Exited:
    """The end of the process that we knew: as this guard saw it, or unknown where the guard itself was another."""
    known = [ended for ended in one.get("exits", []) if ended["pid"] == service.core.pid]
    return exited(known[-1] if known else {"pid": service.core.pid})
