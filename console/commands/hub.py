"""`hubdeck hub label|retire|list`."""

import argparse
from functools import partial

from console.commands.changing import Change
from console.commands.changing import run as change
from console.commands.listing import show
from console.commands.session import HEAR_SECONDS, Session
from console.errors import Usage
from console.trust.changes import label_hub, retire_hub
from hubagent.wire.roster import Roster


def run(options: argparse.Namespace) -> int:
    """Carry out one of them."""
    if options.what == "list":
        return _list(options)
    hub = options.hub
    if options.what == "retire":
        return change(options, f"hub retire {hub}", lambda roster, _: Change(retire_hub(roster, hub)))
    labels = dict(map(_label, options.labels))
    return change(options, f"hub label {hub}", lambda roster, _: Change(label_hub(roster, hub, labels)))


def _label(text: str) -> tuple[str, str | None]:
    if text.endswith("-") and "=" not in text:
        return text[:-1], None
    return parse_label(text)


def parse_label(text: str) -> tuple[str, str]:
    """`KEY=VALUE`, or Usage."""
    key, equals, value = text.partition("=")
    if not equals or not value:
        raise Usage(f"a label is KEY=VALUE, found {ascii(text)[:60]}")
    return key, value


def _list(options: argparse.Namespace) -> int:
    taken: dict[str, int] = {}

    def listen(visit: Session) -> None:
        visit.wait_until(lambda: all(hub.live for hub in visit.fleet.hubs.values()), HEAR_SECONDS)
        taken.update({hub.id: hub.live.roster_v for hub in visit.fleet.hubs.values() if hub.live})

    return show(options, "hubs", ("HUB", "LABELS", "SERVER", "ROSTER", "SIGNING KEY"), partial(_rows, taken), listen)


def _rows(taken: dict[str, int], roster: Roster) -> list[list[object]]:
    servers = {server.hub: server.name for server in roster.servers}
    return [
        [hub.id, " ".join(f"{key}={value}" for key, value in sorted(hub.labels.items())), servers.get(hub.id, ""),
         _taken(taken.get(hub.id), roster.version), hub.signing]
        for hub in roster.hubs
    ]  # fmt: skip


def _taken(version: int | None, newest: int) -> str:
    if version is None:
        return "not heard"
    return f"{version}" if version >= newest else f"{version}, not yet {newest}"
