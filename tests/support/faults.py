"""The faults that the suite holds, by id, and which tests carry them; writes docs/faults.md and docs/partition.md.

A test carries a fault when its name, its parameter's name, or the beginning of its docstring has the id (`test_n5_…`,
`[N2 silent]`, `V1: …`), or by `@pytest.mark.fault("N5")`. It is held on the real thing where the test starts real
servers or processes (`real`), else on the model only.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FAULTS = {
    "N1": "clean disconnect", "N2": "silent drop, no reset", "N3": "one-way loss: acks do not arrive",
    "N4": "one-way loss: requests do not arrive", "N5": "outage longer than the dedupe window",
    "N6": "outage longer than the stream's age limit", "N7": "an hour of backlog", "N8": "flapping link",
    "N9": "high latency with jitter", "N10": "64 kbit/s", "N11": "cut in mid-frame, slices of one byte",
    "N12": "resets", "N13": "active hub isolated from all", "N14": "active isolated from the standby only",
    "N15": "active isolated from the lease store only", "N16": "standby isolated from the lease store",
    "N17": "full three-way partition", "N18": "console isolated while a command is pending",
    "P1": "agent killed at points of a write", "P2": "agent killed between send and ack",
    "P3": "agent stopped longer than its lease, then continued", "P4": "event loop blocked",
    "P5": "active agent crashes", "P6": "standby crashes during promotion", "P7": "supervised child in a crash loop",
    "P8": "child ignores SIGTERM and has grandchildren", "P9": "agent killed, children live",
    "P10": "two agents on one state directory", "P11": "two machines with one hub id",
    "P12": "console dies in mid-command",
    "K1": "disk full", "K2": "disk full, then space", "K3": "write error", "K4": "fsync error, the next one succeeds",
    "K5": "fsync takes 2 s", "K6": "read-only disk", "K7": "bit flip in a row", "K8": "database truncated, WAL missing",
    "K9": "old backup of the state restored", "K10": "crash during the retention's delete", "K11": "out of descriptors",
    "T1": "wall clock of the hub steps an hour", "T2": "wall clock of the server steps", "T3": "skew operator to hub",
    "T4": "monotonic rate 1 % off", "T5": "suspend and resume", "T6": "DST, leap second, year 2038",
    "V1": "server killed and restarted", "V2": "server loses its tail", "V3": "tail loss older than the retention",
    "V4": "stream deleted and made anew", "V5": "hole in the middle of a stream",
    "V6": "leader of a replicated data stream killed", "V7": "leader of the lease stream killed",
    "V8": "lease leader on the active's machine dies with it", "V9": "all servers restarted in rolling order",
    "V10": "meta leader lost", "V11": "lame duck", "V12": "stream full", "V13": "lease store rolled back",
    "L1": "ten times the record rate", "L2": "ten times, one core stolen", "L3": "500 hubs reconnect at once",
    "L4": "slow console", "L5": "long log lines, many", "L6": "soak",
    "X1": "altered command", "X2": "replay", "X3": "replay at another hub", "X4": "late delivery", "X5": "bad names",
    "X6": "bad headers", "X7": "escapes in text", "X8": "bad archives", "X9": "bombs", "X10": "YAML bombs",
    "X11": "symlink swapped in a release switch", "X12": "hub reaches for what it may not", "X13": "rogue responder",
    "X14": "secrets", "X15": "revoked or rotated keys", "X16": "stale leader", "X17": "message of another on our subject",
    "X18": "server answers the login with a command as its nonce",
}  # fmt: skip
_IDS = re.compile(r"(?<![A-Za-z0-9])([NPKTVLX]\d{1,2})(?![A-Za-z0-9])", re.IGNORECASE)
_PREFIX = re.compile(r"[NPKTVLX]\d{1,2}(?:(?:, | and )[NPKTVLX]\d{1,2})*(?=[:,])")
REAL, MODEL, SKIPPED, FAILED = "real", "model", "skipped", "failed"


@dataclass(slots=True)
class Ran:
    """One test that carries faults: how it ended, and its page of the ledger."""

    node: str
    scenario: str
    faults: list[str]
    is_real: bool
    outcome: str = "passed"
    page: dict[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> str:
        """On what it was held."""
        if self.outcome != "passed":
            return self.outcome
        return REAL if self.is_real else MODEL


def carried(name: str, docstring: str, marked: Iterable[str] = ()) -> list[str]:
    """The ids that a test carries, in order."""
    head = _PREFIX.match(docstring)
    words = [*marked, *_IDS.findall(name.replace("_", " ")), *(_IDS.findall(head[0]) if head else ())]
    return [one for one in dict.fromkeys(word.upper() for word in words) if one in FAULTS]


def by_fault(ran: Sequence[Ran]) -> dict[str, tuple[str, list[Ran]]]:
    """Each fault's best word and its tests: one failed test is enough to say so."""
    tests: dict[str, list[Ran]] = defaultdict(list)
    for one in ran:
        for fault in one.faults:
            tests[fault].append(one)
    found = {}
    for fault in FAULTS:
        words = {one.held for one in tests[fault]}
        found[fault] = (next((word for word in (FAILED, REAL, MODEL, SKIPPED) if word in words), ""), tests[fault])
    return found


def faults_page(ran: Sequence[Ran], stamp: str) -> str:
    """docs/faults.md: three numbers, then every fault and the tests that carry it."""
    found = by_fault(ran)
    count = {word: sum(held == word for held, _ in found.values()) for word in (REAL, MODEL, SKIPPED, FAILED, "")}
    words = {REAL: "real", MODEL: "model only", SKIPPED: "skipped", FAILED: "**failed**", "": "no test in this run"}
    rows = [
        f"| {fault} | {FAULTS[fault]} | {words[held]} | {', '.join(_link(one) for one in tests) or '–'} |"
        for fault, (held, tests) in found.items()
    ]
    return "\n".join(
        [
            "# Faults that the tests hold", "", stamp, "",
            (f"Of {len(FAULTS)} faults: **{count[REAL]} held on the real thing, {count[MODEL]} on the model only, "
            f"{count[SKIPPED]} skipped** (a skip is not held), {count[FAILED]} failed, {count['']} without a test in this run."),
            "", "| id | fault | held | tests |", "|---|---|---|---|", *rows, "",
        ]
    )  # fmt: skip


def partition_page(ran: Sequence[Ran], stamp: str) -> str:
    """docs/partition.md: what was sent, lost, repeated and declared under each fault, as the streams were found."""
    told = [one for one in ran if one.page.get("sent")]
    rows = [_row(one) for one in sorted(told, key=lambda one: [_rank(one.faults[0]), one.node])]
    lost, repeated = (sum(one.page[key] for one in told) for key in ("lost", "repeated"))
    return "\n".join(
        [
            "# Delivery under faults, as measured", "", stamp, "",
            (f"{len(told)} scenarios, {sum(one.page['sent'] for one in told)} records: lost {lost}, repeated {repeated}. "
            "A record counts once for each hub and lane; of several servers the worst copy is shown. *Lost* is what no "
            "stream has and nothing declares; *declared* is what a signed substitute says is gone, with its cause. "
            "*Drain* is the longest wait, after the last fault, until a server had everything."),
            "", "| fault | scenario | injected | held on | sent | lost | repeated | declared | drain |",
            "|---|---|---|---|--:|--:|--:|--:|--:|", *rows, "",
        ]
    )  # fmt: skip


def _row(one: Ran) -> str:
    page = one.page
    injected = "; ".join(f"{what} ×{n}" if n > 1 else what for what, n in page["injected"].items()) or "–"
    drain = "–" if page["drain_s"] is None else f"{page['drain_s']:.2f} s"
    figures = " | ".join(str(page[key]) for key in ("sent", "lost", "repeated", "declared"))
    held = one.held if one.outcome == "passed" else f"**{one.outcome}**"
    return f"| {', '.join(one.faults)} | {one.scenario} | {injected} | {held} | {figures} | {drain} |"


def _link(one: Ran) -> str:
    path, _, name = one.node.partition("::")
    return f"[{name}](../{path})"


def _rank(fault: str) -> tuple[int, int]:
    return "NPKTVLX".index(fault[0]), int(fault[1:])


class FaultReport:
    """The pytest plugin behind `--fault-report DIR`: writes both pages at the end of the run."""

    def __init__(self, folder: Path, command: str, day: str) -> None:
        self._folder, self._stamp = folder, f"Made by `{command}` on {day}; not edited by hand."
        self._ran: dict[str, Ran] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Collect what a test left in its properties; the worst phase decides."""
        facts = dict(report.user_properties).get("faults")
        if not facts:
            return
        one = self._ran.setdefault(report.nodeid, Ran(report.nodeid, **facts))
        one.page = dict(report.user_properties).get("page", one.page)
        if report.outcome != "passed":
            one.outcome = report.outcome

    def pytest_sessionfinish(self) -> None:
        """Write the pages."""
        ran = list(self._ran.values())
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "faults.md").write_text(faults_page(ran, self._stamp))
        (self._folder / "partition.md").write_text(partition_page(ran, self._stamp))
