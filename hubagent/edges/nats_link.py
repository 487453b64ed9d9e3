"""One supervised client to one server: rebuilt whenever it is lost, and nothing is ever buffered in it."""

import asyncio
import itertools
import random
import re
import secrets
import ssl
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from hubagent.clock import Clock
from hubagent.edges.lean_nats import Error, MaxPayloadError, Msg, Subscription
from hubagent.edges.nats_client import RTT_SAMPLES_MAX, Connection
from hubagent.errors import LinkDown, NoResponders, NotAllowed, RequestTimeout
from hubagent.wire.sanitise import clean_line
from hubagent.wire.signing import SIGNATURE_HEADER
from hubagent.wire.subjects import inbox_prefix

HEADERS_ALLOWED = frozenset(
    {SIGNATURE_HEADER, "Nats-Expected-Stream", "Nats-Expected-Last-Subject-Sequence", "Nats-Expected-Last-Sequence"}
)
SUBSCRIPTION_MESSAGES_MAX = 4096  # a callback that falls behind loses the newest; nothing durable comes this way
SUBSCRIPTION_BYTES_MAX = 8 << 20
WAITING_MAX = 1024  # requests in flight; more are refused: a caller without a bound of its own has a bug
DISCOVERED_MAX = 16  # addresses a cluster may teach us
BIG_BYTES = 16 << 10  # a ping may stand behind such a payload on a slow link: silence proves nothing till it timed out
CUT_S_MAX = 30.0  # no drill needs more; a link can never be told to stay down for good
CUT_WHY = "cut on purpose, by a drill"
_SUBJECT = re.compile(r"[!-~]{1,256}")
_VALUE = re.compile(r"[ -~]{0,1024}")
_DENIED_SUBJECT = re.compile(r'(?:publish|subscription) to "([^"]+)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """How a lost server is noticed, and how fast the link comes back."""

    ping_s: float = 1.0
    timeout_s: float = 2.0
    reconnect_min_s: float = 0.25
    reconnect_max_s: float = 2.0

    def __post_init__(self) -> None:
        assert 0 < self.reconnect_min_s <= self.reconnect_max_s, "reconnect_min_s must not exceed reconnect_max_s"
        assert self.ping_s > 0, "ping_s must be positive"
        assert self.timeout_s > 0, "timeout_s must be positive"


class Message(NamedTuple):
    """A message as it came in; nothing in it has been checked."""

    subject: str
    reply: str
    payload: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class _Waiting:
    future: asyncio.Future[Message]
    subject: str
    until: float
    big: bool


class Link:
    """One client to one server; belongs to the event loop that runs `run`."""

    def __init__(
        self,
        server: str,
        urls: Sequence[str],
        *,
        identity: str,
        login_seed: str,
        policy: LinkPolicy,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        name: str = "",
        creds_file: str = "",
    ) -> None:
        self.server = server
        self._creds_file = creds_file  # read at each connection, so that a renewed one is taken up
        self.is_connected = False
        self.down_since: float | None = clock.monotonic()
        self.why = "not connected yet"
        self._urls, self._discovered = list(urls), list[str]()
        self._login_seed, self._policy, self._clock, self._tls, self._name = login_seed, policy, clock, tls, name
        self._inbox = f"{inbox_prefix(identity)}.{secrets.token_hex(8)}"
        self._prefix = inbox_prefix(identity)
        self._tokens = itertools.count()
        self._turns = itertools.count()
        self._waiting: dict[str, _Waiting] = {}
        self._wanted: dict[str, Callable[[Message], None]] = {}
        self.received: Counter[str] = Counter()  # messages handed over, by the subject asked for
        self._listeners: list[Callable[[bool], None]] = []
        self._wish_changed = asyncio.Event()
        self._connection: Connection | None = None
        self._round_trips: deque[float] = deque(maxlen=RTT_SAMPLES_MAX)
        self._trouble_since = clock.monotonic()
        self._cut_until = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def rtt_p99_s(self) -> float | None:
        """The 99th percentile of the last pings, or None before the first."""
        ordered = sorted(self._round_trips)
        return ordered[int(0.99 * (len(ordered) - 1))] if ordered else None

    def on_change(self, callback: Callable[[bool], None]) -> None:
        """Call back with True or False when the link comes up or goes down; callbacks only set events."""
        self._listeners.append(callback)

    def set_urls(self, urls: Sequence[str]) -> None:
        """Look for the server at these addresses from the next connection on."""
        self._urls = list(urls)

    def cut(self, seconds: float) -> None:
        """Close the connection and dial nobody for so long, CUT_S_MAX at most; 0 ends a cut. From any thread.

        The deadline is kept here and looked at when dialling, so a cut ends whatever becomes of who asked for it.
        """
        self._cut_until = self._clock.monotonic() + min(seconds, CUT_S_MAX)
        if self._loop is not None:
            with suppress(RuntimeError):  # its loop has ended, and every connection with it
                self._loop.call_soon_threadsafe(self._lose_if_cut)

    def _lose_if_cut(self) -> None:
        if self._is_cut and self._connection is not None:
            self._connection.lose(CUT_WHY)

    def _raise_if_cut(self) -> None:
        if self._is_cut:
            raise OSError(CUT_WHY)

    @property
    def _is_cut(self) -> bool:
        return self._clock.monotonic() < self._cut_until

    def subscribe(self, subject: str, callback: Callable[[Message], None]) -> None:
        """Hand every message on the subject to the callback, over all rebuilds."""
        self._wanted[_checked_subject(subject)] = callback
        self._wish_changed.set()

    def unsubscribe(self, subject: str) -> None:
        """Stop that."""
        self._wanted.pop(subject, None)
        self._wish_changed.set()

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send and forget; raises LinkDown at once where there is no connection."""
        await self._send(self._up(), subject, payload, "", headers)

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        """One answer, or LinkDown (nothing was sent), NoResponders, NotAllowed, RequestTimeout (outcome unknown)."""
        connection = self._up()
        token, waiting = self._wait_for(subject, timeout_s, len(payload) >= BIG_BYTES)
        try:
            await self._send(connection, subject, payload, f"{self._inbox}.{token}", headers)
            async with asyncio.timeout(timeout_s):
                message = await waiting.future
        except TimeoutError:
            raise RequestTimeout(self.server, subject, timeout_s) from None
        finally:
            self._waiting.pop(token, None)
        if message.headers.get("Status") == "503" and not message.payload:
            raise NoResponders(self.server, subject)
        return message

    async def run(self) -> None:
        """Keep the link up until cancelled; a lost server is never an exception here."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                _raise_if_cancelled()
                connection = await self._connect()
                if connection is not None:
                    await self._serve(connection)
                await asyncio.sleep(self._pause_s())
        finally:
            self._set_down("stopped")

    # Connecting

    async def _connect(self) -> Connection | None:
        if self._is_cut:
            self.why = CUT_WHY
            return None
        url = self._next_url()
        connection = Connection(self._policy.ping_s, self._clock.monotonic, self._patient_until)
        connection.needs_tls = url.startswith("tls://")
        connection.on_denied = self._denied
        try:
            async with asyncio.timeout(max(self._policy.timeout_s, 1.0)):
                await self._dial(connection, url)
                await connection.take_answers(f"{self._inbox}.*", lambda *parts: self._answered(Message(*parts)))
            _raise_if_cancelled()
            self._raise_if_cut()  # it may have begun while this was dialling
        except (Error, OSError, TimeoutError, ssl.SSLError, ValueError) as error:
            self.why = _words(error)
        except BaseException:
            await connection.abandon()
            raise
        else:
            return connection
        await connection.abandon()
        return None

    async def _dial(self, connection: Connection, url: str) -> None:
        async def failed(error: Exception) -> None:
            # While dialling nats-py would try again for ever inside connect(); the pause between is our decision.
            if connection.lost.is_set() or not connection.is_connected:
                raise error

        async def leaving() -> None:
            if len(self._urls) + len(self._discovered) > 1:
                connection.lose("the server is shutting down (lame duck)")

        await connection.connect(
            [url],
            error_cb=failed,
            lame_duck_mode_cb=leaving,
            name=self._name or self.server,
            allow_reconnect=False,
            max_reconnect_attempts=-1,
            connect_timeout=max(self._policy.timeout_s, 1.0),  # type: ignore[arg-type]  # passed on to wait_for
            pending_size=0,
            inbox_prefix=self._prefix.encode(),
            nkeys_seed_str=self._login_seed or None,
            user_credentials=self._creds_file or None,
            tls=self._tls,
            dont_randomize=True,
        )

    def _next_url(self) -> str:
        urls = self._urls + [url for url in self._discovered if url not in self._urls]
        return urls[next(self._turns) % len(urls)]

    def _pause_s(self) -> float:
        """Half to all of an eighth of the outage, within the bounds: quick at first, never a storm."""
        outage = self._clock.monotonic() - self._trouble_since
        pause = min(max(outage / 8, self._policy.reconnect_min_s), self._policy.reconnect_max_s)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  # spreads reconnects, guards nothing

    # Serving

    async def _serve(self, connection: Connection) -> None:
        since = self._clock.monotonic()
        try:
            self._set_up(connection)
            await self._follow_wishes(connection)
        except (Error, OSError) as error:
            connection.lose(clean_line(str(error), 200))
        finally:
            self._set_down(clean_line(connection.why, 200) or "lost")
            self._fail_waiting()
            await connection.abandon()
        if self._clock.monotonic() - since >= self._policy.reconnect_max_s:
            self._trouble_since = self._clock.monotonic()  # a link that only flaps stays in trouble

    async def _follow_wishes(self, connection: Connection) -> None:
        """Subscribe and unsubscribe as asked until the connection is lost."""
        active: dict[str, Subscription] = {}
        async with asyncio.TaskGroup() as group:
            lost = group.create_task(connection.lost.wait())
            while not lost.done():
                self._wish_changed.clear()
                await self._reconcile(connection, active)
                wish = group.create_task(self._wish_changed.wait())
                await asyncio.wait((lost, wish), return_when=asyncio.FIRST_COMPLETED)
                wish.cancel()

    async def _reconcile(self, connection: Connection, active: dict[str, Subscription]) -> None:
        for subject in set(active) - set(self._wanted):
            await active.pop(subject).unsubscribe()
        for subject in set(self._wanted) - set(active):
            active[subject] = await connection.subscribe(
                subject,
                cb=_each(self._dispatcher(subject)),
                pending_msgs_limit=SUBSCRIPTION_MESSAGES_MAX,
                pending_bytes_limit=SUBSCRIPTION_BYTES_MAX,
            )

    def _dispatcher(self, subject: str) -> Callable[[Message], None]:
        def dispatch(message: Message) -> None:
            callback = self._wanted.get(subject)
            if callback is not None:
                self.received[subject] += 1
                callback(message)

        return dispatch

    def _set_up(self, connection: Connection) -> None:
        self._connection, self.is_connected, self.down_since, self.why = connection, True, None, ""
        self._discovered = [url.geturl() for url in connection.discovered_servers][:DISCOVERED_MAX]
        connection.round_trips = self._round_trips
        self._tell()

    def _set_down(self, why: str) -> None:
        was_up, self._connection, self.is_connected, self.why = self.is_connected, None, False, why
        if was_up:
            self.down_since = self._clock.monotonic()
            self._tell()

    def _tell(self) -> None:
        for callback in self._listeners:
            callback(self.is_connected)

    # Requests

    def _up(self) -> Connection:
        if self._connection is None or self._connection.lost.is_set():
            raise LinkDown(self.server)
        return self._connection

    def _wait_for(self, subject: str, timeout_s: float, big: bool) -> tuple[str, _Waiting]:
        if len(self._waiting) >= WAITING_MAX:
            raise NotAllowed("requests", f"more than {WAITING_MAX} requests to {self.server} wait for an answer")
        token = f"{next(self._tokens):x}"
        future = asyncio.get_running_loop().create_future()
        waiting = _Waiting(future, subject, self._clock.monotonic() + timeout_s, big)
        self._waiting[token] = waiting
        return token, waiting

    async def _send(
        self, connection: Connection, subject: str, payload: bytes, reply: str, headers: Mapping[str, str] | None
    ) -> None:
        checked = _checked_headers(headers) if headers else None
        try:
            await connection.publish(_checked_subject(subject), payload, reply, checked)
        except MaxPayloadError as error:
            why = f"{len(payload)} bytes; {self.server} takes {connection.max_payload}"
            raise NotAllowed("max_payload", why) from error
        except (Error, OSError) as error:
            raise LinkDown(self.server) from error

    def _answered(self, message: Message) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is not None and not waiting.future.done():
            waiting.future.set_result(message)

    def _denied(self, text: str) -> None:
        """A permission error names a subject, never a request: fail all requests on that subject."""
        match = _DENIED_SUBJECT.search(text)
        self.why = clean_line(text, 200)
        for waiting in self._waiting.values():
            if match and waiting.subject == match[1] and not waiting.future.done():
                waiting.future.set_exception(NotAllowed("permission", f"{self.server}: {self.why}"))

    def _fail_waiting(self) -> None:
        """What was sent and not answered when the connection ended has an unknown outcome: a timeout, now."""
        for waiting in self._waiting.values():
            if not waiting.future.done():
                waiting.future.set_exception(TimeoutError())

    def _patient_until(self) -> float:
        return max((waiting.until for waiting in self._waiting.values() if waiting.big), default=0.0)


def _raise_if_cancelled() -> None:
    """End this task if it was cancelled, also where `wait_for` (before Python 3.12) or nats-py swallowed that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return clean_line(f"certificate verify failed: {error.verify_message}", 200)
    return clean_line(str(error) or "no answer", 200)


def _each(callback: Callable[[Message], None]) -> Callable[[Msg], "asyncio.Future[None]"]:
    async def received(message: Msg) -> None:
        callback(Message(message.subject, message.reply, message.data, dict(message.headers or {})))

    return received  # type: ignore[return-value]


def _checked_subject(subject: str) -> str:
    """The subject, or ValueError: the client itself would pass on what breaks the protocol."""
    if not _SUBJECT.fullmatch(subject):
        raise ValueError(f"a subject must be printable without spaces, found {ascii(subject)[:80]}")
    return subject


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers, or ValueError for a name that is not allowed or a value that could start a new line."""
    for key, value in headers.items():
        if key not in HEADERS_ALLOWED:
            raise ValueError(f"header {ascii(key)[:80]} is not one of {sorted(HEADERS_ALLOWED)}")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"header {key} must be one printable line, found {ascii(value)[:80]}")
    return dict(headers)
