"""Drills on disk: the one that is under way in each group, and the last ones with what they showed."""

import os
from pathlib import Path

import msgspec

from hubagent.errors import StoreFailed
from hubagent.wire.codec import WireError, decode

KEPT = 20  # drills of one group; all of them stand in the records
FILE_BYTES_MAX = 1 << 20


class OpenDrill(msgspec.Struct, frozen=True):
    """A drill that has begun; `strike_at` is boottime, which means something in this boot of the machine only."""

    group: str
    kind: str
    by: str
    epoch: int
    strike_at: float
    lost_before: int
    back_to: str
    boot_id: str


class PastDrill(msgspec.Struct, frozen=True, omit_defaults=True):
    """A drill that ended; `t` Unix seconds."""

    t: float
    kind: str
    passed: bool
    took_s: float | None = None


class Planned(msgspec.Struct, frozen=True, omit_defaults=True):
    """When drills of a group are due, as `core.drill_schedule` reads `at`; `decided`: the last slot that was decided."""

    at: str
    kind: str
    by: str
    t: float
    decided: float = 0.0


class _Book(msgspec.Struct):
    open: dict[str, OpenDrill] = {}
    past: dict[str, list[PastDrill]] = {}
    planned: dict[str, Planned] = {}


class DrillBook:
    """One small file that is replaced whole; a damaged one counts as empty, since drills only prove."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._book = decode(path.read_bytes(), _Book, FILE_BYTES_MAX)
        except (OSError, WireError):
            self._book = _Book()

    def open_drills(self) -> list[OpenDrill]:
        """Those that an earlier run of the agent began."""
        return list(self._book.open.values())

    def begin(self, drill: OpenDrill) -> None:
        """Write down that it begins; StoreFailed where that cannot be, and then it must not begin."""
        self._book.open[drill.group] = drill
        self._save()

    def end(self, group: str, past: PastDrill | None) -> None:
        """It is over; None: nothing was done."""
        self._book.open.pop(group, None)
        if past is not None:
            self._add(group, past)
        self._save()

    def learn(self, group: str, past: PastDrill) -> None:
        """Another member has proven the group."""
        self._add(group, past)
        self._save()

    def planned(self) -> dict[str, Planned]:
        """What is scheduled, by group."""
        return dict(self._book.planned)

    def plan(self, group: str, planned: Planned | None) -> None:
        """Keep a schedule; None: there is none. Raises StoreFailed, and then the one before counts."""
        before = self._book.planned.pop(group, None)
        if planned is not None:
            self._book.planned[group] = planned
        try:
            self._save()
        except StoreFailed:
            self._book.planned.pop(group, None)
            if before is not None:
                self._book.planned[group] = before
            raise

    def decide(self, group: str, slot: float) -> None:
        """This slot is decided, whatever becomes of it; it stays so in memory where it cannot be written."""
        self._book.planned[group] = msgspec.structs.replace(self._book.planned[group], decided=slot)
        self._save()

    def past(self, group: str) -> list[PastDrill]:
        """The last drills of a group, oldest first."""
        return list(self._book.past.get(group, []))

    def proven(self, group: str) -> PastDrill | None:
        """The last passed one that moved the group."""
        return next((one for one in reversed(self.past(group)) if one.passed and one.took_s is not None), None)

    def _add(self, group: str, past: PastDrill) -> None:
        known = [*self._book.past.get(group, []), past]
        self._book.past[group] = sorted(known, key=lambda one: one.t)[-KEPT:]

    def _save(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(self._book))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            raise StoreFailed(str(self._path), error.strerror or "an error") from error


def boot_id() -> str:
    """The kernel's random id of this boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
