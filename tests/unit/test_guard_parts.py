"""Promises of the guard's parts: leases, requests, lines, output, guard.json."""

import errno
import json
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from hubagent.guard import desk, kernel, requests
from hubagent.guard.aside import Aside
from hubagent.guard.desk import Connection
from hubagent.guard.keep import Keep
from hubagent.guard.leases import Hold, Leases
from hubagent.guard.output import LINE_BYTES_MAX, Output
from hubagent.guard.registry import Watch
from hubagent.guard.requests import BadRequest
from hubagent.guard.spawn import spawn


def test_a_lower_token_is_refused_and_changes_nothing():
    """Tokens never fall, neither by epoch nor by holder."""
    leases = Leases()
    assert leases.replace(Hold("core", (5, "b"), 10.0, 11.0, 0.0)) == ""
    for token in ((4, "z"), (5, "a")):
        assert "below (5, b)" in leases.replace(Hold("core", token, 90.0, 99.0, 0.0))
    assert leases.deadline() == 10.0


def test_term_comes_once_then_kill_then_nothing():
    """A lapsed lease is forgotten, its token is not."""
    leases = Leases()
    leases.replace(Hold("core", (1, "a"), 10.0, 11.0, 0.0))
    assert (leases.due_terms(9.9), leases.due_kills(9.9)) == ([], [])
    assert (leases.due_terms(10.0), leases.due_terms(10.5)) == (["core"], [])
    assert leases.deadline() == 11.0
    assert leases.due_kills(11.0) == [("core", (1, "a"))]
    assert (leases.due_kills(12.0), leases.deadline()) == ([], None)
    assert leases.tokens == {"core": (1, "a")}


def test_a_replaced_deadline_arms_both_steps_anew():
    """A renewal after TERM asks again at its own time."""
    leases = Leases()
    leases.replace(Hold("core", (1, "a"), 10.0, 11.0, 0.0))
    leases.due_terms(10.0)
    leases.replace(Hold("core", (1, "a"), 20.0, 21.0, 0.0))
    assert leases.due_kills(11.0) == []
    assert leases.due_terms(20.0) == ["core"]


@pytest.mark.parametrize(
    ("token", "now", "why"),
    [
        ((2, "a"), 5.0, ""),
        ((1, "a"), 5.0, "below the highest"),
        ((3, "a"), 5.0, "another token"),
        ((2, "a"), 10.0, "no live deadline"),
    ],
)
def test_an_active_start_needs_a_live_deadline_of_its_own_token(token, now, why):
    """No authority, no start."""
    leases = Leases()
    leases.replace(Hold("core", (2, "a"), 10.0, 11.0, 0.0))
    refusal = leases.refusal("core", token, now)
    assert why in refusal
    assert bool(why) == bool(refusal)


def test_a_group_without_any_lease_starts_nothing():
    """Nothing known is no authority."""
    assert Leases().refusal("core", (1, "a"), 0.0) == "no live deadline for this group"


def test_a_token_that_could_not_be_kept_is_taken_back():
    """Durable first, then obeyed."""
    leases = Leases()
    leases.replace(Hold("core", (1, "a"), 10.0, 11.0, 0.0))
    assert leases.is_news("core", (2, "a"))
    before = leases.raise_to("core", (2, "a"))
    assert "below (2, a)" in leases.replace(Hold("core", (1, "a"), 90.0, 99.0, 0.0))
    leases.put_back("core", before)
    assert (leases.tokens, leases.deadline()) == ({"core": (1, "a")}, 10.0)
    assert leases.raise_to("edge", (2, "a")) is None
    leases.put_back("edge", None)
    assert leases.tokens == {"core": (1, "a")}


def test_a_lease_that_its_agent_left_ends_after_the_grace_before_its_deadline():
    """TERM at once, KILL after the grace, never later than without; nothing where none is live."""
    leases = Leases()
    assert leases.end("core", 1.0) is None
    leases.replace(Hold("core", (1, "a"), 10.0, 11.0, 0.0))
    assert leases.end("core", 5.0) == 1.0
    assert leases.due_terms(5.0) == ["core"]
    assert (leases.due_kills(5.99), leases.due_kills(6.0)) == ([], [("core", (1, "a"))])
    leases.replace(Hold("core", (1, "a"), 10.0, 11.0, 0.0))
    assert leases.end("core", 10.5) == 0.5
    assert (leases.due_terms(10.5), leases.deadline()) == (["core"], 11.0)
    leases.replace(Hold("core", (1, "a"), 10.0, 11.0, 0.0))
    assert leases.end("core", 11.0) is None


def test_what_was_said_before_the_last_word_of_a_token_is_overtaken():
    """Authority that was given up does not come back to life by a renewal that was on its way; a later word counts."""
    leases = Leases()
    assert leases.replace(Hold("core", (1, "a"), 10.0, 11.0, 5.0)) == ""
    assert leases.replace(Hold("core", (1, "a"), 7.0, 7.0, 7.0)) == ""
    assert leases.due_kills(7.0) == [("core", (1, "a"))]
    assert leases.replace(Hold("core", (1, "a"), 12.0, 13.0, 6.0)) == "overtaken by what was said after it"
    assert leases.deadline() is None
    assert leases.replace(Hold("core", (1, "a"), 14.0, 15.0, 7.0)) == ""
    assert leases.replace(Hold("core", (2, "b"), 14.0, 15.0, 1.0)) == ""  # another holder's clock is another


GOOD = {"op": "start", "name": "web", "argv": ["web"], "env": {"A": "b"}, "output": "/tmp/web.log"}


def test_a_start_request_is_filled_with_defaults():
    """What is left out has a stated value."""
    assert {"mode": "always", "nofile": 1024, "cwd": "", "grace_s": 5.0}.items() <= requests.start(GOOD).items()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../web"}, {"name": ""}, {"name": "a" * 64}, {"name": "-a"}, {"name": 5}, {"name": "ä"},
        {"argv": []}, {"argv": "web"}, {"argv": [""]}, {"argv": ["web", 1]}, {"argv": ["web", "a\0b"]},
        {"env": []}, {"env": {"A": 1}}, {"env": {"A=": "b"}}, {"env": {"": "b"}}, {"env": {"A": "b\0"}},
        {"mode": "often"}, {"mode": "active"}, {"output": "web.log"}, {"output": "/a\0"}, {"output_bytes": 0},
        {"nofile": 1}, {"nofile": 2.5}, {"nofile": True}, {"grace_s": -1}, {"grace_s": 1e400}, {"epoch": -1},
        {"epoch": "1"}, {"cwd": 5},
    ],
)  # fmt: skip
def test_a_start_request_that_is_wrong_anywhere_is_refused(wrong):
    """Checked whole before anything is done."""
    with pytest.raises(BadRequest):
        requests.start(GOOD | wrong)


def pair() -> tuple[socket.socket, Connection]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    return ours, Connection(theirs)


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"1", b'"x"', b"\xff\xfe", b'{"a": NaN}', b"[" * 50_000, b'{"a": ' * 10_000]
)
def test_a_line_that_is_no_request_is_answered_with_words(line):
    """Never a crash, and the connection goes on."""
    ours, connection = pair()
    ours.sendall(line + b'\n{"op": "hello"}\n')
    found = []
    while len(found) < 2:
        found += connection.read()
    assert found == ["not a JSON object", {"op": "hello"}]


def test_a_line_without_end_is_refused_once_and_costs_no_memory():
    """What follows its end is read again."""
    ours, connection = pair()
    found = []
    for _ in range(12):
        ours.sendall(b"x" * 50_000)
        found += connection.read()
    ours.sendall(b'x\n{"op": "hello"}\n')
    found += connection.read()
    assert found == [f"a line of more than {desk.LINE_BYTES_MAX} bytes", {"op": "hello"}]
    assert len(connection._partial) == 0


def test_a_client_that_does_not_read_loses_its_connection():
    """The guard keeps a bounded amount for it."""
    ours, connection = pair()
    with ours:
        for _ in range(40):
            connection.send({"event": "x" * 50_000})
        assert connection.is_closed
        assert len(connection._unsent) < desk.UNSENT_BYTES_MAX + 51_000


def test_a_client_that_hung_up_before_its_answer_is_heard_to_the_end():
    """What it had asked counts, and its end is the end of a connection, not a failed send: an agent has died, or said bye."""
    ours, connection = pair()
    ours.sendall(b'{"op": "stop"}\n{"op": "bye"}\n')
    ours.close()
    connection.send({"event": "x"})
    assert not connection.is_heard
    assert not connection.is_closed
    assert list(connection.read()) == [{"op": "stop"}, {"op": "bye"}]
    assert list(connection.read()) == []
    assert connection.is_closed
    assert connection.has_ended


def test_a_flood_of_requests_is_taken_a_few_at_a_time():
    """Between them deadlines are kept and others heard; the last of them are not lost with the end of the connection."""
    ours, connection = pair()
    ours.sendall(b'{"op": "hello"}\n' * (desk.REQUESTS_MAX + 1))
    ours.close()
    assert len(list(connection.read())) == desk.REQUESTS_MAX
    assert connection.has_more
    assert not connection.is_closed
    assert len(list(connection.read())) == 1
    assert not connection.has_more
    assert list(connection.read()) == []
    assert connection.is_closed


def test_a_client_that_hung_up_is_closed():
    """The end of the stream is the end of the connection."""
    ours, connection = pair()
    ours.close()
    assert list(connection.read()) == []
    assert connection.is_closed


def feed(output, text) -> None:
    writer = os.open(output.pipe_path, os.O_WRONLY | os.O_NONBLOCK)
    while text:
        written = os.write(writer, text[: 32 << 10])
        text = text[written:]
        output.turn()
    os.close(writer)


def test_output_stays_within_its_bound(tmp_path):
    """Two files, together no larger than asked for, the newest lines in the first."""
    output = Output(str(tmp_path / "web.log"), 64 << 10)
    for number in range(20_000):
        if number % 100 == 0:
            feed(output, b"".join(b"line %d\n" % (number + i) for i in range(100)))
    output.close()
    first, second = (tmp_path / "web.log").read_bytes(), (tmp_path / "web.log.1").read_bytes()
    assert len(first) + len(second) <= 64 << 10
    assert first.endswith(b"line 19999\n")
    assert not (tmp_path / "web.log.pipe").exists()


def test_long_lines_are_cut_with_a_count(tmp_path):
    """A line is cut at its bound, wherever the chunks end."""
    output = Output(str(tmp_path / "web.log"), 1 << 20)
    feed(output, b"a" * (LINE_BYTES_MAX + 100_000) + b"\nshort\n" + b"b" * LINE_BYTES_MAX + b"\n")
    output.close()
    lines = (tmp_path / "web.log").read_bytes().splitlines()
    assert lines[0] == b"a" * LINE_BYTES_MAX + b" [100000 bytes cut]"
    assert lines[1:] == [b"short", b"b" * LINE_BYTES_MAX]


def test_what_is_kept_is_read_back_and_nonsense_is_nothing(tmp_path):
    """A broken file costs the memory of the last guard, not the next guard."""
    keep = Keep(str(tmp_path))
    assert keep.load() == {}
    keep.saving({"services": []})()
    assert Keep(str(tmp_path)).load() == {"services": []}
    assert json.loads((tmp_path / "guard.json").read_text()) == {"services": []}
    wrong = (b'{"services": [{}]}', b'{"tokens": {"core": 5}}', b'{"exits": []}', b'{"services": 1}')
    for nonsense in (b"", b"{", b"[]", b"\xff", *wrong):
        (tmp_path / "guard.json").write_bytes(nonsense)
        assert keep.load() == {}


class FullDisk(Keep):
    """A disk that has room only while the reserve is not there."""

    def _write(self, raw) -> None:
        if Path(self._reserve).exists():
            raise OSError(28, "No space left on device")
        super()._write(raw)


def test_on_a_full_disk_the_reserve_is_given_back(tmp_path):
    """A restart on a full disk can still be written down."""
    keep = FullDisk(str(tmp_path))
    keep._hold_back()
    keep.saving({"services": []})()
    assert keep.load() == {"services": []}


def _open_and_blocked() -> tuple[list[str], set]:
    return sorted(fd.name for fd in Path("/proc/self/fd").iterdir()), signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_fork_that_fails_leaves_no_descriptor_open_and_no_signal_blocked(monkeypatch):
    """No process to be had: the request fails, and the guard can still be ended by TERM."""

    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    before = _open_and_blocked()
    with pytest.raises(BlockingIOError):
        spawn({"mode": "always"}, "/nowhere", "run")
    assert _open_and_blocked() == before


@pytest.mark.parametrize("free", [0, 1, 2, 3, 4])
def test_a_start_without_descriptors_leaves_none_open(monkeypatch, tmp_path, free):
    """Whichever of them is the last that can be had."""
    real, left = os.pipe, [free]

    def pipe() -> tuple[int, int]:
        if left[0] < 2:
            raise OSError(errno.EMFILE, "Too many open files")
        left[0] -= 2
        return real()

    def refused(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pipe", pipe)
    monkeypatch.setattr(os, "pidfd_open", refused)
    before = _open_and_blocked()
    with pytest.raises(OSError, match="Too many"):
        spawn({"mode": "always", "argv": ["true"], "env": {}, "cwd": "", "nofile": 64}, str(tmp_path / "p"), "run")
    assert _open_and_blocked() == before


def test_a_file_where_the_pipe_should_be_is_refused(tmp_path):
    """In words, and nothing is left open."""
    (tmp_path / "web.log.pipe").touch()
    before = _open_and_blocked()
    with pytest.raises(OSError, match="not a named pipe"):
        Output(str(tmp_path / "web.log"), 1 << 20)
    assert _open_and_blocked() == before


def test_a_client_has_a_bounded_queue():
    """One request too many is refused, the others keep their turn; of one that is gone the starts are forgotten."""
    ours, connection = pair()
    with ours:
        for number in range(desk.WAITING_MAX):
            assert connection.wait({"id": number, "op": "stop" if number % 2 else "start"})
        assert not connection.wait({"id": desk.WAITING_MAX, "op": "start"})
        assert [one["id"] for one in connection.waiting] == list(range(desk.WAITING_MAX))
        connection.forget_starts()
        assert [one["id"] for one in connection.waiting] == list(range(1, desk.WAITING_MAX, 2))


def test_proc_is_read_once_for_however_many_are_looked_for(monkeypatch):
    """A search takes milliseconds; deadlines wait for it."""
    reads, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: reads.append(path) or listdir(path))
    sight, me = kernel.Sight(), os.getppid()
    assert sight.members(me, kernel.start_of(me), "") != []
    assert sight.members(1 << 30, 0, "no such run") == []
    assert (reads, sight.is_blind) == (["/proc"], False)


def test_what_cannot_be_looked_at_now_is_not_gone(monkeypatch):
    """Out of descriptors: nobody is seen, and nothing follows from that."""

    def refused(_: str) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "listdir", refused)
    sight = kernel.Sight()
    assert sight.members(1, kernel.start_of(1), "") == []
    assert sight.is_blind


@pytest.mark.parametrize("odd", ["half \ud800", "nul \0", 1, None])
def test_a_text_that_no_program_can_be_given_is_refused(odd):
    """In words, whatever it was to be used for."""
    with pytest.raises(BadRequest):
        requests.start({"name": "web", "argv": ["true"], "output": f"/{odd}" if isinstance(odd, str) else odd})
    with pytest.raises(BadRequest):
        requests.on_gone({"on_agent_gone": {"core": [odd]}})


def beside():
    """An Aside, and the loop that hears the end of its work."""
    watch = Watch()

    def turn() -> None:
        if watch.selector.select(5.0):
            aside.done()

    aside = Aside(watch, turn)
    return aside


def test_what_the_disk_refuses_is_raised_where_it_was_asked_for_and_the_next_work_is_done():
    """An error belongs to its own work only."""
    aside, done = beside(), []
    with pytest.raises(FileNotFoundError):
        aside.do(lambda: Path("/no/such/file").stat())
    aside.do(lambda: done.append(threading.get_ident()))
    assert done != [threading.get_ident()]


def test_without_a_thread_the_work_is_done_all_the_same(monkeypatch):
    """Late is better than not at all."""

    def refused(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refused)
    aside, done = beside(), []
    aside.do(lambda: done.append(threading.get_ident()))
    assert done == [threading.get_ident()]
