"""Reads how the agent logs in to a NATS that is not hubdeck's own: creds and NKey files, and contexts of the `nats` tool."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hubagent.errors import HubagentError
from hubagent.wire import nats_login
from hubagent.wire.nats_login import Context, refused_as

OWNER = "the agent's user"


@dataclass
class LoginRefused(HubagentError):
    """A login file or context that cannot be used; never carries a key."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


def load_context(name: str, environ: Mapping[str, str] = os.environ) -> Context:
    """The context of this name; raises LoginRefused for what a hub agent cannot follow."""
    with refused_as(LoginRefused):
        return nats_login.read_context(name, environ, _look)


def read_nkey(path: str) -> str:
    """The seed of an NKey file: its first word that is one."""
    with refused_as(LoginRefused):
        return nats_login.read_nkey(path, _look, OWNER)


def check_creds(path: str) -> str:
    """The path of a creds file that can be used."""
    with refused_as(LoginRefused):
        nats_login.read_creds(path, _look, OWNER)
    return path


def _look(path: str) -> tuple[int, bytes]:
    with Path(path).open("rb") as file:
        return os.fstat(file.fileno()).st_mode, file.read(nats_login.FILE_BYTES_MAX + 1)
