"""The columns that a `met` chunk may have: `path[key].field`, each with its unit and one sentence."""

from typing import NamedTuple

RATIO, BYTES, BYTES_PER_S, SECONDS, COUNT = "ratio", "bytes", "bytes/s", "seconds", "count"


class Column(NamedTuple):
    """One kind of column; `*` stands for a core's number, a mount, an interface, or a hub server."""

    pattern: str
    unit: str
    text: str


COLUMNS = (
    Column("t", SECONDS, "Unix time of the sample; the first column of every chunk."),
    Column("mono", SECONDS, "Monotonic time of the sample; the second column."),
    Column("cpu.total", RATIO, "Busy share of all cores together."),
    Column("cpu[*].used", RATIO, "Busy share of one core."),
    Column("load.1", COUNT, "Load average of one minute."),
    Column("load.5", COUNT, "Load average of five minutes."),
    Column("load.15", COUNT, "Load average of fifteen minutes."),
    Column("mem.total", BYTES, "Memory of the machine."),
    Column("mem.used", BYTES, "Memory that could not be had without swapping."),
    Column("mem.ratio", RATIO, "Share of the memory that is used."),
    Column("swap.total", BYTES, "Swap space of the machine."),
    Column("swap.used", BYTES, "Swap space in use."),
    Column("disk[*].total", BYTES, "Size of the file system mounted here."),
    Column("disk[*].used", BYTES, "Bytes in use on it."),
    Column("disk[*].ratio", RATIO, "Used share of what an unprivileged writer can have, as df shows it."),
    Column("disk[*].read", BYTES_PER_S, "Bytes read from the device below it."),
    Column("disk[*].written", BYTES_PER_S, "Bytes written to the device below it."),
    Column("net[*].rx", BYTES_PER_S, "Bytes received by one interface."),
    Column("net[*].tx", BYTES_PER_S, "Bytes sent by one interface."),
    Column("net[*].errors", COUNT, "Errors of one interface since the machine's start, both directions."),
    Column("psi[cpu].some", RATIO, "Share of the time in which some task waited for a core."),
    Column("psi[memory].some", RATIO, "Share of the time in which some task waited for memory."),
    Column("psi[io].some", RATIO, "Share of the time in which some task waited for a disk."),
    Column("processes", COUNT, "Processes on the machine."),
    Column("agent.cpu", RATIO, "The hub agent's own use of one core."),
    Column("agent.rss", BYTES, "The hub agent's resident memory."),
    Column("agent.loop_lag_p99", SECONDS, "How late the agent's event loop is, 99th percentile of the last minute."),
    Column("agent.loop_lag_max", SECONDS, "The longest delay of the agent's event loop since the sample before."),
    Column("agent.fsync_p99", SECONDS, "How long the spool takes to sync, 99th percentile."),
    Column("agent.rtt_p99[*]", SECONDS, "Round trip to one hub server, 99th percentile."),
)

_KINDS = {column.pattern: column for column in COLUMNS}


def pattern_of(column: str) -> str:
    """The column with its key put as `*`, unless it is listed with that very key."""
    start, end = column.find("["), column.rfind("]")
    if column in _KINDS or start < 0 or end < start:
        return column
    return f"{column[: start + 1]}*{column[end:]}"


def key_of(column: str) -> str:
    """What stands in the brackets, or nothing."""
    start, end = column.find("["), column.rfind("]")
    return column[start + 1 : end] if 0 <= start < end else ""


def describe(column: str) -> Column | None:
    """Unit and sentence of a column, or None for one that no agent of this version writes."""
    return _KINDS.get(pattern_of(column))
