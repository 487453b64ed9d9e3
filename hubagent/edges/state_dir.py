"""What a hub keeps in its state directory besides the spool: its lock, keys, the fleet's key and the roster."""

import fcntl
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from hubagent.errors import HubagentError
from hubagent.wire import signing
from hubagent.wire.roster import Roster, RosterRefused, open_roster


@dataclass
class StateRefused(HubagentError):
    """A file of the state directory that cannot be used; what to do stands in the text."""

    path: str
    what: str
    todo: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.todo}"


RELEASING = "release"  # what the lock says while `hubagent release` has it
RELEASE_WAIT_S, LOCK_POLL_S = 8.0, 0.02
_PAUSE = threading.Event()  # never set


def lock(state_dir: Path, note: str = "") -> int:
    """Take the only lock of a state directory (held until the process ends), or StateRefused.

    One that a dead agent's lease is being released under is waited for: it is free in a moment.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(state_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateRefused(
            str(state_dir), error.strerror or "not writable", "give the agent's user a writable one"
        ) from error
    for _ in range(int(RELEASE_WAIT_S / LOCK_POLL_S)):
        if _try_lock(descriptor):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {note}\n".encode(), 0)
            return descriptor
        if not _is_passing(os.pread(descriptor, 64, 0).decode("ascii", "replace")):
            break
        _PAUSE.wait(LOCK_POLL_S)
    os.close(descriptor)
    text = "another hub agent uses it"
    raise StateRefused(str(state_dir), text, "stop that one, or give this one a state_dir of its own")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_passing(note: str) -> bool:
    """A release; or somebody who has taken the lock and not said who: the note is still of one that is dead."""
    pid, _, word = note.strip().partition(" ")
    return word == RELEASING or not (pid.isdigit() and Path(f"/proc/{pid}").exists())


def load_keys(path: Path) -> signing.Keys:
    """The hub's two keys; refused where others may read them."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise StateRefused(str(path), f"others may read it (mode {mode:o})", f"chmod 600 {path}")
        return signing.parse_keys(path.read_text())
    except FileNotFoundError as error:
        raise StateRefused(str(path), "no keys", "make them with: hubagent init") from error
    except (OSError, UnicodeError) as error:
        raise StateRefused(str(path), str(error), "it must be readable by the agent's user") from error
    except signing.KeyRefused as error:
        raise StateRefused(str(path), str(error), "make new keys with: hubagent init, and tell the admin") from error


def load_fleet_key(path: Path) -> str:
    """The public key that signs rosters."""
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise StateRefused(
            str(path), "no fleet key", "copy the fleet's fleet.pub there, or set hub.fleet_key"
        ) from error
    if not signing.is_public_key(text):
        raise StateRefused(str(path), "no public nkey", "copy the fleet's fleet.pub there, or set hub.fleet_key")
    return text


def load_roster(path: Path, fleet_key: str) -> Roster:
    """The roster in force."""
    try:
        return open_roster(fleet_key, path.read_bytes())
    except FileNotFoundError as error:
        raise StateRefused(str(path), "no roster", "copy the fleet's signed roster.json there") from error
    except RosterRefused as error:
        raise StateRefused(str(path), str(error), "the agent does not start with a roster it cannot trust") from error


def save_roster(path: Path, sealed: bytes) -> None:
    """Replace the roster atomically and durably."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(sealed)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
