"""guard.json: what a next guard must know, written whole or not at all."""

import json
import os
from collections.abc import Callable

RESERVE_BYTES = 64 << 10  # given back when the disk is full, so that a restart still can be written down
FILE_BYTES_MAX = 4 << 20
NUMBERS = ("pid", "start", "epoch", "output_bytes", "grace_s")
TEXTS = ("name", "run", "mode", "group", "output", "holder", "cwd")
Facts = dict[str, object]


class Keep:
    """The file in `state_dir`; a work of `saving` that returns is on disk."""

    def __init__(self, state_dir: str) -> None:
        self._dir = state_dir
        self._path = f"{state_dir}/guard.json"
        self._reserve = f"{state_dir}/guard.reserve"

    def load(self) -> Facts:
        """What the last guard wrote; empty when there is nothing that can be read."""
        try:
            with open(self._path, "rb") as file:
                kept = json.loads(file.read(FILE_BYTES_MAX))
        except (OSError, ValueError, RecursionError):
            return {}
        return kept if isinstance(kept, dict) and is_sound(kept) else {}

    def saving(self, facts: Facts) -> Callable[[], None]:
        """The work that puts these facts on disk as they are now: it may wait for long, and be done in a thread.

        Write, fsync, rename, fsync the directory; OSError when even the reserve does not help.
        """
        raw = json.dumps(facts).encode()
        return lambda: self._save(raw)

    def _save(self, raw: bytes) -> None:
        try:
            self._write(raw)
        except OSError:
            if not self._give_back():
                raise
            self._write(raw)
        self._hold_back()

    def _write(self, raw: bytes) -> None:
        fresh = f"{self._path}.new"
        self._fill(fresh, raw)
        os.replace(fresh, self._path)
        folder = os.open(self._dir, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _fill(self, path: str, raw: bytes) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.write(file, raw) != len(raw):
                raise OSError(28, "No space left on device", path)
            os.fsync(file)
        finally:
            os.close(file)

    def _give_back(self) -> bool:
        try:
            os.unlink(self._reserve)
        except OSError:
            return False
        return True

    def _hold_back(self) -> None:
        if os.access(self._reserve, os.F_OK):
            return
        try:
            self._fill(self._reserve, bytes(RESERVE_BYTES))
        except OSError:
            self._give_back()  # half a reserve is none


def is_sound(kept: Facts) -> bool:
    """Tell whether this has the shape that `save` gives it: nothing else may keep a guard from beginning."""
    services, tokens, exits = kept.get("services", []), kept.get("tokens", {}), kept.get("exits", {})
    if not isinstance(services, list) or not isinstance(tokens, dict) or not isinstance(exits, dict):
        return False
    return (
        all(isinstance(one, dict) and _is_service(one) for one in services)
        and all(isinstance(pair, list) and [type(part) for part in pair] == [int, str] for pair in tokens.values())
        and all(isinstance(ended, list) and all(isinstance(one, dict) for one in ended) for ended in exits.values())
    )


def _is_service(one: Facts) -> bool:
    are_numbers = all(type(one.get(key)) in (int, float) for key in NUMBERS)
    return are_numbers and all(type(one.get(key)) is str for key in TEXTS) and isinstance(one.get("argv"), list)
