"""The admin's end of joining: hears who asks under one invitation, and answers; one set of keys, once."""

import asyncio
import threading
from dataclasses import dataclass, field

from nats.aio.msg import Msg

from console.nats_side import NatsSide
from console.server_line import ServerLine
from hubagent.wire import subjects
from hubagent.wire.codec import WireError, decode, encode
from hubagent.wire.enrolment import (
    ENROL_BYTES_MAX,
    GRANTED,
    REFUSED,
    WAIT,
    EnrolAnswer,
    EnrolRequest,
    keys_fingerprint,
)
from hubagent.wire.roster import Invitation
from hubagent.wire.signing import ENROLMENT, SIGNATURE_HEADER, is_public_key, verify

WAITING_MAX = 64  # requests not answered yet; whoever is dropped asks again two seconds later


@dataclass(slots=True)
class Desk:
    """One invitation. `judge` runs on the link's thread, the rest on the admin's."""

    invitation: Invitation
    revoked: frozenset[str] = frozenset()
    asked: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    request: EnrolRequest | None = None
    _answer: EnrolAnswer = field(default_factory=lambda: EnrolAnswer(WAIT))

    def grant(self, sealed: bytes, certificate: str) -> None:
        """From now on the machine is told that it belongs to the fleet."""
        self._answer = EnrolAnswer(GRANTED, "", sealed, certificate)

    def refuse(self, why: str) -> None:
        """From now on the machine is told that it does not."""
        self._answer = EnrolAnswer(REFUSED, why)

    def judge(self, payload: bytes, signature: str | None) -> EnrolAnswer | None:
        """The answer to one request; None for what is no request under this invitation."""
        try:
            request = decode(payload, EnrolRequest, ENROL_BYTES_MAX)
        except WireError:
            return None
        subject = subjects.enrol(self.invitation.hub)
        if not verify(request.signing, ENROLMENT, subject, payload, signature):
            return None
        if why := self._fault(request):
            return EnrolAnswer(REFUSED, why)
        if self.request is None:
            self.request = request
            self.asked.set()
        if request.done and self._answer.state == GRANTED:
            self.done.set()
        return self._answer

    def _fault(self, request: EnrolRequest) -> str:
        if (request.id, request.hub) != (self.invitation.id, self.invitation.hub):
            return "this token is for another invitation"
        if not is_public_key(request.login) or request.login == request.signing:
            return "it needs two keys, one for the login and one to sign with"
        if {request.login, request.signing} & (self.revoked | {self.invitation.login}):
            return "these keys were revoked; join with new ones"
        mine = self.request
        if mine is not None and (mine.login, mine.signing) != (request.login, request.signing):
            return f"this token was used by another machine ({keys_fingerprint(mine.login, mine.signing)})"
        return ""

    async def serve(self, side: NatsSide) -> None:
        """Answer over every line until cancelled."""
        inbox: asyncio.Queue[tuple[ServerLine, Msg]] = asyncio.Queue(WAITING_MAX)
        subject = subjects.enrol(self.invitation.hub)

        def received(line: ServerLine, message: Msg) -> None:
            if message.reply and not inbox.full():
                inbox.put_nowait((line, message))

        for line in side.lines:
            await line.subscribe(subject, received)
        try:
            while True:
                line, message = await inbox.get()
                answer = self.judge(message.data, (message.headers or {}).get(SIGNATURE_HEADER))
                if answer is not None:
                    await line.publish(message.reply, encode(answer))
        finally:
            for line in side.lines:
                await line.unsubscribe(subject)
