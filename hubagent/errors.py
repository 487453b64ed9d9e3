"""The agent's errors: names say what failed, fields carry the facts, the class composes the text."""

from dataclasses import dataclass


class HubagentError(Exception):
    """Any expected failure of the agent; its text tells a reader what to do."""


@dataclass
class ConfigError(HubagentError):
    """A config file that cannot be used: where, what was expected, what was found."""

    file: str
    line: int
    key: str
    expected: str
    found: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: expected {self.expected}, found {self.found}"


@dataclass
class LinkDown(HubagentError):
    """Nothing was sent: there is no connection to this server."""

    server: str

    def __str__(self) -> str:
        return f"not connected to {self.server}"


@dataclass
class RequestTimeout(HubagentError):
    """Sent, and no answer came in time: the outcome is unknown."""

    server: str
    subject: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.server}: no answer on {self.subject} within {self.seconds:g} s"


@dataclass
class NoResponders(HubagentError):
    """The server answered at once that nobody listens on this subject."""

    server: str
    subject: str

    def __str__(self) -> str:
        return f"{self.server}: nobody listens on {self.subject}"


@dataclass
class JetStreamError(HubagentError):
    """The JetStream API refused; `code` is its err_code (10071 = wrong last sequence, 10077 = full)."""

    server: str
    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.server}: JetStream error {self.code}: {self.text}"


@dataclass
class StoreFailed(HubagentError):
    """The spool could not write or sync; a failed fsync is final for this store."""

    path: str
    cause: str

    def __str__(self) -> str:
        return f"spool {self.path}: {self.cause}; the store is closed and will be checked before it is used again"


@dataclass
class NotAllowed(HubagentError):
    """A request that may not be done now; `gate` names the condition that failed."""

    gate: str
    why: str

    def __str__(self) -> str:
        return f"{self.gate}: {self.why}"


@dataclass
class GuardGone(HubagentError):
    """No guard answers on this socket: nothing can be started or stopped until one does."""

    path: str
    cause: str

    def __str__(self) -> str:
        return f"guard {self.path}: {self.cause}"


@dataclass
class AgentNotRunning(HubagentError):
    """The local socket gave no answer."""

    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


@dataclass
class ReleaseRefused(HubagentError):
    """A release that cannot be used, or a release tree that is not as it should be."""

    release: str
    why: str

    def __str__(self) -> str:
        return f"release {self.release}: {self.why}"
