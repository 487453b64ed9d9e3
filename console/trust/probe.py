"""What a server shows of itself before anybody logs in: whether it asks for TLS, with which certificate, until when."""

import socket
import ssl
from dataclasses import dataclass

from hubagent.wire.addresses import Address
from hubagent.wire.certificates import CertificateRefused, Validity, validity
from hubagent.wire.sanitise import clean_line

CONNECT_SECONDS = 3.0
INFO_BYTES_MAX = 64 << 10


@dataclass(frozen=True, slots=True)
class Shown:
    """One server's certificate; `fault` is why a client would not trust it, empty where it would."""

    held: Validity | None
    fault: str


def look(address: Address, ca_file: str) -> Shown:
    """Look at one address; every failure is a fault in words."""
    try:
        der = _handshake(address, _context("", verify=False))
        held = validity(ssl.DER_cert_to_PEM_cert(der).encode()) if der else None
    except (OSError, CertificateRefused) as error:
        return Shown(None, _words(error))
    try:
        _handshake(address, _context(ca_file, verify=True))
    except OSError as error:
        return Shown(held, _words(error))
    return Shown(held, "")


def _context(ca_file: str, *, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:  # only to read when it ends; nothing is sent over it
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _handshake(address: Address, context: ssl.SSLContext) -> bytes:
    """NATS says INFO in plain text first; the certificate as DER."""
    host = address.host.strip("[]")
    with socket.create_connection((host, address.port), CONNECT_SECONDS) as raw:
        info = b""
        while b"\n" not in info:
            part = raw.recv(4096)
            if not part or len(info) > INFO_BYTES_MAX:
                raise NoServer("what answers there is no NATS server")
            info += part
        if not info.startswith(b"INFO "):
            raise NoServer("what answers there is no NATS server")
        if b'"tls_required":true' not in info.replace(b" ", b""):
            raise NoServer("the server does not offer TLS")
        with context.wrap_socket(raw, server_hostname=host) as secure:
            return secure.getpeercert(binary_form=True) or b""


class NoServer(OSError):
    """Not what it should be."""


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return clean_line(error.verify_message, 120)
    return clean_line(getattr(error, "strerror", None) or str(error) or type(error).__name__, 120)
