"""Artifacts: what the signed manifest lists is unpacked, and nothing else ever is."""

import gzip
import io
import resource
import tarfile

import msgspec
import pytest

from hubagent.edges.unpack import unpack
from hubagent.errors import ReleaseRefused
from hubagent.wire.codec import encode
from hubagent.wire.manifests import Manifest, ManifestFile, ManifestRefused, open_manifest
from hubagent.wire.signing import CHUNK, MANIFEST, payload_hash, seal
from tests.support.commanding import key

FILES = {"bin/web": b"#!/bin/sh\n", "data/big": b"x" * 200_000, "empty": b"", "version.txt": b"2.0"}


def manifest(content=FILES, /, **changes):
    """The manifest of these files."""
    listed = [ManifestFile(path, 0o755, len(data), payload_hash(data)) for path, data in content.items()]
    return msgspec.structs.replace(Manifest(1, "web", "2.0", listed), **changes)


def member(name, data=b"", kind=tarfile.REGTYPE, link=""):
    """One member of an archive."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), link
    return info, data


def archive(path, members, *, pack=True):
    """A tar with these members, in the old format without extension headers."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(raw.getvalue()) if pack else raw.getvalue())
    return path


GOOD = [member("bin", kind=tarfile.DIRTYPE), *(member(name, data) for name, data in FILES.items())]


@pytest.fixture
def root(tmp_path):
    """A release root."""
    (tmp_path / "web" / "releases" / "1.0").mkdir(parents=True)
    return tmp_path / "web"


def refused(root, tmp_path, members, words, **changes):
    """Unpacking is refused in words, and nothing is left anywhere."""
    before = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    with pytest.raises(ReleaseRefused, match=words):
        unpack(archive(tmp_path / "a.tar", members), manifest(**changes), root)
    (tmp_path / "a.tar").unlink()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("pack", [True, False])
def test_a_good_artifact_becomes_a_release(root, tmp_path, pack):
    """Files, contents and modes, and no temporary folder beside."""
    target = unpack(archive(tmp_path / "a.tar", GOOD, pack=pack), manifest(), root)
    assert {
        path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()
    } == FILES
    assert (target / "bin" / "web").stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in (root / "releases").iterdir()) == ["1.0", "2.0"]


def test_a_release_never_changes(root, tmp_path):
    """Installed is installed."""
    unpack(archive(tmp_path / "a.tar", GOOD), manifest(), root)
    with pytest.raises(ReleaseRefused, match="installed already"):
        unpack(tmp_path / "a.tar", manifest(), root)


def test_a_leftover_of_a_crash_is_replaced(root, tmp_path):
    """Half a release is no release."""
    (root / "releases" / ".incoming-2.0" / "bin").mkdir(parents=True)
    assert unpack(archive(tmp_path / "a.tar", GOOD), manifest(), root).is_dir()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (member("../evil", b"x"), "not in the manifest"),
        (member("/etc/evil", b"x"), "not in the manifest"),
        (member("a/../../evil", b"x"), "not in the manifest"),
        (member("surplus", b"x"), "not in the manifest"),
        (member("VERSION.TXT", b"2.0"), "not in the manifest"),
        (member("version.txt", b"2.0"), "there twice"),
        (member("other", kind=tarfile.DIRTYPE), "not in the manifest"),
        (member("evil", kind=tarfile.SYMTYPE, link="/etc/passwd"), "neither file nor folder"),
        (member("version.txt", kind=tarfile.SYMTYPE, link="/etc/passwd"), "neither file nor folder"),
        (member("evil", kind=tarfile.LNKTYPE, link="version.txt"), "neither file nor folder"),
        (member("evil", kind=tarfile.CHRTYPE), "neither file nor folder"),
        (member("evil", kind=tarfile.BLKTYPE), "neither file nor folder"),
        (member("evil", kind=tarfile.FIFOTYPE), "neither file nor folder"),
        (member("evil", kind=tarfile.GNUTYPE_SPARSE), "neither file nor folder"),
        (member("pax", b"20 path=/etc/passwd\n", tarfile.XHDTYPE), "neither file nor folder"),
        (member("long", b"x" * 300, tarfile.GNUTYPE_LONGNAME), "neither file nor folder"),
    ],
    ids=[
        "X8 parent",
        "X8 absolute",
        "X8 parent in the middle",
        "X8 surplus",
        "X8 case fold",
        "X8 duplicate",
        "X8 folder",
        "X8 symlink",
        "X8 symlink for a file",
        "X8 hardlink",
        "X8 character device",
        "X8 block device",
        "X8 FIFO",
        "X8 sparse",
        "X8 extension header",
        "X8 long name",
    ],
)
def test_what_is_not_listed_is_refused(root, tmp_path, bad, words):
    """Escapes, links, devices, doubles and extension headers: refused, nothing outside, nothing left."""
    refused(root, tmp_path, [*GOOD, bad], words)


def test_other_content_than_signed_is_refused(root, tmp_path):
    """By size and by hash; a missing file as well."""
    refused(root, tmp_path, [*GOOD[:-1], member("version.txt", b"2.1")], "hash")
    refused(root, tmp_path, [*GOOD[:-1], member("version.txt", b"2.0.1")], "has 5 bytes, not 3")
    refused(root, tmp_path, GOOD[:-1], "version.txt' is missing")


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a//b", "a/./b", "", ".", "a\\b", "a\nb", "a\x1b[2Jb", "x" * 300, "/".join("x" * 40)]
)
def test_a_manifest_with_a_hostile_path_is_refused(root, tmp_path, path):
    """Even if it were signed."""
    with pytest.raises(ReleaseRefused):
        unpack(archive(tmp_path / "a.tar", []), manifest({path: b"x"}), root)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": []},
        {"version": "../1"},
        {"service": "a.b"},
        {"v": 2},
        {"files": [ManifestFile("x", 0o4755, 1, "")]},
        {"files": [ManifestFile("x", 0o777, 1, "")]},
        {"files": [ManifestFile("x", 0o644, -1, "")]},
        {"files": [ManifestFile("x", 0o644, 1 << 40, "")]},
        {"files": [ManifestFile("x", 0o644, 1, ""), ManifestFile("X", 0o644, 1, "")]},
        {"files": [ManifestFile("x", 0o644, 1, ""), ManifestFile("x/y", 0o644, 1, "")]},
        {"files": [ManifestFile("x", 0o644, 1, "")] * 20_001},
    ],
)
def test_a_manifest_that_asks_for_too_much_is_refused(root, tmp_path, changes):
    """Special modes, sizes, counts and clashes."""
    with pytest.raises(ReleaseRefused):
        unpack(archive(tmp_path / "a.tar", []), manifest(**changes), root)


@pytest.mark.parametrize("raw", [b"", b"\x1f\x8b", b"\x1f\x8b" + b"\0" * 600, b"x" * 511, b"x" * 5000])
def test_what_is_no_archive_is_refused(root, tmp_path, raw):
    """Torn, empty and nonsense input ends in the same error."""
    (tmp_path / "a.tar").write_bytes(raw)
    with pytest.raises(ReleaseRefused):
        unpack(tmp_path / "a.tar", manifest(), root)
    assert [path.name for path in (root / "releases").iterdir()] == ["1.0"]


def test_a_torn_archive_is_refused_at_every_length(root, tmp_path):
    """Whatever part arrived."""
    whole = archive(tmp_path / "a.tar", GOOD, pack=False).read_bytes()
    for cut in range(0, len(whole) - 10_240, 20_011):
        (tmp_path / "a.tar").write_bytes(whole[:cut])
        with pytest.raises(ReleaseRefused):
            unpack(tmp_path / "a.tar", manifest(), root)


def test_a_bomb_stops_early_and_costs_no_memory(root, tmp_path):
    """X9: 300 MB of zeros in 300 kB: refused after a few pieces, within a bounded memory."""
    bomb = tmp_path / "a.tar"
    size = 300 << 20
    info = tarfile.TarInfo("zeros")
    info.size = size
    with gzip.open(bomb, "wb") as packed:
        packed.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(300):
            packed.write(bytes(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ReleaseRefused, match="inflates beyond"):
        unpack(bomb, manifest(files=[ManifestFile("zeros", 0o644, size, "0" * 64)]), root)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert [path.name for path in (root / "releases").iterdir()] == ["1.0"]


def test_only_a_signed_manifest_opens():
    """By the expected key, in its own domain, unaltered."""
    sealed = seal(key("root"), MANIFEST, encode(manifest()))
    assert open_manifest(key("root").public, sealed) == manifest()
    bad = [
        (key("ana").public, sealed),
        (key("root").public, sealed.replace(b'"web"', b'"wet"')),
        (key("root").public, seal(key("root"), CHUNK, encode(manifest()))),
        (key("root").public, seal(key("root"), MANIFEST, b"{}")),
        (key("root").public, seal(key("root"), MANIFEST, encode(manifest({"../x": b""})))),
        (key("root").public, b""),
    ]
    for public, raw in bad:
        with pytest.raises(ManifestRefused):
            open_manifest(public, raw)
