"""What the installer may do to a machine, as records: each says in words what it will change."""

from dataclasses import dataclass

from hubagent.errors import HubagentError


@dataclass
class StepFailed(HubagentError):
    """A step of the installation that could not be done; what came before it stays, and may be done again."""

    step: str
    cause: str

    def __str__(self) -> str:
        return f"{self.step}: {self.cause}"


@dataclass(frozen=True, slots=True)
class AddUser:
    """A system user without a login, with a group of its own."""

    name: str

    def __str__(self) -> str:
        return f"add the system user {self.name}"


@dataclass(frozen=True, slots=True)
class RemoveUser:
    """The user and its group."""

    name: str

    def __str__(self) -> str:
        return f"remove the user {self.name}"


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """A directory with these rights; `owner` empty: root."""

    path: str
    mode: int
    owner: str = ""
    group: str = ""

    def __str__(self) -> str:
        return f"directory {self.path}, mode {self.mode:o}, owner {self.owner or 'root'}:{self.group or 'root'}"


@dataclass(frozen=True, slots=True)
class WriteFile:
    """A file with exactly this text."""

    path: str
    text: str
    mode: int = 0o644
    group: str = ""

    def __str__(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class SetRights:
    """A file that is there gets an owner and a mode; its text stays."""

    path: str
    mode: int
    owner: str = ""
    group: str = ""

    def __str__(self) -> str:
        return f"rights of {self.path}: mode {self.mode:o}, owner {self.owner or 'root'}:{self.group or 'root'}"


@dataclass(frozen=True, slots=True)
class GiveTree:
    """Everything in a directory belongs to this user, but for some files."""

    path: str
    owner: str
    but: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"give {self.path} and what is in it to {self.owner}"


@dataclass(frozen=True, slots=True)
class Remove:
    """A file, a link, or a directory with all that is in it."""

    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"


@dataclass(frozen=True, slots=True)
class Systemctl:
    """One call of systemctl."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return "systemctl " + " ".join(self.words)


@dataclass(frozen=True, slots=True)
class EndAgent:
    """The hub agent that holds the lock of this state directory ends, however it was started."""

    state_dir: str

    def __str__(self) -> str:
        return f"end the hub agent of {self.state_dir}"


@dataclass(frozen=True, slots=True)
class EndGuard:
    """The guard of this state directory stops its services and ends."""

    state_dir: str

    def __str__(self) -> str:
        return f"end the guard of {self.state_dir} with every service it owns"


Step = (
    AddUser | RemoveUser | MakeDirectory | WriteFile | SetRights | GiveTree | Remove | Systemctl | EndAgent | EndGuard
)
