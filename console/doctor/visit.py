"""Logs in to one server and looks: round trip, streams, roster, store, and whether the forbidden is refused."""

import asyncio
import base64
import json
import re
import ssl
from contextlib import suppress
from dataclasses import replace
from typing import Any

from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from console.clock import Clock
from console.doctor.facts import ServerFacts, StreamFacts
from console.logins import Login
from hubagent.wire.codec import WireError, decode_any
from hubagent.wire.roster import RosterRefused, open_roster
from hubagent.wire.sanitise import clean_line
from hubagent.wire.streams import HUB_SERVER_STREAMS, ROSTER, WITNESS_STREAMS
from hubagent.wire.subjects import inbox_prefix

CONNECT_SECONDS = 3
ANSWER_SECONDS = 3.0
VISIT_SECONDS = 15.0
ANSWER_BYTES_MAX = 8 << 20
LOST = (OSError, NatsError, asyncio.TimeoutError, asyncio.InvalidStateError)
# Tried for real, so each is harmless where it gets through: no stream and no hub has this name, and nothing is sent
# to those who listen. What would do harm if it were allowed (purge, the roster) is not tried.
_NOBODY = "doctor-probe"
PROBES_PUBLISH = (f"live.{_NOBODY}", f"peer.{_NOBODY}.{_NOBODY}", f"$JS.API.STREAM.DELETE.{_NOBODY}")
PROBES_SUBSCRIBE = ("_INBOX.>", "_I.>", "cmd.>")
VIEWER_PROBES = (f"cmd.{_NOBODY}",)


async def visit(
    server: ServerFacts, ca_file: str, identity: str, entry: Login, role: str, fleet_key: str, clock: Clock
) -> ServerFacts:
    """The same facts with what a login shows."""
    client, errors = Client(), list[str]()
    try:
        async with asyncio.timeout(VISIT_SECONDS):
            await _connect(client, server, ca_file, identity, entry, errors)
            return await _look(client, server, role, fleet_key, clock, errors)
    except LOST as error:
        text = next(reversed(errors), "") or getattr(error, "strerror", None) or str(error) or "no answer"
        return replace(server, is_up=False, why=clean_line(text.removeprefix("nats: "), 160))
    finally:
        with suppress(*LOST):
            await client.close()


async def _connect(
    client: Client, server: ServerFacts, ca_file: str, identity: str, entry: Login, errors: list[str]
) -> None:
    async def on_error(error: Exception) -> None:
        errors.append(str(error))

    tls = None
    if any(url.startswith("tls://") for url in server.urls):
        tls = ssl.create_default_context(cafile=ca_file or None)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
    await client.connect(
        list(server.urls), error_cb=on_error, name=f"hubdeck doctor {identity}", allow_reconnect=False,
        max_reconnect_attempts=1, reconnect_time_wait=0, connect_timeout=CONNECT_SECONDS,
        nkeys_seed_str=entry.seed or None, user_credentials=RawCredentials(entry.creds) if entry.creds else None,
        inbox_prefix=inbox_prefix(identity), tls=tls,
    )  # fmt: skip
    offered = getattr(client, "_server_info", {}).get("tls_required", False)
    if tls is not None and not offered:
        raise NatsError("it does not offer TLS")


async def _look(
    client: Client, server: ServerFacts, role: str, fleet_key: str, clock: Clock, errors: list[str]
) -> ServerFacts:
    began = clock.monotonic()
    account = await _ask(client, "$JS.API.INFO", {})
    rtt = clock.monotonic() - began
    is_witness = server.role == "witness"
    streams = {}
    for stream in WITNESS_STREAMS if is_witness else HUB_SERVER_STREAMS:
        query = {"subjects_filter": ">"} if stream.name == "EVT" else {}
        streams[stream.name] = _stream(await _ask(client, f"$JS.API.STREAM.INFO.{stream.name}", query))
    return replace(
        server,
        is_up=True,
        rtt_s=rtt,
        streams=streams,
        store=_store(account),
        roster_v=None if is_witness else await _roster_version(client, fleet_key),
        let_through=None if is_witness else await _probe(client, role, errors),
    )


async def _ask(client: Client, subject: str, query: dict[str, Any]) -> dict[str, Any]:
    """An answer of the JetStream API; `{"error": …}` where none came."""
    try:
        message: Msg = await client.request(
            subject, json.dumps(query).encode() if query else b"", timeout=ANSWER_SECONDS
        )
        answer = decode_any(message.data, ANSWER_BYTES_MAX)
    except (*LOST, WireError) as error:
        return {"error": {"description": str(error) or type(error).__name__}}
    return answer if isinstance(answer, dict) else {"error": {"description": "no answer of JetStream"}}


def _stream(answer: dict[str, Any]) -> StreamFacts | str:
    refusal = answer.get("error")
    if isinstance(refusal, dict):
        return clean_line(str(refusal.get("description", "refused")), 120)
    try:
        config, state = dict(answer["config"]), answer["state"]
        subjects = {str(key): int(value) for key, value in (state.get("subjects") or {}).items()}
        return StreamFacts(
            config, int(state["bytes"]), int(config.get("max_bytes", -1)), int(state["messages"]), subjects
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return "no answer of JetStream"


def _store(account: dict[str, Any]) -> tuple[int, int] | None:
    try:
        return int(account["storage"]), int((account.get("limits") or {}).get("max_storage", -1))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


async def _roster_version(client: Client, fleet_key: str) -> int | None:
    answer = await _ask(client, f"$JS.API.STREAM.MSG.GET.{ROSTER.name}", {"last_by_subj": ROSTER.subjects[0]})
    try:
        return open_roster(fleet_key, base64.b64decode(answer["message"]["data"])).version
    except (KeyError, TypeError, ValueError, RosterRefused):
        return None


async def _probe(client: Client, role: str, errors: list[str]) -> tuple[str, ...]:
    """What should be refused and is not; the refusals come as errors before the answer to the flush."""
    errors.clear()
    publishes = (*PROBES_PUBLISH, *(VIEWER_PROBES if role == "viewer" else ()))
    for subject in publishes:
        await client.publish(subject, b"")
    for subject in PROBES_SUBSCRIBE:
        await _subscribe_once(client, subject)
    for _ in range(2):  # the second answer comes after every error of the first round was handed on
        await client.flush(timeout=int(ANSWER_SECONDS))
    # The client hands errors on in lower case.
    refused = {found.lower() for text in errors for found in re.findall(r'"([^"]+)"', text)}
    return (
        *(f"publish to {subject}" for subject in publishes if subject.lower() not in refused),
        *(f"listen on {subject}" for subject in PROBES_SUBSCRIBE if subject.lower() not in refused),
    )


async def _subscribe_once(client: Client, subject: str) -> None:
    subscription = await client.subscribe(subject)
    await client.flush(timeout=int(ANSWER_SECONDS))
    with suppress(*LOST):
        await subscription.unsubscribe()
