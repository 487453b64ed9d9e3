"""The console's errors: one line each, what is wrong and what to do; every one knows its exit status."""

from dataclasses import dataclass

DONE, REFUSED, USAGE, UNKNOWN = 0, 1, 2, 3


class ConsoleError(Exception):
    """Any expected failure of the console."""

    exit_status = REFUSED


@dataclass
class ConfigError(ConsoleError):
    """A config file that cannot be used: where, what was expected, what was found."""

    file: str
    line: int
    key: str
    expected: str
    found: str
    exit_status = USAGE

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: expected {self.expected}, found {self.found}"


@dataclass
class Usage(ConsoleError):
    """A command line that cannot be carried out as it stands."""

    text: str
    exit_status = USAGE

    def __str__(self) -> str:
        return self.text


class Stopped(ConsoleError):
    """The link has been stopped; nothing can be sent any more."""

    def __str__(self) -> str:
        return "the link to the hub servers has been stopped"


@dataclass
class LinkEnded(ConsoleError):
    """A mistake of the console itself ended its link; nothing on the screen is news any more."""

    why: str

    def __str__(self) -> str:
        return f"the link to the hub servers has ended by a fault of hubdeck, nothing here is fresh: {self.why}; start hubdeck again, and report it"


@dataclass
class NotConnected(ConsoleError):
    """No hub server can be reached: nothing was sent."""

    servers: str

    def __str__(self) -> str:
        return f"no hub server can be reached, nothing was sent ({self.servers}); check the network and the config's servers"


@dataclass
class NotAnswering(ConsoleError):
    """A hub that does not answer: nothing was sent to it."""

    hub: str

    def __str__(self) -> str:
        return f"hub {self.hub} does not answer (gate: reachable); nothing was sent; on the machine itself use `hubagent status`"


@dataclass
class Refused(ConsoleError):
    """The hub refused, or what it began failed; `gate` names the condition."""

    what: str
    gate: str
    why: str

    def __str__(self) -> str:
        gate = f" (gate: {self.gate})" if self.gate else ""
        return f"{self.what}{gate}: {self.why or 'no reason given'}"


@dataclass
class OutcomeUnknown(ConsoleError):
    """Sent, and no word of what became of it in time."""

    what: str
    cmd_id: str
    seconds: float
    exit_status = UNKNOWN

    def __str__(self) -> str:
        return (
            f"{self.what}: outcome unknown, no word within {self.seconds:g} s; "
            f"look for {self.cmd_id} in `hubdeck events` before you try again"
        )


@dataclass
class NotThere(ConsoleError):
    """A name that the roster, or a hub, does not know."""

    kind: str
    name: str
    known: str

    def __str__(self) -> str:
        name, known = ascii(self.name)[1:-1], f"known: {self.known or 'none'}"
        return f"{name} is no {self.kind}; {known}" if " " in self.kind else f"{self.kind} {name} is not known; {known}"


@dataclass
class StreamUnread(ConsoleError):
    """A stream of a hub server that cannot be read."""

    server: str
    stream: str
    why: str

    def __str__(self) -> str:
        return f"{self.server}: stream {self.stream} cannot be read: {self.why}"
