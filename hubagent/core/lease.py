"""The lease of one group, as one hub plays it: holder or candidate, at most one valid authority at any time."""

from collections.abc import Callable
from typing import Any

from hubagent.core.lease_events import (
    Clocks,
    Configure,
    Drained,
    Effect,
    EpochKept,
    Event,
    Measured,
    PeerAnswered,
    PeerAsked,
    Promote,
    Pulse,
    ReadDone,
    ReadFailed,
    SetAuto,
    SetMaintenance,
    Switchover,
    WriteDone,
    WriteNotSent,
    WriteRefused,
    WriteUnknown,
)
from hubagent.core.lease_fit import STEADY_S, fitting, longest, misfit
from hubagent.core.lease_peers import Peers
from hubagent.core.lease_policy import AUTO_WORDS, LeasePolicy, Memory
from hubagent.core.lease_state import NEVER, Phase
from hubagent.core.outcome import Outcome


class Lease(Peers):
    """Feed events and the boottime; carry out the effects in order, and without waiting for one to do the next."""

    def __init__(self, policy: LeasePolicy, boot: str, memory: Memory, now: float) -> None:
        super().__init__(policy, boot, memory, now)
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            ReadDone: self._on_read_done,
            ReadFailed: self._on_read_failed,
            WriteDone: self._on_write_done,
            WriteRefused: self._on_write_refused,
            WriteUnknown: self._on_write_unknown,
            WriteNotSent: self._on_write_not_sent,
            EpochKept: self._on_epoch_kept,
            PeerAsked: self._on_peer_asked,
            PeerAnswered: self._on_peer_answered,
            Pulse: self._on_pulse,
            Clocks: self._on_clocks,
            Measured: self._on_measured,
            Switchover: self._on_switchover,
            Promote: self._on_promote,
            Drained: self._on_drained,
            SetAuto: self._on_set_auto,
            SetMaintenance: self._on_set_maintenance,
            Configure: self._on_configure,
        }
        self._times = {
            Phase.STANDBY: self._standby_times,
            Phase.CLAIMING: self._claiming_times,
            Phase.HOLDING: self._holding_times,
            Phase.DRAINING: self._holding_times,
            Phase.RELEASING: self._releasing_times,
        }

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one event; the first act is always a check of the deadline.

        Clocks and pulses say how things stand at this moment: what is due by them follows with the next event or `tick`,
        or a renewal would be left out for a pulse that had come, and was about to be told.
        """
        self._out = []
        self._lapse(now)
        self._handlers[type(event)](event, now)
        if not isinstance(event, (Clocks, Pulse)):
            self._run(now)
        return self._out

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        self._out = []
        self._lapse(now)
        self._run(now)
        return self._out

    def deadline(self) -> float | None:
        """When something is due next (boottime seconds); may lie in the past."""
        return min((at for at in self._times[self.phase]() if at is not None), default=None)

    def _standby_times(self) -> list[float | None]:
        watch = self.watch
        if not self.policy.has_witness:
            return [self.resume_at]
        released_at = self.handover.released_at if self.handover else None
        # An expiry that is past and hindered is looked at again with each poll, not in a busy circle.
        expires_at = self._expires_at()
        coming = [at for at in (expires_at, self._suspicious_at()) if at is not None and at > self._ran_at]
        return [watch.poll_at, *coming, None if released_at is None else released_at + self.policy.handover_s]

    def _holding_times(self) -> list[float | None]:
        held = self.held
        assert held is not None
        fence_at = held.fence_at if held.not_fenced else None
        return [
            held.until,
            held.renew_at,
            fence_at,
            held.coming_at if held.coming else None,
            None if held.is_acting else held.act_from,
        ]

    def _claiming_times(self) -> list[float | None]:
        return [self.doubt_at]

    def _releasing_times(self) -> list[float | None]:
        assert self.handover is not None
        return [self.doubt_at, self.handover.began + self.policy.handover_s]

    _ran_at = NEVER

    def _run(self, now: float) -> None:
        self._ran_at = now
        if self.phase is Phase.STANDBY:
            self._consider(now)
            self._follow_handover(now)
            if self.phase is Phase.STANDBY:
                self._seek_resumption(now)
        elif self.phase is Phase.CLAIMING:
            if self.doubt_at is not None and now >= self.doubt_at:
                self.doubt_at = now + self.profile.renew_s
                self._read()
        elif self.phase is Phase.RELEASING:
            self._push_release(now)
        if self.held is not None:
            self._keep(now)
            self._follow_handover(now)

    # --- the store

    def _on_read_done(self, event: ReadDone, now: float) -> None:
        if event.read_id not in self.reads:
            return  # overtaken: something newer is known already
        self.reads = {read_id for read_id in self.reads if read_id > event.read_id}
        self._observe(event, now)
        if self.phase is Phase.CLAIMING:
            self._settle_claim(now)
        elif self.phase is Phase.RELEASING:
            self._settle_release(now)
        elif self.held is not None:
            self._settle_held(now)

    def _on_read_failed(self, event: ReadFailed, now: float) -> None:
        self.reads.discard(event.read_id)

    def _on_write_unknown(self, event: WriteUnknown, now: float) -> None:
        """Nothing is known, so nothing changes: it stays open until a read shows a later sequence."""

    # --- clocks and people

    def _on_pulse(self, event: Pulse, now: float) -> None:
        self.pulse_at = max(self.pulse_at, event.at)

    def _on_clocks(self, event: Clocks, now: float) -> None:
        """TILT: boottime that jumped against monotonic means that the machine slept; everything begins afresh."""
        offset, before = now - event.monotonic, self._offset
        self._offset, self._wall_offset = offset, event.wall - now
        if before is not None and abs(offset - before) > self.profile.margin_s:
            self.void_before = now
            self.watch.restart(now)
            if self.held is not None:
                self._drop(f"the clocks jumped by {offset - before:.1f} s (suspend)", now)

    def _on_set_auto(self, event: SetAuto, now: float) -> None:
        if event.auto not in AUTO_WORDS:
            why = f"one of {', '.join(AUTO_WORDS)}"
            self._conclude(event.request_id, Outcome(ok=False, gate="auto", why=why))
        elif self._may_set(event.request_id):
            self.auto = event.auto
            self._write_settings(event.request_id, now)

    def _on_set_maintenance(self, event: SetMaintenance, now: float) -> None:
        if self._may_set(event.request_id):
            self.maintenance = event.on
            self._write_settings(event.request_id, now)

    def _may_set(self, request_id: int) -> bool:
        if self.held is None:
            holder = self.known.holder if self.known else "nobody"
            why = f"only the holder writes the record, and {holder} has it"
            self._conclude(request_id, Outcome(ok=False, gate="lease-held", why=why))
        return self.held is not None

    def _write_settings(self, request_id: int, now: float) -> None:
        assert self.held is not None
        self.settings_open = (*self.settings_open, request_id)
        self.held.renew_at = now

    def _on_configure(self, event: Configure, now: float) -> None:
        if self.hub not in event.members:
            self.broken = "not a member of the group any more"
            self._note("critical", f"{self.hub} is no member of {self.policy.group} any more: hand the lease over")
            return
        self.wanted = event
        self._stretch(now)
        if self.held is not None:
            self.held.renew_at = now

    def _on_measured(self, event: Measured, now: float) -> None:
        """A profile that does not fit here gives way at once to a longer one, and comes back after a steady minute."""
        self.measured = event
        self._stretch(now)

    def _stretch(self, now: float) -> None:
        seen = self.measured
        fit = fitting(self.base_profile, seen.round_trip_s, seen.lag_s)
        before = longest(self.base_profile, self.stretched)
        if fit.span_s >= before.span_s:
            self.steady_since = now
        if fit.span_s < before.span_s and now - self.steady_since < STEADY_S:
            return
        self.stretched = None if fit is self.base_profile else fit
        if fit.span_s > before.span_s:
            why = misfit(self.base_profile, seen.round_trip_s, seen.lag_s)
            self._note("warning", f"{why}; {fit.name} is used instead")
        elif fit.span_s < before.span_s:
            self._note("ok", f"{fit.name} fits again")
        if fit.span_s != before.span_s and self.held is not None:
            self.held.renew_at = now

    def _drop(self, why: str, now: float) -> None:
        super()._drop(why, now)
        for request_id in self.settings_open:
            self._conclude(request_id, Outcome(ok=False, gate="lease-held", why=why))
        self.settings_open = ()
