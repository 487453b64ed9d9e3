"""What each verb does on this hub: its gates from the parts' own facts, its effect by the part that owns it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hubagent.core import preflight
from hubagent.core.outcome import Outcome
from hubagent.core.preflight import GroupFacts, ReleaseFacts
from hubagent.loops.certificates import Certificates
from hubagent.loops.orders import Action
from hubagent.wire.commands import Gate
from hubagent.wire.reports import GroupState, Service


class Services(Protocol):
    """What is needed of the supervised services."""

    def snapshot(self, with_usage: bool) -> list[Service]:
        """Every service."""
        ...

    async def start(self, name: str, *, cause: str) -> Outcome:
        """Until RUNNING and healthy, or failed."""
        ...

    async def stop(self, name: str, *, cause: str) -> Outcome:
        """Until STOPPED."""
        ...

    async def restart(self, name: str, *, cause: str) -> Outcome:
        """Until RUNNING and healthy, or failed."""
        ...


class Rollouts(Protocol):
    """What is needed of the releases."""

    def facts(self, service: str, to: str | None) -> ReleaseFacts | None:
        """What a rollback would do; None where the service has no releases."""
        ...

    async def rollback(self, service: str, to: str | None, *, cause: str) -> Outcome:
        """Until the old release runs and is healthy, or is back where it was."""
        ...


class Groups(Protocol):
    """What is needed of the lease keeper."""

    def facts(self, group: str) -> GroupFacts:
        """What this hub knows of a group."""
        ...

    def groups(self) -> list[GroupState]:
        """The groups of this hub."""
        ...

    async def switchover(self, group: str, to: str, force: frozenset[str] = frozenset()) -> Outcome:
        """Until the successor is active, or failed."""
        ...

    async def promote(self, group: str) -> Outcome:
        """Until this hub is active, or failed."""
        ...

    async def set_auto(self, group: str, auto: str) -> Outcome:
        """Until the record says so."""
        ...


class Stopped(Protocol):
    """What an operator stopped, kept on disk."""

    async def keep(self, name: str, *, is_stopped: bool) -> None:
        """Remember or forget one."""
        ...


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: how its gates are found, and how it is done."""

    find: Callable[[Mapping[str, Any]], list[Gate]]
    do: Callable[[Mapping[str, Any], str], Awaitable[Outcome]]  # (args, actor); forced gates stand in args["force"]

    def gates(self, args: Mapping[str, Any]) -> list[Gate]:
        """The conditions as of now."""
        return self.find(args)

    async def run(self, args: Mapping[str, Any], force: frozenset[str], actor: str) -> Outcome:
        """Do it."""
        return await self.do(args, actor)


def service_verbs(
    services: Services, groups: Callable[[], Sequence[GroupState]], stopped: Stopped
) -> dict[str, Action]:
    """start, stop, restart; a stop is kept over a restart of the agent, a start ends that."""

    def find(name: str) -> Service | None:
        return next((one for one in services.snapshot(False) if one.name == name), None)

    def start_gates(args: Mapping[str, Any]) -> list[Gate]:
        return preflight.start(args["service"], find(args["service"]), groups())

    def stop_gates(args: Mapping[str, Any]) -> list[Gate]:
        return preflight.stop(args["service"], find(args["service"]))

    def restart_gates(args: Mapping[str, Any]) -> list[Gate]:
        return preflight.restart(args["service"], find(args["service"]), groups())

    def verb(gates: Callable[[Mapping[str, Any]], list[Gate]], name: str) -> Verb:
        act = {"start": services.start, "stop": services.stop, "restart": services.restart}[name]

        async def run(args: Mapping[str, Any], actor: str) -> Outcome:
            await stopped.keep(args["service"], is_stopped=name == "stop")
            return await act(args["service"], cause=f"{name} by {actor}")

        return Verb(gates, run)

    return {
        "start": verb(start_gates, "start"),
        "stop": verb(stop_gates, "stop"),
        "restart": verb(restart_gates, "restart"),
    }


def rollback_verb(services: Services, rollouts: Rollouts) -> dict[str, Action]:
    """rollback."""

    def gates(args: Mapping[str, Any]) -> list[Gate]:
        name, to = args["service"], args.get("to", "")
        service = next((one for one in services.snapshot(False) if one.name == name), None)
        return preflight.rollback(name, service, rollouts.facts(name, to), named=bool(to))

    async def run(args: Mapping[str, Any], actor: str) -> Outcome:
        return await rollouts.rollback(args["service"], args.get("to") or None, cause=f"rollback by {actor}")

    return {"rollback": Verb(gates, run)}


def group_verbs(groups: Groups) -> dict[str, Action]:
    """failover, promote, demote, arm."""

    def gates_of(build: Callable[..., list[Gate]], *names: str) -> Callable[[Mapping[str, Any]], list[Gate]]:
        return lambda args: build(groups.facts(args["group"]), *(args.get(name, "") for name in names))

    return {
        "failover": Verb(
            gates_of(preflight.failover, "to"),
            lambda args, actor: groups.switchover(args["group"], args.get("to", ""), frozenset(args.get("force", ()))),
        ),
        "promote": Verb(gates_of(preflight.promote), lambda args, actor: groups.promote(args["group"])),
        "demote": Verb(gates_of(preflight.demote), lambda args, actor: groups.switchover(args["group"], "")),
        "arm": Verb(gates_of(preflight.arm, "auto"), lambda args, actor: groups.set_auto(args["group"], args["auto"])),
    }


def word_verbs(record: Callable[..., None], acknowledge: Callable[[str, str], bool]) -> dict[str, Action]:
    """note, unlock, acknowledge: things that are only said and kept."""

    def none(args: Mapping[str, Any]) -> list[Gate]:
        return []

    async def note(args: Mapping[str, Any], actor: str) -> Outcome:
        record("note", "ok", str(args.get("text", ""))[:500], actor=actor)
        return Outcome(True)

    async def unlock(args: Mapping[str, Any], actor: str) -> Outcome:
        record("note", "ok", "console unlocked", actor=actor, data=dict(args))
        return Outcome(True)

    async def seen(args: Mapping[str, Any], actor: str) -> Outcome:
        alert = str(args.get("alert", ""))
        if not acknowledge(alert, actor):
            return Outcome(False, f"no alert named {alert} is raised", "alert-known")
        record("alert_acked", "ok", f"{alert} acknowledged", actor=actor)
        return Outcome(True)

    return {"note": Verb(none, note), "unlock": Verb(none, unlock), "acknowledge": Verb(none, seen)}


def certificate_verb(certificates: Certificates) -> dict[str, Action]:
    """renew."""
    return {"renew": Verb(lambda args: [], lambda args, actor: certificates.renew())}
