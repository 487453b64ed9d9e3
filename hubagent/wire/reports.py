"""Live and detail: what a hub says of itself once a second."""

from typing import Annotated, Any

import msgspec

OK, WARNING, CRITICAL, UNKNOWN = "ok", "warning", "critical", "unknown"
SEVERITIES = (OK, WARNING, CRITICAL, UNKNOWN)
INTERVAL_SECONDS = 1.0  # between two summaries; not said where it is this


class DiskUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fullest disk. `used` ratio 0–1; `eta` seconds until full, null where nothing may be claimed.

    A time is shown with its interval only; with `eta_low` alone: "not before".
    """

    mount: str
    used: float
    eta: float | None = None
    eta_low: float | None = None
    eta_high: float | None = None


class Lane(msgspec.Struct, frozen=True, omit_defaults=True):
    """One lane to one destination, figures from the spool's rows.

    `state`: LIVE DRAINING BUFFERING SHEDDING BLOCKED FENCED. `oldest_s`: age of the oldest chunk still owed.
    `loss_s`: seconds to the first loss at the present rate, null where it never comes at this rate.
    The fields after `loss_s` are sent in detail only.
    """

    dest: str
    lane: str
    state: str
    chunks: int
    bytes: int
    oldest_s: float | None = None
    loss_s: float | None = None
    why: str = ""
    in_rate: float | None = None  # bytes a second into the spool
    out_rate: float | None = None  # bytes a second acknowledged
    drain_s: float | None = None
    acked_n: int = 0
    last_n: int = 0
    dropped: list[dict[str, Any]] = msgspec.field(default_factory=list)


class DrillNotice(msgspec.Struct, frozen=True, omit_defaults=True):
    """A drill under way on this hub; `in_s`: seconds until it strikes, null once it has.

    `back_to`: the group is armed for it alone, and its new holder sets it back to this.
    """

    kind: str
    by: str
    in_s: float | None = None
    back_to: str = ""


class Proof(msgspec.Struct, frozen=True):
    """The last passed drill that moved the group: when (Unix seconds), and the seconds that the takeover took."""

    t: float
    took_s: float


class DrillSchedule(msgspec.Struct, frozen=True):
    """When drills of a group are due, in UTC: `daily HH:MM` or `<weekday> HH:MM`; of which kind, and who set it."""

    at: str
    kind: str
    by: str


class GroupState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One group as this hub sees it.

    `role`: ACTIVE | ACTIVE by promise | STANDBY | NO AUTHORITY | UNKNOWN. `auto`: armed | shadow | off.
    `left_s`: seconds of authority left (active only). `why`: in words, where something is not as it should be.
    """

    group: str
    role: str
    epoch: int
    left_s: float | None = None
    auto: str = "shadow"
    why: str = ""
    holder: str = ""
    maintenance: bool = False
    witness: str = ""  # ok | unreachable
    not_fenced: list[str] = msgspec.field(default_factory=list)
    drill: DrillNotice | None = None
    proven: Proof | None = None
    trend: list[float] = msgspec.field(default_factory=list)  # what the last passed drills took, oldest first
    phases: dict[str, float] = msgspec.field(default_factory=dict)  # this hub took over in a drill just now
    schedule: DrillSchedule | None = None  # as this member has kept it


class ServiceTotals(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many services run of those wanted, and the worst one (`name STATE`)."""

    running: int
    wanted: int
    worst: str = ""


class AlertTotals(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many alerts are raised, and the worst one's text."""

    n: int
    worst: str = ""


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a command in the last 5 minutes. `state`: accepted | done | failed | refused | unknown."""

    cmd_id: str
    state: str
    gate: str = ""
    why: str = ""


class Live(msgspec.Struct, frozen=True, omit_defaults=True):
    """The short summary of a hub, at 1 Hz and at once when a state changes."""

    v: int
    hub: str
    boot: str
    seq: int
    t: float
    version: str
    roster_v: int
    severity: str
    why: str = ""
    cpu: float | None = None  # ratio 0–1 of all cores
    mem: float | None = None  # ratio 0–1
    load1: float | None = None
    disk: DiskUse | None = None
    lanes: list[Lane] = msgspec.field(default_factory=list)
    groups: list[GroupState] = msgspec.field(default_factory=list)
    services: ServiceTotals | None = None
    alerts: AlertTotals | None = None
    results: list[Result] = msgspec.field(default_factory=list)
    maintenance: str = ""  # whoever put this hub in maintenance: it becomes active in no group by itself
    interval_s: float = INTERVAL_SECONDS  # expected interval; a slow link stretches it and says so


class AgentFigures(msgspec.Struct, frozen=True, omit_defaults=True):
    """The agent's own cost. `cpu` ratio of one core, `rss` bytes, the rest seconds."""

    cpu: float | None = None
    rss: int | None = None
    loop_lag_p99: float | None = None
    fsync_p99: float | None = None
    rtt_p99: dict[str, float | None] = msgspec.field(default_factory=dict)


class Service(msgspec.Struct, frozen=True, omit_defaults=True):
    """One supervised service. `healthy` null where no probe has answered yet."""

    name: str
    state: str
    run: str = "always"
    group: str = ""
    release: str = ""
    pid: int | None = None
    up_s: float | None = None
    restarts: int = 0
    healthy: bool | None = None
    cpu: float | None = None
    rss: int | None = None
    why: str = ""
    exits: list[str] = msgspec.field(default_factory=list)
    releases: list[str] = msgspec.field(default_factory=list)  # installed versions, oldest first
    last_good: str = ""


class Disk(msgspec.Struct, frozen=True, omit_defaults=True):
    """One mounted disk. Bytes; rates in bytes a second."""

    mount: str
    total: int | None = None
    used: int | None = None
    ratio: float | None = None
    read_rate: float | None = None
    write_rate: float | None = None


class Nic(msgspec.Struct, frozen=True, omit_defaults=True):
    """One network interface; bytes a second."""

    name: str
    rx_rate: float | None = None
    tx_rate: float | None = None
    errors: int | None = None


class Forecast(msgspec.Struct, frozen=True, omit_defaults=True):
    """When something is full: seconds low … mid … high (null = or never); `rate` bytes a second."""

    what: str
    low_s: float
    mid_s: float | None = None
    high_s: float | None = None
    rate: float | None = None


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """One raised alert; `since` Unix seconds."""

    name: str
    severity: str
    text: str
    since: float
    acked_by: str = ""


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    """The full figures of a hub, at 1 Hz while somebody watches."""

    v: int
    hub: str
    boot: str
    seq: int
    t: float
    cores: list[float | None] = msgspec.field(default_factory=list)
    load: list[float | None] = msgspec.field(default_factory=list)
    mem_total: int | None = None
    mem_used: int | None = None
    swap_total: int | None = None
    swap_used: int | None = None
    disks: list[Disk] = msgspec.field(default_factory=list)
    nics: list[Nic] = msgspec.field(default_factory=list)
    pressure: dict[str, float | None] = msgspec.field(default_factory=dict)  # cpu, memory, io: `some` share 0–1
    processes: int | None = None
    agent: AgentFigures | None = None
    lanes: list[Lane] = msgspec.field(default_factory=list)
    groups: list[GroupState] = msgspec.field(default_factory=list)
    services: list[Service] = msgspec.field(default_factory=list)
    alerts: list[Alert] = msgspec.field(default_factory=list)
    forecasts: list[Forecast] = msgspec.field(default_factory=list)
    uptime_s: float | None = None
    up_since: float | None = None
    platform: str = ""
    warnings: list[str] = msgspec.field(default_factory=list)
    spool_bytes: int | None = None
    spool_budget: int | None = None
    foreign: int = 0  # messages dropped because they were no valid messages of ours


class Watch(msgspec.Struct, frozen=True, omit_defaults=True):
    """Asks a hub for detail for 15 s, and for the output of one service (its last `lines` first) where named."""

    detail: bool = True
    logs: str = ""
    lines: Annotated[int, msgspec.Meta(ge=0)] = 0


class LogLines(msgspec.Struct, frozen=True, omit_defaults=True):
    """Output of a service. `skipped`: lines left out because they came faster than they may be sent."""

    hub: str
    service: str
    lines: list[str]
    skipped: int = 0
