"""`hubdeck doctor`: looks at a whole fleet from here, and says what is wrong, why it matters and what to do."""

import argparse
from collections.abc import Sequence

from console.commands.output import note, safe, write, write_json, write_table
from console.doctor.checks import EXIT_STATUS, RANK, Answer, Check, ask, worst_of
from console.doctor.collect import collect
from console.doctor.facts import Facts
from console.doctor.hub_checks import HUB_CHECKS
from console.doctor.local_checks import LOCAL_CHECKS
from console.doctor.server_checks import SERVER_CHECKS
from hubagent.wire.reports import OK

CHECKS: tuple[Check, ...] = (*SERVER_CHECKS, *HUB_CHECKS, *LOCAL_CHECKS)
SHAPE = 1  # of the JSON; a new key does not change it, a changed meaning does


def run(options: argparse.Namespace) -> int:
    """Ask every check; 0 all ok, 1 a warning, 2 something critical, 3 only things that could not be seen."""
    if not (options.json or options.plain):
        note("looking; this takes some seconds")
    facts = collect(options)
    answers = [ask(check, facts) for check in CHECKS]
    worst = worst_of(answers)
    if options.json:
        write_json(_document(facts, answers, worst))
    else:
        _show(answers, is_plain=options.plain, is_whole=options.all)
    return EXIT_STATUS[worst]


def _document(facts: Facts, answers: Sequence[Answer], worst: str) -> dict[str, object]:
    counts = {result: sum(answer.result == result for answer in answers) for result in RANK}
    return {
        "v": SHAPE,
        "t": facts.wall,
        "fleet": facts.roster.fleet if facts.roster else "",
        "me": {"identity": facts.identity, "role": facts.role},
        "result": worst,
        "exit_status": EXIT_STATUS[worst],
        "counts": counts,
        "checks": [answer.document() for answer in answers],
    }


def _show(answers: Sequence[Answer], *, is_plain: bool, is_whole: bool) -> None:
    """A table of all, the worst first; below it, for what is not well, why it matters and what to do."""
    order = sorted(answers, key=lambda answer: RANK.index(answer.result))
    rows = [(answer.result.upper(), answer.check.name, answer.text) for answer in order]
    write_table(("RESULT", "CHECK", "FOUND"), rows, is_plain=is_plain)
    if is_plain:
        return
    for answer in order:
        if answer.result != OK or is_whole:
            write()
            write(safe(f"{answer.result.upper()} {answer.check.name}: {answer.check.what}"))
            for finding in answer.findings if is_whole else ():
                write(safe(f"  {finding.result:<8} {finding.subject or '-'}: {finding.text}"))
            write(safe(f"  why: {answer.check.why}"))
            write(safe(f"  do:  {answer.check.todo}"))
    write()
    counts = [f"{sum(answer.result == result for answer in answers)} {result}" for result in RANK]
    write(f"{len(answers)} checks: {', '.join(counts)}")
