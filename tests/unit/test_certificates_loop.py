"""The agent's certificate desk: for whom it issues, what it says of its own, and what it does when nobody issues."""

import asyncio

import pytest

from hubagent.edges.nats_link import Message
from hubagent.loops.certificates import CertificateFiles, Certificates
from hubagent.setup import _certificate_faults
from hubagent.wire import certificates, signing, subjects
from hubagent.wire.certificates import check_chain, validity
from hubagent.wire.codec import encode
from hubagent.wire.enrolment import CertificateRequest
from hubagent.wire.roster import Hub, Roster, Server
from hubagent.wire.signing import SIGNATURE_HEADER, public_of, seed_from, signer
from tests.fakes.clock import FakeClock
from tests.fakes.recorder import FakeRecorder

KEYS = {name: signer(seed_from(name[:1].encode() * 32)) for name in ("central", "witness", "alpha")}
HUBS = [Hub(name, public_of(seed_from(name[:1].upper().encode() * 32)), key.public) for name, key in KEYS.items()]
ROSTER = Roster(
    1, "test", 1, HUBS, [],
    [Server("central", ["tls://10.0.0.1:4222"], "hub-server", "central"),
     Server("witness", ["tls://10.0.0.3:4222"], "witness", "witness")],
)  # fmt: skip
CLOCK = FakeClock()
ROOT = certificates.new_root("test", CLOCK.wall())
ISSUING = certificates.new_issuing(ROOT, "test", CLOCK.wall())
TLS_KEY = certificates.new_key()


class Desk:
    """The certificates of one hub over files in a folder, without any server."""

    def __init__(self, folder, hub: str = "central", *, has_issuing: bool = True, life_s: float = 900.0) -> None:
        self.clock, self.recorder, self.installs = FakeClock(), FakeRecorder(), 0
        self.files = CertificateFiles(folder / "server.pem", folder / "ca.pem", folder / "issuing.pem")
        self.files.root.write_bytes(ROOT.certificate)
        if has_issuing:
            self.files.issuing.write_bytes(ISSUING.pem)
        names = certificates_names(hub)
        chain = certificates.issue(ISSUING, certificates.request(TLS_KEY, hub), names, self.clock.wall(), life_s)
        self.files.server.write_bytes(chain + TLS_KEY)
        self.loop = Certificates(
            hub, self.files, KEYS[hub], [], None, lambda: ROSTER, self.recorder, self.clock, self._installed
        )

    async def _installed(self) -> None:
        self.installs += 1

    async def turn(self) -> None:
        """One turn of the loop, without its waiting."""
        self.loop._look()
        self.loop._say()
        for effect in self.loop._step([]):
            await self.loop._renew(effect)
        self.loop._say()


def certificates_names(hub: str) -> list[str]:
    """What the roster gives it."""
    return [hub, {"central": "10.0.0.1", "witness": "10.0.0.3"}.get(hub, "10.9.9.9")]


def asking(hub: str, by: str = "", csr: bytes | None = None, life_s: float = 600.0) -> Message:
    """A hub's request."""
    csr = certificates.request(TLS_KEY, hub) if csr is None else csr
    payload, subject = encode(CertificateRequest(1, hub, csr.decode(), life_s)), subjects.certificate(hub)
    signature = KEYS[by or hub].sign(signing.CERTIFICATE, subject, payload)
    return Message(subject, "_I.x.1", payload, {SIGNATURE_HEADER: signature})


async def test_a_server_of_the_roster_gets_a_certificate_for_its_own_names(tmp_path):
    """Whatever the request says."""
    desk = Desk(tmp_path)
    answer = await desk.loop._answer(asking("witness", csr=certificates.request(TLS_KEY, "central")))
    check_chain(answer.certificate.encode(), TLS_KEY, ROOT.certificate, ["witness", "10.0.0.3"], desk.clock.wall())
    assert validity(answer.certificate.encode()).life_s == 600.0
    assert desk.recorder.events[-1].text == "issued a certificate to the server of witness"


async def test_no_life_is_longer_than_the_longest(tmp_path):
    """Nor negative."""
    desk = Desk(tmp_path)
    for asked, given in ((1e12, certificates.LEAF_SECONDS_MAX), (-5.0, 1.0)):
        answer = await desk.loop._answer(asking("witness", life_s=asked))
        assert validity(answer.certificate.encode()).life_s == pytest.approx(given, abs=1.0)


async def test_what_is_not_signed_by_that_hub_is_not_answered(tmp_path):
    """Unsigned, another hub's, altered, of nobody (X1, X3)."""
    desk, good = Desk(tmp_path), asking("witness")
    for bad in (
        good._replace(headers={}),
        asking("witness", by="alpha"),
        good._replace(payload=good.payload.replace(b"600", b"601")),
        good._replace(subject="cert.central"),
        good._replace(subject="cert.gamma"),
    ):
        assert await desk.loop._answer(bad) is None


async def test_what_cannot_be_issued_is_refused_in_words(tmp_path):
    """A hub without a server, no authority here, a request that is none."""
    desk = Desk(tmp_path)
    assert (await desk.loop._answer(asking("alpha"))).why == "the roster has no server on alpha"
    assert "cannot be read" in (await desk.loop._answer(asking("witness", csr=b"x"))).why
    (tmp_path / "issuing.pem").unlink()
    assert (await desk.loop._answer(asking("witness"))).why == "the issuing authority does not lie here"


async def test_the_own_certificate_is_renewed_in_time_and_read_by_the_server(tmp_path):
    """At two thirds, with a new key, in one file, private."""
    desk = Desk(tmp_path)
    before = desk.files.server.read_bytes()
    await desk.turn()
    assert desk.files.server.read_bytes() == before
    desk.clock.advance(560.0)
    await desk.turn()
    after = desk.files.server.read_bytes()
    key = certificates.load_authority(after).key
    assert key != TLS_KEY
    check_chain(after, key, ROOT.certificate, ["central", "10.0.0.1"], desk.clock.wall())
    assert desk.files.server.stat().st_mode & 0o077 == 0
    assert (desk.installs, desk.loop.alerts()) == (1, [])


async def test_when_nobody_issues_the_end_is_told_ahead_and_when_it_has_come(tmp_path):
    """An alert that names the reason; the certificate stays until then."""
    desk = Desk(tmp_path, "witness", has_issuing=False)
    before = desk.files.server.read_bytes()
    desk.clock.advance(800.0)
    await desk.turn()
    (alert,) = desk.loop.alerts()
    assert (alert.name, alert.severity) == ("certificate", "warning")
    assert alert.text == "the server's certificate expires in 55 s; renewal: no hub server to ask"
    desk.clock.advance(200.0)
    await desk.turn()
    (alert,) = desk.loop.alerts()
    assert alert.severity == "critical"
    assert "the server's certificate expired 2 min ago: clients refuse it" in alert.text
    assert desk.files.server.read_bytes() == before
    assert [event.severity for event in desk.recorder.events if event.kind == "alert_raised"] == ["warning", "critical"]


async def test_a_file_that_somebody_replaced_is_noticed(tmp_path):
    """By the admin's hand, with a longer life."""
    desk = Desk(tmp_path, "witness", has_issuing=False)
    desk.clock.advance(800.0)
    await desk.turn()
    chain = certificates.issue(
        ISSUING, certificates.request(TLS_KEY, "witness"), certificates_names("witness"), desk.clock.wall(), 9000.0
    )
    desk.files.server.unlink()
    desk.files.server.write_bytes(chain + TLS_KEY)
    await desk.turn()
    assert desk.loop.alerts() == []
    assert desk.recorder.events[-1].kind == "alert_cleared"


def test_the_check_says_what_is_wrong_with_a_certificate(tmp_path):
    """Missing, expired, fine."""
    desk = Desk(tmp_path)
    assert _certificate_faults(desk.files.server, CLOCK.wall()) == []
    assert "expired" in _certificate_faults(desk.files.server, CLOCK.wall() + 1e6)[0]
    assert "issue a new certificate" in _certificate_faults(tmp_path / "none.pem", CLOCK.wall())[0]


async def test_who_is_asked_to_renew_and_told_to_end_at_once_ends(tmp_path):
    """`asyncio.wait_for` before Python 3.12 would go on for ever: it drops a cancellation that comes with the answer."""
    desk = Desk(tmp_path)
    task = asyncio.create_task(desk.loop._wait())
    for _ in range(3):
        await asyncio.sleep(0)
    desk.loop._asked.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
