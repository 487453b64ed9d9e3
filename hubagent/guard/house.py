"""The guard's one loop: sockets, children, deadlines; every turn is bounded, and none waits for the disk.

What is written down is written beside the loop: it turns on meanwhile, renewals are taken and deadlines kept. Requests
that must write, and what their client asks after them, wait for that in order.
"""

import os
import selectors
import signal
import socket

from hubagent.guard import kernel
from hubagent.guard.answers import SHUTDOWN_GRACE_S_MAX, Answers
from hubagent.guard.aside import Aside
from hubagent.guard.child import RECHECK_S, Child
from hubagent.guard.desk import Connection, Fields, accept
from hubagent.guard.gone import begin_release, end_release
from hubagent.guard.leases import Hold
from hubagent.guard.registry import Registry, Watch

# epoll's timeout stands still while the machine sleeps, a lease does not: never sleep long beside a live one.
LEASE_SLEEP_S_MAX = 0.25
CATCH_UP_S_MAX = 0.03  # so long, at most, are requests that have come read before a deadline that has passed is kept


class House:
    """Serves until it is told to end; `leash` is a descriptor that has a writer as long as we are wanted."""

    def __init__(self, listener: socket.socket, registry: Registry, watch: Watch, wakeup: int, leash: int) -> None:
        self._listener = listener
        self._registry = registry
        self._watch = watch
        self._leash = leash
        self._connections: dict[int, Connection] = {}
        self._answers = Answers(registry, watch)
        self._aside = Aside(watch, self._turn_aside)
        registry.beside = self._aside.do
        watch.add(listener.fileno(), "client", None)
        watch.add(wakeup, "signal", wakeup)
        if leash >= 0:
            watch.add(leash, "leash", None)

    def serve(self) -> None:
        """Turn after turn, until every service is stopped after a shutdown."""
        while not (self._answers.is_ending and not self._registry.children):
            self._turn(0.0 if any(one.waiting for one in self._connections.values()) else self._timeout())
            now, sight = kernel.boottime(), kernel.Sight()
            for child in [child for child in self._registry.children.values() if child.is_over(now, sight)]:
                self._end(child, now)
            self._serve_waiting()
        for connection in list(self._connections.values()):
            self._close(connection)

    def _turn_aside(self) -> None:
        """A turn while something is written: who is over is ended afterwards, since that writes, too."""
        self._turn(self._timeout(RECHECK_S))
        sight = kernel.Sight()
        for child in self._registry.children.values():
            child.press(kernel.boottime(), sight)

    def _turn(self, timeout: float | None) -> None:
        """Hear, and keep every deadline; nothing in it waits for the disk."""
        self._hear(timeout)
        until = kernel.boottime() + CATCH_UP_S_MAX
        while self._is_due() and kernel.boottime() < until and self._hear(0.0):
            pass  # stopped or starved: renewals that came in time lie unread
        self._keep_deadlines()

    def _hear(self, timeout: float | None) -> bool:
        """Take in what has come; True where there was something."""
        more = [one for one in self._connections.values() if one.has_more]
        heard = self._watch.selector.select(0.0 if more else timeout)
        for key, events in heard:
            kind, what = key.data
            if what not in more:
                getattr(self, f"_on_{kind}")(what, events)
        for connection in more:  # what it sent before comes first
            self._on_line(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        return bool(heard or more)

    def _is_due(self) -> bool:
        due = self._registry.leases.deadline()
        return due is not None and kernel.boottime() >= due

    def _timeout(self, child_s: float = 0.0) -> float | None:
        """Until the next deadline; a child is not looked at sooner than in `child_s`."""
        now = kernel.boottime()
        lease = self._registry.leases.deadline()
        looks = [at for child in self._registry.children.values() if (at := child.deadline(now)) is not None]
        times = [max(at, now + child_s) for at in looks]
        if lease is not None:
            times += [lease, now + LEASE_SLEEP_S_MAX]
        return max(0.0, min(times) - now) if times else None

    def _keep_deadlines(self) -> None:
        now, sight = kernel.boottime(), kernel.Sight()
        registry = self._registry
        lapsed = registry.leases.due_kills(now)
        doomed = [child for group, _ in lapsed for child in registry.active_in(group)]
        for child in doomed:
            child.is_asked = True
            child.strike(now)  # all of them first: the search of `kill` takes milliseconds
        for child in doomed:
            child.kill(now, sight)
        for group, token in lapsed:
            self._tell({"event": "lapsed", "group": group, "epoch": token[0]})
        for group in registry.leases.due_terms(now):
            for child in registry.active_in(group):
                child.stop(SHUTDOWN_GRACE_S_MAX, now, sight)  # the deadline itself is the KILL

    def _end(self, child: Child, now: float) -> None:
        has_agent = any(connection.is_agent for connection in self._connections.values())
        ended = self._registry.end(child, now, is_missed=not has_agent)
        if not child.is_failed:
            self._tell({"event": "exit", "name": child.name, **ended})

    def _tell(self, event: Fields) -> None:
        for connection in list(self._connections.values()):
            connection.send(event)
            self._settle(connection)

    # What the descriptors say.

    def _on_client(self, _: object, __: int) -> None:
        connection = accept(self._listener, len(self._connections))
        if connection is not None:
            self._connections[connection.sock.fileno()] = connection
            self._watch.add(connection.sock.fileno(), "line", connection)

    def _on_line(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            connection.flush()
        if events & selectors.EVENT_READ:
            for request in connection.read():
                if not self._must_wait(connection, request):
                    self._answers.answer(connection, request)
                elif not connection.wait(request):
                    self._answers.refuse(connection, request)
        self._settle(connection)

    def _must_wait(self, connection: Connection, request: Fields | str) -> bool:
        """What writes to the disk, and what its client asked after it; a deadline waits by itself where it must."""
        op = request.get("op") if isinstance(request, dict) else None
        return op != "lease" and (bool(connection.waiting) or op == "start")

    def _serve_waiting(self) -> None:
        """One request of each client in a turn."""
        for connection in list(self._connections.values()):
            if connection.waiting:
                request = connection.waiting.popleft()
                if isinstance(request, Hold):
                    for answered in self._answers.raises.settle(request):
                        self._settle(answered)
                else:
                    self._answers.answer(connection, request)
                self._settle(connection)

    def _settle(self, connection: Connection) -> None:
        if connection.is_closed:
            connection.forget_starts()
        if connection.is_closed and connection.waiting:
            self._watch.drop(connection.sock.fileno())  # its last requests first
        elif connection.is_closed:
            self._close(connection)
        elif connection.sock.fileno() in self._connections:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.has_unsent else 0)
            self._watch.selector.modify(connection.sock, wanted, ("line", connection))

    def _close(self, connection: Connection) -> None:
        if self._connections.pop(connection.sock.fileno(), None) is not None:
            self._watch.drop(connection.sock.fileno())
            connection.sock.close()
            if connection.is_agent and connection.has_ended and not connection.has_said_bye:
                self._agent_gone(connection)

    def _agent_gone(self, connection: Connection) -> None:
        """The agent died: nobody renews, so stop what needs its authority now, and let the lease go."""
        if self._answers.is_ending or any(one.is_agent for one in self._connections.values()):
            return
        for pidfd in begin_release(self._registry, connection.on_gone, kernel.boottime()):
            self._watch.add(pidfd, "release", pidfd)

    def _on_release(self, pidfd: int, _: int) -> None:
        self._watch.drop(pidfd)
        end_release(pidfd)

    def _on_done(self, _: object, __: int) -> None:
        self._aside.done()

    def _on_died(self, child: Child, _: int) -> None:
        self._watch.drop(child.pidfd)
        child.leader_died(kernel.boottime())

    def _on_output(self, child: Child, events: int) -> None:
        if not child.output.turn() and child.output.is_deserted():
            self._watch.drop(child.output.pipe)  # it would speak for ever; the exit takes what comes late

    def _on_exec(self, started: tuple[Child, int, Connection, object], _: int) -> None:
        child, report, connection, request_id = started
        raw = os.read(report, 4096)
        self._watch.drop(report)
        os.close(report)
        self._answers.begun(child, raw, connection, request_id)
        self._settle(connection)

    def _on_signal(self, wakeup: int, _: int) -> None:
        if signal.SIGTERM in os.read(wakeup, 64):
            self._answers.shut_down()

    def _on_leash(self, _: object, __: int) -> None:
        try:
            is_held = bool(os.read(self._leash, 4096))
        except BlockingIOError:
            is_held = True
        if not is_held:
            self._watch.drop(self._leash)
            self._answers.shut_down()


assert RECHECK_S < LEASE_SLEEP_S_MAX
