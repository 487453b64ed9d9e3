"""Unpacks an artifact into a release folder: only what its manifest lists, and all of it or nothing."""

import contextlib
import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO

from hubagent.edges.slots import sync_directory
from hubagent.errors import ReleaseRefused
from hubagent.wire.manifests import BYTES_MAX, FILES_MAX, Manifest, ManifestFile, manifest_fault

PIECE_BYTES = 64 << 10
RATIO_MAX = 200  # real programs shrink by less than 20
RATIO_FREE_BYTES = 4 << 20  # a small release full of zeros is no bomb
_GZIP = b"\x1f\x8b"
_BLOCK = tarfile.BLOCKSIZE


def unpack(archive: Path, manifest: Manifest, root: Path) -> Path:
    """Make `root/releases/VERSION` from a tar or tar.gz, or raise ReleaseRefused and leave nothing; blocking."""
    if fault := manifest_fault(manifest):
        raise ReleaseRefused(manifest.version, fault)
    releases = root / "releases"
    target, incoming = releases / manifest.version, releases / f".incoming-{manifest.version}"
    if os.path.lexists(target):
        raise ReleaseRefused(manifest.version, "it is installed already; a release never changes")
    shutil.rmtree(incoming, ignore_errors=True)  # left by a crash
    try:
        incoming.mkdir(mode=0o755, parents=True)
        with archive.open("rb") as raw:
            _Unpacking(manifest, incoming).run(_Inflating(raw, archive.stat().st_size, manifest.version))
        incoming.rename(target)
        sync_directory(releases)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise ReleaseRefused(manifest.version, f"cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return target


class _Inflating:
    """The archive's bytes in small pieces, counted: memory and disk stay bounded whatever the input says."""

    def __init__(self, raw: BinaryIO, packed_bytes: int, version: str) -> None:
        is_gzip = raw.read(2) == _GZIP
        raw.seek(0)
        self._source: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if is_gzip else raw
        self._version, self._given = version, 0
        headers = (FILES_MAX * 4 + 100) * _BLOCK
        self._max = min(BYTES_MAX + headers, packed_bytes * RATIO_MAX + RATIO_FREE_BYTES)

    def read(self, size: int) -> bytes:
        """Exactly so many bytes; at most one piece."""
        assert size <= PIECE_BYTES, "a piece at a time"
        self._given += size
        if self._given > self._max:
            raise ReleaseRefused(self._version, "it inflates beyond all measure")
        piece = self._source.read(size)
        if len(piece) != size:
            raise ReleaseRefused(self._version, "the archive ends too early")
        return piece


class _Unpacking:
    """One archive into one folder that nobody else knows yet."""

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self._version, self._folder = manifest.version, folder
        self._wanted = {file.path: file for file in manifest.files}
        parents = {parent.as_posix() for file in manifest.files for parent in Path(file.path).parents}
        self._folders = sorted(parents - {"."})  # parents sort before what is in them

    def run(self, source: _Inflating) -> None:
        """Every member in turn, until the archive's end mark."""
        for name in self._folders:
            (self._folder / name).mkdir(mode=0o755)
        while (header := source.read(_BLOCK)) != bytes(_BLOCK):
            self._member(tarfile.TarInfo.frombuf(header, "utf-8", "strict"), source)
        if self._wanted:
            raise ReleaseRefused(self._version, f"{ascii(min(self._wanted))[:80]} is missing")
        for name in ["", *self._folders]:
            sync_directory(self._folder / name)

    def _member(self, member: tarfile.TarInfo, source: _Inflating) -> None:
        """Only regular files and folders: a link, a device or an extension header has no business here."""
        name = member.name.removeprefix("./").rstrip("/")
        if member.type == tarfile.DIRTYPE:
            if name not in {"", ".", *self._folders}:
                raise ReleaseRefused(self._version, f"folder {ascii(name)[:80]} is not in the manifest")
            return
        if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE}:
            raise ReleaseRefused(self._version, f"{ascii(name)[:80]} is neither file nor folder")
        wanted = self._wanted.pop(name, None)
        if wanted is None:
            raise ReleaseRefused(self._version, f"{ascii(name)[:80]} is not in the manifest, or there twice")
        if member.size != wanted.size:
            raise ReleaseRefused(self._version, f"{ascii(name)[:80]} has {member.size} bytes, not {wanted.size}")
        self._file(wanted, source)

    def _file(self, wanted: ManifestFile, source: _Inflating) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self._folder / wanted.path, flags, 0o600)
        with contextlib.closing(os.fdopen(handle, "wb")) as file:
            digest, left = hashlib.blake2b(digest_size=32), wanted.size
            while left:
                piece = source.read(min(left, PIECE_BYTES))
                digest.update(piece)
                file.write(piece)
                left -= len(piece)
            source.read(-wanted.size % _BLOCK)
            file.flush()
            os.fchmod(handle, wanted.mode)
            os.fsync(handle)
        if digest.hexdigest() != wanted.hash:
            raise ReleaseRefused(self._version, f"{ascii(wanted.path)[:80]} is not what the manifest says (hash)")
