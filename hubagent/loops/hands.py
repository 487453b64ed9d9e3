"""How services are started and stopped: by the guard, or by systemd where a service is one of its units."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hubagent.core.service_policy import ServicePolicy
from hubagent.core.supervision import Adopted, Event, Exited, NothingToStop, SpawnFailed, Started
from hubagent.edges.outputs import release_folder
from hubagent.edges.systemd import SystemdRefused, UnitState
from hubagent.errors import GuardGone

REVIVE_MIN_S, REVIVE_MAX_S = 0.02, 1.0  # between two attempts to have a guard, doubled each time
LEASE_RETRY_S, LEASE_RETRIES_MAX = 0.02, 50  # the keeper's deadline may reach the guard a moment after our start
UNIT_POLL_S = 2.0
SHUTDOWN_S_MAX = 10.0
Token = tuple[int, str]
Tell = Callable[[str, Event], None]
Found = Callable[[list[dict[str, Any]]], None]


class Guard(Protocol):
    """The line to the guard."""

    async def revive(self) -> None:
        """Connect, starting one when none answers."""
        ...

    async def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Its reply, or GuardGone."""
        ...

    def on_event(self, callback: Callable[[dict[str, Any]], None]) -> None:
        """Its events."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class UnitFace(Protocol):
    """What is needed of systemd."""

    async def start(self, unit: str) -> None:
        """Until it is started."""
        ...

    async def stop(self, unit: str) -> None:
        """Until it is stopped."""
        ...

    async def show(self, unit: str) -> UnitState:
        """What it does now."""
        ...


class Hands(Protocol):
    """Starts and stops one service; the outcome is an event of its supervision."""

    async def spawn(self, policy: ServicePolicy, is_wanted: Callable[[], bool]) -> Event | None:
        """Start it; None where somebody else tells the outcome, or it is not wanted any more."""
        ...

    async def stop(self, policy: ServicePolicy, grace_s: float) -> Event | None:
        """Stop it; None where its exit will be told."""
        ...


class GuardHands:
    """Starts and stops children of the guard, and keeps a guard alive."""

    def __init__(
        self,
        guard: Guard,
        hub: str,
        output_dir: Path,
        on_found: Found,
        on_agent_gone: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.tokens: dict[str, Token] = {}  # of the groups in which this hub is active
        self.why = ""  # no guard, because
        self._guard, self._hub, self._output_dir, self._on_found = guard, hub, output_dir, on_found
        self._hello = {"on_agent_gone": dict(on_agent_gone)} if on_agent_gone else {}
        self._ready, self._lost = asyncio.Event(), asyncio.Event()
        self._is_ending = False
        guard.on_event(lambda event: self._lost.set() if event.get("event") == "gone" else None)

    async def keep(self, on_trouble: Callable[[str], None]) -> None:
        """Have a guard, and after each new connection tell what it runs; until cancelled."""
        self._output_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        pause_s = REVIVE_MIN_S
        while not self._is_ending:
            self._lost.clear()
            try:
                await self._guard.revive()
                hello = await self._guard.request("hello", agent=True, **self._hello)
            except GuardGone as error:
                # The first failure is no news: a guard that was just killed may hold its socket a moment longer.
                if pause_s > REVIVE_MIN_S and self.why != str(error):
                    self.why = str(error)
                    on_trouble(self.why)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, REVIVE_MAX_S)
                continue
            self.why, pause_s = "", REVIVE_MIN_S
            self._on_found(hello["services"])  # before anybody starts something that is found running
            self._ready.set()
            await self._lost.wait()
            self._ready.clear()

    async def spawn(self, policy: ServicePolicy, is_wanted: Callable[[], bool]) -> Event | None:
        """Ask until a guard answers; what it answered. An unknown outcome is looked up, never repeated blindly."""
        why = ""
        for _ in range(LEASE_RETRIES_MAX):
            reply = await self._start(policy, is_wanted)
            if reply is None:
                return NothingToStop()
            if reply.get("ok"):
                return Started(reply["pid"])
            if reply.get("pid"):
                return Adopted(reply["pid"])
            why = str(reply.get("why"))
            if not why.startswith("lease:"):
                break
            await asyncio.sleep(LEASE_RETRY_S)
        return SpawnFailed(why, random.random())  # noqa: S311 - jitter, not a secret

    async def _start(self, policy: ServicePolicy, is_wanted: Callable[[], bool]) -> dict[str, Any] | None:
        while True:
            await self._ready.wait()
            if not is_wanted():
                return None
            try:
                return await self._guard.request(
                    "start", **start_fields(policy, self._hub, self._output_dir, self.tokens)
                )
            except GuardGone:
                self._ready.clear()
                self._guard.close()
                self._lost.set()

    async def stop(self, policy: ServicePolicy, grace_s: float) -> Event | None:
        """Ask once: a guard that comes later is told again when it says that the service runs."""
        is_there = await self.stop_name(policy.name, grace_s)
        return NothingToStop() if is_there is False else None

    async def say_bye(self) -> None:
        """Tell the guard that this agent ends as it should: then the services that need no agent go on."""
        with contextlib.suppress(GuardGone):  # a guard that is gone asks for nothing
            await self._guard.request("bye")

    async def shutdown(self) -> None:
        """Have the guard end, and begin none again."""
        self._is_ending = True
        try:
            await self._guard.request("shutdown")
            async with asyncio.timeout(SHUTDOWN_S_MAX):
                await self._lost.wait()
        except (GuardGone, TimeoutError):
            return  # gone already, or ending in its own time

    async def stop_name(self, name: str, grace_s: float) -> bool | None:
        """Stop whatever runs under this name: whether something did, None when no guard answers."""
        try:
            reply = await self._guard.request("stop", name=name, grace_s=grace_s)
        except GuardGone:
            return None
        return None if not reply.get("ok") else reply.get("pid") is not None


def exited(told: Mapping[str, Any]) -> Exited:
    """The guard's word of an end as an event, with its own chance for jitter."""
    return Exited(
        pid=told.get("pid") or 0,
        code=told.get("code"),
        signal=told.get("signal"),
        up_s=told.get("up_s") or 0.0,
        asked=bool(told.get("asked")),
        jitter=random.random(),  # noqa: S311 - jitter, not a secret
    )


def start_fields(policy: ServicePolicy, hub: str, output_dir: Path, tokens: Mapping[str, Token]) -> dict[str, Any]:
    """The guard's start request of one service; paths of a release are those of its present version."""
    epoch, holder = tokens.get(policy.group, (0, ""))
    folder = release_folder(policy.release_root) if policy.release_root else None
    env = dict(policy.env) | {"HUB_ID": hub, "HUB_SERVICE": policy.name}
    if folder is not None:
        env["HUB_RELEASE"] = folder.name
    if policy.run == "active":
        env |= {"HUB_EPOCH": str(epoch), "HUB_GROUP": policy.group}
    program = policy.argv[0]
    if folder is not None and "/" in program:  # absolute ones stay: joining keeps them
        program = str(folder / program)
    return {
        "name": policy.name,
        "argv": [program, *policy.argv[1:]],
        "env": env,
        "cwd": policy.cwd if folder is None else str(folder / policy.cwd),
        "output": str(output_dir.absolute() / f"{policy.name}.log"),
        "output_bytes": policy.output_bytes,
        "mode": policy.run,
        "group": policy.group,
        "epoch": epoch,
        "holder": holder,
        "nofile": policy.nofile,
        "grace_s": policy.grace_s,
    }


class UnitHands:
    """Starts and stops units of systemd, and tells what becomes of them."""

    def __init__(self, units: UnitFace) -> None:
        self._units = units
        self._pids: dict[str, int] = {}

    async def spawn(self, policy: ServicePolicy, is_wanted: Callable[[], bool]) -> Event | None:
        """Start the unit; started when it has a main process."""
        try:
            await self._units.start(policy.unit)
            state = await self._units.show(policy.unit)
        except SystemdRefused as error:
            return SpawnFailed(str(error), random.random())  # noqa: S311 - jitter, not a secret
        if not state.pid:
            return SpawnFailed(f"unit {policy.unit} is {state.active} without a main process", 0.0)
        self._pids[policy.name] = state.pid
        return Started(state.pid)

    async def stop(self, policy: ServicePolicy, grace_s: float) -> Event | None:
        """Stop the unit, with its own grace."""
        try:
            await self._units.stop(policy.unit)
            state = await self._units.show(policy.unit)
        except SystemdRefused:
            return None  # it may still run: the next look tells
        self._pids.pop(policy.name, None)
        return Exited(code=state.code, asked=True)

    async def keep(self, policies: Iterable[ServicePolicy], tell: Tell) -> None:
        """Look at each unit now and then; until cancelled."""
        units = [policy for policy in policies if policy.unit]
        while units:
            for policy in units:
                try:
                    self._compare(policy, await self._units.show(policy.unit), tell)
                except SystemdRefused:
                    continue  # nothing is known, so nothing is told
            await asyncio.sleep(UNIT_POLL_S)

    def _compare(self, policy: ServicePolicy, state: UnitState, tell: Tell) -> None:
        before = self._pids.get(policy.name)
        if state.pid and state.pid != before:
            self._pids[policy.name] = state.pid
            tell(policy.name, Adopted(state.pid))
        elif not state.pid and before and state.active in ("inactive", "failed"):
            del self._pids[policy.name]
            tell(policy.name, Exited(pid=before, code=state.code, jitter=random.random()))  # noqa: S311 - jitter
