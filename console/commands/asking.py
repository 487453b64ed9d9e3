"""Whether a change may be made: somebody says so on the terminal, or said so with `--yes`."""

import argparse
import sys

from console.errors import Refused, Usage


def must_be_answerable(options: argparse.Namespace, name: str) -> None:
    """Before anything is looked at: a change needs `--yes`, `--dry-run`, or somebody who can be asked."""
    if not (options.yes or options.dry_run or sys.stdin.isatty()):
        raise Usage(f"{name}: not confirmed, and no terminal to ask on; add --yes")


def must_confirm(options: argparse.Namespace, name: str, question: str) -> None:
    """Ask unless `--yes` was given; anything but y raises Refused."""
    if not (options.yes or confirmed(question)):
        raise Refused(name, "confirmed", "not confirmed; nothing was changed")


def confirmed(question: str) -> bool:
    """Ask on the terminal; anything but y is no."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
