"""Questions between members of a group over the hub servers: signed, verified, asked over every link that is up."""

import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from hubagent.core import lease_events as ev
from hubagent.core.lease_policy import Token
from hubagent.edges.nats_link import Link, Message
from hubagent.errors import HubagentError
from hubagent.wire import subjects
from hubagent.wire.codec import WireError, decode, encode
from hubagent.wire.leases import PeerReply, PeerRequest
from hubagent.wire.signing import PEER, SIGNATURE_HEADER, Signer, verify

PEER_BYTES_MAX = 4096
REPLIES_MAX = 256  # answers that a core still owes; older questions have timed out at their sender
Spawn = Callable[[Coroutine[Any, Any, None]], None]


class PeerLine:
    """Carries questions and answers; what they mean is the cores' affair."""

    def __init__(
        self, hub: str, links: Sequence[Link], signer: Signer, key_of: Callable[[str], str | None], spawn: Spawn
    ) -> None:
        self._hub, self._links, self._signer, self._key_of, self._spawn = hub, links, signer, key_of, spawn
        self._takers: dict[str, Callable[[ev.Event], None]] = {}
        self._owed: dict[int, tuple[Link, str, str]] = {}
        self._last_id = 0
        self.dropped = 0  # requests and replies that were no valid messages of a member

    def listen(self, takers: dict[str, Callable[[ev.Event], None]]) -> None:
        """Hand each group's verified questions to its taker, from now on."""
        self._takers = takers
        for link in self._links:
            link.subscribe(f"peer.{subjects.name(self._hub, 'hub')}.*", self._listener(link))

    def _listener(self, link: Link) -> Callable[[Message], None]:
        return lambda message: self._asked(link, message)

    def _asked(self, link: Link, message: Message) -> None:
        try:
            _, _, sender = subjects.parse(message.subject)
            request = decode(message.payload, PeerRequest, PEER_BYTES_MAX)
        except (WireError, subjects.NameRefused, ValueError):
            self.dropped += 1
            return
        taker, key = self._takers.get(request.group), self._key_of(sender)
        signature = message.headers.get(SIGNATURE_HEADER)
        if not (taker and key and message.reply and verify(key, PEER, message.subject, message.payload, signature)):
            self.dropped += 1
            return
        self._last_id += 1
        self._owed[self._last_id] = (link, message.reply, request.nonce)
        if len(self._owed) > REPLIES_MAX:
            del self._owed[min(self._owed)]
        token = Token(request.epoch, request.holder)
        taker(ev.PeerAsked(self._last_id, sender, request.ask, token, request.span_ms / 1000))

    def answer(self, effect: ev.Answer) -> None:
        """Send the signed answer the way the question came."""
        owed = self._owed.pop(effect.request_id, None)
        if owed is not None:
            self._spawn(self._answering(effect, *owed))

    async def _answering(self, effect: ev.Answer, link: Link, reply_to: str, nonce: str) -> None:
        body = encode(PeerReply(nonce, self._hub, effect.ok, effect.epoch, effect.why))
        try:
            await link.publish(reply_to, body, {SIGNATURE_HEADER: self._signer.sign(PEER, nonce, body)})
        except (HubagentError, ValueError):
            self.dropped += 1  # the asker hears it over the other server, or asks again

    def ask(self, group: str, effect: ev.Ask, taker: Callable[[ev.Event], None]) -> None:
        """Ask each member over every link that is up; the first valid answer of each counts."""
        for member in effect.members:
            token, nonce = effect.token, secrets.token_hex(12)
            span_ms = round(effect.span_s * 1000)
            body = encode(PeerRequest(effect.ask, group, token.epoch, token.holder, nonce, span_ms))
            subject = subjects.peer(member, self._hub)
            headers = {SIGNATURE_HEADER: self._signer.sign(PEER, subject, body)}
            for link in self._links:
                if link.is_connected:
                    self._spawn(self._asking(link, member, subject, body, headers, nonce, effect, taker))

    async def _asking(
        self,
        link: Link,
        member: str,
        subject: str,
        body: bytes,
        headers: dict[str, str],
        nonce: str,
        effect: ev.Ask,
        taker: Callable[[ev.Event], None],
    ) -> None:
        try:
            message = await link.request(subject, body, timeout_s=effect.timeout_s, headers=headers)
            reply = decode(message.payload, PeerReply, PEER_BYTES_MAX)
        except WireError:
            self.dropped += 1
            return
        except HubagentError:
            return  # no answer is no promise
        key = self._key_of(member)
        signature = message.headers.get(SIGNATURE_HEADER)
        if reply.nonce != nonce or reply.hub != member or key is None:
            self.dropped += 1
        elif verify(key, PEER, nonce, message.payload, signature):
            taker(ev.PeerAnswered(effect.round_id, member, reply.ok, reply.epoch, reply.why))
        else:
            self.dropped += 1
