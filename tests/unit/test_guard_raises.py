"""Deadlines of a token that is not on disk yet: they wait for it, and the last one counts."""

import json
import socket

import pytest

from hubagent.guard import desk
from hubagent.guard.desk import Connection
from hubagent.guard.keep import Keep
from hubagent.guard.leases import Hold
from hubagent.guard.raises import Raises
from hubagent.guard.registry import Registry, Watch
from hubagent.guard.requests import BadRequest


class Client:
    """One client of the guard, by both ends of its connection."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.connection = Connection(theirs)

    def answers(self) -> list[dict]:
        """What it was told since it asked last."""
        self.ours.setblocking(False)
        try:
            return [json.loads(line) for line in self.ours.recv(1 << 20).splitlines()]
        except BlockingIOError:
            return []


@pytest.fixture
def registry(tmp_path):
    """A registry over a real folder."""
    return Registry(Keep(str(tmp_path)), Watch())


@pytest.fixture
def client():
    """Closed at the end."""
    one = Client()
    yield one
    one.ours.close()
    one.connection.sock.close()


def hold(epoch, deadline, at, group="core"):
    return Hold(group, (epoch, "a"), deadline - 1.0, deadline, at)


def tokens(tmp_path) -> dict:
    path = tmp_path / "guard.json"
    return json.loads(path.read_text())["tokens"] if path.exists() else {}


def test_a_token_that_rises_waits_and_is_on_disk_before_it_is_answered(registry, client, tmp_path):
    """In its client's order; what follows it at once is of a token that is there."""
    raises, first = Raises(registry), hold(3, 60.0, 1.0)
    assert raises.take(client.connection, 7, first) is None
    assert list(client.connection.waiting) == [first]
    assert registry.leases.deadline() is None
    registry.beside = lambda work: (client.answers() == [] and work(), None)[1]
    assert raises.settle(client.connection.waiting.popleft()) == [client.connection]
    assert tokens(tmp_path) == {"core": [3, "a"]}
    assert client.answers() == [{"id": 7, "ok": True}]
    assert registry.leases.deadline() == 59.0
    assert raises.take(client.connection, 8, hold(3, 90.0, 2.0)) == {"ok": True}
    assert registry.leases.deadline() == 89.0
    with pytest.raises(BadRequest, match="below"):
        raises.take(client.connection, 9, hold(2, 90.0, 3.0))


def test_what_is_said_meanwhile_is_answered_with_it_and_the_last_word_counts(registry, client):
    """By when it was said, not by when it came; another group's token waits by itself."""
    raises, other = Raises(registry), Client()
    first = hold(3, 60.0, 1.0)
    assert raises.take(client.connection, 1, first) is None
    assert raises.take(other.connection, 2, hold(3, 90.0, 3.0)) is None
    assert raises.take(client.connection, 3, hold(3, 70.0, 2.0)) is None
    edge = hold(3, 50.0, 1.0, "edge")
    assert raises.take(client.connection, 4, edge) is None
    assert (list(client.connection.waiting), list(other.connection.waiting)) == ([first, edge], [])
    assert raises.settle(first) == [client.connection, other.connection, client.connection]
    assert registry.leases.deadline() == 89.0
    assert client.answers() == [{"id": 1, "ok": True}, {"id": 3, "ok": True}]
    assert other.answers() == [{"id": 2, "ok": True}]
    raises.settle(edge)
    assert registry.leases.deadline() == 49.0
    assert client.answers() == [{"id": 4, "ok": True}]
    other.ours.close()
    other.connection.sock.close()


def test_two_tokens_that_rise_are_written_one_after_the_other(registry, client, tmp_path):
    """The lower one is refused where the higher one was first."""
    raises, low, high = Raises(registry), hold(3, 60.0, 1.0), hold(4, 61.0, 2.0)
    assert raises.take(client.connection, 1, high) is None
    assert raises.take(client.connection, 2, low) is None
    raises.settle(high)
    raises.settle(low)
    first, second = client.answers()
    assert first == {"id": 1, "ok": True}
    assert (second["ok"], "below (4, a)" in second["why"]) == (False, True)
    assert tokens(tmp_path) == {"core": [4, "a"]}


def test_a_disk_that_refuses_leaves_everything_as_it_was(registry, client, tmp_path):
    """Whoever asked is told why, and may ask again."""
    raises, first = Raises(registry), hold(3, 60.0, 1.0)

    def broken(_: object) -> None:
        raise OSError(5, "Input/output error")

    registry.beside = broken
    raises.take(client.connection, 1, first)
    raises.take(client.connection, 2, hold(3, 70.0, 2.0))
    raises.settle(first)
    assert client.answers() == [{"id": n, "ok": False, "why": "guard.json: Input/output error"} for n in (1, 2)]
    assert (registry.leases.tokens, registry.leases.deadline(), tokens(tmp_path)) == ({}, None, {})
    again = hold(3, 80.0, 3.0)
    assert raises.take(client.connection, 3, again) is None
    registry.beside = lambda work: work()
    raises.settle(again)
    assert client.answers() == [{"id": 3, "ok": True}]


def test_too_many_are_refused_but_heard(registry, client):
    """Memory is bounded; the deadline of a token that rises is still the last one said."""
    raises, first = Raises(registry), hold(3, 60.0, 1.0)
    for number in range(desk.WAITING_MAX):
        assert raises.take(client.connection, number, first) is None
    with pytest.raises(BadRequest, match="wait already"):
        raises.take(client.connection, -1, hold(3, 99.0, 2.0))
    raises.settle(first)
    assert registry.leases.deadline() == 98.0
    client.connection.waiting.extend([{}] * desk.WAITING_MAX)
    with pytest.raises(BadRequest, match="wait already"):
        raises.take(client.connection, -2, hold(4, 99.0, 3.0))
