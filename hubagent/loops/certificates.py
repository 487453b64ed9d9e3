"""Renews this hub's server certificate, and renews those of other servers where the issuing authority lies here."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hubagent.clock import Clock
from hubagent.core.certificates import Asked, Event, Failed, Installed, Renew, Renewal
from hubagent.core.outcome import Outcome
from hubagent.edges import certificates
from hubagent.edges.nats_link import Link, Message
from hubagent.edges.state_dir import StateRefused
from hubagent.errors import HubagentError
from hubagent.loops.orders import Recorder
from hubagent.wire import subjects
from hubagent.wire.addresses import certificate_names
from hubagent.wire.certificates import LEAF_SECONDS_MAX, CertificateRefused
from hubagent.wire.codec import WireError, decode, encode
from hubagent.wire.enrolment import ENROL_BYTES_MAX, CertificateAnswer, CertificateRequest
from hubagent.wire.reports import Alert
from hubagent.wire.roster import Roster
from hubagent.wire.sanitise import clean_line
from hubagent.wire.signing import CERTIFICATE, SIGNATURE_HEADER, Signer, verify

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0  # how often the end is compared with the clock, and a file that somebody replaced is noticed
ASK_SECONDS = 5.0
REQUESTS_MAX = 16  # waiting to be issued; more are dropped and asked again


class Failure(HubagentError):
    """A certificate that could not be had; the text says why."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where things lie: `server` certificate and key, the fleet's `root`, and the `issuing` authority if it is here."""

    server: Path
    root: Path
    issuing: Path


class Certificates:
    """The certificate of one hub's server, and the issuing desk of a hub server's agent."""

    def __init__(
        self, hub: str, files: CertificateFiles, signer: Signer, links: Sequence[Link], own_link: Link | None,
        roster: Callable[[], Roster], recorder: Recorder, clock: Clock, installed: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._hub, self._files, self._signer, self._links, self._own = hub, files, signer, links, own_link
        self._roster, self._recorder, self._clock, self._installed = roster, recorder, clock, installed
        self._renewal = Renewal()
        self._said = "ok"
        self._since = 0.0
        self._seen: tuple[int, int] | None = None
        self._asked = asyncio.Event()
        self._waiters: list[asyncio.Future[Outcome]] = []
        self._requests: asyncio.Queue[Message] = asyncio.Queue(REQUESTS_MAX)

    async def renew(self) -> Outcome:
        """Renew at once, as somebody asked; how it went."""
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._asked.set()
        return await waiter

    def left_s(self) -> float | None:
        """How long the certificate still holds."""
        return self._renewal.left_s(self._clock.wall())

    def alerts(self) -> list[Alert]:
        """What is wrong with the certificate, ahead of time and in words."""
        now = self._clock.wall()
        severity = self._renewal.severity(now)
        if severity == "ok":
            return []
        return [Alert("certificate", severity, self._words(now), self._since or now)]

    async def run(self) -> None:
        """Renew in time, and issue for others, until cancelled."""
        async with asyncio.TaskGroup() as started:
            if self._own is not None:
                self._own.subscribe("cert.*", self._received)
                started.create_task(self._issue_for_others())
            await self._keep()

    async def _keep(self) -> None:
        while True:
            self._look()
            self._say()
            events: list[Event] = [Asked()] if self._asked.is_set() else []
            self._asked.clear()
            waiters, self._waiters = self._waiters, []
            outcome = Outcome(False, "there is no certificate yet that could be renewed", "certificate")
            for effect in self._step(events):
                outcome = await self._renew(effect)
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(outcome)
            await self._wait()

    def _step(self, events: Sequence[Event]) -> list[Renew]:
        now = self._clock.wall()
        effects = [effect for event in events for effect in self._renewal.handle(event, now)]
        return effects or self._renewal.tick(now)

    async def _wait(self) -> None:
        due = self._renewal.deadline()
        seconds = LOOK_SECONDS if due is None else min(max(due - self._clock.wall(), 0.05), LOOK_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._asked.wait()

    def _look(self) -> None:
        """Take note of a certificate that is new in the file, whoever put it there."""
        try:
            stat = self._files.server.stat()
            if (stat.st_mtime_ns, stat.st_ino) == self._seen:
                return
            self._renewal.handle(Installed(certificates.read_validity(self._files.server)), self._clock.wall())
            self._seen = (stat.st_mtime_ns, stat.st_ino)
        except (OSError, StateRefused) as error:
            self._renewal.why = clean_line(str(error), 200)

    async def _renew(self, effect: Renew) -> Outcome:
        names = certificate_names(self._roster(), self._hub)
        try:
            key, csr = await certificates.new_request(self._hub)
            chain = await self._certified(csr, names, effect.life_s)
            await certificates.install(self._files.server, chain, key, self._files.root, names, self._clock.wall())
        except (HubagentError, CertificateRefused, OSError) as error:
            why = clean_line(str(error), 200)
            self._renewal.handle(Failed(why), self._clock.wall())
            self._recorder.event("note", "warning", f"the server's certificate could not be renewed: {why}")
            return Outcome(False, why, "issued")
        self._look()
        self._recorder.event(
            "note", "ok", f"the server's certificate was renewed for {effect.life_s / 86_400:.3g} days"
        )
        await self._installed()
        return Outcome(True, f"holds for {effect.life_s / 86_400:.3g} days")

    async def _certified(self, csr: bytes, names: Sequence[str], life_s: float) -> bytes:
        issuing = certificates.read_issuing(self._files.issuing)
        if issuing is not None:
            return await certificates.issue(issuing, csr, names, self._clock.wall(), life_s)
        return await self._ask(CertificateRequest(1, self._hub, csr.decode(), life_s))

    async def _ask(self, request: CertificateRequest) -> bytes:
        """The first hub server's agent that issues."""
        payload, subject = encode(request), subjects.certificate(self._hub)
        headers = {SIGNATURE_HEADER: self._signer.sign(CERTIFICATE, subject, payload)}
        whys = []
        for link in self._links:
            try:
                message = await link.request(subject, payload, timeout_s=ASK_SECONDS, headers=headers)
                answer = decode(message.payload, CertificateAnswer, ENROL_BYTES_MAX)
            except (HubagentError, WireError) as error:
                whys.append(f"{link.server}: {error}")
                continue
            if answer.certificate:
                return answer.certificate.encode()
            whys.append(f"{link.server}: {answer.why}")
        raise Failure("; ".join(whys) or "no hub server to ask")

    # Issuing for others

    def _received(self, message: Message) -> None:
        if not self._requests.full() and len(message.payload) <= ENROL_BYTES_MAX and message.reply:
            self._requests.put_nowait(message)

    async def _issue_for_others(self) -> None:
        while True:
            message = await self._requests.get()
            answer = await self._answer(message)
            with contextlib.suppress(HubagentError):  # whoever asked asks again
                if answer is not None and self._own is not None:
                    await self._own.publish(message.reply, encode(answer))

    async def _answer(self, message: Message) -> CertificateAnswer | None:
        """A certificate for the names that the roster gives this hub; nothing for what is not signed by that hub."""
        roster = self._roster()
        hub = roster.hub(message.subject.removeprefix("cert."))
        signature = message.headers.get(SIGNATURE_HEADER)
        if hub is None or not verify(hub.signing, CERTIFICATE, message.subject, message.payload, signature):
            log.warning("a request for a certificate on %s was not signed by that hub", clean_line(message.subject, 80))
            return None
        try:
            request = decode(message.payload, CertificateRequest, ENROL_BYTES_MAX)
            issuing = certificates.read_issuing(self._files.issuing)
            if issuing is None:
                return CertificateAnswer(why="the issuing authority does not lie here")
            if not any(server.hub == hub.id for server in roster.servers):
                return CertificateAnswer(why=f"the roster has no server on {hub.id}")
            life_s = min(max(request.life_s, 1.0), LEAF_SECONDS_MAX)
            names = certificate_names(roster, hub.id)
            chain = await certificates.issue(issuing, request.csr.encode(), names, self._clock.wall(), life_s)
        except (WireError, CertificateRefused, OSError) as error:
            return CertificateAnswer(why=clean_line(str(error), 200))
        self._recorder.event("note", "ok", f"issued a certificate to the server of {hub.id}", data={"hub": hub.id})
        return CertificateAnswer(chain.decode())

    # Saying

    def _say(self) -> None:
        """An event whenever the state changes, so that it is in the record too."""
        now = self._clock.wall()
        severity = self._renewal.severity(now)
        if severity == self._said:
            return
        self._said, self._since = severity, now
        kind = "alert_cleared" if severity == "ok" else "alert_raised"
        self._recorder.event(kind, severity, self._words(now), data={"alert": "certificate"})

    def _words(self, now: float) -> str:
        left = self._renewal.left_s(now)
        why = f"; renewal: {self._renewal.why}" if self._renewal.why else ""
        if left is None:
            return "the server has no certificate"
        if left <= 0:
            return f"the server's certificate expired {_span(-left)} ago: clients refuse it{why}"
        if self._said == "ok":
            return f"the server's certificate holds for {_span(left)}"
        return f"the server's certificate expires in {_span(left)}{why}"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
