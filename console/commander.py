"""Sending one signed command to one hub, and believing only a signed answer."""

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress

import msgspec
from nats.aio.msg import Msg

from console.errors import NotAnswering, NotConnected, NotThere, OutcomeUnknown, Refused
from console.nats_side import NatsSide
from console.server_line import ServerLine
from hubagent.wire import subjects
from hubagent.wire.codec import WireError, decode, encode
from hubagent.wire.commands import COMMAND_BYTES_MAX, Command, Gate, Hello, Reply, allows
from hubagent.wire.signing import COMMAND, REPLY, SIGNATURE_HEADER, verify

LIVE_FRESH_SECONDS = 2.0  # a younger summary says that the hub is there; otherwise it is asked
HELLO_SECONDS = 1.5
RESEND_SECONDS = 1.5  # the same bytes again: a hub that knows them answers again and does nothing twice
NOBODY = "503"


class Commander:
    """Commands of one operator over all lines at once."""

    def __init__(self, side: NatsSide) -> None:
        self._side = side
        self._identity = side.settings.identity
        self._signer = side.keys.signer

    async def send(
        self, hub: str, verb: str, args: Mapping[str, object], reason: str = "", timeout_s: float | None = None
    ) -> Reply:
        """The hub's verified reply; raises NotAnswering (nothing happened) or OutcomeUnknown."""
        self._check(hub, verb)
        reply = await self._once(hub, verb, args, reason, timeout_s, ask=False)
        if reply.state == "refused" and reply.gate == "fresh":  # it restarted since its last summary
            reply = await self._once(hub, verb, args, reason, timeout_s, ask=True)
        return reply

    async def preflight(self, hub: str, verb: str, args: Mapping[str, object]) -> list[Gate]:
        """The named gates of an action as the hub sees them now."""
        reply = await self.send(hub, "preflight", {**args, "verb": verb})
        if reply.state == "refused":
            raise Refused("preflight refused", reply.gate, reply.why)
        try:
            return msgspec.convert(reply.data.get("gates", []), list[Gate])
        except msgspec.ValidationError as error:
            raise Refused(
                "preflight", "answer", "the hub's list of gates cannot be read; is it a newer version?"
            ) from error

    def _check(self, hub: str, verb: str) -> None:
        """Refuse here what the hub would refuse anyway: with a better text, and nothing sent."""
        roster = self._side.roster
        if roster is None:
            raise Refused("no roster yet", "roster", "give roster_file in the config, or wait for a hub server")
        if roster.hub(hub) is None:
            raise NotThere("hub", hub, ", ".join(one.id for one in roster.hubs[:20]))
        me = roster.operator(self._identity)
        if me is None or me.signing != self._signer.public:
            raise Refused("not sent", "operator", f"the roster has no operator {self._identity} with this key")
        if not allows(me.role, verb):
            raise Refused("not sent", "role", f"{self._identity} is {me.role}, which may not {verb}")

    async def _once(
        self, hub: str, verb: str, args: Mapping[str, object], reason: str, timeout_s: float | None, *, ask: bool
    ) -> Reply:
        boot, seq = await self._fresh(hub, ask=ask)
        cmd_id = secrets.token_hex(12)
        command = Command(
            v=1, cmd_id=cmd_id, verb=verb, hub=hub, hub_boot=boot, hub_seq=seq,
            operator=self._identity, args=dict(args), reason=reason,
        )  # fmt: skip
        payload = encode(command)
        if len(payload) > COMMAND_BYTES_MAX:
            raise Refused("not sent", "size", f"{len(payload)} bytes, at most {COMMAND_BYTES_MAX}; shorten the reason")
        wait_s = self._side.settings.timeout_s if timeout_s is None else timeout_s
        return await self._ask_hub(hub, f"{verb} on {hub}", cmd_id, payload, wait_s)

    async def _fresh(self, hub: str, *, ask: bool) -> tuple[str, int]:
        boot, seq, at = self._side.fresh.get(hub, ("", 0, float("-inf")))
        if not ask and self._side.clock.monotonic() - at <= LIVE_FRESH_SECONDS:
            return boot, seq
        hello = await self._hello(hub)
        return hello.boot, hello.seq

    async def _hello(self, hub: str) -> Hello:
        """The first hello over any line."""
        lines = self._side.connected()
        asking = [line.request(subjects.hello(hub), b"", HELLO_SECONDS) for line in lines]
        for next_done in asyncio.as_completed(asking):
            message = await next_done
            with suppress(WireError):
                if message and (hello := decode(message.data, Hello, 4096)).hub == hub:
                    return hello
        raise NotAnswering(hub)

    async def _ask_hub(self, hub: str, what: str, cmd_id: str, payload: bytes, timeout_s: float) -> Reply:
        """The same bytes through every line; the first reply that verifies wins."""
        answers = _Answers(self._side, hub, cmd_id)
        inbox = f"{subjects.inbox_prefix(self._identity)}.{cmd_id}"
        headers = {SIGNATURE_HEADER: self._signer.sign(COMMAND, subjects.command(hub), payload)}
        lines = self._side.connected()
        for line in self._side.lines:
            await line.subscribe(inbox, answers.take)
        left, was_sent = timeout_s, False
        try:
            while left > 0:
                answers.sent += len(lines)
                sent = [await line.publish(subjects.command(hub), payload, inbox, headers) for line in lines]
                answers.unsent(sent.count(False))
                was_sent = was_sent or any(sent)
                if not was_sent:
                    raise NotConnected(", ".join(line.name for line in lines))
                wait_s = min(left, RESEND_SECONDS)
                if reply := await answers.wait(wait_s):
                    return reply
                left -= wait_s
                with suppress(NotConnected):
                    lines = self._side.connected()
        finally:
            for line in self._side.lines:
                await line.unsubscribe(inbox)
        raise OutcomeUnknown(what, cmd_id, timeout_s)


class _Answers:
    """Replies to one command: unsigned, altered and foreign ones are dropped and counted."""

    def __init__(self, side: NatsSide, hub: str, cmd_id: str) -> None:
        self._side, self._hub, self._cmd_id = side, hub, cmd_id
        self._done = asyncio.Event()
        self._reply: Reply | None = None
        self.sent = self._nobody = 0  # over every line, the same bytes again counted each time

    def unsent(self, count: int) -> None:
        """So many of those counted as sent did not leave."""
        self.sent -= count
        self._conclude()

    def take(self, line: ServerLine, message: Msg) -> None:
        """Look at one message of the inbox."""
        headers = message.headers or {}
        if headers.get("Status") == NOBODY and not message.data:
            self._nobody += 1
            self._conclude()
            return
        roster = self._side.roster
        known = roster.hub(self._hub) if roster else None
        if not known or not verify(known.signing, REPLY, self._cmd_id, message.data, headers.get(SIGNATURE_HEADER)):
            self._side.dropped += 1
            return
        with suppress(WireError):
            reply = decode(message.data, Reply)
            if reply.cmd_id == self._cmd_id:
                self._reply = reply
                self._done.set()

    def _conclude(self) -> None:
        """Nothing happened only where each sending, without exception, met nobody: one that did is what may act."""
        if self._nobody >= self.sent > 0:
            self._done.set()

    async def wait(self, timeout_s: float) -> Reply | None:
        """The verified reply; raises NotAnswering where every server says that nobody listens."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._done.wait()
        except TimeoutError:
            return None
        if self._reply is None:
            raise NotAnswering(self._hub)
        return self._reply
