"""Knocks at a server without logging in: what it says of itself, and what its certificate says."""

import json
import socket
import ssl
from dataclasses import replace
from typing import Any

from console.clock import Clock
from console.doctor.facts import Greeting
from hubagent.wire.addresses import AddressRefused, parse_address
from hubagent.wire.sanitise import clean_line

GREET_SECONDS = 3.0
INFO_BYTES_MAX = 64 << 10
WANTS_TLS = "it wants TLS; use a tls:// address"
NO_TLS = "it does not offer TLS: an impostor, or not configured for it"


def greet(url: str, ca_file: str, clock: Clock) -> Greeting:
    """One connection: the greeting, then TLS where the address asks for it; never raises for what a server does."""
    try:
        address = parse_address(url)
        began = clock.monotonic()
        with socket.create_connection((address.host.strip("[]"), address.port), GREET_SECONDS) as sock:
            took = clock.monotonic() - began
            info = _info(sock)
            said = Greeting(url, True, "", took, _word(info, "version"), info.get("jetstream") is True)
            if address.scheme == "tls":
                return _secure(sock, address.host.strip("[]"), ca_file, said, info)
            return replace(said, is_ok=False, why=WANTS_TLS) if info.get("tls_required") is True else said
    except AddressRefused as error:
        return Greeting(url, is_ok=False, why=str(error))
    except TimeoutError:
        return Greeting(url, is_ok=False, why=f"no answer within {GREET_SECONDS:g} s")
    except (OSError, ValueError) as error:
        return Greeting(url, is_ok=False, why=clean_line(getattr(error, "strerror", None) or str(error), 160))


def _word(info: dict[str, Any], key: str) -> str:
    return clean_line(str(info.get(key, "")), 40)


def _info(sock: socket.socket) -> dict[str, Any]:
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = sock.recv(1)  # what comes after the line belongs to TLS
        if not piece or len(line) > INFO_BYTES_MAX:
            raise ValueError("no NATS server answers there")
        line += piece
    word, _, body = bytes(line).partition(b" ")
    if word != b"INFO":
        raise ValueError("no NATS server answers there")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("no NATS server answers there")  # noqa: TRY004  # it is the server's text that is wrong
    return found


def _secure(sock: socket.socket, host: str, ca_file: str, said: Greeting, info: dict[str, Any]) -> Greeting:
    if not (info.get("tls_required") or info.get("tls_available")):
        return replace(said, is_ok=False, why=NO_TLS)
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with context.wrap_socket(sock, server_hostname=host) as secure:
            certificate, version = secure.getpeercert() or {}, secure.version() or ""
    except ssl.SSLCertVerificationError as error:
        why = f"its certificate does not verify: {clean_line(error.verify_message, 120)}"
        return replace(said, is_ok=False, why=why)
    return replace(
        said, tls=version, ends=_moment(certificate.get("notAfter")), begins=_moment(certificate.get("notBefore"))
    )


def _moment(text: object) -> float | None:
    try:
        return ssl.cert_time_to_seconds(str(text))
    except ValueError:
        return None
