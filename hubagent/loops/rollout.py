"""Carries out changes of release, one at a time for each service, and goes on after a crash where it has to."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from hubagent.clock import Clock
from hubagent.core import preflight
from hubagent.core.outcome import Outcome
from hubagent.core.preflight import ReleaseFacts
from hubagent.core.release_book import Book, Change, last_good, version_order
from hubagent.core.rollout import Rollout, RolloutPolicy
from hubagent.core.rollout_events import (
    Begin,
    Check,
    Did,
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
from hubagent.errors import HubagentError
from hubagent.loops.inbox import Inbox
from hubagent.loops.orders import Recorder
from hubagent.wire.commands import Gate
from hubagent.wire.reports import Alert, Service

NOT_RUNNING = frozenset({"STOPPED", "EXITED", "STOPPING"})


class Services(Protocol):
    """What a change of release needs of the supervised services."""

    def snapshot(self, with_usage: bool) -> list[Service]:
        """Every service as it is now."""
        ...

    async def start(self, name: str, *, cause: str) -> Outcome:
        """Until RUNNING and healthy, or failed."""
        ...

    async def stop(self, name: str, *, cause: str) -> Outcome:
        """Until STOPPED."""
        ...


class Store(Protocol):
    """One service's releases on disk; `edges.release_store.ReleaseStore`, its fake in `tests/fakes/release_store.py`."""

    def load(self) -> bytes | None:
        """The document saved last."""
        ...

    async def save(self, document: bytes) -> None:
        """Make it durable."""
        ...

    def installed(self) -> list[str]:
        """Versions that are there."""
        ...

    def current(self) -> str:
        """The one in force."""
        ...

    async def check(self, version: str) -> None:
        """Raise ReleaseRefused where it cannot be switched to."""
        ...

    async def switch(self, version: str) -> None:
        """Make it the one in force."""
        ...


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """What is shown of a service's releases; `installed` oldest first."""

    current: str
    installed: list[str]
    last_good: str
    pinned: str


class Rollouts:
    """The releases of all services of this hub that have any."""

    def __init__(
        self,
        services: Services,
        stores: Mapping[str, Store],
        policies: Mapping[str, RolloutPolicy],
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        assert stores.keys() == policies.keys(), "each store has its policy"
        self._services, self._stores, self._policies = services, stores, policies
        self._recorder, self._clock = recorder, clock
        self._books: dict[str, Book] = {}
        self._views: dict[str, ReleaseView] = {}
        self._changing: set[str] = set()

    def load(self) -> None:
        """Read the books; blocking, once, before anything else."""
        for service, store in self._stores.items():
            raw = store.load()
            self._books[service] = msgspec.json.decode(raw, type=Book) if raw else Book()
            self._refresh(service)

    async def recover(self) -> None:
        """Finish what an earlier run left open: back to the old release. Call once the services are supervised."""
        async with asyncio.TaskGroup() as started:
            for service, book in self._books.items():
                if book.open is not None:
                    # An `active` service is started by its group's authority only, which this run has yet to win.
                    restart = book.open.restart and self._find(service, Service(service, "")).run != "active"
                    started.create_task(self._run(service, Resume(restart)))

    async def rollback(self, service: str, to: str | None, *, cause: str) -> Outcome:
        """Straight to the last good release or the one named; ends there, or back where it was, or with an alarm."""
        facts = self.facts(service, to)
        if service in self._changing:
            return Outcome(False, f"a change of {service} is under way", "no-other-action")
        gates = preflight.rollback(service, self._find(service), facts, named=True)
        if (refusal := preflight.refusal(gates)) is not None or facts is None:
            return Outcome(False, refusal.why if refusal else "no releases", refusal.name if refusal else "")
        restart = self._find(service, Service(service, "STOPPED")).state not in NOT_RUNNING
        change = Change(facts.current, facts.target, restart, cause[:200], self._clock.wall())
        return await self._run(service, Begin(change))

    def facts(self, service: str, to: str | None) -> ReleaseFacts | None:
        """What a rollback would do as of now; None where the service has no releases."""
        if service not in self._stores:
            return None
        view = self._refresh(service)
        return ReleaseFacts(view.current, to or view.last_good, view.installed, view.pinned)

    def gates(self, service: str, to: str | None) -> list[Gate]:
        """The conditions of a rollback as of now."""
        return preflight.rollback(service, self._find(service), self.facts(service, to), named=bool(to))

    def view(self, service: str) -> ReleaseView | None:
        """What is shown; as of the last change or preflight, so that showing it costs no disk."""
        return self._views.get(service)

    def alerts(self) -> list[Alert]:
        """Pinned services: somebody has to decide."""
        return [
            Alert(f"release-{service}", "warning", f"{service} is pinned: {book.pinned}", book.pinned_t)
            for service, book in self._books.items()
            if book.pinned
        ]

    def _refresh(self, service: str) -> ReleaseView:
        store, book = self._stores[service], self._books[service]
        current, installed = store.current(), sorted(store.installed(), key=version_order)
        self._views[service] = ReleaseView(current, installed, last_good(book, current, installed), book.pinned)
        return self._views[service]

    def _find(self, service: str, missing: Any = None) -> Any:
        return next((one for one in self._services.snapshot(False) if one.name == service), missing)

    async def _run(self, service: str, first: Event) -> Outcome:
        begun = self._clock.monotonic()
        self._changing.add(service)
        try:
            outcome = await self._drive(Rollout(service, self._policies[service], self._books[service]), first)
        finally:
            self._changing.discard(service)
            self._refresh(service)
        return Outcome(outcome.ok, outcome.why, outcome.gate, self._clock.monotonic() - begun)

    async def _drive(self, core: Rollout, first: Event) -> Outcome:
        inbox: Inbox[Event] = Inbox(self._clock)
        async with asyncio.TaskGroup() as started:
            work: list[asyncio.Task[None]] = []
            effects = core.handle(first, self._clock.monotonic())
            while True:
                steps = [effect for effect in effects if not isinstance(effect, Say | Look)]
                if steps:  # a step that is still at it was given up
                    for task in work:
                        task.cancel()
                    work = []
                for effect in effects:
                    if isinstance(effect, Say):
                        self._say(core, effect)
                    elif isinstance(effect, Look):
                        inbox.put(self._observe(core.service, effect.ticket))
                    else:
                        work.append(started.create_task(self._carry_out(core, effect, inbox)))
                if core.outcome is not None:
                    return core.outcome
                event = await inbox.next(until=core.deadline())
                now = self._clock.monotonic()
                effects = core.tick(now) if event is None else core.handle(event, now)

    async def _carry_out(self, core: Rollout, effect: Effect, inbox: Inbox[Event]) -> None:
        assert not isinstance(effect, Say | Look), "these are not awaited"
        policy = core.policy
        try:
            async with asyncio.timeout(max(policy.stop_s, policy.gate_s, policy.switch_s)):
                fault = await self._do(core, effect)
        except HubagentError as error:
            fault = str(error)
        except TimeoutError:
            fault = "no answer"
        inbox.put(Failed(effect.ticket, fault) if fault else Did(effect.ticket))

    async def _do(self, core: Rollout, effect: Save | Check | Stop | Switch | Start) -> str:
        """Why it failed; empty when done."""
        service, store = core.service, self._stores[core.service]
        cause = core.change.cause or "change of release"
        if isinstance(effect, Save):
            await store.save(msgspec.json.encode(effect.book))
            self._books[service] = effect.book
        elif isinstance(effect, Check):
            await store.check(effect.version)
        elif isinstance(effect, Switch):
            await store.switch(effect.version)
        else:
            act = self._services.stop if isinstance(effect, Stop) else self._services.start
            outcome = await act(service, cause=cause)
            return "" if outcome.ok else outcome.why or "failed"
        return ""

    def _observe(self, service: str, ticket: int) -> Observed:
        one = self._find(service)
        if one is None:
            return Observed(ticket, "FATAL", None, None, 0)
        return Observed(ticket, one.state, one.healthy, one.pid, one.restarts)

    def _say(self, core: Rollout, effect: Say) -> None:
        change = core.change
        data = {"service": core.service, "old": change.old, "new": change.new, "step": core.state}
        self._recorder.event(effect.kind, effect.severity, effect.text, data=data)
