"""What a check is, how findings become one result, and the list of all checks."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from console.doctor.facts import Facts
from hubagent.wire.reports import CRITICAL, OK, UNKNOWN, WARNING

# worst first; the exit status of each, as monitoring plug-ins have it
RANK = (CRITICAL, WARNING, UNKNOWN, OK)
EXIT_STATUS = {OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3}
SUBJECTS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check saw: how bad, about what, and in words."""

    result: str
    subject: str
    text: str


Look = Callable[[Facts], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One named question to a fleet."""

    name: str
    what: str
    why: str
    todo: str
    look: Look


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one check."""

    check: Check
    result: str
    text: str
    findings: tuple[Finding, ...]

    def document(self) -> dict[str, Any]:
        """For --json."""
        found = [{"result": one.result, "subject": one.subject, "text": one.text} for one in self.findings]
        return {
            "name": self.check.name, "result": self.result, "text": self.text, "what": self.check.what,
            "why": self.check.why, "todo": self.check.todo, "findings": found,
        }  # fmt: skip


def ask(check: Check, facts: Facts) -> Answer:
    """The answer to one check: the worst of what it found, and nothing found is unknown."""
    findings = tuple(sorted(check.look(facts), key=lambda one: RANK.index(one.result)))
    if not findings:
        return Answer(check, UNKNOWN, "nothing could be seen", ())
    worst = findings[0].result
    same = [one for one in findings if one.result == worst]
    if worst == OK and len(same) > 1:
        return Answer(check, worst, f"all {len(same)}, as {_short(same[:1])}", findings)
    return Answer(check, worst, _short(same), findings)


def _short(findings: list[Finding]) -> str:
    shown = "; ".join(f"{one.subject}: {one.text}" if one.subject else one.text for one in findings[:SUBJECTS_SHOWN])
    more = len(findings) - SUBJECTS_SHOWN
    return shown + (f"; and {more} more" if more > 0 else "")


def worst_of(answers: Iterable[Answer]) -> str:
    """The worst result of all; ok where there is none."""
    results = {answer.result for answer in answers}
    return next((one for one in RANK if one in results), OK)


def limits(
    seen: Iterable[tuple[str, float | None]], warn: float, crit: float, words: Callable[[float], str]
) -> Iterator[Finding]:
    """A finding for each figure held against two upper limits; a missing figure is unknown."""
    for subject, value in seen:
        if value is None:
            yield Finding(UNKNOWN, subject, "not known")
        else:
            result = CRITICAL if value >= crit else WARNING if value >= warn else OK
            yield Finding(result, subject, words(value))
