"""What a lease knows, its legal moves, and the small steps that every part of it shares."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from hubagent.core.lease_events import (
    Ask,
    Concluded,
    Configure,
    Demoted,
    Effect,
    Hold,
    Measured,
    Note,
    Promoted,
    Read,
    Remember,
    Write,
)
from hubagent.core.lease_policy import PROFILES, LeasePolicy, Memory, Profile, Token
from hubagent.core.outcome import Outcome
from hubagent.wire.leases import LeaseRecord

NEVER = float("-inf")
OPEN_MAX = 16  # own writes in doubt; each costs a read before the next, so more than a few means a broken store
ROUNDS_MAX = 32  # questions to members still unanswered; the oldest are forgotten, which gives no authority
READS_MAX = 8  # reads still unanswered; an answer to a forgotten one is ignored


class Phase(StrEnum):
    """Where a hub stands in one group."""

    STANDBY = "standby"
    CLAIMING = "claiming"  # a compare-and-set of its own is, or will be, open
    HOLDING = "holding"
    DRAINING = "draining"  # still holding; the active services are being stopped for a successor
    RELEASING = "releasing"  # no authority any more; the released record is being written


MOVES = {
    (Phase.STANDBY, "claim"): Phase.CLAIMING,
    (Phase.STANDBY, "by hand"): Phase.HOLDING,
    (Phase.CLAIMING, "won"): Phase.HOLDING,
    (Phase.CLAIMING, "lost"): Phase.STANDBY,
    (Phase.HOLDING, "drop"): Phase.STANDBY,
    (Phase.HOLDING, "drain"): Phase.DRAINING,
    (Phase.DRAINING, "drop"): Phase.STANDBY,
    (Phase.DRAINING, "go on"): Phase.HOLDING,
    (Phase.DRAINING, "drained"): Phase.RELEASING,
    (Phase.RELEASING, "released"): Phase.STANDBY,
}


@dataclass(slots=True)
class Round:
    """One question to members: when it was sent, and who has not said yes."""

    ask: str
    sent: float
    waiting: set[str]


@dataclass(slots=True)
class Handover:
    """A planned switchover on its way."""

    request_id: int
    successor: str
    began: float
    stop: bool
    released_at: float | None = None


@dataclass(slots=True)
class Watch:
    """What the last reads of the store showed, and since when (by receipt)."""

    seq: int = 0
    record: LeaseRecord | None = None
    connection: int = -1
    has_news: bool = False  # something was written since this connection began: it is no older copy that is shown
    key: tuple[object, ...] | None = None
    first_seen: float | None = None
    read_at: float = NEVER
    poll_at: float = NEVER
    live_seen: tuple[int, int] | None = None  # (connection, epoch) last seen held or draining
    asked_at: float = NEVER  # the epoch query of this wait
    shadowed: tuple[object, ...] | None = None  # the key for which shadow has spoken already

    def restart(self, now: float) -> None:
        """Forget what was seen, so that the next read begins a full wait."""
        self.key = self.first_seen = None
        self.poll_at = now


@dataclass(slots=True)
class Holding:
    """What the holder holds; `until` is its deadline, counted from sending."""

    token: Token
    until: float = NEVER
    act_from: float = NEVER
    is_acting: bool = False
    by_promise: bool = False
    by_hand: bool = False  # no store confirms it: a plain pair, or a witness that is away
    confirmed_sent: float = NEVER
    renew_at: float = NEVER
    in_question: bool = False  # a mismatch, while writes of our own were in doubt: only a read may settle it
    since: float = NEVER
    not_fenced: set[str] = field(default_factory=set)
    fence_at: float = NEVER
    why: str = ""
    coming: Profile | None = None  # a longer span that the record names and nobody counts by yet ...
    coming_at: float = NEVER  # ... until every member knows of it, or must have read it


class LeaseState:
    """The base of a lease: its fields and shared steps; no decision is taken here."""

    def __init__(self, policy: LeasePolicy, boot: str, memory: Memory, now: float) -> None:
        self.policy = policy
        self.hub = policy.hub
        self.boot = boot
        self.phase = Phase.STANDBY
        self.own_epoch = max(memory.own_epoch, memory.seen.epoch)
        self.seen = memory.seen
        self.peer_epoch = 0
        self.profile = longer(policy.profile, memory.span_s)
        self.wanted: Configure | None = None  # the roster's members and profile, to be written into the record
        self.measured = Measured(0.0, 0.0)
        self.stretched: Profile | None = None  # what is used instead of a profile that does not fit here
        self.steady_since = now
        self.span_kept_s = memory.span_s
        self.fence_span_s = self.fenced_at = 0.0  # by which span the last token heard is counted, and when it was heard
        self.known: LeaseRecord | None = None  # the last valid record, also while the store is empty or away
        self.watch = Watch(poll_at=now)
        self.held: Holding | None = None
        self.expect = 0
        self.open: dict[int, tuple[float, LeaseRecord]] = {}
        self.reads: set[int] = set()
        self.rounds: dict[int, Round] = {}
        self.handover: Handover | None = None
        self.claim_epoch = 0
        self.claim_connection = 0
        self.claim_request: int | None = None  # a promotion by hand that waits for its outcome
        self.claim_why = ""
        self.doubt_at: float | None = None
        self.promised_until = NEVER
        self.promised_to = ""
        self.hold_off = NEVER
        self.void_before = NEVER
        self.pulse_at = now
        self.auto = policy.auto
        self.maintenance = False
        self.hub_maintenance = False  # of this hub alone: it keeps what it holds, and takes nothing by itself
        self.broken = ""
        self.started = now
        self.peer_heard: dict[str, float] = {}
        self.changes: deque[float] = deque(maxlen=policy.changes_max + 1)
        self.takeovers: deque[float] = deque(maxlen=policy.changes_max + 1)
        self._offset: float | None = None
        self._wall_offset = 0.0
        self._last_stamp = 0.0
        self._last_id = 0
        self._out: list[Effect] = []

    # --- questions

    @property
    def members(self) -> tuple[str, ...]:
        """The record's members; the roster's only while no record was ever seen."""
        return tuple(self.known.members) if self.known else self.policy.members

    @property
    def others(self) -> tuple[str, ...]:
        """Every other hub that could possibly promote: members of the record, of the roster, or of one on its way."""
        coming = self.wanted.members if self.wanted else ()
        return tuple(name for name in dict.fromkeys((*self.members, *self.policy.members, *coming)) if name != self.hub)

    @property
    def base_profile(self) -> Profile:
        """What the roster asks for, whatever is used for the time being."""
        return self.wanted.profile if self.wanted else self.policy.profile

    def term_at(self, until: float) -> float:
        """When the services of this authority are told to stop; a healthy holder is never told."""
        limit_s = max(self.profile.span_s - 2 * self.profile.renew_s, 0.0)
        return until - min(self.policy.demote_grace_s, limit_s)

    def has_authority(self, now: float) -> bool:
        """Tell whether an effect may start at this moment."""
        return self.held is not None and self.held.is_acting and now < self.held.until

    def is_pulsed(self, now: float) -> bool:
        """Tell whether the main loop was alive within A/2."""
        return now - self.pulse_at <= self.profile.span_s / 2

    # --- steps

    def _move(self, word: str) -> None:
        self.phase = MOVES[self.phase, word]  # a KeyError here is a broken invariant

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _emit(self, *effects: Effect) -> None:
        self._out.extend(effects)

    def _note(self, severity: str, text: str) -> None:
        self._emit(Note(severity, text))

    def _conclude(self, request_id: int | None, outcome: Outcome) -> None:
        if request_id is not None:
            self._emit(Concluded(request_id, outcome))

    def _read(self) -> None:
        read_id = self._next_id()
        self.reads.add(read_id)
        if len(self.reads) > READS_MAX:
            self.reads.discard(min(self.reads))
        self._emit(Read(read_id, self.profile.span_s))

    def _write(self, record: LeaseRecord, now: float, connection: int | None = None) -> None:
        """Start a compare-and-set; its stamp makes it known again in a read."""
        self._last_stamp = max(now + self._wall_offset, self._last_stamp + 1e-6)
        record = msgspec.structs.replace(record, t=self._last_stamp)
        write_id = self._next_id()
        self.open[write_id] = (now, record)
        if len(self.open) > OPEN_MAX:
            del self.open[min(self.open)]
        self._emit(Write(write_id, record, self.expect, self.profile.span_s, connection))

    def _ask(self, ask: str, members: Iterable[str], token: Token, now: float) -> None:
        members = tuple(members)
        round_id = self._next_id()
        self.rounds[round_id] = Round(ask, now, set(members))
        if len(self.rounds) > ROUNDS_MAX:
            del self.rounds[min(self.rounds)]
        coming = self.held.coming if self.held else None
        wait_s = max(self.profile.wait_s, coming.wait_s if coming else 0.0)
        self._emit(Ask(round_id, ask, members, token, wait_s, self.profile.span_s))

    def _see_token(self, token: Token, now: float) -> bool:
        """Take note of a token; True when it is the highest ever seen here."""
        if token <= self.seen:
            return False
        self.seen = token
        self.own_epoch = max(self.own_epoch, token.epoch)
        self.changes.append(now)
        return True

    def _remember(self, request_id: int | None = None) -> None:
        self._emit(Remember(self.seen, max(self.profile.span_s, self.fence_span_s), request_id))

    def _hold_guard(self) -> None:
        held = self.held
        if held is not None and held.is_acting:
            self._emit(Hold(held.token, self.term_at(held.until), held.until))

    def _begin_acting(self, now: float) -> None:
        held = self.held
        assert held is not None
        held.is_acting = True
        self._hold_guard()
        self._emit(Promoted(held.token, self.profile.span_s, held.why))
        self._note("warning", f"active with epoch {held.token.epoch}: {held.why}")
        self._conclude(self.claim_request, Outcome(ok=True, took_s=now - held.since))
        self.claim_request = None

    def _stop_acting(self, why: str, now: float) -> None:
        """Give up authority at once: the guard kills what still runs, the main loop is told."""
        held, self.held = self.held, None
        assert held is not None
        self.open.clear()
        self.reads.clear()
        if held.is_acting:
            end = min(now, held.until)
            self._emit(Hold(held.token, end, end), Demoted(held.token.epoch, why))
        self.watch.restart(now)

    def _drop(self, why: str, now: float) -> None:
        self._move("drop")
        self._stop_acting(why, now)
        self._note("critical", f"authority given up: {why}")
        self._conclude(self.claim_request, Outcome(ok=False, why=why))
        self.claim_request = None
        if self.handover:
            self._conclude(self.handover.request_id, Outcome(ok=False, gate="lease-held", why=why))
            self.handover = None


def longer(profile: Profile, span_s: float) -> Profile:
    """The profile to wait by while what the store shows may be old: never shorter than the last span seen."""
    if span_s <= profile.span_s:
        return profile
    named = (one for one in PROFILES.values() if abs(one.span_s - span_s) < 0.0005)
    return next(named, None) or Profile("remembered", span_s / 4, span_s, span_s / 4)
