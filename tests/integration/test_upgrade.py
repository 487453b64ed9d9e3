"""An agent that is restarted as an upgrade does it, under a load of events: nothing lost, nothing twice."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from console import config
from console.errors import ConsoleError
from console.link import Link as ConsoleLink
from hubagent.clock import SystemClock
from hubagent.edges import jetstream
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.wire import subjects
from hubagent.wire.roster import Roster, parse_roster
from hubagent.wire.signing import parse_keys
from hubagent.wire.streams import STREAM_OF_LANE
from tests.support.demo import headless, hubdeck
from tests.support.demo import wait as wait_for
from tests.support.guards import is_alive
from tests.support.history import Stored, check
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.slow]

HUB = "alpha"
NOTES_PER_SECOND = 4  # below the rate that one operator may have
RESTARTS = 3


@dataclass
class Load:
    """Notes for the hub, one after the other, whether it runs or not."""

    console: ConsoleLink
    accepted: dict[str, str] = field(default_factory=dict)  # note: the command's id
    unsure: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send until told that it is over."""
        sent: list[tuple[str, Future]] = []
        while not self.over.wait(1 / NOTES_PER_SECOND):
            text = f"note {len(sent)}"
            sent.append((text, self.console.send(HUB, "note", {"text": text})))
        wait([future for _, future in sent], timeout=30)
        for text, future in sent:
            self._judge(text, future)

    def _judge(self, text: str, future: Future) -> None:
        """A note that was refused is not there; one without an answer may be there, once."""
        try:
            reply = future.result(timeout=0)
        except (ConsoleError, TimeoutError):
            self.unsure.append(text)
        else:
            if reply.state == "accepted":
                self.accepted[text] = reply.cmd_id
            # A refusal (a stale boot) means that nothing was done: were it there, it would be a phantom.


def start(ready: dict) -> subprocess.Popen:
    """The agent as its unit starts it; it ends with the demo's leash."""
    agent = ready["agents"][HUB]
    with Path(agent["state_dir"], "agent.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "hubagent", "run", "-c", agent["config"]], stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def is_live(ready: dict) -> bool:
    """Whether the hub speaks, and owes nothing to either server."""
    hubs = {hub["hub"]: hub for hub in hubdeck(ready, "status")["hubs"]}
    return all(lane["state"] == "LIVE" and lane["chunks"] == 0 for lane in hubs[HUB]["lanes"]) and bool(
        hubs[HUB]["lanes"]
    )


def service_pid(ready: dict) -> int | None:
    """The process of the hub's web service."""
    hubs = {hub["hub"]: hub for hub in hubdeck(ready, "status", "--services")["hubs"]}
    return next((one["pid"] for one in hubs[HUB]["services"] or []), None)


async def stored(ready: dict, server: str, lane: str) -> list[Stored]:
    """Every message of the hub's lane on a server, read as the admin may."""
    keys = parse_keys(Path(ready["keys"]["admin"]).read_text())
    link = Link(
        server, [ready["servers"][server]["url"]], identity="admin", login_seed=keys.login_seed, policy=LinkPolicy(),
        clock=SystemClock(),
    )  # fmt: skip
    task = asyncio.get_running_loop().create_task(link.run())
    await until(lambda: link.is_connected)
    seq, found = 1, []
    while message := await jetstream.next_message(link, STREAM_OF_LANE[lane], subjects.ops(lane, HUB), seq):
        found.append(Stored(message.payload, message.signature, message.seq))
        seq = message.seq + 1
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return found


def note(record: dict) -> str | None:
    """The text of a note of ours; other events are counted by the chain alone."""
    return record["text"] if record["kind"] == "note" and record["text"].startswith("note ") else None


def moment(row: list) -> object:
    """A sample is told from the others by its monotonic time."""
    return row[1]


def roster_of(ready: dict) -> Roster:
    """The demo's roster."""
    return parse_roster(Path(ready["dir"], "roster.json").read_bytes().partition(b"\n")[2])


def test_an_agent_upgraded_under_load_loses_nothing_and_doubles_nothing(tmp_path: Path):
    """SIGTERM and start again, as `systemctl restart` after an upgrade; the service never stops."""
    with headless(tmp_path / "demo", "--hubs", "1") as (_, ready):
        wait_for("the hub is live", lambda: is_live(ready))
        before = service_pid(ready)
        load = loaded(ready)
        wait_for("everything is delivered", lambda: is_live(ready), 60)
        assert service_pid(ready) == before
        assert len(load.accepted) > 3 * RESTARTS
        public = roster_of(ready).hub(HUB).signing
        asyncio.run(judge(ready, load, public))


def loaded(ready: dict) -> Load:
    """Notes all the while, and the agent restarted again and again."""
    console = ConsoleLink(config.load(Path(ready["console_config"])))
    console.start()
    load = Load(console)
    sender = threading.Thread(target=load.run)
    sender.start()
    pid = ready["agents"][HUB]["pid"]
    try:
        for _ in range(RESTARTS):
            wait_for("some notes were taken", Progress(load, ready).is_made, 30)
            os.kill(pid, signal.SIGTERM)
            wait_for("the agent ended", lambda pid=pid: not is_alive(pid), 20)
            pid = start(ready).pid
        wait_for("some notes were taken", Progress(load, ready).is_made, 30)
    finally:
        load.over.set()
        sender.join(40)
        console.stop()
    return load


class Progress:
    """The hub has been up for a moment: its summary counts on."""

    def __init__(self, load: Load, ready: dict) -> None:
        self._ready, self._since = ready, None

    def is_made(self) -> bool:
        """Whether it spoke at least three seconds long."""
        hub = next(one for one in hubdeck(self._ready, "status")["hubs"] if one["hub"] == HUB)
        if hub["age_s"] is None or hub["age_s"] > 2:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
        return self._since is not None and time.monotonic() - self._since > 3


def kept_promises(load: Load, messages: list[Stored]) -> list[str]:
    """The accepted notes that must be there: all but those whose command the restart cut off, and that say so."""
    chunks = [msgspec.json.decode(one.payload) for one in messages]
    results = {
        record["cmd_id"]: record["data"]["state"]
        for chunk in chunks
        for record in chunk["recs"]
        if record["kind"] == "command_result"
    }
    unsaid = [text for text, cmd_id in load.accepted.items() if cmd_id not in results]
    assert not unsaid, f"accepted, and never heard of again: {unsaid}"
    cut_off = [text for text, cmd_id in load.accepted.items() if results[cmd_id] == "unknown"]
    assert len(cut_off) <= 2 * RESTARTS
    load.unsure += cut_off
    return [text for text in load.accepted if text not in cut_off]


async def judge(ready: dict, load: Load, public: str) -> None:
    """Both servers, both lanes: one chain, every accepted note once, the same bytes on each."""
    for lane, key in (("evt", note), ("met", moment)):
        bytes_of: dict = {}
        for server in ("central", "edge"):
            messages = await stored(ready, server, lane)
            accepted = kept_promises(load, messages) if lane == "evt" else []
            known = load.unsure if lane == "evt" else Everything()
            verdict = check(
                messages,
                accepted,
                public=public,
                subject=subjects.ops(lane, HUB),
                key=key,
                bytes_of=bytes_of,
                known=known,
            )
            assert verdict.is_clean, f"{server} {lane}: {verdict}"
            assert not verdict.substitutes
            assert not verdict.foreign
            boots = {msgspec.json.decode(one.payload)["boot"] for one in messages}
            assert len(boots) == RESTARTS + 1, "each run of the agent wrote into one log"
            assert verdict.received == len(accepted)


class Everything:
    """Contains whatever one asks for: samples are not announced by anybody."""

    def __contains__(self, _: object) -> bool:
        return True
