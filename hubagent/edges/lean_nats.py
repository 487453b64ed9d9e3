"""Imports nats-py without two things that the agent never uses: its JetStream client and the package metadata reader.

Together they cost 2.4 MB in every agent (docs/decisions/0008). The agent speaks the JetStream API itself
(`edges/jetstream.py`). Everything of nats-py is imported from here; a process that has it already keeps it whole.
"""

import sys
import types
from enum import StrEnum


class Header(StrEnum):
    """The header names that nats-py's core looks up in `nats.js.api`; a test compares them with the package's own."""

    STATUS = "Status"
    DESCRIPTION = "Description"
    CONSUMER_STALLED = "Nats-Consumer-Stalled"


def _no_version(name: str) -> str:
    """nats-py asks for its own version only to tell the server; it takes `0.0.0` where this fails."""
    raise LookupError(name)


def _stand_ins() -> dict[str, types.ModuleType]:
    client, api, metadata = (types.ModuleType(name) for name in ("nats.js", "nats.js.api", "importlib.metadata"))
    api.Header = Header  # type: ignore[attr-defined]
    client.api = api  # type: ignore[attr-defined]
    client.JetStreamContext = client.JetStreamManager = object  # type: ignore[attr-defined]  # named in annotations only
    metadata.version = _no_version  # type: ignore[attr-defined]
    return {"nats.js": client, "nats.js.api": api, "importlib.metadata": metadata}


def _import_lean() -> None:
    """The stand-ins are in place only while nats-py is imported; whoever asks for the real ones later gets them."""
    placed = {name: module for name, module in _stand_ins().items() if name not in sys.modules}
    sys.modules.update(placed)
    try:
        import nats.aio.client  # noqa: F401  # the one import that this file is about
    finally:
        for name in placed:
            sys.modules.pop(name, None)
    package = sys.modules["nats"]
    if not hasattr(package, "js"):
        # Client.request looks its header names up through the package, whoever calls it; the real one replaces this.
        package.js = placed["nats.js"]  # type: ignore[attr-defined]


if "nats.aio.client" not in sys.modules:
    _import_lean()

from nats.aio.client import Client  # noqa: E402  # the stand-ins had to come first
from nats.aio.msg import Msg  # noqa: E402
from nats.aio.subscription import Subscription  # noqa: E402
from nats.errors import Error, MaxPayloadError  # noqa: E402

__all__ = ["Client", "Error", "MaxPayloadError", "Msg", "Subscription"]
