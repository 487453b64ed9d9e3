"""One turn of the guard's loop, without a process."""

import json
import os
import socket
import time

import pytest

from hubagent.guard import desk, kernel
from hubagent.guard.desk import Connection
from hubagent.guard.house import House
from hubagent.guard.keep import Keep
from hubagent.guard.leases import Hold
from hubagent.guard.registry import Registry, Watch


@pytest.fixture
def house(tmp_path):
    """A guard's house with one client, whose end of the connection is `house.client`."""
    watch, wakeup = Watch(), os.pipe()
    registry = Registry(Keep(str(tmp_path)), watch)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "guard.sock"))
        listener.listen()
        house = House(listener, registry, watch, wakeup[0], -1)
        house.client, theirs = socket.socketpair()
        theirs.setblocking(False)
        house._connections[theirs.fileno()] = Connection(theirs)
        watch.add(theirs.fileno(), "line", house._connections[theirs.fileno()])
        yield house
        house.client.close()
        theirs.close()
    for end in wakeup:
        os.close(end)


@pytest.mark.parametrize("lines", [0, 3 * desk.REQUESTS_MAX])
def test_a_renewal_that_has_come_counts_before_a_deadline_that_has_passed(house, lines):
    """However much else its client has sent before it, and however little the guard was late."""
    leases, now = house._registry.leases, kernel.boottime()
    leases.replace(Hold("core", (3, "a"), now, now + 0.01, now))
    renewal = {"op": "lease", "group": "core", "epoch": 3, "holder": "a", "deadline": now + 60.0}
    house.client.sendall(b'{"op": "hello"}\n' * lines + json.dumps(renewal).encode() + b"\n")
    time.sleep(max(0.0, now + 0.011 - kernel.boottime()))
    house._turn(0.0)
    assert leases.deadline() == now + 60.0
    assert b"lapsed" not in house.client.recv(1 << 16)


def test_without_one_the_deadline_is_kept_in_that_turn(house):
    """And the client is told."""
    leases, now = house._registry.leases, kernel.boottime()
    leases.replace(Hold("core", (3, "a"), now, now, now))
    house.client.sendall(b'{"op": "hello"}\n' * desk.REQUESTS_MAX)
    house._turn(0.0)
    assert leases.deadline() is None
    assert b"lapsed" in house.client.recv(1 << 16)
