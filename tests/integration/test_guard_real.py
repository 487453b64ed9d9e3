"""Promises of the real guard with real processes."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hubagent.edges.children import GuardClient, spawn_guard
from hubagent.errors import GuardGone
from hubagent.guard.output import READ_BYTES_MAX
from tests.support.guards import boottime, guarding, is_alive
from tests.support.waiting import until

pytestmark = pytest.mark.real
RSS_BYTES_MAX = 12 * 1000 * 1000
SLEEP = ("sleep", "1000")
ACTIVE = {"mode": "active", "group": "core", "epoch": 3, "holder": "alpha"}


@pytest.fixture
async def guard(tmp_path):
    """A guard in a directory of its own."""
    async with guarding(tmp_path) as running:
        yield running


def rss_bytes(pid: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) * 1024


async def pids_written(guard, name, count) -> list[int]:
    """The pids that a service prints, one a line."""
    await until(lambda: len(guard.output(name).splitlines()) >= count)
    return [int(line) for line in guard.output(name).split()[:count]]


STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for leaves in (False, True):
    if os.fork() == 0:
        if leaves:
            os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        time.sleep(1000)
time.sleep(1000)
"""


async def test_a_child_that_ignores_term_is_gone_by_the_deadline_with_all_its_grandchildren(guard, tmp_path):
    """P8: Those that left the session too; a process of somebody else stays."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]) as foreign:
        try:
            pid = (await guard.start("web", sys.executable, "-c", STUBBORN))["pid"]
            pids = [pid, *await pids_written(guard, "web", 4)]
            assert len(set(pids)) == 5
            assert all(map(is_alive, pids))
            began = boottime()
            await guard.client.request("stop", name="web", grace_s=0.3)
            ended = await guard.exit_of("web")
            assert boottime() - began < 1.5
            assert not any(map(is_alive, pids))
            assert (ended["signal"], ended["asked"]) == (signal.SIGKILL, True)
            assert foreign.poll() is None
        finally:
            foreign.kill()


async def test_a_stop_that_is_obeyed_needs_no_grace_to_pass(guard):
    """TERM, and the end is told at once with its signal."""
    await guard.start("web", *SLEEP)
    await guard.client.request("stop", name="web", grace_s=30.0)
    ended = await guard.exit_of("web", 2.0)
    assert (ended["signal"], ended["code"], ended["asked"]) == (signal.SIGTERM, None, True)


async def test_a_crash_takes_what_it_left_behind_along(guard):
    """A restart must not meet a grandchild that holds its port."""
    await guard.start("web", "sh", "-c", "sleep 1000 & echo $!; exit 3")
    ended = await guard.exit_of("web")
    assert (ended["code"], ended["signal"], ended["asked"]) == (3, None, False)
    [grandchild] = await pids_written(guard, "web", 1)
    assert not is_alive(grandchild)


async def test_when_the_guard_is_killed_active_ones_die_and_others_are_adopted(guard):
    """P9: The next guard finds the same process again, goes on reading its output, and can end it."""
    talk = "while true; do echo hello; sleep 0.02; done"
    always = (await guard.start("web", "sh", "-c", talk))["pid"]
    await guard.lease(1, 60.0)
    active = (await guard.start("scheduler", *SLEEP, **(ACTIVE | {"epoch": 1})))["pid"]
    await guard.kill()
    await until(lambda: not is_alive(active), 2.0)
    assert is_alive(always)
    await guard.begin()
    services = {one["name"]: one for one in (await guard.hello())["services"]}
    assert services["web"]["pid"] == always
    assert services["scheduler"]["pid"] is None
    assert services["scheduler"]["exits"][-1]["code"] is None
    written = len(guard.output("web"))
    await until(lambda: len(guard.output("web")) > written + 20)
    assert is_alive(always)
    refused = await guard.start("web", *SLEEP)
    assert (refused["ok"], refused["pid"]) == (False, always)
    await guard.client.request("stop", name="web", grace_s=1.0)
    ended = await guard.exit_of("web")
    assert (ended["code"], ended["signal"], ended["asked"]) == (None, None, True)
    assert not is_alive(always)


async def test_what_active_ones_left_behind_is_ended_by_the_next_guard(guard):
    """The kernel ends the child only; its grandchild carries the mark of its run."""
    await guard.lease(1, 60.0)
    await guard.start("scheduler", "sh", "-c", "sleep 1000 & echo $!; wait", **(ACTIVE | {"epoch": 1}))
    [grandchild] = await pids_written(guard, "scheduler", 1)
    await guard.kill()
    await guard.begin()
    await until(lambda: not is_alive(grandchild), 2.0)


async def test_a_service_outlives_a_guard_and_writes_on_without_a_reader(guard):
    """A full pipe makes it wait; it does not die. Only what the killed guard had in its hands may be missing."""
    pid = (await guard.start("web", "sh", "-c", "seq 1 20000; sleep 1000"))["pid"]
    await guard.kill()
    await guard.begin()
    await until(lambda: guard.output("web").endswith("\n20000\n"), 10.0)
    assert is_alive(pid)
    whole = "".join(f"{number}\n" for number in range(1, 20001))
    kept = guard.output("web")
    same = next((at for at, (a, b) in enumerate(zip(whole, kept, strict=False)) if a != b), len(kept))
    assert whole.endswith(kept[same:])
    assert len(whole) - len(kept) <= READ_BYTES_MAX


async def test_an_end_while_no_agent_is_there_is_kept_with_its_code(guard, tmp_path):
    """The agent dies, the guard goes on; the next agent is told once what it missed."""
    await guard.hello(agent=True)
    go = tmp_path / "go"
    await guard.start("web", "sh", "-c", f"while ! test -e {go}; do sleep 0.02; done; exit 7")
    guard.client.close()
    await guard.client.connect()
    await guard.hello()  # it has seen that the agent is gone
    go.touch()
    await guard.ended("web")
    [web] = (await guard.hello(agent=True))["services"]
    assert [(one["code"], one["missed"]) for one in web["exits"]] == [(7, True)]
    [web] = (await guard.hello(agent=True))["services"]
    assert [(one["code"], one["missed"]) for one in web["exits"]] == [(7, False)]


async def test_the_deadline_kills_while_everybody_is_silent(guard):
    """TERM at its time, KILL at the deadline, though nobody asks and the connection is gone."""
    deadline = boottime() + 3.0
    await guard.lease(3, 3.0, term=1.0)
    stubborn = await guard.start("stubborn", sys.executable, "-c", STUBBORN, **ACTIVE)
    polite = await guard.start("polite", *SLEEP, **ACTIVE)
    other = await guard.start("web", *SLEEP)
    pids = [stubborn["pid"], *await pids_written(guard, "stubborn", 4)]
    guard.client.close()
    await until(lambda: not is_alive(polite["pid"]))
    assert deadline - 1.0 <= boottime() < deadline
    assert is_alive(stubborn["pid"])
    await until(lambda: not any(map(is_alive, pids)))
    assert deadline <= boottime() < deadline + 0.5
    assert is_alive(other["pid"])


async def test_a_lapse_is_told_and_a_renewal_prevents_it(guard):
    """A later deadline replaces the earlier one."""
    await guard.lease(3, 1.0)
    pid = (await guard.start("scheduler", *SLEEP, **ACTIVE))["pid"]
    for _ in range(5):
        await asyncio.sleep(0.3)  # a busy machine may be late by more than half a second
        assert (await guard.lease(3, 1.0))["ok"]
    assert is_alive(pid)
    assert guard.events == []
    await until(lambda: {"event": "lapsed", "group": "core", "epoch": 3} in guard.events, 2.0)
    await guard.exit_of("scheduler")
    assert not is_alive(pid)


async def test_active_starts_and_leases_need_the_highest_token(guard):
    """No deadline, no start; a lower token is refused, also by the next guard."""
    active = ACTIVE | {"epoch": 5}
    refused = await guard.start("scheduler", *SLEEP, **active)
    assert (refused["ok"], refused["why"]) == (False, "lease: no live deadline for this group")
    assert (await guard.lease(6, 60.0))["ok"]
    assert "below" in (await guard.start("scheduler", *SLEEP, **active))["why"]
    assert "below" in (await guard.lease(5, 60.0))["why"]
    await guard.kill()
    await guard.begin()
    assert "below" in (await guard.lease(5, 60.0))["why"]
    assert not (await guard.start("scheduler", *SLEEP, **(active | {"epoch": 6})))["ok"]


async def test_when_nobody_holds_the_leash_everything_ends(tmp_path):
    """Guard and services go when the last writer is gone; without a writer it does not begin."""
    leash = tmp_path / "leash"
    os.mkfifo(leash)
    with pytest.raises(GuardGone, match="nobody holds the writing end of the leash"):
        await spawn_guard(tmp_path, str(leash))
    holder = os.open(leash, os.O_RDWR)
    async with guarding(tmp_path, str(leash)) as guard:
        pid = (await guard.start("web", *SLEEP))["pid"]
        assert is_alive(pid)
        os.close(holder)
        await until(lambda: not is_alive(guard.pid), 5.0)
        assert not is_alive(pid)
        assert not (tmp_path / "guard.sock").exists()


async def test_a_second_guard_is_refused_and_harms_nothing(guard, tmp_path):
    """One state directory has one guard."""
    pid = (await guard.start("web", *SLEEP))["pid"]
    with pytest.raises(GuardGone, match=f"another guard .pid {guard.pid}. already guards"):
        await spawn_guard(tmp_path)
    other = GuardClient(tmp_path / "guard.sock")
    await asyncio.gather(*(GuardClient(tmp_path / "guard.sock").revive() for _ in range(3)))
    await other.connect()
    assert (await other.request("hello"))["services"][0]["pid"] == pid
    other.close()


FLOOD = """
import os
line = b"x" * (1 << 20) + b"\\n"
while True:
    os.write(1, line)
"""


async def test_a_flood_of_output_starves_nobody_and_stays_bounded(guard, tmp_path):
    """L5: A line of a mebibyte again and again: others are answered, files and memory keep their bounds."""
    await guard.start("flood", sys.executable, "-c", FLOOD, output_bytes=1 << 20)
    await guard.start("lines", "yes", "a line", output_bytes=1 << 20)
    slowest = 0.0
    for number in range(20):
        began = boottime()
        assert (await guard.start(f"quick-{number}", "true"))["ok"]
        await guard.exit_of(f"quick-{number}")
        slowest = max(slowest, boottime() - began)
    assert slowest < 2.0
    for name in ("flood", "lines"):
        assert sum(path.stat().st_size for path in tmp_path.glob(f"{name}.log*") if path.is_file()) <= 1 << 20
    assert "bytes cut]" in "".join(
        path.read_text(errors="replace") for path in tmp_path.glob("flood.log*") if path.is_file()
    )
    assert rss_bytes(guard.pid) < RSS_BYTES_MAX


async def test_the_guard_stays_below_12_megabytes(guard):
    """With services running, ended, and clients that came and went."""
    for number in range(10):
        await guard.start(f"web-{number}", *SLEEP)
    for _ in range(10):
        client = GuardClient(guard.state_dir / "guard.sock")
        await client.connect()
        await client.request("hello")
        client.close()
    assert rss_bytes(guard.pid) < RSS_BYTES_MAX


SEEN = """
import json, os, resource
nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
fds = sorted(os.listdir("/proc/self/fd"))
print(json.dumps([dict(os.environ), fds, os.getsid(0) == os.getpid(), nofile, os.getcwd(), os.read(0, 1).decode()]))
"""


async def test_a_service_sees_only_what_it_was_given(guard, tmp_path, monkeypatch):
    """Environment, descriptors, session, limit, folder, standard input."""
    monkeypatch.setenv("SECRET", "of the agent")
    await guard.start("web", sys.executable, "-I", "-c", SEEN, env={"HUB_ID": "alpha"}, nofile=77, cwd=str(tmp_path))
    await guard.exit_of("web")
    env, fds, is_leader, nofile, cwd, stdin = json.loads(guard.output("web"))
    assert set(env) - {"PATH", "HOME", "LANG", "LC_CTYPE"} == {"HUB_ID", "HUB_RUN"}
    assert fds[:3] == ["0", "1", "2"]
    assert len(fds) == 4  # the fourth is the listing itself
    assert (is_leader, nofile, cwd, stdin) == (True, 77, str(tmp_path), "")


@pytest.mark.parametrize(
    ("argv", "fields", "why"),
    [
        (["no-such-program"], {}, "No such file or directory: no-such-program"),
        (["/etc/passwd"], {}, "Permission denied: /etc/passwd"),
        (["true"], {"cwd": "/no/such/folder"}, "No such file or directory: /no/such/folder"),
        (["true"], {"output": "/no/such/folder/web.log"}, "output: No such file or directory: /no/such/folder/web.log"),
        (["true"], {"name": "../web"}, "name: expected a name (a-z, 0-9 and -, at most 63)"),
    ],
)
async def test_a_start_that_fails_says_why_and_leaves_nothing(guard, argv, fields, why):
    """The reply names what is wrong; there is no exit of something that never ran."""
    refused = await guard.start("web", *argv, **fields)
    assert (refused["ok"], refused["why"]) == (False, why)
    assert (await guard.start("other", "true"))["ok"]
    await guard.exit_of("other")
    assert [one["name"] for one in (await guard.hello())["services"]] == ["other"]
    assert not any(event.get("name") == "web" for event in guard.events)


async def test_nonsense_is_answered_and_the_guard_goes_on(guard, tmp_path):
    """Bytes that are no request, and requests that are none of ours."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(tmp_path / "guard.sock"))
        raw.settimeout(5.0)
        raw.sendall(b'\xff\n{"id": 1, "op": "fly"}\n{"id": 2, "op": "stop", "name": 5}\n{"id": 3, "op": "lease"}\n')
        replies = [json.loads(line) for line in _lines(raw, 4)]
    assert [reply["ok"] for reply in replies] == [False] * 4
    assert [reply["id"] for reply in replies] == [None, 1, 2, 3]
    assert stat.S_IMODE((tmp_path / "guard.sock").stat().st_mode) == 0o600
    assert (await guard.hello())["ok"]


def _lines(raw: socket.socket, count: int) -> list[bytes]:
    text = b""
    while text.count(b"\n") < count:
        text += raw.recv(4096)
    return text.splitlines()


async def test_terminal_signals_do_not_touch_the_guard_and_term_ends_it_orderly(guard):
    """SIGINT and SIGHUP are for terminals; SIGTERM stops every service first."""
    pid = (await guard.start("web", *SLEEP))["pid"]
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(guard.pid, number)
    assert (await guard.hello())["ok"]
    os.kill(guard.pid, signal.SIGTERM)
    await until(lambda: not is_alive(guard.pid), 5.0)
    assert not is_alive(pid)


async def test_a_signal_reaches_the_service_by_its_name(guard):
    """By pidfd; an unknown name is refused."""
    await guard.start("web", *SLEEP)
    assert (await guard.client.request("signal", name="web", signal=int(signal.SIGUSR1)))["ok"]
    assert (await guard.exit_of("web"))["signal"] == signal.SIGUSR1
    assert not (await guard.client.request("signal", name="web", signal=15))["ok"]


async def test_a_pid_that_belongs_to_somebody_else_now_is_neither_adopted_nor_signalled(tmp_path):
    """P8: Same number, another start time; or the same numbers in another boot."""
    with subprocess.Popen(SLEEP) as foreign:
        try:
            start = int(Path(f"/proc/{foreign.pid}/stat").read_text().rpartition(")")[2].split()[19])
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            for kept_boot, kept_start in ((boot, start - 1), ("another-boot", start)):
                _keep(tmp_path, kept_boot, foreign.pid, kept_start)
                async with guarding(tmp_path) as guard:
                    assert all(one["pid"] is None for one in (await guard.hello())["services"])
                assert foreign.poll() is None
        finally:
            foreign.kill()


def _keep(state_dir, boot, pid, start) -> None:
    facts = {"name": "web", "pid": pid, "start": start, "run": "00", "exe": "", "mode": "always", "group": ""}
    facts |= {
        "epoch": 0,
        "holder": "",
        "cwd": "",
        "argv": [],
        "output": str(state_dir / "web.log"),
        "output_bytes": 1024,
        "grace_s": 1.0,
    }
    kept = {"boot": boot, "services": [facts], "tokens": {}, "exits": {}}
    (state_dir / "guard.json").write_text(json.dumps(kept))


async def test_a_long_state_directory_is_no_obstacle(tmp_path):
    """The address of a Unix socket may have 107 bytes; a path may have more."""
    state_dir = tmp_path / ("long-" * 30)
    state_dir.mkdir()
    async with guarding(state_dir) as guard:
        assert (await guard.start("web", "true"))["ok"]
        assert (await guard.exit_of("web"))["code"] == 0


async def test_requests_fail_with_words_when_the_guard_is_gone(guard):
    """GuardGone, an event, and a connection again with the next guard."""
    waiting = asyncio.create_task(guard.client.request("start", name="web", argv=["true"]))
    await guard.kill()
    await asyncio.wait([waiting])
    await until(lambda: {"event": "gone"} in guard.events)
    with pytest.raises(GuardGone):
        await guard.hello()
    await guard.begin()
    assert (await guard.hello())["ok"]


def test_the_program_says_how_it_is_used():
    """A wrong call is answered with usage and status 2."""
    ended = subprocess.run([sys.executable, "-m", "hubagent.guard"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.startswith("usage:")) == (2, True)


async def test_a_guard_that_was_stopped_reads_every_renewal_before_it_keeps_a_deadline(guard):
    """More of them than one turn takes; none of them was late."""
    await guard.lease(3, 0.5)
    active = (await guard.start("scheduler", "sleep", "1000", mode="active", group="core", epoch=3, holder="alpha"))[
        "pid"
    ]
    os.kill(guard.pid, signal.SIGSTOP)
    renewals = []
    for _ in range(20):
        renewals.append(asyncio.create_task(guard.lease(3, 0.5)))
        await asyncio.sleep(0.05)
    renewals.append(asyncio.create_task(guard.lease(3, 60.0)))
    await asyncio.sleep(0)
    os.kill(guard.pid, signal.SIGCONT)
    assert all([(await one)["ok"] for one in renewals])
    assert is_alive(active)
    assert not [event for event in guard.events if event.get("event") == "lapsed"]
