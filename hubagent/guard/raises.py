"""Deadlines whose token is not on disk yet: what was said last of it counts once it is there, for all who said it."""

from hubagent.guard.desk import WAITING_MAX, Connection, Fields
from hubagent.guard.leases import Hold
from hubagent.guard.registry import Registry
from hubagent.guard.requests import BadRequest


class Raise:
    """The last word of a token that rises, and who waits for the answer."""

    __slots__ = ("askers", "last")

    def __init__(self, hold: Hold) -> None:
        self.last = hold
        self.askers: list[tuple[Connection, object]] = []

    def hear(self, hold: Hold) -> None:
        """One more word, which may have been overtaken by another."""
        self.last = max(self.last, hold, key=lambda one: one.at)


class Raises:
    """Takes every deadline; a renewal counts at once, and only a token that rises waits, in its client's order."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._open: dict[tuple[str, tuple[int, str]], Raise] = {}

    def take(self, connection: Connection, request_id: object, hold: Hold) -> Fields | None:
        """The reply; None where it comes when the token is on disk, through `settle`."""
        one = self._open.get(hold.key)
        if one is None and not self._registry.leases.is_news(*hold.key):
            return self._obey(hold)
        if one is None and connection.wait(hold):
            one = self._open[hold.key] = Raise(hold)
        if one is not None:
            one.hear(hold)
        if one is None or len(one.askers) >= WAITING_MAX:
            raise BadRequest(f"{WAITING_MAX} requests wait already")
        one.askers.append((connection, request_id))
        return None

    def settle(self, first: Hold) -> list[Connection]:
        """Its turn has come: write the token down, then obey what was said last of it; who was answered."""
        one = self._open[first.key]
        try:
            self._registry.raise_token(*first.key)
            reply = self._obey(one.last)
        except BadRequest as error:
            reply = {"ok": False, "why": str(error)}
        del self._open[first.key]
        for connection, request_id in one.askers:
            connection.send({"id": request_id, **reply})
        return [connection for connection, _ in one.askers]

    def _obey(self, hold: Hold) -> Fields:
        if why := self._registry.leases.replace(hold):
            raise BadRequest(f"lease: {why}")
        return {"ok": True}
