"""Everything that the checks of `hubdeck doctor` look at, as it was found; nothing here judges."""

from dataclasses import dataclass, field
from typing import Any

from hubagent.wire.reports import Detail, Live
from hubagent.wire.roster import Roster


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server said to a bare connection from here, before any login."""

    url: str
    is_ok: bool
    why: str = ""
    took_s: float | None = None
    version: str = ""
    has_jetstream: bool = False
    tls: str = ""  # version of TLS, empty in plain text
    ends: float | None = None  # Unix seconds: the end of the server's certificate
    begins: float | None = None


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """One stream as the server describes it."""

    config: dict[str, Any]
    bytes: int = 0
    max_bytes: int = -1
    messages: int = 0
    subjects: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One hub server or the witness, as seen from here; None: could not be seen."""

    name: str
    role: str
    hub: str = ""
    urls: tuple[str, ...] = ()
    greetings: tuple[Greeting, ...] = ()
    is_up: bool | None = None  # logged in; None: not tried
    why: str = ""
    rtt_s: float | None = None
    streams: dict[str, StreamFacts | str] | None = None  # a word where the server refused
    roster_v: int | None = None
    store: tuple[int, int] | None = None  # bytes used and allowed (-1: all there is)
    let_through: tuple[str, ...] | None = None  # what should have been refused


@dataclass(frozen=True, slots=True)
class HubFacts:
    """One hub of the roster, or one that spoke without being in it."""

    id: str
    is_in_roster: bool
    age_s: float | None = None
    live: Live | None = None
    detail: Detail | None = None
    skew_s: float | None = None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file that others should not read, or not change."""

    path: str
    mode: int | None  # None: not there
    is_secret: bool


@dataclass(frozen=True, slots=True)
class AuthorityFacts:
    """One certificate of an authority in a file here: the fleet's root or roots, and what issues below them."""

    path: str
    mark: str  # the beginning of its fingerprint
    ends: float | None  # Unix seconds; None: no certificate in it
    is_issuing: bool = False


@dataclass(frozen=True, slots=True)
class LocalFacts:
    """This machine and this terminal."""

    version: str
    python: tuple[int, ...]
    encoding: str = "utf-8"
    is_terminal: bool = False
    term: str = ""
    columns: int = 0
    rows: int = 0
    colours: str = ""  # COLORTERM and NO_COLOR as they are
    nofile: int = 0
    has_pyc: bool = True
    files: tuple[FileFacts, ...] = ()
    authorities: tuple[AuthorityFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at a fleet."""

    wall: float
    identity: str
    role: str
    local: LocalFacts
    roster: Roster | None = None
    servers: tuple[ServerFacts, ...] = ()
    hubs: tuple[HubFacts, ...] = ()
    dropped: int = 0

    @property
    def hub_servers(self) -> tuple[ServerFacts, ...]:
        """Those that keep the records."""
        return tuple(one for one in self.servers if one.role != "witness")

    @property
    def heard(self) -> list[tuple[HubFacts, Live]]:
        """The hubs that spoke, with what they said."""
        return [(one, one.live) for one in self.hubs if one.live is not None]

    @property
    def detailed(self) -> list[tuple[HubFacts, Detail]]:
        """The hubs that sent their full figures."""
        return [(one, one.detail) for one in self.hubs if one.detail is not None]
