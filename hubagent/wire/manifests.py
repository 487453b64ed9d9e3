"""The signed manifest of an artifact: every file with its mode, size and hash, so that an archive proves nothing itself."""

import msgspec

from hubagent.wire.codec import WireError, decode
from hubagent.wire.signing import MANIFEST, KeyRefused, open_sealed
from hubagent.wire.subjects import is_name, is_version

MANIFEST_BYTES_MAX = 8 << 20
FILES_MAX = 20_000
BYTES_MAX = 1 << 30  # of one release, unpacked
PATH_CHARS_MAX = 240
PARTS_MAX = 32


class ManifestRefused(ValueError):
    """A manifest that cannot be used; the text names the file and what is wrong."""


class ManifestFile(msgspec.Struct, frozen=True):
    """One regular file. `mode`: permission bits; `hash`: hex BLAKE2b-256."""

    path: str
    mode: int
    size: int
    hash: str


class Manifest(msgspec.Struct, frozen=True):
    """One release of one service."""

    v: int
    service: str
    version: str
    files: list[ManifestFile]


def open_manifest(public: str, sealed: bytes) -> Manifest:
    """The manifest from its signed form, or ManifestRefused."""
    try:
        manifest = decode(open_sealed(public, MANIFEST, sealed), Manifest, MANIFEST_BYTES_MAX)
    except (KeyRefused, WireError) as error:
        raise ManifestRefused(f"manifest: {error}") from error
    if fault := manifest_fault(manifest):
        raise ManifestRefused(f"manifest: {fault}")
    return manifest


def manifest_fault(manifest: Manifest) -> str:
    """What is wrong with a manifest; empty when it may be unpacked."""
    if manifest.v != 1 or not is_name(manifest.service) or not is_version(manifest.version):
        return "it needs v 1, a service and a version"
    if not 0 < len(manifest.files) <= FILES_MAX:
        return f"{len(manifest.files)} files, between 1 and {FILES_MAX}"
    for file in manifest.files:
        if fault := _file_fault(file):
            return f"{ascii(file.path)[:80]}: {fault}"
    if sum(file.size for file in manifest.files) > BYTES_MAX:
        return f"more than {BYTES_MAX} bytes"
    return _clash([file.path for file in manifest.files])


def _file_fault(file: ManifestFile) -> str:
    parts = file.path.split("/")
    if len(file.path) > PATH_CHARS_MAX or len(parts) > PARTS_MAX:
        return f"at most {PATH_CHARS_MAX} characters and {PARTS_MAX} folders"
    if any(part in {"", ".", ".."} for part in parts) or "\\" in file.path or not file.path.isprintable():
        return "a path is relative, printable, and has no empty part, . or .."
    if file.mode & ~0o755:
        return f"mode {file.mode:o}; at most 755, and no special bits"
    if file.size < 0:
        return "a size below 0"
    return ""


def _clash(paths: list[str]) -> str:
    """Two files that are one on some file system, or a file that is another's folder."""
    folded = {path.casefold() for path in paths}
    if len(folded) != len(paths):
        return "a path stands there twice (upper and lower case are the same)"
    for path in folded:
        parts = path.split("/")
        if any("/".join(parts[:count]) in folded for count in range(1, len(parts))):
            return f"{ascii(path)[:80]}: its folder is a file as well"
    return ""
