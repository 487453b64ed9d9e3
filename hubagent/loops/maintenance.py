"""Maintenance of a group, which is a field of its record, or of this hub, which then becomes active nowhere by itself."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from hubagent.core import preflight
from hubagent.core.outcome import Outcome
from hubagent.core.preflight import GroupFacts
from hubagent.edges.hub_maintenance import HubMaintenance
from hubagent.loops.actions import Verb
from hubagent.loops.orders import Action, Recorder
from hubagent.wire.commands import Gate


class Groups(Protocol):
    """What is needed of the groups."""

    def facts(self, group: str) -> GroupFacts:
        """What gates know of one."""
        ...

    async def set_maintenance(self, group: str, on: bool) -> Outcome:
        """Until the record says so."""
        ...

    def set_hub_maintenance(self, *, on: bool) -> None:
        """This hub takes over nothing by itself while on."""
        ...


def maintenance_verb(
    hub: str, kept: HubMaintenance, groups: Groups | None, recorder: Recorder, changed: Callable[[], None]
) -> dict[str, Action]:
    """maintenance, with a group or without."""

    def gates(args: Mapping[str, Any]) -> list[Gate]:
        if "group" not in args:
            return []
        facts = groups.facts(args["group"]) if groups else GroupFacts(args["group"], hub, (), None)
        return preflight.maintenance(facts)

    async def run(args: Mapping[str, Any], actor: str) -> Outcome:
        if "group" in args and groups is not None:
            return await groups.set_maintenance(args["group"], bool(args["on"]))
        await kept.keep(actor if args["on"] else "")
        if groups is not None:
            groups.set_hub_maintenance(on=bool(args["on"]))
        text = "in maintenance: it becomes active in no group by itself" if args["on"] else "maintenance ended"
        recorder.event("note", "warning" if args["on"] else "ok", f"hub {hub}: {text}", actor=actor)
        changed()
        return Outcome(True)

    return {"maintenance": Verb(gates, run)}
