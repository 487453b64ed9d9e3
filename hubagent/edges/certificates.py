"""A server's certificate on disk: certificate, what stands below the root, and private key in one file.

One file, because two cannot be replaced at once: a crash between them would leave a pair that fits nothing.
"""

import asyncio
import os
import ssl
from collections.abc import Sequence
from pathlib import Path

from hubagent.edges.state_dir import StateRefused
from hubagent.wire import certificates
from hubagent.wire.certificates import Authority, CertificateRefused, Validity


def write_private(path: Path, data: bytes) -> None:
    """Replace a private file atomically and durably; it never exists with looser rights."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_validity(path: Path) -> Validity:
    """From when to when the certificate in this file holds; raises StateRefused."""
    try:
        return certificates.validity(path.read_bytes())
    except (OSError, CertificateRefused) as error:
        raise StateRefused(
            str(path), str(getattr(error, "strerror", None) or error), "have the admin issue a new certificate"
        ) from error


def read_issuing(path: Path) -> Authority | None:
    """The issuing authority, where it lies on this hub; raises CertificateRefused where it cannot be used."""
    return certificates.load_authority(path.read_bytes()) if path.is_file() else None


async def new_request(hub: str) -> tuple[bytes, bytes]:
    """A fresh private key and a signing request for it."""

    def make() -> tuple[bytes, bytes]:
        key = certificates.new_key()
        return key, certificates.request(key, hub)

    return await asyncio.to_thread(make)


async def issue(issuing: Authority, csr: bytes, names: Sequence[str], now: float, life_s: float) -> bytes:
    """A certificate for these names; raises CertificateRefused."""
    return await asyncio.to_thread(certificates.issue, issuing, csr, names, now, life_s)


async def install(path: Path, chain: bytes, key: bytes, root: Path, names: Sequence[str], now: float) -> None:
    """Check a new certificate against the fleet's root, key and names, then put it in place of the old one."""

    def put() -> None:
        certificates.check_chain(chain, key, root.read_bytes(), names, now)
        write_private(path, chain + key)

    await asyncio.to_thread(put)


def client_context(ca_file: str) -> ssl.SSLContext:
    """The fleet's CA and the host's name are checked, TLS 1.2 and later; raises StateRefused for a CA file that is none."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise StateRefused(ca_file, "no readable CA certificate", "copy the fleet's ca.pem there") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
