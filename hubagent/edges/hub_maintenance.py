"""Whether this hub is in maintenance, and who said so: kept on disk over restarts of the agent."""

import asyncio
import os
from pathlib import Path

from hubagent.errors import StoreFailed
from hubagent.wire.sanitise import clean_line

BY_CHARS_MAX = 80


class HubMaintenance:
    """One small file with a name in it; no file: not in maintenance."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.by = self._load()

    def _load(self) -> str:
        try:
            return clean_line(self._path.read_text(errors="replace"), BY_CHARS_MAX).strip() or "somebody"
        except FileNotFoundError:
            return ""
        except OSError:
            return "somebody"  # a file that cannot be read was put there for a reason

    async def keep(self, by: str) -> None:
        """Begin it, or end it with an empty name; returns when it is on disk, or raises StoreFailed."""
        await asyncio.to_thread(self._save, by)
        self.by = by

    def _save(self, by: str) -> None:
        try:
            if not by:
                self._path.unlink(missing_ok=True)
                return
            with self._path.open("w") as file:
                file.write(clean_line(by, BY_CHARS_MAX) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreFailed(str(self._path), error.strerror or "an error") from error
