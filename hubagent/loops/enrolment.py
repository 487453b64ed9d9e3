"""Asks to be enrolled over whichever hub server answers, until the admin has decided."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import msgspec

from hubagent.clock import Clock
from hubagent.edges.nats_link import Link
from hubagent.errors import HubagentError, LinkDown, NoResponders, NotAllowed, RequestTimeout
from hubagent.wire import subjects
from hubagent.wire.codec import WireError, decode, encode
from hubagent.wire.enrolment import ANSWER_BYTES_MAX, WAIT, EnrolAnswer, EnrolRequest
from hubagent.wire.signing import ENROLMENT, SIGNATURE_HEADER, Signer

ASK_SECONDS = 2.0
UNREACHED_SECONDS = 20.0  # no server can be reached
UNKNOWN_SECONDS = 8.0  # every server reached says no: one may still be reading the new roster
SILENT_SECONDS = 30.0  # let in, but no admin answers


class NotEnrolled(HubagentError):
    """The machine does not belong to the fleet; the text says why. Nothing was changed on it."""


class Enrolment:
    """One machine's asking."""

    def __init__(
        self, links: Sequence[Link], request: EnrolRequest, signer: Signer, clock: Clock, say: Callable[[str], None]
    ) -> None:
        self._links, self._request, self._signer, self._clock, self._say = links, request, signer, clock, say

    async def run(self, seconds: float, take: Callable[[EnrolAnswer], None]) -> EnrolAnswer:
        """The admin's answer, handed to `take`, and then confirmed to the admin; raises NotEnrolled."""
        tasks = [asyncio.create_task(link.run()) for link in self._links]
        try:
            answer = await self._ask(self._clock.monotonic() + seconds)
            take(answer)
            await self._confirm()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return answer

    async def _ask(self, until: float) -> EnrolAnswer:
        heard_at = self._clock.monotonic()
        is_waiting = was_let_in = False
        while self._clock.monotonic() < until:
            answer = await self._once(self._request)
            now = self._clock.monotonic()
            was_let_in = was_let_in or any(link.is_connected for link in self._links)
            if answer is not None and answer.state != WAIT:
                return answer
            if answer is not None:
                heard_at = now
                if not is_waiting:
                    self._say("the admin was asked; waiting for the confirmation")
                is_waiting = True
            elif now - heard_at > self._patience_s(was_let_in=was_let_in):
                break
            await asyncio.sleep(ASK_SECONDS if is_waiting else ASK_SECONDS / 8)
        raise NotEnrolled(self._why(was_let_in=was_let_in))

    async def _once(self, request: EnrolRequest) -> EnrolAnswer | None:
        payload, subject = encode(request), subjects.enrol(request.hub)
        headers = {SIGNATURE_HEADER: self._signer.sign(ENROLMENT, subject, payload)}
        for link in self._links:
            with contextlib.suppress(LinkDown, NoResponders, RequestTimeout, NotAllowed, WireError):
                message = await link.request(subject, payload, timeout_s=ASK_SECONDS, headers=headers)
                return decode(message.payload, EnrolAnswer, ANSWER_BYTES_MAX)
        return None

    async def _confirm(self) -> None:
        """Tell the admin that all is written; without an answer the invitation ends by itself."""
        await self._once(msgspec.structs.replace(self._request, done=True))

    def _patience_s(self, *, was_let_in: bool) -> float:
        if was_let_in:
            return SILENT_SECONDS
        return UNKNOWN_SECONDS if all(_is_refusal(link.why) for link in self._links) else UNREACHED_SECONDS

    def _why(self, *, was_let_in: bool) -> str:
        whys = "; ".join(f"{link.server}: {link.why}" for link in self._links if link.why)
        if was_let_in:
            return f"the servers let this machine in, but no admin answers: is `hubdeck invite` still running? {whys}"
        if any(_is_refusal(link.why) for link in self._links):
            return f"the servers do not know this token: it was used, it is over, or the invitation ended ({whys})"
        return f"no server of the token can be reached ({whys}); check the network and the clocks"


def _is_refusal(why: str) -> bool:
    return "authoriz" in why.lower()
