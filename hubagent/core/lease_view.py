"""A group in the words of design 4, for reports."""

from collections.abc import Sequence

from hubagent.core.lease import Lease
from hubagent.core.lease_fit import misfit
from hubagent.core.lease_state import Holding
from hubagent.wire.reports import GroupState

TAKEOVERS_ASK = 3  # so many takeovers within the window, and a person should decide


def group_state(lease: Lease, now: float, said: Sequence[str] = ()) -> GroupState:
    """The group as this hub sees it now; `said` is what else an operator should read of it."""
    role, why = _role(lease, now)
    why = "; ".join(filter(None, (why, _stretched(lease), *said)))
    held, known = lease.held, lease.known
    token = held.token if held else None
    fresh = now - lease.watch.read_at <= 2.5 * lease.profile.renew_s
    return GroupState(
        group=lease.policy.group,
        role=role,
        epoch=token.epoch if token else (known.epoch if known else lease.seen.epoch),
        left_s=max(held.until - now, 0.0) if held and held.is_acting else None,
        auto=lease.auto,
        why=why,
        holder=_holder(lease),
        maintenance=lease.maintenance,
        witness="" if not lease.policy.has_witness else "ok" if fresh and not _is_alone(held) else "unreachable",
        not_fenced=sorted(held.not_fenced) if held else [],
    )


def _stretched(lease: Lease) -> str:
    """Why another profile is used than the one asked for."""
    if lease.stretched is None:
        return ""
    seen = lease.measured
    why = misfit(lease.base_profile, seen.round_trip_s, seen.lag_s) or f"{lease.base_profile.name} did not fit here"
    return f"{why}; {lease.stretched.name} is used instead"


def _is_alone(held: Holding | None) -> bool:
    return held is not None and (held.by_promise or held.by_hand)


def _holder(lease: Lease) -> str:
    if lease.held:
        return lease.hub
    if lease.known and lease.known.state != "released":
        return lease.known.holder
    return lease.seen.holder if not lease.policy.has_witness else ""


def _role(lease: Lease, now: float) -> tuple[str, str]:
    if lease.held is not None:
        return _active(lease, lease.held, now)
    if lease.broken:
        return "NO AUTHORITY", lease.broken
    if not lease.policy.has_witness:
        return _in_pair(lease, now)
    if lease.known is None and lease.watch.key is None:
        return "UNKNOWN", "the witness has not been read yet"
    return _standby(lease, now)


def _active(lease: Lease, held: Holding, now: float) -> tuple[str, str]:
    if not lease.has_authority(now):
        return (
            "NO AUTHORITY",
            f"promoted by hand: waits {max(held.act_from - now, 0):.1f} s for the old holder to lapse",
        )
    if held.by_promise:
        return "ACTIVE by promise", "witness unreachable: automatic failover is off until it returns"
    if held.by_hand and lease.policy.has_witness:
        return "ACTIVE", "promoted by hand, the witness is unreachable"
    return "ACTIVE", _too_many(lease, now)


def _standby(lease: Lease, now: float) -> tuple[str, str]:
    hindrance = lease._hindrance(now)  # noqa: SLF001  # the view is a part of the same core, in a file of its own
    reservation = lease._reservation()  # noqa: SLF001
    expires_at = lease._expires_at()  # noqa: SLF001
    if hindrance or reservation:
        why = f"automatic failover off: {hindrance or reservation}"
        reads = now - lease.watch.read_at <= 2.5 * lease.profile.renew_s
        if reads and expires_at is not None and now >= expires_at and now >= lease.promised_until:
            return "NO AUTHORITY", f"nobody renews the lease; {why}"
        if not reads and lease.known and (lease.known.holder, lease.known.boot) == (lease.hub, lease.boot):
            return "NO AUTHORITY", f"the lease of this hub ran out; {why}"
        return "STANDBY", why
    return "STANDBY", _too_many(lease, now)


def _in_pair(lease: Lease, now: float) -> tuple[str, str]:
    silent = [
        one for one in lease.others if now - lease.peer_heard.get(one, lease.started) > lease.profile.wait_s + 2.0
    ]
    if silent:
        return "STANDBY", f"{silent[0]} unreachable: I cannot know whether it is dead; promotion is by hand"
    return "STANDBY", "automatic failover off: plain pair, promotion is by hand"


def _too_many(lease: Lease, now: float) -> str:
    recent = sum(1 for at in lease.takeovers if now - at < lease.policy.changes_window_s)
    if recent < TAKEOVERS_ASK:
        return ""
    return (
        f"{recent} takeovers in {lease.policy.changes_window_s / 60:.0f} min: decide (disarm, maintenance, or repair)"
    )
