"""Looks at this machine, this terminal and the files of this console."""

import importlib.util
import locale
import os
import resource
import shutil
import stat
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import console
from console.config import Settings
from console.doctor.facts import AuthorityFacts, FileFacts, LocalFacts
from hubagent.wire import certificates
from hubagent.wire.certificates import CertificateRefused

# Where a hub agent of this machine keeps what must be private, if it has one.
HUB_FILES = (
    ("/var/lib/hubdeck/hub.key", True),
    ("/var/lib/hubdeck/issuing.pem", True),
    ("/etc/hubdeck/hubagent.yaml", False),
)


def look_around(settings: Settings, config: Path) -> LocalFacts:
    """Everything about here."""
    size = shutil.get_terminal_size((0, 0))
    return LocalFacts(
        version=version("hubdeck"),
        python=tuple(sys.version_info[:3]),
        encoding=locale.getpreferredencoding(do_setlocale=False),
        is_terminal=sys.stdout.isatty(),
        term=os.environ.get("TERM", ""),
        columns=size.columns,
        rows=size.lines,
        colours="NO_COLOR" if os.environ.get("NO_COLOR") else os.environ.get("COLORTERM", ""),
        nofile=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        has_pyc=_is_compiled(),
        files=tuple(_file(path, is_secret=secret) for path, secret in _files(settings, config)),
        authorities=tuple(_authorities(settings, config)),
    )


def _authorities(settings: Settings, config: Path) -> Iterator[AuthorityFacts]:
    """What this console trusts, and on the admin's machine what issues; a file that is not there is the others' to say."""
    trusted = dict.fromkeys(one.ca_file for one in settings.servers if one.ca_file)
    issuing = Path(settings.fleet_dir, "issuing.pem") if settings.fleet_dir else config.parent / "issuing.pem"
    for path in [*trusted, str(issuing)]:
        try:
            found = certificates.each(Path(path).read_bytes())
        except OSError:
            continue
        for pem in found or [b""]:
            yield _authority(path, pem, is_issuing=path == str(issuing))


def _authority(path: str, pem: bytes, *, is_issuing: bool) -> AuthorityFacts:
    try:
        mark, ends = certificates.fingerprint(pem)[:12], certificates.validity(pem).ends
    except CertificateRefused:
        return AuthorityFacts(path, "", None, is_issuing)
    return AuthorityFacts(path, mark, ends, is_issuing)


def _files(settings: Settings, config: Path) -> list[tuple[str, bool]]:
    own = [
        (settings.key_file, True),
        (str(config), False),
        (settings.fleet_key_file, False),
        (settings.roster_file, False),
    ]
    # The admin's, where this is the admin's machine.
    beside = [(str(config.resolve().parent / name), True) for name in ("fleet.key", "root.pem", "issuing.pem")]
    trusted = [(one.ca_file, False) for one in settings.servers]
    logins = [(path, True) for one in settings.servers for path in (one.creds_file, one.nkey_file)]
    return [(path, secret) for path, secret in (*own, *beside, *trusted, *logins, *HUB_FILES) if path]


def _file(path: str, *, is_secret: bool) -> FileFacts:
    try:
        return FileFacts(path, stat.S_IMODE(Path(path).stat().st_mode), is_secret)
    except OSError:
        return FileFacts(path, None, is_secret)


def _is_compiled() -> bool:
    source = console.__file__ or ""
    return bool(source) and Path(importlib.util.cache_from_source(source)).exists()
