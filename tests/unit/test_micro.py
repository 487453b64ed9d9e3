"""NATS micro: every hub agent is found by `nats micro ls`, and says nothing that a stranger wrote."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import ClassVar

import msgspec
import pytest

from hubagent.clock import SystemClock
from hubagent.edges.nats_link import Message
from hubagent.loops.micro import WAITING_MAX, Micro
from hubagent.wire import micro
from tests.fakes.links import FakeLink
from tests.support.waiting import until


class Link(FakeLink):
    """A fake link that counts what came."""

    received: ClassVar[Counter] = Counter({"cmd.alpha": 3})


@pytest.mark.parametrize(
    ("subject", "verb"),
    [
        ("$SRV.PING", "PING"), ("$SRV.INFO.hubagent", "INFO"), ("$SRV.STATS.hubagent.b00t", "STATS"),
        ("$SRV.PING.other", ""), ("$SRV.PING.hubagent.other", ""), ("$SRV.PING.hubagent.b00t.x", ""), ("$SRV", ""),
        ("$SRV.SCHEMA", ""), ("$SRV.__init__", ""), ("$SRV.PING.", ""), ("live.alpha", ""),
    ],
)  # fmt: skip
def test_only_questions_to_all_to_hub_agents_or_to_this_one_are_ours(subject, verb):
    """By nobody's name, by the service's, by this agent's id."""
    assert micro.asked_verb(subject, "b00t") == verb


async def test_every_question_has_its_shape_and_floods_are_dropped():
    """The three answers, then more questions than are ever answered."""
    link = Link()
    task = asyncio.create_task(Micro("alpha", "b00t", "0.1.0", [link], SystemClock(), lambda: {"cmd": 2}).run())
    await until(lambda: link.subscribed)
    for verb in micro.VERBS:
        link.subscribed[micro.EVERYTHING](_question(f"$SRV.{verb}"))
    link.subscribed[micro.EVERYTHING](_question("$SRV.NONE"))
    link.subscribed[micro.EVERYTHING](_question("$SRV.PING", reply=""))
    await until(lambda: len(link.published) == 3)
    ping, info, stats = (msgspec.json.decode(raw) for _, raw, _ in link.published)
    assert ping == {
        "type": "io.nats.micro.v1.ping_response", "name": "hubagent", "id": "b00t", "version": "0.1.0",
        "metadata": {"hub": "alpha"},
    }  # fmt: skip
    assert {one["subject"] for one in info["endpoints"]} == {"cmd.alpha", "hello.alpha", "watch.alpha", "fetch.alpha"}
    assert stats["endpoints"][0]["num_requests"] == 3
    assert stats["endpoints"][0]["num_errors"] == 2
    assert stats["started"].endswith("Z")
    for _ in range(1000):
        link.subscribed[micro.EVERYTHING](_question("$SRV.PING"))
    await asyncio.sleep(0)
    await until(lambda: len(link.published) > 3)
    assert len(link.published) <= 3 + WAITING_MAX
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _question(subject, reply="_I.viewer.x"):
    return Message(subject, reply, b"", {})
