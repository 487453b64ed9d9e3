"""`hubagent streams apply|check|permissions`: what the agent of a hub server does, for a NATS that has no hub agent."""

import argparse
import asyncio
import json
import secrets
from collections.abc import Sequence
from typing import Any

from hubagent.clock import SystemClock
from hubagent.config import parse_size, url_fault
from hubagent.edges import jetstream
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.edges.nats_login import check_creds, load_context, read_nkey
from hubagent.errors import ConfigError, HubagentError, JetStreamError
from hubagent.loops.streams import STREAM_NOT_FOUND, drift, ensure, size_of
from hubagent.parts import tls_context
from hubagent.wire.nats_login import Way
from hubagent.wire.permissions import (
    HUB_SERVER,
    WITNESS,
    Permissions,
    hub_on_hub_server,
    hub_on_witness,
    operator_on_hub_server,
    operator_on_witness,
)
from hubagent.wire.roster import Group, Hub, Operator, Server
from hubagent.wire.streams import HUB_SERVER_STREAMS, WITNESS_STREAMS, Stream

DONE, FAILED = 0, 1
CONNECT_SECONDS = 5.0
IDENTITY = "hubdeck-setup"  # of the private inbox only: who may do this is the server's own decision
# A block that can be pasted: what stands in <…> is replaced by one's own names.
_HUB, _PEER, _PERSON, _GROUP = "hub-name", "peer-name", "operator-name", "group-name"
_SHOWN = {_HUB: "<hub>", _PEER: "<peer>", _PERSON: "<operator>", _GROUP: "<group>"}


def run(options: argparse.Namespace) -> int:
    """Make, check or explain; 1 where something is missing or differs."""
    if options.action == "permissions":
        print(permission_blocks())
        return DONE
    return asyncio.run(_with_link(options))


async def _with_link(options: argparse.Namespace) -> int:
    link = _link(options)
    outcome: int | HubagentError
    async with asyncio.TaskGroup() as started:
        running = started.create_task(link.run())
        try:
            await _wait_up(link)
            outcome = await _act(link, options)
        except HubagentError as error:  # raised below: out of here it would be wrapped in a group
            outcome = error
        finally:
            running.cancel()
    if isinstance(outcome, HubagentError):
        raise outcome
    return outcome


def _link(options: argparse.Namespace) -> Link:
    context = load_context(options.context) if options.context else None
    said = Way([options.url] if options.url else [], options.ca or "", options.creds or "", options.nkey or "")
    urls, ca_file, creds, nkey = context.under(said) if context else said
    if not urls:
        raise ConfigError("--url", 0, "url", "--url URL or --context NAME", "neither")
    for url in urls:
        if fault := url_fault(url):
            raise ConfigError("--url", 0, "url", fault, ascii(url)[:80])
    return Link(
        urls[0], urls, identity=IDENTITY, login_seed=read_nkey(nkey) if nkey else "", policy=LinkPolicy(),
        clock=SystemClock(), tls=tls_context(ca_file, urls), creds_file=check_creds(creds) if creds else "",
    )  # fmt: skip


async def _wait_up(link: Link) -> None:
    up = asyncio.Event()
    link.on_change(lambda is_up: up.set() if is_up else None)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await up.wait()
    except TimeoutError:
        raise Unreachable(link.server, link.why) from None


class Unreachable(HubagentError):
    """The server did not let us in."""

    def __init__(self, server: str, why: str) -> None:
        super().__init__(f"{server}: {why}; nothing was changed")


async def _act(link: Link, options: argparse.Namespace) -> int:
    streams = WITNESS_STREAMS if options.witness else HUB_SERVER_STREAMS
    before = await missing(link, streams)
    room = int(parse_size(options.max_store)) if options.max_store else await _room(link)
    if options.action == "apply":
        if not room and before:
            raise ConfigError(
                "--max-store", 0, "max_store", "a size such as 20GiB, for the account has no limit", "nothing"
            )
        await ensure(link, streams, room, lambda: secrets.token_hex(8))
        _say_made(before, streams, room)
        before = []
    found = await check(link, streams, room)
    for words in [*(f"{name} is missing" for name in before), *found]:
        print(words)
    if not before and not found:
        print(f"{link.server}: {', '.join(one.name for one in streams)} are as they should be")
    if found and options.action == "apply":
        print("what differs was left as it is: change it yourself (nats stream edit), or delete the empty stream")
    return FAILED if before or found else DONE


def _say_made(names: list[str], streams: Sequence[Stream], room: int) -> None:
    for one in streams:
        if one.name in names:
            size = size_of(one, room)
            print(f"made {one.name}" + (f", at most {size} bytes" if size > 0 else ""))


async def missing(link: Link, streams: Sequence[Stream]) -> list[str]:
    """The streams that are not there."""
    names = []
    for one in streams:
        try:
            await jetstream.stream_info(link, one.name)
        except JetStreamError as error:
            if error.code != STREAM_NOT_FOUND:
                raise
            names.append(one.name)
    return names


async def check(link: Link, streams: Sequence[Stream], room: int) -> list[str]:
    """What differs in the streams that are there, in words."""
    found: list[str] = []
    for one in streams:
        try:
            info = await jetstream.stream_info(link, one.name)
        except JetStreamError as error:
            if error.code != STREAM_NOT_FOUND:
                raise
            continue
        found += drift(one.config(size_of(one, room), ""), info.config)
        found += _inspect(info)
    return found


def _inspect(info: jetstream.StreamInfo) -> list[str]:
    """What `drift` does not compare and a fleet still needs."""
    name, config = info.config.get("name", "?"), info.config
    said = []
    if not (config.get("metadata") or {}).get(jetstream.LINEAGE_KEY):
        said.append(f"{name} has no lineage in its metadata: a stream made anew with this name would not be noticed")
    if config.get("storage", "file") != "file":
        said.append(f"{name} is kept in memory, should be on file: a restart of the server would lose records")
    if name == "LEASE" and config.get("max_msgs_per_subject") != 1:
        said.append("LEASE must keep one message for each subject")
    return said


async def _room(link: Link) -> int:
    """Bytes that this account may store, as the server says; 0 where it may all there is."""
    answer = await link.request("$JS.API.INFO", b"", timeout_s=CONNECT_SECONDS)
    facts = json.loads(answer.payload)
    if "error" in facts:
        raise JetStreamError(link.server, 0, str(facts["error"].get("description", ""))[:200])
    limit = int((facts.get("limits") or {}).get("max_storage", -1))
    return max(limit, 0)


def permission_blocks() -> str:
    """For each role the block that a NATS configuration needs, ready to be pasted."""
    hub, person, group = Hub(_HUB, "", ""), Operator(_PERSON, "", "", "viewer"), [Group(_GROUP, [_HUB, _PEER])]
    far, near = Server("server", [], HUB_SERVER), Server("server", [], WITNESS)
    operators = [Operator(_PERSON, "", "", role) for role in ("viewer", "operator", "admin")]
    blocks = [
        ("a hub, on each hub server", hub_on_hub_server(hub, far, group)),
        ("a hub, on the witness", hub_on_witness(hub, near, group)),
        *((f"{one.role}, on each hub server", operator_on_hub_server(one)) for one in operators),
        ("every operator, on the witness", operator_on_witness(person)),
    ]
    head = (
        "# Permissions of hubdeck, one block for each role, one user for each hub and each operator. Replace <hub> and\n"
        "# <operator> by the names in the roster; a line with <peer> or <group> once for each member of a group of the\n"
        "# hub, and for each such group.\n"
        "# No user may have allow_responses but hubs, and none may use _INBOX.>: inboxes are private (_I.<identity>.>).\n"
    )
    return head + "\n".join(f"# {words}\n{_block(rights)}" for words, rights in blocks)


def _block(rights: Permissions) -> str:
    permissions: dict[str, Any] = {
        "publish": {"allow": list(rights.publish)},
        "subscribe": {"allow": list(rights.subscribe)},
    }
    if rights.responses:
        permissions["allow_responses"] = {"max": 1, "expires": "10s"}
    text = "permissions: " + json.dumps(permissions, indent=1) + "\n"
    for name, shown in _SHOWN.items():
        text = text.replace(name, shown)
    return text
