"""`hubagent spool check|repair|export|stats`, `hubagent destination remove`, `hubagent adopt`."""

import argparse
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, TypeVar

from hubagent import config, control
from hubagent.clock import SystemClock
from hubagent.edges import spool_repair, state_dir
from hubagent.edges.spool_store import Store
from hubagent.edges.state_dir import StateRefused
from hubagent.errors import AgentNotRunning, NotAllowed
from hubagent.loops import spool_view
from hubagent.wire import subjects

T = TypeVar("T")
SHOWN_MAX = 20


def run(options: argparse.Namespace) -> int:
    """One action on this hub's spool; 0 done and nothing wrong, 1 refused, failed or damage found."""
    folder = config.load(Path(options.config)).state_dir
    return _ACTIONS[options.action](folder, options)


def run_destination(options: argparse.Namespace) -> int:
    """`hubagent destination remove NAME`, by the running agent."""
    folder = config.load(Path(options.config)).state_dir
    _ask(folder, "destination-remove", name=options.name, reason=options.reason)
    print(f"{options.name}: no longer required; what only it lacked is released")
    return 0


def run_adopt(options: argparse.Namespace) -> int:
    """`hubagent adopt`, by the running agent."""
    _ask(config.load(Path(options.config)).state_dir, "adopt", reason=options.reason)
    print("adopted: this hub goes on in a new incarnation")
    return 0


def _stats(folder: Path, options: argparse.Namespace) -> int:
    found = _either(folder, lambda: _ask(folder, "spool-stats")["stats"], lambda: _offline(folder, spool_view.stats))
    print(json.dumps(found, indent=1) if options.json else "\n".join(_stats_lines(found)))
    return 0


def _export(folder: Path, options: argparse.Namespace) -> int:
    def asked(lane: str, after: list[int]) -> dict[str, Any]:
        return _ask(folder, "spool-export", lane=lane, after=after)

    def write(page: Callable[[str, list[int]], dict[str, Any]]) -> int:
        return sum(_write_page(one, out) for lane in _lanes(options) for one in _pages(page, lane))

    def offline(store: Store) -> int:
        return write(lambda lane, after: spool_view.export_page(store, lane, (after[0], after[1])))

    with _output(options.output) as out:
        count = _either(folder, lambda: write(asked), lambda: _offline(folder, offline))
    print(f"{count} chunks", file=sys.stderr)
    return 0


def _check(folder: Path, options: argparse.Namespace) -> int:
    bad = _locked(folder, lambda: _faults(folder / "spool.db"))
    for line in bad[:SHOWN_MAX]:
        print(line)
    if len(bad) > SHOWN_MAX:
        print(f"and {len(bad) - SHOWN_MAX} more")
    print(f"{folder / 'spool.db'}: {'damaged: hubagent spool repair saves the rest' if bad else 'ok'}")
    return 1 if bad else 0


def _repair(folder: Path, options: argparse.Namespace) -> int:
    path = folder / "spool.db"

    def repair() -> str:
        if not _faults(path):
            return f"{path}: ok, nothing to repair"
        _exists(path)
        with _worded(path):
            old = spool_repair.keep_aside(path, folder / "quarantine", int(SystemClock().wall()))
            store = Store(path)
            try:
                saved = spool_repair.salvage(old, store)
                store.set_meta("why_new", "repaired")
            finally:
                store.close()
        lost = f", {len(saved.damaged)} are damaged and will be declared" if saved.damaged else ""
        return f"{path}: {saved.chunks} chunks saved{lost}; the old file is {old}"

    print(_locked(folder, repair))
    return 0


_ACTIONS = {"stats": _stats, "export": _export, "check": _check, "repair": _repair}


def _ask(folder: Path, op: str, **fields: Any) -> dict[str, Any]:
    answer = control.call(folder / "agent.sock", op, **fields)
    if not answer.get("ok"):
        raise NotAllowed(answer.get("gate") or "failed", str(answer.get("why", "")))
    return answer


def _either(folder: Path, asked: Callable[[], T], offline: Callable[[], T]) -> T:
    """Ask the agent where one runs: nobody else may open its spool. Else look at the file."""
    try:
        return asked()
    except AgentNotRunning:
        return _locked(folder, offline)


def _locked(folder: Path, work: Callable[[], T]) -> T:
    """Only while no agent has the spool: a second connection can corrupt it."""
    _exists(folder / "spool.db")
    try:
        state_dir.lock(folder)
    except StateRefused as refused:
        if "another" in refused.what:
            refused.what, refused.todo = "its hub agent runs and has the spool open", "stop the agent first"
            raise
        if not _is_read_only(folder):
            raise
    return work()  # on a read-only file system nobody runs an agent


def _offline(folder: Path, look: Callable[[Store], T]) -> T:
    path = folder / "spool.db"
    with _worded(path):
        store = Store(path, read_only=True)
        try:
            return look(store)
        finally:
            store.close()


def _faults(path: Path) -> list[str]:
    """What is wrong with the file, in words."""
    with _worded(path):
        try:
            store = Store(path, read_only=True)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.NotSupportedError) or not spool_repair.is_damage(error):
                raise
            return [str(error)]
        try:
            return spool_repair.faults(store)
        finally:
            store.close()


def _exists(path: Path) -> None:
    if not path.exists():
        raise StateRefused(str(path), "there is no spool", "the agent makes it at its first start")


@contextmanager
def _worded(path: Path) -> Iterator[None]:
    """Errors of the file say what to do."""
    try:
        yield
    except sqlite3.NotSupportedError as error:
        todo = "it was written by a newer hubagent: use that one"
        raise StateRefused(str(path), str(error), todo) from error
    except sqlite3.Error as error:
        raise StateRefused(str(path), str(error), _TODO.get(_code(error), _REPAIR)) from error
    except OSError as error:
        raise StateRefused(str(path), error.strerror or str(error), "mount it writable, or free space there") from error


_REPAIR = "hubagent spool repair saves what can be read of it"
_TODO = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space there",
    sqlite3.SQLITE_READONLY: "mount it writable, or give it back to the agent's user",
    sqlite3.SQLITE_CANTOPEN: "it must be readable, and its directory writable, for this user",
    sqlite3.SQLITE_PERM: "it must be readable for this user",
    sqlite3.SQLITE_BUSY: "another program has it open",
}


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _lanes(options: argparse.Namespace) -> list[str]:
    return [options.lane] if options.lane else list(subjects.LANES)


def _pages(page: Callable[[str, list[int]], dict[str, Any]], lane: str) -> Iterator[dict[str, Any]]:
    after: list[int] | None = [0, 0]
    while after is not None:
        found = page(lane, after)
        yield found
        after = found["next"]


def _write_page(page: dict[str, Any], out: TextIO) -> int:
    out.writelines(json.dumps(chunk, ensure_ascii=False) + "\n" for chunk in page["chunks"])
    return len(page["chunks"])


@contextmanager
def _output(path: str) -> Iterator[TextIO]:
    if not path:
        yield sys.stdout
        return
    try:
        with Path(path).open("x", encoding="utf-8") as file:
            yield file
    except FileExistsError as error:
        raise StateRefused(path, "it exists", "name a new file") from error


def _stats_lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['path']}: {found['used_bytes']} bytes, incarnation {found['inc']}"]
    for one in found["lanes"]:
        since = f", oldest {_time(one['oldest_t'])}" if one["oldest_t"] is not None else ""
        words = f"{one['chunks']} chunks, {one['records']} records, {one['bytes']} bytes kept{since}"
        lines.append(f"  {one['lane']}: {words}; {one['open_records']} records in the open chunk")
    for one in found["destinations"]:
        acked = "/".join(map(str, one["acked"]))
        lines.append(
            f"  {one['lane']} to {one['dest']}: acknowledged {acked}; owes {one['chunks']} chunks, {one['bytes']} bytes"
        )
    for one in found["dropped"]:
        numbers = f"{one['inc']}/{one['n']}-{one['n_to']}"
        lines.append(
            f"  {one['lane']} to {one['dest']}: {one['kind']} {numbers}: {one['reason']} ({one['count']} records)"
        )
    return lines


def _time(t: float) -> str:
    return datetime.fromtimestamp(t, UTC).isoformat(timespec="seconds")
