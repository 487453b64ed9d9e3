"""Changes this machine as the installer asks: users, directories, files, units; one step each, looked at before."""

import fcntl
import os
import pwd
import select
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hubagent.edges.steps import (
    AddUser,
    EndAgent,
    EndGuard,
    GiveTree,
    MakeDirectory,
    Remove,
    RemoveUser,
    SetRights,
    Step,
    StepFailed,
    Systemctl,
    WriteFile,
)

COMMAND_SECONDS_MAX = 120.0  # stopping a unit waits for its services' grace
END_SECONDS_MAX = 60.0
# Whatever a config says, these and what is above them are never removed.
KEPT = ("bin", "boot", "dev", "etc", "home", "lib", "lib64", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys",
        "tmp", "usr", "usr/local", "var", "var/lib", "var/log", "var/tmp", "etc/systemd", "etc/systemd/system")  # fmt: skip


class System:
    """This machine, or for tests a directory that looks like one; paths in steps are those of the machine."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.is_whole = root == Path("/")

    def path(self, path: str) -> Path:
        """Where a path of the machine really is."""
        return self.root / path.lstrip("/")

    def inside(self, path: str) -> str:
        """The same path as the machine itself would say it."""
        return path if self.is_whole or not path.startswith(f"{self.root}/") else path[len(str(self.root)) :]

    @property
    def has_systemd(self) -> bool:
        """Tell whether systemd booted it."""
        return self.path("/run/systemd/system").is_dir()

    @property
    def can_change_owners(self) -> bool:
        """Only root may give files away."""
        return os.geteuid() == 0

    def user(self, name: str) -> tuple[int, int] | None:
        """(uid, gid) of a user, or None."""
        if self.is_whole:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                return None
            return entry.pw_uid, entry.pw_gid
        for line in self.read("/etc/passwd").splitlines():
            fields = line.split(":")
            if len(fields) > 3 and fields[0] == name:
                return int(fields[2]), int(fields[3])
        return None

    def read(self, path: str) -> str:
        """A file's text; empty where there is none."""
        try:
            return self.path(path).read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    def belongs_to(self, path: str, name: str) -> bool:
        """Tell whether a path is this user's; also where it is not there yet."""
        ids, found = self.user(name), _owner(str(self.path(path)))
        return found is None or ids is None or found == ids

    def exists(self, path: str) -> bool:
        """Tell whether something is there, a broken link too."""
        return os.path.lexists(self.path(path))

    def is_unit(self, word: str, unit: str) -> bool:
        """Ask systemctl `is-enabled` or `is-active`."""
        return self._systemctl(word, "--quiet", unit).returncode == 0

    def is_agent_running(self, state_dir: str) -> bool:
        """Tell whether a process holds the agent's lock."""
        return _holder(self.path(state_dir) / "agent.lock") is not None

    def is_guard_running(self, state_dir: str) -> bool:
        """Tell whether a process holds the guard's lock."""
        return _holder(self.path(state_dir) / "guard.lock") is not None

    def needs(self, step: Step) -> bool:
        """Tell whether a step would change anything."""
        match step:
            case AddUser(name):
                return self.user(name) is None
            case RemoveUser(name):
                return self.user(name) is not None
            case MakeDirectory(path, mode, owner, group):
                return not self.path(path).is_dir() or not self._has_rights(path, mode, owner, group)
            case WriteFile(path, text, mode, group):
                return self.read(path) != text or not self._has_rights(path, mode, "", group)
            case SetRights(path, mode, owner, group):
                return self.exists(path) and not self._has_rights(path, mode, owner, group)
            case GiveTree():
                return self.can_change_owners and bool(self._not_owned(step))
            case Remove(path):
                return self.exists(path)
            case Systemctl():
                return True
            case EndAgent(state_dir):
                return self.is_agent_running(state_dir)
            case EndGuard(state_dir):
                return self.is_guard_running(state_dir)

    def do(self, step: Step) -> None:
        """Carry one step out; raises StepFailed."""
        try:
            self._do(step)
        except OSError as error:
            raise StepFailed(str(step), error.strerror or str(error)) from error

    def _do(self, step: Step) -> None:
        match step:
            case AddUser(name):
                self._run(step, "useradd", *self._prefix, "--system", "--user-group", "--no-create-home",
                          "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name)  # fmt: skip
            case RemoveUser(name):
                self._run(step, "userdel", *self._prefix, name)
            case MakeDirectory(path, mode, owner, group):
                self.path(path).mkdir(parents=True, exist_ok=True)
                self._give_rights(path, mode, owner, group)
            case WriteFile(path, text, mode, group):
                self._write(path, text, mode, group)
            case SetRights(path, mode, owner, group):
                self._give_rights(path, mode, owner, group)
            case GiveTree(_, owner):
                uid, gid = self._ids(owner, owner)
                for found in self._not_owned(step):
                    os.chown(found, uid, gid, follow_symlinks=False)
            case Remove(path):
                self._remove(path)
            case Systemctl(words):
                done = self._systemctl(*words)
                if done.returncode != 0:
                    raise StepFailed(str(step), done.stderr.strip()[:300] or f"exit {done.returncode}")
            case EndAgent(state_dir):
                _end(step, self.path(state_dir) / "agent.lock", _terminate)
            case EndGuard(state_dir):
                sock = self.path(state_dir) / "guard.sock"
                _end(step, self.path(state_dir) / "guard.lock", lambda _: _ask_guard_to_end(sock))

    @property
    def _prefix(self) -> tuple[str, ...]:
        return () if self.is_whole else ("--prefix", str(self.root))

    def _run(self, step: Step, *words: str) -> None:
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False)
        except subprocess.TimeoutExpired as error:
            raise StepFailed(str(step), f"{words[0]} did not end within {COMMAND_SECONDS_MAX:g} s") from error
        if done.returncode != 0:
            raise StepFailed(str(step), done.stderr.strip()[:300] or f"{words[0]}: exit {done.returncode}")

    def _systemctl(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A machine in a directory has units and links, but nothing that runs."""
        root = () if self.is_whole else ("--root", str(self.root))
        return subprocess.run(
            ["systemctl", *root, "--no-pager", *words], capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX,
            check=False,
        )  # fmt: skip

    def _ids(self, owner: str, group: str) -> tuple[int, int]:
        mine = self.user(owner) if owner else (0, 0)
        theirs = self.user(group) if group else (0, 0)
        if mine is None or theirs is None:
            raise StepFailed(f"rights of {owner or group}", "there is no such user")
        return mine[0], theirs[1]

    def _has_rights(self, path: str, mode: int, owner: str, group: str) -> bool:
        try:
            found = self.path(path).stat()
        except OSError:
            return False
        users = [self.user(name) if name else (0, 0) for name in (owner, group)]
        if stat.S_IMODE(found.st_mode) != mode or None in users:
            return False
        uid, gid = (users[0] or (0, 0))[0], (users[1] or (0, 0))[1]
        return not self.can_change_owners or (found.st_uid, found.st_gid) == (uid, gid)

    def _give_rights(self, path: str, mode: int, owner: str, group: str) -> None:
        descriptor = os.open(self.path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if self.can_change_owners:
                os.fchown(descriptor, *self._ids(owner, group))
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    def _not_owned(self, step: GiveTree) -> list[str]:
        """What belongs to others; links themselves count, never what they point to."""
        here, ids = self.path(step.path), self.user(step.owner)
        if not here.is_dir():
            return []
        found = [str(here)]
        for folder, folders, files in os.walk(here):
            found += [str(Path(folder) / name) for name in (*folders, *files)]
        but = {str(self.path(one)) for one in step.but}
        return [one for one in found if one not in but and _owner(one) not in (ids, None)]

    def _write(self, path: str, text: str, mode: int, group: str) -> None:
        """Atomically, and never readable by more than it shall be."""
        where = self.path(path)
        where.parent.mkdir(parents=True, exist_ok=True)
        temporary = where.with_name(f".{where.name}.new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            if self.can_change_owners:
                os.fchown(file.fileno(), *self._ids("", group))
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(where)

    def _remove(self, path: str) -> None:
        where = self.path(path)
        if not is_removable(path):
            raise StepFailed(f"remove {path}", "this is no directory of hubdeck's own")
        if where.is_dir() and not where.is_symlink():
            shutil.rmtree(where)
        else:
            where.unlink(missing_ok=True)


def is_removable(path: str) -> bool:
    """Tell whether a path may be removed with all that is in it: absolute, without dots, and no directory of the system."""
    parts = [part for part in path.split("/") if part]
    return (
        path.startswith("/") and bool(parts) and ".." not in parts and "." not in parts and "/".join(parts) not in KEPT
    )


def _owner(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_uid, found.st_gid


def _holder(lock: Path) -> int | None:
    """The process id that holds a lock file (0 where it cannot be told); None where nobody does."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def _terminate(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def _end(step: Step, lock: Path, ask: Callable[[int], None]) -> None:
    """Ask the holder of a lock to end and wait for the end of its process."""
    pid = _holder(lock)
    if pid is None:
        return
    if pid == 0:
        raise StepFailed(str(step), f"{lock} is held, but does not say by which process")
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _holder(lock) != pid:  # it ended meanwhile, and the number may be another's now
            return
        ask(pid)
        waiting = select.poll()
        waiting.register(process, select.POLLIN)
        if not waiting.poll(END_SECONDS_MAX * 1000):
            raise StepFailed(str(step), f"it still runs after {END_SECONDS_MAX:g} s (pid {pid})")
    finally:
        os.close(process)


def _ask_guard_to_end(path: Path) -> None:
    """`shutdown` over the guard's socket; its lock says when it has ended."""
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(END_SECONDS_MAX)
        sock.connect(f"/proc/self/fd/{folder}/{path.name}")
        sock.sendall(b'{"id": 1, "op": "shutdown"}\n')
        while sock.recv(4096):  # the end of the connection is the end of the guard
            pass
    finally:
        sock.close()
        os.close(folder)
