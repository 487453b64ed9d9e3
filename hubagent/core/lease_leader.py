"""Where a replicated lease stream should have its Raft leader: anywhere but on the machine of the active hub."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Judgement:
    """`degraded`: what is not as it should be, in words; `move_to`: the server that should lead instead."""

    degraded: str = ""
    move_to: str = ""


def judge(cluster: Mapping[str, Any], own: Collection[str]) -> Judgement:
    """What to make of the `cluster` of a stream's info; a stream without replicas has nobody to move to."""
    replicas = [one for one in cluster.get("replicas") or () if isinstance(one, Mapping)]
    leader = str(cluster.get("leader") or "")
    if not replicas:
        return Judgement()
    if not leader:
        return Judgement("DEGRADED: the lease stream has no leader, it is electing one")
    if leader not in own:
        return Judgement()
    ready = [str(one.get("name")) for one in replicas if one.get("current") and not one.get("offline")]
    others = sorted(name for name in ready if name not in own)
    why = (
        f"DEGRADED: the lease stream is led by {leader} on this hub's machine; its death would stop leases for seconds"
    )
    return Judgement(why if others else f"{why}, and no other replica is ready", others[0] if others else "")
