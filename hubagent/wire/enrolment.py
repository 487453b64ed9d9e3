"""What travels while a machine joins a fleet, and while a server's certificate is renewed."""

import base64
import binascii
from hashlib import sha256

import msgspec

from hubagent.wire.certificates import CertificateRefused, first_der
from hubagent.wire.codec import WireError, decode, encode
from hubagent.wire.roster import Server
from hubagent.wire.signing import INVITATION, KeyRefused, Signer, is_public_key, open_sealed, seal
from hubagent.wire.subjects import is_name

TOKEN_SECONDS = 600.0  # an invitation lives this long
TOKEN_CHARS_MAX = 16_384
ENROL_BYTES_MAX = 32 << 10
ANSWER_BYTES_MAX = 6 << 20  # a roster in base64, and a certificate
WAIT, GRANTED, REFUSED = "wait", "granted", "refused"


class TokenRefused(ValueError):
    """A token that cannot be used; the text says why and what to do."""

    def __init__(self, why: str) -> None:
        super().__init__(f"token refused: {why}; have the admin run `hubdeck invite` again")


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """One invitation, as its one line carries it; `seed` is the one-time login."""

    v: int
    fleet: str
    hub: str
    id: str
    seed: str
    fleet_key: str
    until: float
    servers: list[Server]
    ca: str = ""  # PEM; empty where the whole fleet is on loopback

    def __repr__(self) -> str:
        return f"Token(fleet={self.fleet!r}, hub={self.hub!r}, until={self.until!r})"


class EnrolRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A machine's public keys; its signature (domain ENROLMENT) shows that it has the signing key.

    `done`: the answer has been taken and written; the invitation may end.
    """

    v: int
    id: str
    hub: str
    login: str
    signing: str
    csr: str = ""
    machine: str = ""
    done: bool = False


class EnrolAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """wait | granted | refused. What is granted proves itself: the fleet key signed the roster, the CA the certificate."""

    state: str
    why: str = ""
    roster: bytes = b""  # sealed; base64 in JSON
    certificate: str = ""


class CertificateRequest(msgspec.Struct, frozen=True):
    """A hub asks for its server's next certificate; signed by the hub (domain CERTIFICATE)."""

    v: int
    hub: str
    csr: str
    life_s: float


class CertificateAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The certificate with what stands below the root, or why not."""

    certificate: str = ""
    why: str = ""


def seal_token(fleet: Signer, token: Token) -> str:
    """The token as one line, sealed: a changed character does not go unnoticed."""
    return base64.urlsafe_b64encode(seal(fleet, INVITATION, encode(token))).decode().rstrip("=")


def open_token(line: str, now: float) -> Token:
    """A token that is whole and not over, or TokenRefused."""
    line = "".join(line.split())  # a terminal may have wrapped it
    if not line.isascii() or not 0 < len(line) <= TOKEN_CHARS_MAX:
        raise TokenRefused("it is no token")
    token = _opened(line)
    if token.v != 1:
        raise TokenRefused(f"it is of version {token.v}; this program knows version 1")
    if not (is_name(token.hub) and is_name(token.id) and token.servers):
        raise TokenRefused("it names no hub or no server")
    if now > token.until:
        raise TokenRefused(f"it expired {(now - token.until) / 60:.0f} min ago by this machine's clock")
    if token.ca:
        try:
            first_der(token.ca.encode())
        except CertificateRefused as error:
            raise TokenRefused(str(error)) from error
    return token


def _opened(line: str) -> Token:
    try:
        sealed = base64.b64decode(line + "=" * (-len(line) % 4), altchars=b"-_", validate=True)
        token = decode(sealed.partition(b"\n")[2], Token, TOKEN_CHARS_MAX)
        if not is_public_key(token.fleet_key):
            raise TokenRefused("it names no fleet key")
        open_sealed(token.fleet_key, INVITATION, sealed)
    except (binascii.Error, WireError, UnicodeError) as error:
        raise TokenRefused("it is no token, or not all of it was copied") from error
    except KeyRefused as error:
        raise TokenRefused("it was altered after it was made") from error
    return token


def keys_fingerprint(login: str, signing: str) -> str:
    """What admin and machine compare: eight groups of four over both public keys."""
    digest = sha256(f"{login} {signing}".encode()).hexdigest()
    return "-".join(digest[place : place + 4] for place in range(0, 32, 4))
