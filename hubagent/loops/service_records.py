"""What happens to services becomes records."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from hubagent.core.health import Turned
from hubagent.core.supervision import BACKOFF, EXITED, FATAL, STOPPED, Changed, exit_text
from hubagent.loops.hands import exited
from hubagent.loops.supervised import Supervised
from hubagent.wire.reports import CRITICAL, OK, WARNING


class Recorder(Protocol):
    """How events become records."""

    def event(self, kind: str, severity: str, text: str, *, data: Mapping[str, Any] | None = None) -> None:
        """Record one."""
        ...


class ServiceRecords:
    """Records states, verdicts and ends, and says so to whoever shows them."""

    def __init__(self, recorder: Recorder) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._recorder = recorder

    def changed(self, service: Supervised, change: Changed) -> None:
        """A change of state, with the exits where they explain it."""
        one = service.core
        data: dict[str, Any] = {
            "service": service.policy.name,
            "before": change.before,
            "after": change.after,
            "pid": one.pid,
        }
        if one.exits and change.after in (BACKOFF, FATAL, EXITED, STOPPED):
            data["exits"] = list(one.exits)
        self._state(change.severity, f"{service.policy.name} {change.after}", change.why, data)

    def _state(self, severity: str, text: str, why: str, data: Mapping[str, Any]) -> None:
        self._recorder.event("service_state", severity, f"{text}: {why}" if why else text, data=data)
        self.on_change()

    def turned(self, service: Supervised, turned: Turned) -> None:
        """A verdict of the probes; no verdict is no record."""
        if turned.healthy is not None:
            text = f"{service.policy.name} {'healthy' if turned.healthy else 'unhealthy'}"
            self._recorder.event(
                "health",
                OK if turned.healthy else WARNING,
                f"{text}: {turned.why}" if turned.why else text,
                data={"service": service.policy.name, "healthy": turned.healthy},
            )
        self.on_change()

    def missed(self, service: Supervised, ended: Mapping[str, Any]) -> None:
        """An end that only the guard saw."""
        text = f"{service.policy.name} ended while no agent ran"
        data = {"service": service.policy.name, "exit": dict(ended)}
        self._state(OK if ended.get("asked") else WARNING, text, exit_text(exited(ended)), data)

    def stray(self, name: str, pid: int) -> None:
        """A service that no config names."""
        self._state(WARNING, f"{name} runs and is in no config", "it is stopped", {"service": name, "pid": pid})

    def no_guard(self, why: str) -> None:
        """Nothing can be started or stopped."""
        self._state(CRITICAL, "no guard", why, {"service": "guard"})

    def guard_again(self, names: Sequence[str]) -> None:
        """The guard was killed, or its line was cut; what it ran goes on."""
        runs = f"{', '.join(sorted(names))} went on meanwhile" if names else "nothing runs"
        self._state(WARNING, "the guard was lost and answers again", runs, {"service": "guard", "running": list(names)})
