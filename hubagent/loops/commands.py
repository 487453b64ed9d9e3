"""Receives signed commands over every link, has them judged, and answers with signed replies."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from hubagent.clock import Clock
from hubagent.core import preflight
from hubagent.core.authorise import FRESH, Again, Facts, Granted, Received, Refused, Verdict, args_fault, authorise
from hubagent.core.freshness import Allowance, Freshness
from hubagent.core.outcome import Outcome
from hubagent.edges.nats_link import Message
from hubagent.errors import LinkDown
from hubagent.loops.orders import REFUSED, Action, Journal, Order, Orders, Recorder
from hubagent.wire import subjects
from hubagent.wire.codec import encode
from hubagent.wire.commands import FRESH_SECONDS, VERBS, Hello, Reply, allows
from hubagent.wire.reports import Result
from hubagent.wire.roster import Roster
from hubagent.wire.signing import REPLY, SIGNATURE_HEADER, Signer, payload_hash

WAITING_MAX = 256  # messages not judged yet; further ones are dropped and counted, an operator asks again
GOOD_RATE, GOOD_BURST = 5.0, 20.0  # each operator, a second: more is no person; the journal's size counts on it
BAD_RATE, BAD_BURST = 5.0, 20.0  # refusals answered and audited; the rest are counted only
SUPPRESSED_SECONDS = 10.0


class CommandLink(Protocol):
    """What commands need of a link."""

    server: str

    def subscribe(self, subject: str, callback: Callable[[Message], None]) -> None:
        """Hand over every message on the subject."""
        ...

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send, or raise LinkDown."""
        ...


class Commands:
    """The command plane of one hub: at most once, only while fresh, with the intent audited first."""

    def __init__(
        self,
        hub: str,
        roster: Callable[[], Roster],
        signer: Signer,
        links: Sequence[CommandLink],
        recorder: Recorder,
        journal: Journal,
        clock: Clock,
        actions: Mapping[str, Action],
        *,
        epochs: Callable[[], Mapping[str, int]] = dict,
        changed: Callable[[], None] = lambda: None,
        resume: Callable[[str, str], Awaitable[Outcome] | None] = lambda verb, target: None,
    ) -> None:
        self._hub, self._roster, self._signer, self._links = hub, roster, signer, links
        self._recorder, self._journal, self._clock, self._actions = recorder, journal, clock, actions
        self._epochs, self._changed, self._resume = epochs, changed, resume
        self._freshness = Freshness(recorder.boot)
        self._inbox: asyncio.Queue[tuple[CommandLink, Message]] = asyncio.Queue(WAITING_MAX)
        self._bad = Allowance(BAD_RATE, BAD_BURST)
        self._good: dict[str, Allowance] = {}
        self._answering: dict[str, asyncio.Event] = {}
        self._orders: Orders | None = None
        self._ready = asyncio.Event()
        self._local_ids = itertools.count(1)
        self.bad_messages = 0
        self._suppressed = 0

    async def run(self) -> None:
        """Serve until cancelled; first reports what an earlier run left open."""
        async with asyncio.TaskGroup() as started:
            self._orders = Orders(
                self._recorder, self._journal, self._clock, self._actions, started, self._changed, self._resume
            )
            await self._orders.report_unknown()
            self._ready.set()
            for link in self._links:
                self._listen(link)
            started.create_task(self._report_suppressed())
            while True:
                link, message = await self._inbox.get()
                started.create_task(self._serve(link, message))

    def note_seq(self, seq: int) -> None:
        """Live has just emitted this seq: a command that names it is fresh for 30 s."""
        # Boot time goes on while the machine sleeps: what was held back over a suspend is stale.
        self._freshness.note(self._recorder.boot, seq, self._clock.boottime())

    def results(self) -> list[Result]:
        """What became of the commands of the last 5 minutes."""
        return self._orders.results() if self._orders else []

    async def local(self, verb: str, args: Mapping[str, Any], actor: str, reason: str = "") -> Outcome:
        """An order from the machine itself (`control.py`): same gates, same audit, no signature."""
        if fault := args_fault(verb, args):
            return Outcome(False, fault, "form")
        await self._ready.wait()
        assert self._orders is not None, "ready is set after orders exist"
        cmd_id = f"local-{self._recorder.boot}-{next(self._local_ids)}"
        return await self._orders.perform(Order(cmd_id, verb, args, actor, "admin", reason))

    def _listen(self, link: CommandLink) -> None:
        def received(message: Message) -> None:
            try:
                self._inbox.put_nowait((link, message))
            except asyncio.QueueFull:
                self.bad_messages += 1

        link.subscribe(subjects.command(self._hub), received)
        link.subscribe(subjects.hello(self._hub), received)

    async def _serve(self, link: CommandLink, message: Message) -> None:
        if message.subject == subjects.hello(self._hub):
            hello = Hello(self._hub, self._recorder.boot, self._freshness.hello(self._clock.boottime()))
            await self._send(link, message.reply, encode(hello), {})
            return
        reply = await self._answer(message)
        if reply is not None:
            payload = encode(reply)
            signature = self._signer.sign(REPLY, reply.cmd_id, payload)
            await self._send(link, message.reply, payload, {SIGNATURE_HEADER: signature})

    async def _send(self, link: CommandLink, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        if not subject:
            return
        try:
            await link.publish(subject, payload, headers)
        except LinkDown:
            return  # the operator asks again, or sees the result in live and in the records

    async def _answer(self, message: Message) -> Reply | None:
        verdict = self._judge(message)
        if isinstance(verdict, Again) or (isinstance(verdict, Refused) and self._is_known(verdict, message.payload)):
            return await self._repeat(verdict.cmd_id)
        if isinstance(verdict, Refused):
            return self._refuse(verdict)
        if not self._may_say_more(verdict.command.operator):
            return self._refuse(_too_many(verdict))
        return await self._obey(verdict)

    def _judge(self, message: Message) -> Verdict:
        facts = Facts(self._hub, self._roster(), self._epochs(), self._seen)
        received = Received(message.payload, message.headers.get(SIGNATURE_HEADER))
        return authorise(received, facts, self._freshness, self._clock.boottime())

    def _is_known(self, refused: Refused, payload: bytes) -> bool:
        """Tell whether a stale command is one that this hub took just before its agent restarted.

        A console asks again with the same bytes; told `refused` it would believe that nothing had been done.
        """
        entry = self._journal.seen(refused.cmd_id) if refused.gate == FRESH else None
        is_young = entry is not None and 0 <= self._clock.wall() - entry.t <= FRESH_SECONDS
        return entry is not None and is_young and entry.digest == payload_hash(payload)

    def _seen(self, cmd_id: str) -> str | None:
        entry = self._journal.seen(cmd_id)
        return entry.digest if entry else None

    async def _obey(self, granted: Granted) -> Reply:
        command = granted.command
        order = Order(
            command.cmd_id, command.verb, command.args, command.operator, granted.role, command.reason, granted.digest
        )
        if command.verb == "preflight":
            return self._preflight(order)
        assert self._orders is not None, "links are listened to after orders exist"
        answered = self._answering[command.cmd_id] = asyncio.Event()
        try:
            return await self._orders.take(order)
        finally:
            answered.set()
            del self._answering[command.cmd_id]

    def _preflight(self, order: Order) -> Reply:
        """The gates of another verb as of now; it changes nothing, so nothing of it is kept."""
        assert self._orders is not None, "links are listened to after orders exist"
        args = {key: value for key, value in order.args.items() if key != "verb"}
        asked = Order(order.cmd_id, str(order.args["verb"]), args, order.actor, order.role, order.reason)
        may = allows(order.role, asked.verb)
        gates = [preflight.role_allows(order.role, VERBS[asked.verb], may), *self._orders.gates(asked)]
        return Reply(order.cmd_id, "accepted", data={"gates": msgspec.to_builtins(gates)})

    async def _repeat(self, cmd_id: str) -> Reply | None:
        """The stored answer; where the first is still being decided, wait for it."""
        if cmd_id in self._answering:
            await self._answering[cmd_id].wait()
        entry = self._journal.seen(cmd_id)
        if entry is None or entry.reply is None:
            return None
        return msgspec.structs.replace(entry.reply, again=True)

    def _refuse(self, refused: Refused) -> Reply | None:
        """Answer and audit, at a bounded rate: noise must neither fill the records nor hide what matters."""
        self.bad_messages += 1
        if not self._bad.take(self._clock.monotonic()):
            self._suppressed += 1
            return None
        what = refused.verb or "a command"
        self._recorder.event(
            "command_result",
            "warning",
            f"{what} refused: {refused.gate}: {refused.why}",
            data={"state": REFUSED, "gate": refused.gate, "why": refused.why, "claimed": refused.claimed},
            actor=refused.operator or None,
            cmd_id=refused.cmd_id or None,
        )
        return Reply(refused.cmd_id, REFUSED, refused.gate, refused.why)

    def _may_say_more(self, operator: str) -> bool:
        allowance = self._good.setdefault(operator, Allowance(GOOD_RATE, GOOD_BURST))
        return allowance.take(self._clock.monotonic())

    async def _report_suppressed(self) -> None:
        while True:
            await asyncio.sleep(SUPPRESSED_SECONDS)
            if self._suppressed:
                count, self._suppressed = self._suppressed, 0
                data = {"kind": "command_result", "count": count}
                self._recorder.event("suppressed", "warning", f"{count} more refused commands", data=data)


def _too_many(granted: Granted) -> Refused:
    command = granted.command
    why = f"more than {GOOD_RATE:.0f} commands a second from {command.operator}; wait, then repeat"
    return Refused("rate", why, command.cmd_id, command.verb, command.operator, command.operator)
