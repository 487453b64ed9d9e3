"""Records what a release says on the wire, from its own demo, as fixtures for all later releases.

    python -m tests.support.record_wire DIR-OF-A-RUNNING-DEMO tests/fixtures/wire/0.1

Each file holds one message as it was: subject, payload as text, headers. Nothing in it is edited by hand.
"""

import asyncio
import base64
import json
import os
import sys
from pathlib import Path

import nats
import yaml
from nats.aio.client import Client

from hubagent.wire import subjects
from hubagent.wire.codec import decode, encode
from hubagent.wire.commands import Command, Hello
from hubagent.wire.roster import open_roster
from hubagent.wire.signing import COMMAND, SIGNATURE_HEADER, Keys, parse_keys

HUB, GROUP = "alpha", "core"


def write(folder: Path, name: str, subject: str, payload: bytes, headers: dict[str, str] | None) -> None:
    """One message as one file."""
    message = {"subject": subject, "payload": payload.decode(), "headers": dict(headers or {})}
    (folder / f"{name}.json").write_text(json.dumps(message, indent=1) + "\n")


async def heard(client: Client, subject: str, ask: str = "") -> bytes:
    """The next message on a subject."""
    subscription = await client.subscribe(subject)
    if ask:
        await client.publish(ask, b"{}")
    message = await subscription.next_msg(timeout=10)
    await subscription.unsubscribe()
    return message.data


async def stored(client: Client, stream: str, subject: str) -> tuple[bytes, dict[str, str]]:
    """The last message of a subject with its headers."""
    query = json.dumps({"last_by_subj": subject}).encode()
    answer = json.loads((await client.request(f"$JS.API.STREAM.MSG.GET.{stream}", query, timeout=5)).data)["message"]
    lines = base64.b64decode(answer.get("hdrs", "")).decode().split("\r\n")[1:]
    headers = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines if ":" in line)}
    return base64.b64decode(answer["data"]), headers


async def ordered(client: Client, keys: Keys) -> tuple[tuple[bytes, dict[str, str]], tuple[bytes, dict[str, str]]]:
    """A command and its reply."""
    hello = decode((await client.request(subjects.hello(HUB), b"", timeout=5)).data, Hello)
    command = Command(
        v=1, cmd_id="fixture-0000000001", verb="note", hub=HUB, hub_boot=hello.boot, hub_seq=hello.seq,
        operator="admin", args={"text": "recorded"}, reason="a fixture for later releases",
    )  # fmt: skip
    payload = encode(command)
    headers = {SIGNATURE_HEADER: keys.signer.sign(COMMAND, subjects.command(HUB), payload)}
    reply = await client.request(subjects.command(HUB), payload, timeout=5, headers=headers)
    return (payload, headers), (reply.data, dict(reply.headers or {}))


async def record(demo: Path, folder: Path) -> None:
    """Everything that travels, once."""
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((demo / "console.yaml").read_text())
    keys = parse_keys(Path(config["key_file"]).read_text())
    fleet_key = Path(config["fleet_key_file"]).read_text().strip()
    options = {"nkeys_seed_str": keys.login_seed, "inbox_prefix": b"_I.admin"}
    client = await nats.connect(config["servers"][0]["urls"], **options)
    roster, _ = await stored(client, "ROSTER", subjects.ROSTER)
    witness = await nats.connect(
        [url for one in open_roster(fleet_key, roster).servers if one.role == "witness" for url in one.urls], **options
    )
    write(folder, "live", subjects.live(HUB), await heard(client, subjects.live(HUB)), None)
    write(folder, "live-group", subjects.live("central"), await heard(client, subjects.live("central")), None)
    detail = await heard(client, subjects.detail(HUB), ask=subjects.watch(HUB))
    write(folder, "detail", subjects.detail(HUB), detail, None)
    command, reply = await ordered(client, keys)
    write(folder, "command", subjects.command(HUB), *command)
    write(folder, "reply", "_I.admin.reply", *reply)
    for lane, stream in (("evt", "EVT"), ("met", "MET")):
        write(folder, f"chunk-{lane}", subjects.ops(lane, HUB), *await stored(client, stream, subjects.ops(lane, HUB)))
    write(folder, "lease", subjects.lease(GROUP), *await stored(witness, "LEASE", subjects.lease(GROUP)))
    write(folder, "roster", subjects.ROSTER, roster, None)
    (folder / "fleet.pub").write_text(fleet_key + os.linesep)
    await client.close()
    await witness.close()


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]), Path(sys.argv[2])))
