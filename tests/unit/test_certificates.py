"""The fleet's certificates: what they hold for, how long, and when they are renewed."""

import datetime as dt
import ssl

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from hubagent.core.certificates import Asked, Failed, Installed, Renew, Renewal
from hubagent.wire import certificates
from hubagent.wire.certificates import CertificateRefused, Validity, check_chain, issue, new_key, request, validity

NOW = 1_800_000_000.0
ROOT = certificates.new_root("test", NOW)
ISSUING = certificates.new_issuing(ROOT, "test", NOW)
KEY = new_key()
NAMES = ["central", "10.0.0.1", "[fd00::1]", "central.example.net"]
CHAIN = issue(ISSUING, request(KEY, "central"), NAMES, NOW, 1000.0)


def test_a_certificate_is_read_without_the_library_as_the_library_reads_it():
    """Validity of root, issuing authority and server."""
    for pem in (ROOT.certificate, ISSUING.certificate, CHAIN):
        held = x509.load_pem_x509_certificate(pem)
        expected = Validity(held.not_valid_before_utc.timestamp(), held.not_valid_after_utc.timestamp())
        assert validity(pem) == expected


def test_a_year_after_2049_is_read_too():
    """The other way to write a time."""
    far = certificates.new_root("far", dt.datetime(2049, 6, 1, tzinfo=dt.UTC).timestamp())
    assert dt.datetime.fromtimestamp(validity(far.certificate).ends, dt.UTC).year == 2069


def test_a_life_stays_the_same_over_renewals():
    """It counts from a little earlier, and is not longer for that."""
    assert validity(CHAIN).life_s == 1000.0
    assert validity(CHAIN).begins == NOW - 50


@given(st.binary(max_size=300))
def test_any_bytes_are_no_certificate(raw):
    """One error and no other."""
    body = b"-----BEGIN CERTIFICATE-----\n" + raw + b"\n-----END CERTIFICATE-----"
    for text in (
        raw,
        body,
        b"-----BEGIN CERTIFICATE-----\n" + __import__("base64").b64encode(raw or b"x") + b"\n-----END CERTIFICATE-----",
    ):
        with pytest.raises(CertificateRefused):
            validity(text)


def test_a_chain_holds_for_its_names_its_key_and_its_time():
    """All four are checked."""
    check_chain(CHAIN, KEY, ROOT.certificate, NAMES, NOW)
    other = certificates.new_root("test", NOW)
    for chain, key, root, names, now, words in (
        (CHAIN, KEY, other.certificate, NAMES, NOW, "not issued by this fleet"),
        (CHAIN, new_key(), ROOT.certificate, NAMES, NOW, "another private key"),
        (CHAIN, KEY, ROOT.certificate, ["edge"], NOW, "does not hold for edge"),
        (CHAIN, KEY, ROOT.certificate, NAMES, NOW + 1000, "compare the clocks"),
        (b"", KEY, ROOT.certificate, NAMES, NOW, "not issued"),
    ):
        with pytest.raises(CertificateRefused, match=words):
            check_chain(chain, key, root, names, now)


def test_a_request_is_signed_by_its_own_key_and_asks_for_no_names():
    """The names come from the roster."""
    good = request(KEY, "central")
    for bad in (b"", b"x", good.replace(b"M", b"N", 1), good[: len(good) // 2]):
        with pytest.raises(CertificateRefused):
            issue(ISSUING, bad, NAMES, NOW)
    held = x509.load_pem_x509_certificate(issue(ISSUING, request(KEY, "evil"), ["central"], NOW))
    assert held.subject.rfc4514_string() == "CN=central"
    for names in ([], ["x"] * 40):
        with pytest.raises(CertificateRefused, match="1 to 32 names"):
            issue(ISSUING, good, names, NOW)


def test_the_issuing_authority_can_make_no_further_authority_and_no_longer_life():
    """Limited in depth and time."""
    limits = x509.load_pem_x509_certificate(ISSUING.certificate).extensions
    assert limits.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    late = validity(ISSUING.certificate).ends - 10
    assert validity(issue(ISSUING, request(KEY, "central"), NAMES, late, 1e9)).ends == late + 10
    with pytest.raises(CertificateRefused, match="authority has expired"):
        issue(ISSUING, request(KEY, "central"), NAMES, late + 1000)


def test_no_repr_shows_a_key():
    """X14: no secret in what a person or a log sees."""
    assert "PRIVATE" not in repr(ROOT)
    assert certificates.load_authority(ROOT.pem) == ROOT
    with pytest.raises(CertificateRefused, match="certificate and its private key"):
        certificates.load_authority(ROOT.certificate)


def test_openssl_takes_the_chain():
    """The client's own library loads it."""
    context = ssl.create_default_context(cadata=ROOT.certificate.decode())
    assert len(context.get_ca_certs()) == 1
    assert certificates.fingerprint(CHAIN) != certificates.fingerprint(ISSUING.certificate)


# When it is renewed

HELD = Validity(0.0, 900.0)


def renewal() -> Renewal:
    """One with a certificate of 900 s."""
    made = Renewal()
    assert made.handle(Installed(HELD), 1.0) == []
    return made


def test_renewal_begins_at_two_thirds_of_the_life():
    """Not before, and one attempt at once."""
    core = renewal()
    assert core.deadline() == 600.0
    assert core.tick(599.9) == []
    assert core.tick(600.0) == [Renew(900.0)]
    assert core.tick(601.0) == []
    assert core.deadline() is None


def test_a_failed_renewal_is_tried_again():
    """Soon, in proportion to the life."""
    core = renewal()
    core.tick(600.0)
    assert core.handle(Failed("nobody issues"), 605.0) == []
    assert core.why == "nobody issues"
    assert core.deadline() == 614.0
    assert core.tick(614.0) == [Renew(900.0)]
    assert core.handle(Installed(Validity(600.0, 1500.0)), 615.0) == []
    assert (core.why, core.deadline()) == ("", 1200.0)


def test_somebody_may_ask_ahead_of_time():
    """At once, and not twice."""
    core = renewal()
    assert core.handle(Asked(), 10.0) == [Renew(900.0)]
    assert core.handle(Asked(), 10.0) == []
    assert Renewal().handle(Asked(), 10.0) == []


@pytest.mark.parametrize(
    ("now", "severity"), [(1.0, "ok"), (700.0, "ok"), (750.0, "warning"), (899.0, "warning"), (900.0, "critical")]
)
def test_the_end_is_told_ahead_of_time(now, severity):
    """Late renewal warns, the end is critical."""
    assert renewal().severity(now) == severity
    assert renewal().left_s(now) == 900.0 - now


def test_without_a_certificate_there_is_nothing_to_say():
    """Nothing is due."""
    assert (Renewal().deadline(), Renewal().severity(1e12), Renewal().left_s(5.0)) == (None, "ok", None)


def test_a_certificate_that_is_late_already_is_renewed_at_the_first_tick():
    """An agent that was off for long."""
    core = Renewal()
    assert core.handle(Installed(HELD), 800.0) == []
    assert core.tick(800.0) == [Renew(900.0)]
