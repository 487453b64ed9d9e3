"""Founding a fleet: keys, the signed roster, and the files that hubs and operators start from."""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hubagent.wire import signing
from hubagent.wire.roster import Roster, parse_roster


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What the roster says of an identity."""

    login: str
    signing: str


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; it never exists with other rights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def new_seed() -> str:
    """A fresh key."""
    return signing.seed_from(os.urandom(32))


def make_keys(path: Path) -> PublicKeys:
    """The two keys of an identity: read where the file is there (never overwritten), else made."""
    if not path.exists():
        write_private(path, f"{new_seed()}\n{new_seed()}\n")
    keys = signing.parse_keys(path.read_text())
    return PublicKeys(keys.login_public, keys.signer.public)


def make_fleet_key(directory: Path) -> signing.Signer:
    """The key that signs rosters (`fleet.key`), and its public half beside it (`fleet.pub`)."""
    path = directory / "fleet.key"
    if not path.exists():
        write_private(path, new_seed() + "\n")
    signer = signing.signer(path.read_text().strip())
    (directory / "fleet.pub").write_text(signer.public + "\n")
    return signer


def seal_roster(fleet: signing.Signer, roster: Roster) -> bytes:
    """The signed roster, checked as every reader will check it; raises RosterRefused."""
    body = msgspec.json.format(msgspec.json.encode(roster), indent=1)
    parse_roster(body)
    return signing.seal(fleet, signing.ROSTER, body)
