"""Which services an operator has stopped: kept on disk, so that a restart of the agent does not start them again."""

import asyncio
import json
import os
from pathlib import Path

from hubagent.errors import StoreFailed


class Stopped:
    """The names, in one small file that is replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names = self._load()

    @property
    def names(self) -> frozenset[str]:
        """Services that stay stopped."""
        return frozenset(self._names)

    async def keep(self, name: str, *, is_stopped: bool) -> None:
        """Remember or forget one; returns when it is on disk, or raises StoreFailed."""
        if (name in self._names) == is_stopped:
            return
        self._names ^= {name}
        await asyncio.to_thread(self._save)

    def _load(self) -> set[str]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return set()  # a file that cannot be read stops nothing: services that are wanted run
        return {name for name in found if isinstance(name, str)} if isinstance(found, list) else set()

    def _save(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        try:
            with temporary.open("w") as file:
                json.dump(sorted(self._names), file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            raise StoreFailed(str(self._path), error.strerror or "an error") from error
