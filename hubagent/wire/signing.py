"""Signatures: ed25519 over domain, subject and payload hash; a signing key never answers a server's nonce."""

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

import nkeys
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

SIGNATURE_HEADER = "Hub-Sig"

# One domain for each kind of signed thing: a signature of one kind never verifies as another (7-security).
CHUNK = "hubdeck-chunk-v1"
COMMAND = "hubdeck-command-v1"
REPLY = "hubdeck-reply-v1"
LEASE = "hubdeck-lease-v1"
PEER = "hubdeck-peer-v1"
ROSTER = "hubdeck-roster-v1"
MANIFEST = "hubdeck-manifest-v1"
INVITATION = "hubdeck-invitation-v1"
ENROLMENT = "hubdeck-enrolment-v1"
CERTIFICATE = "hubdeck-certificate-v1"

ZERO_HASH = "0" * 64


class KeyRefused(ValueError):
    """Key material that cannot be used; never carries the key itself."""


def payload_hash(payload: bytes) -> str:
    """Hex BLAKE2b-256 of the bytes."""
    return hashlib.blake2b(payload, digest_size=32).hexdigest()


def _message(domain: str, subject: str, digest: str) -> bytes:
    return f"{domain}\0{subject}\0{digest}".encode()


@dataclass(frozen=True, slots=True)
class Signer:
    """A private signing key; its repr shows nothing of it."""

    _key: SigningKey = field(repr=False)
    public: str

    def sign(self, domain: str, subject: str, payload: bytes) -> str:
        """URL-safe base64 signature over domain, subject and the hash of the payload."""
        return self.sign_hash(domain, subject, payload_hash(payload))

    def sign_hash(self, domain: str, subject: str, digest: str) -> str:
        """The same where the hash is known already."""
        return base64.urlsafe_b64encode(self._key.sign(_message(domain, subject, digest)).signature).decode()


def verify(public: str, domain: str, subject: str, payload: bytes, signature: str | None) -> bool:
    """Tell whether this signature is by that public key over exactly these bytes; bad input is False."""
    return verify_hash(public, domain, subject, payload_hash(payload), signature)


def verify_hash(public: str, domain: str, subject: str, digest: str, signature: str | None) -> bool:
    """The same where the hash is known already."""
    try:
        raw = base64.urlsafe_b64decode((signature or "").encode("ascii", "replace"))
        VerifyKey(_public_bytes(public)).verify(_message(domain, subject, digest), raw)
    except (BadSignatureError, binascii.Error, ValueError, TypeError):
        return False
    return True


def _public_bytes(public: str) -> bytes:
    raw = base64.b32decode(public + "=" * (-len(public) % 8))
    if len(raw) != 35 or raw[0] != nkeys.PREFIX_BYTE_USER or nkeys.crc16(raw[:-2]).to_bytes(2, "little") != raw[-2:]:
        raise KeyRefused("a public key is an nkey that begins with U")
    return raw[1:33]


def is_public_key(text: str) -> bool:
    """Tell whether this is a well-formed public user nkey."""
    try:
        _public_bytes(text)
    except (binascii.Error, ValueError):
        return False
    return True


def seed_from(entropy: bytes) -> str:
    """A user nkey seed (`SU…`) from 32 random bytes that the caller brings."""
    return bytes(nkeys.encode_seed(entropy, nkeys.PREFIX_BYTE_USER)).decode()


def public_of(seed: str) -> str:
    """The public key (`U…`) of a seed."""
    if not seed.startswith("SU"):
        raise KeyRefused("a seed is an nkey that begins with SU")
    try:
        return bytes(nkeys.from_seed(bytearray(seed.encode())).public_key).decode()
    except (nkeys.NkeysError, ValueError, binascii.Error) as error:
        raise KeyRefused("a seed is an nkey that begins with SU") from error


def signer(seed: str) -> Signer:
    """The signer of a seed."""
    public = public_of(seed)
    _, raw = nkeys.decode_seed(seed.encode())
    return Signer(SigningKey(bytes(raw[:32])), public)


@dataclass(frozen=True, slots=True)
class Keys:
    """An identity's two keys; the login seed goes to the NATS client only."""

    login_seed: str = field(repr=False)
    signer: Signer
    login_public: str


def parse_keys(text: str) -> Keys:
    """Read a key file: login seed on the first line, signing seed on the second; equal keys are refused."""
    lines = text.split()
    if len(lines) != 2:
        raise KeyRefused("a key file has two lines: the login seed, then the signing seed")
    login, signing = lines
    if login == signing:
        raise KeyRefused("login and signing key are equal: a server could have a command signed as its nonce")
    return Keys(login, signer(signing), public_of(login))


def seal(key: Signer, domain: str, body: bytes) -> bytes:
    """A signed document: the signature on the first line, the body below it."""
    return key.sign(domain, "", body).encode() + b"\n" + body


def open_sealed(public: str, domain: str, sealed: bytes) -> bytes:
    """The body of a signed document, or KeyRefused."""
    signature, _, body = sealed.partition(b"\n")
    if not verify(public, domain, "", body, signature.decode("ascii", "replace").strip()):
        raise KeyRefused("the signature does not verify with the expected key")
    return body
