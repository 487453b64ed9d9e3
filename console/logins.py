"""How the console logs in to each server: by the operator's own key, or as a NATS that is already there wants it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from console.config import ServerSettings
from console.errors import ConsoleError
from hubagent.wire import nats_login
from hubagent.wire.nats_login import Context, refused_as

OWNER = "you"


@dataclass
class LoginRefused(ConsoleError):
    """A login file or context that cannot be used; never carries a key."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


@dataclass(frozen=True, slots=True)
class Login:
    """What gets the console in; one of the two is empty, and its repr shows neither."""

    seed: str = field(default="", repr=False)
    creds: str = field(default="", repr=False)  # the text of a creds file


def login(server: ServerSettings | None, own_seed: str) -> Login:
    """The way in to one server, read afresh for each connection; raises LoginRefused for a file that cannot be used."""
    with refused_as(LoginRefused):
        if server and server.creds_file:
            return Login(creds=nats_login.read_creds(server.creds_file, _look, OWNER))
        if server and server.nkey_file:
            return Login(nats_login.read_nkey(server.nkey_file, _look, OWNER))
    return Login(own_seed)


def load_context(name: str, environ: Mapping[str, str] = os.environ) -> Context:
    """The context of this name; raises LoginRefused for what a console cannot follow."""
    with refused_as(LoginRefused):
        return nats_login.read_context(name, environ, _look)


def _look(path: str) -> tuple[int, bytes]:
    with Path(path).open("rb") as file:
        return os.fstat(file.fileno()).st_mode, file.read(nats_login.FILE_BYTES_MAX + 1)
