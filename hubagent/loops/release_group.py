"""Ends what a dead agent left of one group: the guard says that its services are gone, then its lease is released."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from hubagent.core.outcome import Outcome
from hubagent.edges.lease_store import LeaseStore
from hubagent.edges.nats_link import Link
from hubagent.loops.release import release_once

ATTEMPTS_MAX = 5  # a last renewal of the dead agent may land between our look and our write
STOP_GRACE_S = 0.1  # for what the guard does not stop already


class Guard(Protocol):
    """The line to the guard."""

    async def connect(self) -> None:
        """Connect, or GuardGone."""
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


async def release_group(group: str, hub: str, epoch: int, store: LeaseStore, link: Link, guard: Guard) -> Outcome:
    """Until it is released, or why not; raises GuardGone where no guard can say what runs.

    The caller holds the lock of the state directory, so that no agent of this hub runs meanwhile.
    """
    is_up = asyncio.Event()
    link.on_change(lambda up: is_up.set() if up else is_up.clear())
    async with asyncio.TaskGroup() as started:
        running = started.create_task(link.run())  # it connects while the services end
        try:
            await _services_gone(group, guard)
            await is_up.wait()
            return await _release(store, hub, epoch)
        finally:
            running.cancel()


async def _services_gone(group: str, guard: Guard) -> None:
    said = asyncio.Event()
    guard.on_event(lambda _: said.set())
    await guard.connect()
    try:
        while names := await _living(group, guard):
            said.clear()
            for name in names:
                await guard.request("stop", name=name, grace_s=STOP_GRACE_S)
            if await _living(group, guard):
                await said.wait()
    finally:
        guard.close()


async def _living(group: str, guard: Guard) -> list[str]:
    services = (await guard.request("hello"))["services"]
    return [one["name"] for one in services if one["pid"] and one["mode"] == "active" and one["group"] == group]


async def _release(store: LeaseStore, hub: str, epoch: int) -> Outcome:
    outcome = Outcome(ok=False)
    for _ in range(ATTEMPTS_MAX):
        outcome = await release_once(store, hub, epoch)
        if outcome.ok or outcome.gate != "release":
            break
    return outcome
