"""What a lease hears and what it asks to be done: frozen records, nothing else."""

from dataclasses import dataclass

from hubagent.core.lease_policy import Profile, Token
from hubagent.core.outcome import Outcome
from hubagent.wire.leases import LeaseRecord

# --- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadDone:
    """The store's last record; `connection` numbers the life of the link, which never spans a rolled-back store."""

    read_id: int
    seq: int
    record: LeaseRecord | None  # None: no record, or one without a valid signature (`foreign`)
    connection: int = 0
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """No answer to a read."""

    read_id: int


@dataclass(frozen=True, slots=True)
class WriteDone:
    """A compare-and-set was stored under this sequence."""

    write_id: int
    seq: int


@dataclass(frozen=True, slots=True)
class WriteRefused:
    """A compare-and-set met another sequence than it expected."""

    write_id: int


@dataclass(frozen=True, slots=True)
class WriteUnknown:
    """A compare-and-set had no answer: it may be stored, now or later."""

    write_id: int


@dataclass(frozen=True, slots=True)
class WriteNotSent:
    """A compare-and-set never left this machine."""

    write_id: int


@dataclass(frozen=True, slots=True)
class EpochKept:
    """The own epoch counter is on disk; `why` says why it is not."""

    epoch: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class PeerAsked:
    """A verified request of a member. `ask`: promise | fence | epoch | take."""

    request_id: int
    sender: str
    ask: str
    token: Token
    span_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PeerAnswered:
    """A verified answer of a member to a question of this hub."""

    round_id: int
    hub: str
    ok: bool
    epoch: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Pulse:
    """The main loop was alive at this time (boottime seconds)."""

    at: float


@dataclass(frozen=True, slots=True)
class Clocks:
    """The other two clocks at this moment: a jump of boottime against monotonic voids authority."""

    monotonic: float
    wall: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What nearly all answers of the store took of late, and how late nearly all timers and pulses were."""

    round_trip_s: float
    lag_s: float


@dataclass(frozen=True, slots=True)
class Switchover:
    """Hand the lease to a member as planned; `to` empty: whoever is next. `stop`: this hub agent is ending."""

    request_id: int
    to: str = ""
    forced: frozenset[str] = frozenset()  # names of gates that may fail
    stop: bool = False


@dataclass(frozen=True, slots=True)
class Promote:
    """An operator makes this hub active by hand, with a higher epoch."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Drained:
    """The active services have stopped, or could not be."""

    ok: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class SetAuto:
    """off, shadow or armed: only the holder may write it."""

    request_id: int
    auto: str


@dataclass(frozen=True, slots=True)
class SetMaintenance:
    """No automatic failover while set: only the holder may write it."""

    request_id: int
    on: bool


@dataclass(frozen=True, slots=True)
class Configure:
    """The roster names other members or another profile; the holder writes them into the record."""

    members: tuple[str, ...]
    profile: Profile


Event = (
    ReadDone | ReadFailed | WriteDone | WriteRefused | WriteUnknown | WriteNotSent | EpochKept | PeerAsked
    | PeerAnswered | Pulse | Clocks | Measured | Switchover | Promote | Drained | SetAuto | SetMaintenance | Configure
)  # fmt: skip

# --- effects --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """Read the store's last record."""

    read_id: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Write:
    """Store this record if the last sequence is still `expect`; started, never awaited.

    With a `connection` it must leave on that one or not at all (WriteNotSent): a claim rests on a wait, and the wait
    on a store that was not rolled back meanwhile.
    """

    write_id: int
    record: LeaseRecord
    expect: int
    timeout_s: float
    connection: int | None = None


@dataclass(frozen=True, slots=True)
class KeepEpoch:
    """Put the own epoch counter on disk; the answer is EpochKept."""

    epoch: int
    span_s: float


@dataclass(frozen=True, slots=True)
class Remember:
    """Put a higher token on disk, and only then give the answer that waits for it."""

    token: Token
    span_s: float
    request_id: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these members; answers come as PeerAnswered with this round."""

    round_id: int
    ask: str
    members: tuple[str, ...]
    token: Token
    span_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a member."""

    request_id: int
    ok: bool
    epoch: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """The guard's deadline for the group's active services (boottime): TERM at `term_at`, KILL at `deadline`."""

    token: Token
    term_at: float
    deadline: float


@dataclass(frozen=True, slots=True)
class Promoted:
    """This hub is active from now on, until its deadline; remember the token before acting."""

    token: Token
    span_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Demoted:
    """This hub is active no more."""

    epoch: int
    why: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Stop the group's active services with their full grace; the answer is Drained."""

    successor: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a `lease` record."""

    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class Concluded:
    """What became of a request."""

    request_id: int
    outcome: Outcome


Effect = (
    Read | Write | KeepEpoch | Remember | Ask | Answer | Hold | Promoted | Demoted | Drain | Note | Concluded
)  # fmt: skip
