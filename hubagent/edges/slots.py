"""A small document that survives kill -9 and a full disk: two slots in one preallocated file, written in turn."""

import errno
import os
import threading
import zlib
from pathlib import Path

from hubagent.errors import StoreFailed

_HEADER_BYTES = 64
SLOT_BYTES = 64 << 10


class Slots:
    """`load()` gives the last document whose `save()` came back; a torn write leaves the one before."""

    def __init__(self, path: Path, slot_bytes: int = SLOT_BYTES) -> None:
        self.path = path
        self.slot_bytes = slot_bytes
        self._generation = 0
        self._failed = ""
        self._lock = threading.Lock()

    def load(self) -> bytes | None:
        """The newest whole document; None where there is none yet. Creates the file; blocking."""
        try:
            self._create()
            found = self._read()
        except OSError as error:
            raise StoreFailed(str(self.path), error.strerror or "cannot be read") from error
        whole = [one for one in found if one is not None]
        if not whole:
            return None
        self._generation, document = max(whole, key=lambda one: one[0])
        return document

    def _read(self) -> list[tuple[int, bytes] | None]:
        """Both slots; only what is written in them, since the room kept free would cost memory."""
        handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return [_parse(handle, start, self.slot_bytes) for start in (0, self.slot_bytes)]
        finally:
            os.close(handle)

    def save(self, document: bytes) -> None:
        """Write over the older slot and sync; blocking. A failed sync is final: the kernel forgets dirty pages."""
        with self._lock:
            self._save(document)

    def _save(self, document: bytes) -> None:
        if self._failed:
            raise StoreFailed(str(self.path), self._failed)
        if len(document) > self.slot_bytes - _HEADER_BYTES:
            raise StoreFailed(str(self.path), f"{len(document)} bytes do not fit a slot of {self.slot_bytes}")
        generation = self._generation + 1
        try:
            self._write(_header(generation, document) + document, (generation % 2) * self.slot_bytes)
        except OSError as error:
            self._failed = error.strerror or "write failed"
            raise StoreFailed(str(self.path), self._failed) from error
        self._generation = generation

    def _create(self) -> None:
        """Reserve all blocks now, so that a later save on a full disk needs none."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(handle).st_size < 2 * self.slot_bytes:
                os.posix_fallocate(handle, 0, 2 * self.slot_bytes)
                os.fsync(handle)
                sync_directory(self.path.parent)
        finally:
            os.close(handle)

    def _write(self, data: bytes, offset: int) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.pwrite(handle, data, offset) != len(data):
                raise OSError(errno.EIO, "short write")
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_directory(path: Path) -> None:
    """Make a create, rename or delete inside this directory durable; blocking."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _header(generation: int, document: bytes) -> bytes:
    head = b"%016x %08x" % (generation, len(document))
    return (head + b" %08x" % zlib.crc32(document, zlib.crc32(head))).ljust(_HEADER_BYTES - 1) + b"\n"


def _parse(handle: int, start: int, slot_bytes: int) -> tuple[int, bytes] | None:
    head = os.pread(handle, _HEADER_BYTES, start)
    fields = head.split()
    try:
        generation, size = int(fields[0], 16), int(fields[1], 16)
    except (ValueError, IndexError):
        return None
    document = os.pread(handle, min(size, slot_bytes - _HEADER_BYTES), start + _HEADER_BYTES)
    return (generation, document) if head == _header(generation, document) else None
