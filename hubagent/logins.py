"""How the agent logs in to each server: with the hub's own key, or as a NATS that is already there wants it."""

import os
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import msgspec

from hubagent.config import DestinationSettings, Settings, WitnessSettings, url_fault
from hubagent.edges.nats_login import LoginRefused, check_creds, load_context, read_nkey
from hubagent.wire.nats_login import Way

S = TypeVar("S", DestinationSettings, WitnessSettings)


class Login(NamedTuple):
    """What a Link needs to get in; one of the two is empty."""

    seed: str
    creds_file: str = ""

    def __repr__(self) -> str:
        return f"Login({'creds' if self.creds_file else 'nkey'})"


def with_contexts(settings: Settings, environ: Mapping[str, str] = os.environ) -> Settings:
    """The same settings with what the named contexts of the `nats` tool say where the config says nothing."""
    destinations = [_with_context(one, environ) for one in settings.destinations]
    witness = settings.witness and _with_context(settings.witness, environ)
    return msgspec.structs.replace(settings, destinations=destinations, witness=witness)


def _with_context(one: S, environ: Mapping[str, str]) -> S:
    if not one.context:
        return one
    context = load_context(one.context, environ)
    for url in context.way.urls:
        if fault := url_fault(url):
            raise LoginRefused(context.path, f"url: expected {fault}, found {ascii(url)[:80]}")
    way = context.under(Way(one.urls, one.ca_file, one.creds_file, one.nkey_file))
    return msgspec.structs.replace(one, **way._asdict())


def login(one: DestinationSettings | WitnessSettings | None, own_seed: str) -> Login:
    """The way in to one server; raises LoginRefused for a file that cannot be used."""
    if one and one.creds_file:
        return Login("", check_creds(one.creds_file))
    return Login(read_nkey(one.nkey_file) if one and one.nkey_file else own_seed)
