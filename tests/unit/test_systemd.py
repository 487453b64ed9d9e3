"""Promises of what is said to systemd, and of what is asked of it."""

import os
import socket
import stat

import pytest

from hubagent.edges.systemd import Notifier, SystemdRefused, Units, UnitState, is_systemd_here, unit_fault
from tests.fakes.clock import FakeClock


@pytest.fixture
def systemd(tmp_path):
    """A socket that listens as systemd would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(2.0)
        yield listener


def test_each_state_is_one_datagram(systemd, tmp_path):
    """Word for word as sd_notify says them."""
    notifier = Notifier(FakeClock(monotonic=2.0), {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    for tell in (notifier.ready, notifier.watchdog, notifier.stopping, notifier.reloading):
        tell()
    notifier.status("two\nlines")
    said = [systemd.recv(1000).decode() for _ in range(5)]
    assert said == ["READY=1", "WATCHDOG=1", "STOPPING=1", "RELOADING=1\nMONOTONIC_USEC=2000000", "STATUS=two lines"]


def test_an_abstract_socket_is_found():
    """Containers use those."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = f"hubagent-test-{os.getpid()}"
        listener.bind("\0" + name)
        listener.settimeout(2.0)
        Notifier(FakeClock(), {"NOTIFY_SOCKET": "@" + name}).ready()
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/no/such/socket"}])
def test_without_systemd_nothing_is_said_and_nothing_fails(environ):
    """The agent runs anywhere."""
    Notifier(FakeClock(), environ).ready()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "nonsense"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time(environ, seconds):
    """And only by the process that it watches."""
    assert seconds == Notifier(FakeClock(), environ).watchdog_s


def test_a_unit_without_systemd_is_refused_with_what_to_do(tmp_path):
    """The config error says so."""
    assert unit_fault("--help") == "expected the full name of a unit, as nginx.service"
    assert unit_fault("nginx") == "expected the full name of a unit, as nginx.service"
    if not is_systemd_here():
        assert "use argv" in unit_fault("nginx.service")
    assert not is_systemd_here(tmp_path)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert is_systemd_here(tmp_path)


def systemctl(tmp_path, script) -> Units:
    """A systemctl of our own, that writes down how it was called."""
    path = tmp_path / "systemctl"
    path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{script}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Units(str(path))


async def test_units_are_driven_by_argument_lists(tmp_path):
    """The unit's name stands behind `--`."""
    units = systemctl(tmp_path, "printf 'ActiveState=active\\nMainPID=42\\nExecMainStatus=0\\n'")
    await units.start("web.service")
    await units.stop("web.service")
    assert await units.show("web.service") == UnitState("active", 42, 0)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["start", "stop", "show"]
    assert all(call.endswith("-- web.service") for call in calls)


async def test_a_refusal_of_systemd_is_told_in_its_words(tmp_path):
    """Also where there is no systemctl, and where the name is none."""
    with pytest.raises(SystemdRefused, match="not found"):
        await systemctl(tmp_path, "echo 'Unit web.service not found.' >&2; exit 5").start("web.service")
    with pytest.raises(SystemdRefused, match="No such file"):
        await Units(str(tmp_path / "missing")).start("web.service")
    with pytest.raises(SystemdRefused, match="full name"):
        await Units().start("-web")
