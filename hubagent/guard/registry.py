"""All children by name: started, adopted, stopped, ended; what changed is on disk before it counts.

`beside` does the work of the disk: the house puts one there that keeps the deadlines meanwhile.
"""

import contextlib
import json
import os
import selectors
from collections.abc import Callable

from hubagent.guard import kernel
from hubagent.guard.child import Child, Exit
from hubagent.guard.keep import Keep
from hubagent.guard.leases import Leases, Token
from hubagent.guard.output import Output
from hubagent.guard.requests import BadRequest, Fields
from hubagent.guard.spawn import spawn

SERVICES_MAX = 256
EXITS_KEPT = 10  # the last ones of each name, for a reader who asks why it failed


class Registry:
    """The services of one state directory; `watch` and `unwatch` tell the main loop which descriptors speak."""

    def __init__(self, keep: Keep, watch: "Watch") -> None:
        self.children: dict[str, Child] = {}
        self.exits: dict[str, list[Exit]] = {}
        self.leases = Leases()
        self.beside = at_once
        self._keep = keep
        self._watch = watch
        self._boot = kernel.boot_id()

    def recover(self, now: float) -> list[str]:
        """Take up what the last guard left: adopt what lives, end what must not; a line for the log each."""
        kept = self._keep.load()
        self.leases = Leases({group: _token(pair) for group, pair in _pairs(kept, "tokens")})
        self.exits = {name: [dict(ended) for ended in exits][-EXITS_KEPT:] for name, exits in _pairs(kept, "exits")}
        services = kept.get("services") if kept.get("boot") == self._boot else []
        told = [self._recover_one(facts, now) for facts in services] if isinstance(services, list) else []
        with contextlib.suppress(OSError):  # a full disk: the old file is still true of what lives
            self.save()
        return told

    def _recover_one(self, facts: Fields, now: float) -> str:
        name, pid, start, run = str(facts["name"]), int(str(facts["pid"])), int(str(facts["start"])), str(facts["run"])
        pidfd = kernel.open_pid(pid, start)
        sight = kernel.Sight()
        is_same = pidfd is not None and (kernel.executable(pid) == facts.get("exe") or sight.mark(pid) == run)
        if pidfd is not None and is_same and facts["mode"] != "active":
            self._adopt(facts, pid, pidfd)
            return f"adopted {name} (pid {pid})"
        # Active ones die with their guard; whatever either kind left behind goes before a new one may start.
        kernel.send_each(sight.members(pid, start, run), 9)
        if pidfd is not None:
            os.close(pidfd)
        up_s = round(max(0.0, now - start / os.sysconf("SC_CLK_TCK")), 3)
        self._remember(name, {"pid": pid, "code": None, "signal": None, "up_s": up_s, "asked": False, "missed": True})
        return f"{name} (pid {pid}) ended while no guard ran"

    def _adopt(self, facts: Fields, pid: int, pidfd: int) -> None:
        output = Output(str(facts["output"]), int(str(facts["output_bytes"])))
        self._take(Child(facts, pid, pidfd, output, is_adopted=True))

    def _take(self, child: Child) -> None:
        self.children[child.name] = child
        self._watch.add(child.pidfd, "died", child)
        self._watch.add(child.output.pipe, "output", child)

    def start(self, facts: Fields, now: float) -> tuple[Child, int]:
        """Fork a checked request, write it down, let it exec; the child and the pipe on which exec reports."""
        name = str(facts["name"])
        self._check_start(name, facts, now)
        run = os.urandom(8).hex()
        output = self._open_output(facts)
        try:
            spawned = spawn(facts, output.pipe_path, run)
        except OSError:
            output.close()
            raise
        kept = {key: value for key, value in facts.items() if key != "env"}  # an environment may hold secrets
        kept |= {"run": run, "exe": ""}
        child = Child(kept, spawned.pid, spawned.pidfd, output, is_adopted=False)
        self._take(child)
        try:
            self._write_down(child)
        except BadRequest:
            spawned.close()
            raise
        spawned.go()
        return child, spawned.report

    def _check_start(self, name: str, facts: Fields, now: float) -> None:
        assert name not in self.children
        if len(self.children) >= SERVICES_MAX:
            raise BadRequest(f"{SERVICES_MAX} services run already")
        if facts["mode"] == "active":
            why = self.leases.refusal(str(facts["group"]), (int(str(facts["epoch"])), str(facts["holder"])), now)
            if why:
                raise BadRequest(f"lease: {why}")

    def _open_output(self, facts: Fields) -> Output:
        try:
            return Output(str(facts["output"]), int(str(facts["output_bytes"])))
        except OSError as error:
            raise BadRequest(f"output: {error.strerror}: {facts['output']}") from error

    def _write_down(self, child: Child) -> None:
        """What outlives this guard must be known to the next; of an active one these are the processes that it began."""
        try:
            self.save()
        except OSError as error:
            child.is_failed = True
            child.kill(kernel.boottime(), kernel.Sight())
            raise BadRequest(f"guard.json: {error.strerror}") from error

    def exec_done(self, child: Child, raw: bytes) -> str:
        """What exec reported: empty when the program runs, or why it does not."""
        if not raw:
            child.facts["exe"] = kernel.executable(child.pid)
            return ""
        child.is_failed = True
        try:
            return str(json.loads(raw))
        except ValueError:
            return "cannot be run"

    def raise_token(self, group: str, token: Token) -> None:
        """A token that rises is on disk before it is obeyed."""
        if not self.leases.is_news(group, token):
            return
        before = self.leases.raise_to(group, token)
        try:
            self.save()
        except OSError as error:
            self.leases.put_back(group, before)
            raise BadRequest(f"guard.json: {error.strerror}") from error

    def active_in(self, group: str) -> list[Child]:
        """The children that this group's authority lets run."""
        return [child for child in self.children.values() if child.is_active_in(group)]

    def end(self, child: Child, now: float, *, is_missed: bool) -> Exit:
        """Reap a child that is over, keep its exit, free its name."""
        self._watch.drop(child.pidfd)
        self._watch.drop(child.output.pipe)
        ended = child.reap(now)
        del self.children[child.name]
        if not child.is_failed:
            self._remember(child.name, ended | {"missed": is_missed})
        with contextlib.suppress(OSError):  # the old file names a process that is gone: its start time tells so
            self.save()
        return ended

    def _remember(self, name: str, ended: Exit) -> None:
        self.exits[name] = [*self.exits.get(name, []), ended][-EXITS_KEPT:]

    def save(self) -> None:
        """Write everything down as it is now; OSError when it cannot be."""
        facts: Fields = {
            "boot": self._boot,
            "services": [child.facts for child in self.children.values()],
            "tokens": self.leases.tokens,
            "exits": self.exits,
        }
        self.beside(self._keep.saving(facts))


def at_once(work: Callable[[], None]) -> None:
    """Where there are no deadlines to keep yet."""
    work()


class Watch:
    """Which descriptors the main loop listens to, and what each one means."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()

    def add(self, fd: int, kind: str, what: object, events: int = selectors.EVENT_READ) -> None:
        """Listen to one more."""
        self.selector.register(fd, events, (kind, what))

    def drop(self, fd: int) -> None:
        """Listen no more; dropping twice is no mistake."""
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(fd)


def _token(pair: list[Fields]) -> Token:
    return int(str(pair[0])), str(pair[1])


def _pairs(kept: Fields, key: str) -> list[tuple[str, list[Fields]]]:
    found = kept.get(key)
    return list(found.items()) if isinstance(found, dict) else []
