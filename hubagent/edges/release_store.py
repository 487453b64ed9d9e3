"""A service's releases on disk: `releases/VERSION/` and the link `current`, switched without a moment in between."""

import asyncio
import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from hubagent.edges.slots import Slots
from hubagent.errors import ReleaseRefused
from hubagent.wire.subjects import is_version

RELEASES, CURRENT, TEMPORARY = "releases", "current", ".current.new"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ReleaseStore:
    """`root` holds releases and the link; `book` the durable document about them, preallocated."""

    def __init__(self, root: Path, book: Path) -> None:
        self.root = root
        self._slots = Slots(book)
        # Held by the thread, not by its caller: a switch given up as too late still ends before the way back begins.
        self._lock = threading.Lock()

    def load(self) -> bytes | None:
        """The document that was saved last; blocking."""
        return self._slots.load()

    async def save(self, document: bytes) -> None:
        """Make the document durable; raises StoreFailed."""
        await asyncio.to_thread(self._slots.save, document)

    def installed(self) -> list[str]:
        """Versions that are real folders; links and odd names are not seen."""
        try:
            with os.scandir(self.root / RELEASES) as entries:
                return [one.name for one in entries if is_version(one.name) and one.is_dir(follow_symlinks=False)]
        except OSError:
            return []

    def current(self) -> str:
        """The version that the link names; empty where there is none of ours."""
        try:
            target = (self.root / CURRENT).readlink()
        except OSError:
            return ""
        inside = target.parent in (Path(RELEASES), self.root / RELEASES)
        return target.name if inside and is_version(target.name) else ""

    async def check(self, version: str) -> None:
        """Raise ReleaseRefused unless the release is a folder that nobody else can change."""
        await asyncio.to_thread(self._check, version)

    async def switch(self, version: str) -> None:
        """Point `current` at the version, durably; it names one release at every moment. Raises ReleaseRefused."""
        await asyncio.to_thread(self._switch, version)

    def _check(self, version: str) -> None:
        with self._open(version) as (_, release):
            if not os.listdir(release):  # noqa: PTH208  # by handle, which pathlib cannot
                raise ReleaseRefused(version, "its folder is empty")

    def _switch(self, version: str) -> None:
        """All by open handles: a folder swapped for a link meanwhile changes nothing."""
        with self._lock, self._open(version) as (root, _):
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(TEMPORARY, dir_fd=root)  # left by a crash
                os.symlink(f"{RELEASES}/{version}", TEMPORARY, dir_fd=root)
                os.replace(TEMPORARY, CURRENT, src_dir_fd=root, dst_dir_fd=root)
                os.fsync(root)
            except OSError as error:
                raise ReleaseRefused(version, f"cannot be made current: {error.strerror}") from error

    @contextlib.contextmanager
    def _open(self, version: str) -> Iterator[tuple[int, int]]:
        """Handles of the root and of the release, each folder on the way a real and safe one."""
        if not is_version(version):
            raise ReleaseRefused(ascii(version)[:80], "is no version")
        with contextlib.ExitStack() as handles:
            try:
                root = _folder(handles, str(self.root), None)
                releases = _folder(handles, RELEASES, root)
                yield root, _folder(handles, version, releases)
            except OSError as error:
                raise ReleaseRefused(version, f"{error.filename or self.root}: {error.strerror}") from error


def _folder(handles: contextlib.ExitStack, name: str, parent: int | None) -> int:
    handle = os.open(name, _FOLDER, dir_fd=parent)
    handles.callback(os.close, handle)
    if os.fstat(handle).st_mode & stat.S_IWOTH:
        raise ReleaseRefused(name, "everybody may write into this folder; chmod o-w")
    return handle
