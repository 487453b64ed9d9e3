"""The fleet's X.509: a root that stays with the admin, an issuing authority below it, and servers' certificates.

`cryptography` is imported where it is used: an agent that only reads when its certificate ends never loads it.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

DAY_SECONDS = 86_400.0
ROOT_SECONDS = 20 * 365 * DAY_SECONDS
ISSUING_SECONDS = 5 * 365 * DAY_SECONDS
LEAF_SECONDS = 90 * DAY_SECONDS
LEAF_SECONDS_MAX = 398 * DAY_SECONDS  # what browsers and TLS stacks still accept of a server
SKEW_SECONDS_MAX = 3600.0  # a certificate counts from a little earlier: clocks of machines differ
PEM_BYTES_MAX = 32 << 10
NAMES_MAX = 32
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s+(.+?)\s+-----END CERTIFICATE-----", re.DOTALL)


class CertificateRefused(ValueError):
    """A certificate, request or key that cannot be used; the text never carries a key."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate with its private key, both PEM; its repr shows no key."""

    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def pem(self) -> bytes:
        """Certificate and key in one file."""
        return self.certificate + self.key


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate holds (Unix seconds)."""

    begins: float
    ends: float

    @property
    def life_s(self) -> float:
        """How long it holds in all."""
        return self.ends - self.begins


# Reading, without the library


def first_der(pem: bytes) -> bytes:
    """The first certificate of a PEM text as DER, or CertificateRefused."""
    found = _CERTIFICATE.search(pem[:PEM_BYTES_MAX])
    if found is None:
        raise CertificateRefused("no certificate in it")
    try:
        return base64.b64decode(b"".join(found[1].split()), validate=True)
    except binascii.Error as error:
        raise CertificateRefused("no valid certificate in it") from error


def each(pem: bytes) -> list[bytes]:
    """Every certificate of a PEM text (a bundle has several), each as a PEM of its own."""
    found = _CERTIFICATE.finditer(pem[:PEM_BYTES_MAX])
    return [one[0].strip() + b"\n" for one in found]


def fingerprint(pem: bytes) -> str:
    """SHA-256 of the first certificate, as people compare it."""
    return sha256(first_der(pem)).hexdigest()


def validity(pem: bytes) -> Validity:
    """From when to when the first certificate of a PEM text holds, or CertificateRefused."""
    try:
        tbs = _inside(_inside(first_der(pem)))
        if tbs[0] == 0xA0:
            tbs = _after(tbs)  # version
        for _ in range(3):
            tbs = _after(tbs)  # serial number, algorithm, issuer
        times = _inside(tbs)
        return Validity(_time(times), _time(_after(times)))
    except (IndexError, ValueError) as error:
        raise CertificateRefused("no valid certificate in it") from error


def _length(der: bytes) -> tuple[int, int]:
    """(where the content begins, where it ends) of the element at the start."""
    size, start = der[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(der[2:start], "big")
    return start, start + size


def _inside(der: bytes) -> bytes:
    start, end = _length(der)
    return der[start:end]


def _after(der: bytes) -> bytes:
    return der[_length(der)[1] :]


def _time(der: bytes) -> float:
    text = _inside(der).decode("ascii")
    if der[0] == 0x17:  # UTCTime has two digits of a year; RFC 5280: 50 and later are 19xx
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


# Making


def new_key() -> bytes:
    """A fresh private key, PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_root(fleet: str, now: float) -> Authority:
    """The root of a fleet: it signs the issuing authority, and every link trusts it alone."""
    key = new_key()
    return Authority(_authority(key, f"{fleet} root", None, key, now, ROOT_SECONDS, 1), key)


def new_issuing(root: Authority, fleet: str, now: float) -> Authority:
    """What signs the servers' certificates; it can sign no further authority."""
    key = new_key()
    return Authority(_authority(key, f"{fleet} issuing", root, key, now, ISSUING_SECONDS, 0), key)


def request(key: bytes, hub: str) -> bytes:
    """A signing request, PEM: it proves that the asker has the key, and asks for no names (the issuer knows them)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(hub))
    return builder.sign(_private(key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def issue(issuing: Authority, asked: bytes, names: Sequence[str], now: float, life_s: float = LEAF_SECONDS) -> bytes:
    """A server's certificate for these names with the issuing one below it, PEM; or CertificateRefused."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    if not names or len(names) > NAMES_MAX:
        raise CertificateRefused(f"a certificate holds for 1 to {NAMES_MAX} names")
    wanted = _checked_request(asked)
    signer = x509.load_pem_x509_certificate(issuing.certificate)
    life_s = min(life_s, LEAF_SECONDS_MAX)
    begins = _begin(now, life_s)
    ends = min(begins + life_s, signer.not_valid_after_utc.timestamp())
    if ends <= now:
        raise CertificateRefused("the issuing authority has expired; have the admin make a new one")
    builder = (
        _builder(names[0], signer.subject, wanted.public_key(), begins, ends)
        .add_extension(x509.SubjectAlternativeName([_san(one) for one in dict.fromkeys(names)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    return _signed(builder, _private(issuing.key), signer, hashes.SHA256()) + issuing.certificate


def load_authority(pem: bytes) -> Authority:
    """An authority from its one file, or CertificateRefused."""
    found = re.search(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", pem, re.DOTALL)
    key = re.search(rb"-----BEGIN PRIVATE KEY-----.+?-----END PRIVATE KEY-----\n?", pem, re.DOTALL)
    if found is None or key is None:
        raise CertificateRefused("it must hold a certificate and its private key")
    return Authority(found[0], key[0])


def check_chain(chain: bytes, key: bytes, root: bytes, names: Sequence[str], now: float) -> None:
    """Raise CertificateRefused unless the chain leads to a root, fits the key, and holds for these names now.

    There are two roots in the file while one replaces the other.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        leaf, issuing, *_ = x509.load_pem_x509_certificates(chain)
        leaf.verify_directly_issued_by(issuing)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CertificateRefused("it was not issued by this fleet's authority") from error
    if not any(is_issued_by(each(chain)[1], one) for one in each(root)):
        raise CertificateRefused("it was not issued by this fleet's authority")
    if leaf.public_key() != _private(key).public_key():
        raise CertificateRefused("it belongs to another private key")
    held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    missing = [one for one in names if _san(one) not in list(held)]
    if missing:
        raise CertificateRefused(f"it does not hold for {missing[0]}")
    if not leaf.not_valid_before_utc.timestamp() <= now < leaf.not_valid_after_utc.timestamp():
        raise CertificateRefused(
            f"it holds from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} to {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC;"
            " compare the clocks"
        )


def is_issued_by(pem: bytes, root: bytes) -> bool:
    """Tell whether this root signed the first certificate of a PEM text."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        x509.load_pem_x509_certificate(pem).verify_directly_issued_by(x509.load_pem_x509_certificate(root))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _authority(
    key: bytes, common_name: str, by: Authority | None, own: bytes, now: float, life_s: float, path_length: int
) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    signer = x509.load_pem_x509_certificate(by.certificate) if by else None
    issuer = signer.subject if signer else _name(common_name)
    builder = (
        _builder(common_name, issuer, _private(key).public_key(), _begin(now, life_s), now + life_s)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_authority_usage(), critical=True)
    )
    return _signed(builder, _private(by.key if by else own), signer, hashes.SHA256())


def _authority_usage() -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _begin(now: float, life_s: float) -> float:
    """A little earlier than now, and never so much that it is a good part of the life."""
    return now - min(SKEW_SECONDS_MAX, life_s / 20)


def _builder(
    common_name: str, issuer: "x509.Name", public: object, begins: float, ends: float
) -> "x509.CertificateBuilder":
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(issuer)
        .public_key(public)  # type: ignore[arg-type]  # whichever kind the request has
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(begins, UTC))
        .not_valid_after(datetime.fromtimestamp(ends, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)  # type: ignore[arg-type]
    )


def _signed(
    builder: "x509.CertificateBuilder",
    key: "EllipticCurvePrivateKey",
    signer: "x509.Certificate | None",
    digest: object,
) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    if signer is not None:
        own = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
        builder = builder.add_extension(identifier, critical=False)
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


def _checked_request(asked: bytes) -> "x509.CertificateSigningRequest":
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    try:
        wanted = x509.load_pem_x509_csr(asked[:PEM_BYTES_MAX])
        is_signed = wanted.is_signature_valid
    except (ValueError, TypeError) as error:
        raise CertificateRefused("the request for a certificate cannot be read") from error
    if not is_signed or not isinstance(wanted.public_key(), EllipticCurvePublicKey):
        raise CertificateRefused("the request for a certificate is not signed by its own key")
    return wanted


def _private(key: bytes) -> "EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    try:
        loaded = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        raise CertificateRefused("the private key cannot be read") from error
    if not isinstance(loaded, EllipticCurvePrivateKey):
        raise CertificateRefused("the private key is of another kind than ours")
    return loaded


def _name(common_name: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _san(host: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)
