"""One supervised client to one hub server: connects, subscribes again after every loss, buffers nothing."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError, NoServersError, SecureConnRequiredError

from console.clock import Clock
from console.config import ServerSettings
from console.errors import NotConnected
from console.fleet import CONNECTING, DOWN, UP, ServerChanged
from console.logins import Login, LoginRefused, login
from hubagent.wire.sanitise import clean_line
from hubagent.wire.subjects import inbox_prefix

CONNECT_SECONDS = 3
RETRY_MIN_SECONDS, RETRY_MAX_SECONDS = 0.25, 2.0
CANCEL_SECONDS = 0.2  # what has not ended by then is cancelled again
CLOSE_SECONDS = 1.0
RTT_SECONDS = 2.0  # how often the round trip is measured
PENDING_MAX = 20_000  # messages of one subscription that wait for us; beyond it the client drops and counts

Callback = Callable[["ServerLine", Msg], None]
LOST = (OSError, NatsError, asyncio.TimeoutError, asyncio.InvalidStateError)


# What the client cannot handle it logs, with a traceback: on a screen or on standard error it would help nobody, and
# the line's own state says that the connection went.
logging.getLogger("nats").addHandler(logging.NullHandler())
logging.getLogger("nats").propagate = False
# asyncio warns at the end of each TLS connection that its own stream protocol does not know half-closed ones.
logging.getLogger("asyncio").setLevel(logging.ERROR)


async def end_all(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: the client swallows a cancellation that meets it while it flushes."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_SECONDS)


class ServerLine:
    """The console's line to one hub server; it never raises for a lost link, it reports it."""

    def __init__(
        self, server: ServerSettings, identity: str, login_seed: str, ping_s: float, clock: Clock,
        report: Callable[[ServerChanged], None],
    ) -> None:  # fmt: skip
        self.name = server.name
        self.dropped = 0
        self._server, self._identity, self._seed, self._ping_s = server, identity, login_seed, ping_s
        self._clock, self._report = clock, report
        self._wanted: dict[str, Callback] = {}
        self._subscribed: dict[str, Subscription] = {}
        self._client: Client | None = None
        self._why = ""

    @property
    def is_connected(self) -> bool:
        """Tell whether something sent now would leave."""
        return self._client is not None and self._client.is_connected

    async def run(self, on_up: Callable[["ServerLine"], Awaitable[None]]) -> None:
        """Connect, and connect again after every loss, until cancelled."""
        wait_s = RETRY_MIN_SECONDS
        self._report(ServerChanged(self.name, CONNECTING))
        while True:
            if await self._one_life(on_up):
                wait_s = RETRY_MIN_SECONDS
            self._report(ServerChanged(self.name, DOWN, self._why or "connection lost"))
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_MAX_SECONDS)

    async def subscribe(self, subject: str, callback: Callback) -> None:
        """Have every message of a subject handed to the callback; survives every loss."""
        self._wanted[subject] = callback
        with suppress(*LOST):
            await self._subscribe_now(subject)

    async def unsubscribe(self, subject: str) -> None:
        """Take it back."""
        self._wanted.pop(subject, None)
        subscription = self._subscribed.pop(subject, None)
        if subscription is not None:
            with suppress(*LOST):
                await subscription.unsubscribe()

    async def publish(
        self, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None
    ) -> bool:
        """Send once; False where nothing left."""
        if self._client is None:
            return False
        try:
            await self._client.publish(subject, payload, reply, headers)
        except LOST:
            return False
        return True

    async def request(self, subject: str, payload: bytes, timeout_s: float) -> Msg | None:
        """The first answer; None where nobody listens, nothing came in time, or the line is down."""
        if self._client is None:
            return None
        try:
            return await self._client.request(subject, payload, timeout=timeout_s)
        except LOST:
            return None

    @asynccontextmanager
    async def answers(self, subject: str, payload: bytes) -> AsyncIterator[Subscription]:
        """The answers to one request that has several; raises NotConnected."""
        client = self._client
        if client is None or not client.is_connected:
            raise NotConnected(self.name)
        inbox = f"{inbox_prefix(self._identity)}.{client.new_inbox().rpartition('.')[2]}"
        subscription = await client.subscribe(inbox)
        try:
            await client.publish(subject, payload, inbox)
            yield subscription
        finally:
            with suppress(*LOST):
                await subscription.unsubscribe()

    async def _one_life(self, on_up: Callable[["ServerLine"], Awaitable[None]]) -> bool:
        """One connection from its first attempt to its loss; tells whether it ever was up."""
        try:  # at each connection, so that a renewed or repaired file is taken up
            entry = login(self._server, self._seed)
        except LoginRefused as error:
            self._failed(error)
            return False
        client, closed = Client(), asyncio.Event()
        was_up = False
        try:
            await self._connect(client, entry, closed)
            _insist_on_tls(self._server, client)
            self._client, self._why = client, ""
            for subject in list(self._wanted):
                await self._subscribe_now(subject)
            was_up = True
            self._report(ServerChanged(self.name, UP))
            await self._use(client, closed, on_up)
        except LOST as error:
            self._failed(error)
        finally:
            self._client = None
            self._subscribed.clear()
            await _let_go(client)
        return was_up

    async def _connect(self, client: Client, entry: Login, closed: asyncio.Event) -> None:
        async def on_error(error: Exception) -> None:
            self._failed(error)

        async def on_closed() -> None:
            closed.set()

        await client.connect(
            self._server.urls,
            error_cb=on_error,
            closed_cb=on_closed,
            name=f"hubdeck {self._identity}",
            # One way to come back, not two: this class makes a new client, whatever ended the old one.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS,
            ping_interval=self._ping_s,  # type: ignore[arg-type]  # annotated int, used as float
            max_outstanding_pings=2,
            pending_size=0,
            nkeys_seed_str=entry.seed or None,
            user_credentials=RawCredentials(entry.creds) if entry.creds else None,
            inbox_prefix=inbox_prefix(self._identity),
            tls=_tls(self._server),
        )

    async def _use(
        self, client: Client, closed: asyncio.Event, on_up: Callable[["ServerLine"], Awaitable[None]]
    ) -> None:
        """Until the connection is lost; what still waits for an answer then is given up at once."""
        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(self._greet(on_up)), tasks.create_task(self._measure(client))]
            try:
                await closed.wait()
            finally:
                await end_all(started)

    async def _greet(self, on_up: Callable[["ServerLine"], Awaitable[None]]) -> None:
        with suppress(*LOST):  # the close says so too
            await on_up(self)

    async def _measure(self, client: Client) -> None:
        """The round trip, by a request: the client's own flush, when cancelled, kills its read loop at the next pong."""
        while True:
            began = self._clock.monotonic()
            try:
                await client.request("$JS.API.INFO", b"", timeout=CONNECT_SECONDS)
                self._report(ServerChanged(self.name, UP, "", self._clock.monotonic() - began))
            except NoRespondersError:  # no JetStream there; it was a round trip all the same
                self._report(ServerChanged(self.name, UP, "", self._clock.monotonic() - began))
            except LOST as error:
                if client.is_connected:
                    self._report(ServerChanged(self.name, UP, "answers slowly"))
                else:
                    self._failed(error)
            await asyncio.sleep(RTT_SECONDS)

    async def _subscribe_now(self, subject: str) -> None:
        callback, client = self._wanted.get(subject), self._client
        if callback is None or client is None or subject in self._subscribed:
            return

        async def on_message(message: Msg) -> None:
            callback(self, message)

        self._subscribed[subject] = await client.subscribe(subject, cb=on_message, pending_msgs_limit=PENDING_MAX)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, NoServersError) and self._why:
            return  # the client's word for "the attempts are used up"; why each failed came before
        text = getattr(error, "strerror", None) or str(error) or _wordless(error)
        if self._client is None and isinstance(error, BrokenPipeError | ConnectionResetError):
            # The server's refusal was not read before its close was felt.
            text = "closed by the server at login: no Authorization, or it is no server of this fleet"
        if isinstance(error, ssl.SSLCertVerificationError):
            text = f"certificate verify failed: {error.verify_message}"
        self._why = clean_line(text.removeprefix("nats: "), 200)


async def _let_go(client: Client) -> None:
    """Close without waiting long: after a failed TLS handshake the client would wait for its peer for ever."""
    writer = getattr(client._transport, "_io_writer", None)  # noqa: SLF001  # there is no public way to its socket
    if writer is not None and not client.is_connected:
        writer.transport.abort()
    with suppress(*LOST):
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.close()


def _tls(server: ServerSettings) -> ssl.SSLContext | None:
    if not any(url.startswith("tls://") for url in server.urls):
        return None
    context = ssl.create_default_context(cafile=server.ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _insist_on_tls(server: ServerSettings, client: Client) -> None:
    """The client goes on in plain text where the server does not ask for TLS; an impostor would not ask."""
    offered = getattr(client, "_server_info", {}).get("tls_required", False)
    if any(url.startswith("tls://") for url in server.urls) and not offered:
        raise SecureConnRequiredError


def _wordless(error: BaseException) -> str:
    """Some errors have a name only, and one of them is plain."""
    return "no answer" if isinstance(error, TimeoutError) else type(error).__name__
