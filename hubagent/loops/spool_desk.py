"""What the machine's own people may ask of a running spool, through the agent's socket; what changes it is audited."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hubagent.edges.spool import Spool
from hubagent.errors import HubagentError, NotAllowed
from hubagent.loops.delivery import Delivery
from hubagent.loops.recorder import Recorder
from hubagent.loops.spool_view import export_page, stats
from hubagent.wire import subjects

NAME_CHARS_MAX = 63
Ask = Callable[[Mapping[str, Any], str], Awaitable[dict[str, Any]]]


class SpoolDesk:
    """Answers `hubagent spool stats|export`, `hubagent destination remove` and `hubagent adopt`."""

    def __init__(self, spool: Spool, delivery: Delivery, recorder: Recorder) -> None:
        self._spool, self._delivery, self._recorder = spool, delivery, recorder

    def handlers(self) -> dict[str, Ask]:
        """Its ops, by name."""
        return {
            "spool-stats": self.stats,
            "spool-export": self.export,
            "destination-remove": self.remove_destination,
            "adopt": self.adopt,
        }

    async def stats(self, fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """Figures from the rows."""
        return {"stats": await self._spool.read(stats)}

    async def export(self, fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """One page of one lane's kept chunks."""
        lane, after = fields.get("lane"), fields.get("after", [0, 0])
        if lane not in subjects.LANES or not _is_position(after):
            raise NotAllowed(
                "form", f"export needs lane, one of {', '.join(subjects.LANES)}, and may have after, [inc, n]"
            )
        return await self._spool.read(lambda store: export_page(store, str(lane), (after[0], after[1])))

    async def remove_destination(self, fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """A destination is not required any more; what only it lacked may go."""
        name = str(fields.get("name", ""))[:NAME_CHARS_MAX]
        if not name:
            raise NotAllowed("form", "destination remove needs a name")
        done = self._audited("destination remove", {"dest": name}, fields, actor)
        return await done(lambda: self._delivery.remove_destination(name))

    async def adopt(self, fields: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """This hub is the one: it goes on above every incarnation that a stream has shown."""
        return await self._audited("adopt", {}, fields, actor)(self._delivery.adopt)

    def _audited(
        self, verb: str, data: dict[str, Any], fields: Mapping[str, Any], actor: str
    ) -> Callable[[Callable[[], Awaitable[None]]], Awaitable[dict[str, Any]]]:
        reason = str(fields.get("reason", ""))[:512] or None

        async def perform(work: Callable[[], Awaitable[None]]) -> dict[str, Any]:
            intent = {"verb": verb, **data}
            await self._recorder.event_durable(
                "command_intent", "warning", verb, data=intent, actor=actor, reason=reason
            )
            try:
                await work()
            except HubagentError as error:
                self._result("warning", verb, {**intent, "state": "failed", "why": str(error)}, actor)
                raise
            self._result("ok", verb, {**intent, "state": "done"}, actor)
            return {}

        return perform

    def _result(self, severity: str, verb: str, data: dict[str, Any], actor: str) -> None:
        self._recorder.event("command_result", severity, f"{verb}: {data['state']}", data=data, actor=actor)


def _is_position(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(one) is int and 0 <= one < 1 << 63 for one in value)
