"""The highest fencing token of each group and the own epoch counter: on disk before they are obeyed or used."""

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from hubagent.errors import HubagentError
from hubagent.wire.codec import WireError, decode
from hubagent.wire.sanitise import clean_line

FILE_BYTES_MAX = 1 << 20


@dataclass
class TokensRefused(HubagentError):
    """The token file cannot be used: nothing of a group may be done, since an older token could be obeyed."""

    path: str
    cause: str

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.cause}; this hub refuses to act for any group until the file is restored, or removed"
            " by a person who has made sure that no other hub is active (safety before availability)"
        )


@dataclass(frozen=True, slots=True)
class KeptToken:
    """One group's row: own epoch counter, highest token seen, last span of authority seen."""

    own_epoch: int = 0
    epoch: int = 0
    holder: str = ""
    span_s: float = 0.0


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    groups: dict[str, KeptToken]


class Tokens:
    """The token file; safe from any thread, each change is synced when the call returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._groups: dict[str, KeptToken] | None = None

    def load(self, group: str) -> KeptToken:
        """The row of a group; TokensRefused where the file is damaged."""
        with self._lock:
            return self._load().get(group, KeptToken())

    def keep_epoch(self, group: str, epoch: int, span_s: float) -> None:
        """Raise the own epoch counter, never lower it."""
        with self._lock:
            row = self._load().get(group, KeptToken())
            self._save(group, replace(row, own_epoch=max(row.own_epoch, epoch), span_s=span_s))

    def remember(self, group: str, epoch: int, holder: str, span_s: float) -> None:
        """Raise the highest token seen, never lower it."""
        with self._lock:
            row = self._load().get(group, KeptToken())
            if (epoch, holder) > (row.epoch, row.holder):
                self._save(group, replace(row, epoch=epoch, holder=holder, span_s=span_s))

    def _load(self) -> dict[str, KeptToken]:
        if self._groups is None:
            self._groups = self._read()
        return self._groups

    def _read(self) -> dict[str, KeptToken]:
        try:
            raw = self._path.read_bytes()
            return decode(raw, _File, FILE_BYTES_MAX).groups
        except FileNotFoundError:
            return {}
        except (OSError, WireError) as error:
            raise TokensRefused(str(self._path), clean_line(str(error), 200)) from error

    def _save(self, group: str, row: KeptToken) -> None:
        groups = {**self._load(), group: row}
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(_File(1, groups)))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise TokensRefused(str(self._path), error.strerror or "cannot be written") from error
        self._groups = groups
