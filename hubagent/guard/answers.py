"""What clients ask of the guard, and what it replies; nothing here waits but for the disk, through the registry."""

import os

from hubagent.guard import kernel, requests
from hubagent.guard.child import Child
from hubagent.guard.desk import WAITING_MAX, Connection, Fields
from hubagent.guard.raises import Raises
from hubagent.guard.registry import Registry, Watch
from hubagent.guard.requests import BadRequest

SHUTDOWN_GRACE_S_MAX = 30.0


class Answers:
    """One answer for each request; those of a start and of a token that rises come later."""

    def __init__(self, registry: Registry, watch: Watch) -> None:
        self.is_ending = False
        self.raises = Raises(registry)
        self._registry = registry
        self._watch = watch

    def refuse(self, connection: Connection, request: Fields | str) -> None:
        """One request too many waits already."""
        request_id = request.get("id") if isinstance(request, dict) else None
        connection.send({"id": request_id, "ok": False, "why": f"{WAITING_MAX} requests wait already"})

    def answer(self, connection: Connection, request: Fields | str) -> None:
        """Carry a request out, and reply; never an exception for what a client wrote."""
        if isinstance(request, str):
            connection.send({"id": None, "ok": False, "why": request})
            return
        request_id = request.get("id")
        try:
            reply = self._carry_out(connection, request)
        except BadRequest as error:
            reply = {"ok": False, "why": str(error)}
        except OSError as error:  # no descriptor, no process: this request fails, the guard goes on
            reply = {"ok": False, "why": f"{error.strerror}"}
        if reply is not None:
            connection.send({"id": request_id, **reply})

    def _carry_out(self, connection: Connection, request: Fields) -> Fields | None:
        match request.get("op"):
            case "hello":
                return self._hello(connection, request)
            case "start":
                return self._start(connection, request)
            case "stop":
                return self._stop(request)
            case "signal":
                return self._signal(request)
            case "lease":
                return self.raises.take(connection, request.get("id"), requests.hold(request, kernel.boottime()))
            case "bye":
                connection.has_said_bye = True
                return {"ok": True}
            case "shutdown":
                self.shut_down()
                return {"ok": True}
            case _:
                raise BadRequest("op: expected hello, start, stop, signal, lease, bye or shutdown")

    def _hello(self, connection: Connection, request: Fields) -> Fields:
        now = kernel.boottime()
        registry = self._registry
        services = [self._service(name, now) for name in sorted({*registry.children, *registry.exits})]
        if request.get("agent") is True:
            connection.is_agent, connection.on_gone = True, requests.on_gone(request)
            for exits in registry.exits.values():
                exits[:] = [ended | {"missed": False} for ended in exits]
        return {"ok": True, "pid": os.getpid(), "boot": kernel.boot_id(), "services": services}

    def _service(self, name: str, now: float) -> Fields:
        shown: Fields = {"name": name, "exits": list(self._registry.exits.get(name, [])), "pid": None}
        if (child := self._registry.children.get(name)) is not None:
            shown |= {key: child.facts[key] for key in ("pid", "start", "mode", "group", "epoch", "argv", "cwd")}
            shown |= {"up_s": child.up_s(now), "stopping": child.is_asked}
        return shown

    def _start(self, connection: Connection, request: Fields) -> Fields | None:
        facts = requests.start(request)
        if self.is_ending:
            raise BadRequest("the guard is ending")
        name = str(facts["name"])
        if (living := self._registry.children.get(name)) is not None and living.is_failed:
            return {"ok": False, "why": f"{name} is ending"}
        if living is not None:
            return {"ok": False, "why": f"{name} runs already", "pid": living.pid}
        try:
            child, report = self._registry.start(facts, kernel.boottime())
        except BadRequest as error:
            connection.send({"id": request.get("id"), "ok": False, "why": str(error)})
            self._tell_failure(self._registry.children.get(name), connection)
            return None
        self._watch.add(report, "exec", (child, report, connection, request.get("id")))
        return None  # the answer comes when exec has reported

    def begun(self, child: Child, raw: bytes, connection: Connection, request_id: object) -> None:
        """Exec has reported: the reply to its start."""
        why = self._registry.exec_done(child, raw)
        reply: Fields = {"ok": False, "why": why} if why else {"ok": True, "pid": child.pid, "start": child.start}
        connection.send({"id": request_id, **reply})
        self._tell_failure(child, connection)

    def _tell_failure(self, child: Child | None, connection: Connection) -> None:
        """Where the reply reaches nobody, somebody else may have seen it run: told of its exit like any other."""
        if child is not None and not connection.is_heard:
            child.is_failed = False

    def _stop(self, request: Fields) -> Fields:
        grace_s = requests.seconds(request, "grace_s", 5.0)
        child = self._registry.children.get(requests.name(request))
        if child is None:
            return {"ok": True, "pid": None}
        child.stop(grace_s, kernel.boottime(), kernel.Sight())
        return {"ok": True, "pid": child.pid}

    def _signal(self, request: Fields) -> Fields:
        number = requests.whole(request, "signal", 1, 64)
        child = self._registry.children.get(requests.name(request))
        if child is None or not kernel.send(child.pidfd, number):
            raise BadRequest("no such service runs")
        return {"ok": True, "pid": child.pid}

    def shut_down(self) -> None:
        """Stop every service; then the guard ends."""
        self.is_ending = True
        now, sight = kernel.boottime(), kernel.Sight()
        for child in self._registry.children.values():
            child.stop(min(float(str(child.facts["grace_s"])), SHUTDOWN_GRACE_S_MAX), now, sight)
