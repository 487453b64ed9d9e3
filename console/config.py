"""The console's config file to frozen Settings; an error names file, line, key path, what was expected and found."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from console.errors import ConfigError, ConsoleError
from hubagent.wire.sanitise import clean_line
from hubagent.wire.subjects import is_name

Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
CONFIG_BYTES_MAX = 1 << 20


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings refuse keys they do not know."""


class ServerSettings(Strict, frozen=True):
    """One hub server that the console links to."""

    name: Name
    urls: list[str] = []  # empty: as the context says
    ca_file: str = ""  # certificate authority of the server; empty: the system's own
    creds_file: str = ""  # for a NATS that is already there: log in by this creds file instead of your own key; 0600
    nkey_file: str = ""  # for a NATS that is already there: log in by the seed in this file instead; 0600
    context: str = ""  # a context of the nats tool, which gives what is not said here: urls, creds, nkey, ca


class Settings(Strict, frozen=True):
    """Everything that a console needs to know; relative paths count from the config file's directory."""

    identity: Name  # who this operator is in the roster
    key_file: str  # login seed on the first line, signing seed on the second
    servers: Annotated[list[ServerSettings], msgspec.Meta(min_length=1)]
    fleet_key: str = ""  # public key that signs the roster; exactly one of this and fleet_key_file
    fleet_key_file: str = ""
    roster_file: str = ""  # the signed roster to begin with; the servers' newer one replaces it
    fleet_dir: str = ""  # an admin's directory of `hubdeck fleet new`: the fleet key signs rosters
    theme: str = ""  # a name in themes/, or a path
    themes_dir: str = ""  # further themes of your own
    read_only: bool = True  # the TUI begins without any key that changes something
    monochrome: bool = False
    ascii: bool = False  # symbols of the state column in ASCII
    keys: dict[str, str] = {}  # action name: key, where yours differ
    ping_s: Annotated[float, msgspec.Meta(gt=0)] = 1.0  # a dead server is noticed after two of these
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 5.0  # a hub's answer to a command


def default_path(environ: dict[str, str] | None = None) -> Path:
    """Where the config lies unless `-c` says otherwise."""
    environ = dict(os.environ) if environ is None else environ
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".config")
    return home / "hubdeck" / "config.yaml"


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read and check one config file and the contexts that it names; raises ConfigError."""
    import yaml

    text = _read(path)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ConfigError(str(path), 0, "file", "no YAML aliases", "one")
        node = yaml.compose(text, yaml.SafeLoader)
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        found = clean_line(str(getattr(error, "problem", None) or error), 200)
        raise ConfigError(str(path), mark.line + 1 if mark else 0, "file", "valid YAML", found) from error
    if not isinstance(value, dict):
        raise ConfigError(str(path), 1, "file", "a mapping with identity:, key_file: and servers:", "something else")
    lines: dict[str, int] = {}
    for key, line in _lines(node, ""):
        if key in lines:
            raise ConfigError(str(path), line, clean_line(key, 100), "each key once", "it a second time")
        lines[key] = line
    try:
        settings = msgspec.convert(value, Settings)
    except msgspec.ValidationError as error:
        raise _locate(path, lines, value, str(error)) from error
    for key, expected, found in _faults(settings):
        line = lines.get(key) or lines.get(key.rpartition(".")[0], 1)  # of what it is missing in
        raise ConfigError(str(path), line, key, expected, found)
    settings = _absolute(settings, path.resolve().parent)
    servers = []
    for index, server in enumerate(settings.servers):
        try:
            servers.append(_with_context(server, environ))
        except ConsoleError as error:
            key, expected = f"servers[{index}].context", "a context of the nats tool that can be followed"
            raise ConfigError(str(path), lines.get(key, 1), key, expected, str(error)) from error
    return msgspec.structs.replace(settings, servers=servers)


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            str(path), 0, "file", "a config file here, or another with -c FILE", "no such file"
        ) from error
    except OSError as error:
        raise ConfigError(str(path), 0, "file", "a readable file", error.strerror or "an error") from error
    if len(raw) > CONFIG_BYTES_MAX:
        raise ConfigError(str(path), 0, "file", f"at most {CONFIG_BYTES_MAX} bytes", f"{len(raw)} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), 0, "file", "UTF-8 text", f"byte {raw[error.start]:#x} at {error.start}") from error


def _lines(node: object, prefix: str) -> Iterator[tuple[str, int]]:
    """The line of every key path in the file."""
    value = getattr(node, "value", None)
    if not isinstance(value, list):
        return
    for index, item in enumerate(value):
        named = isinstance(item, tuple)
        key = f"{prefix}.{item[0].value}".lstrip(".") if named else f"{prefix}[{index}]"
        yield key, (item[0] if named else item).start_mark.line + 1
        yield from _lines(item[1] if named else item, key)


def _locate(path: Path, lines: dict[str, int], value: object, text: str) -> ConfigError:
    """msgspec's message (`Expected …, got … - at `$.a.b[0]``) as a ConfigError."""
    problem, _, where = text.partition(" - at `$")
    key = where.rstrip("`").lstrip(".")
    line = lines.get(key, 1)
    if unknown := re.search(r"unknown field `(.*)`", problem):
        full = f"{key}.{unknown[1]}".lstrip(".")
        expected = f"one of {', '.join((ServerSettings if key else Settings).__struct_fields__)}"
        return ConfigError(str(path), lines.get(full, line), clean_line(full, 100), expected, "an unknown one")
    if missing := re.search(r"missing required field `(.*)`", problem):
        return ConfigError(str(path), line, f"{key}.{missing[1]}".lstrip("."), "a value", "nothing")
    expected = problem.removeprefix("Expected ").partition(", got")[0].replace("`", "")
    if "matching regex" in expected:
        expected = "a name: a-z, 0-9 and -, at most 63"
    expected = _WORDS.get(expected, expected)
    return ConfigError(str(path), line, clean_line(key, 100), expected, _found(value, key))


def _found(value: object, key: str) -> str:
    for step in re.findall(r"[^.\[\]]+", key):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit():
            value = value[int(step)] if int(step) < len(value) else None
    return ascii(value)[:80]


def _faults(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """What no single field can see: (key, expected, found)."""
    if bool(settings.fleet_key) == bool(settings.fleet_key_file):
        both = "both" if settings.fleet_key else "neither"
        yield ("fleet_key" if settings.fleet_key else "file"), "exactly one of fleet_key and fleet_key_file", both
    names = [server.name for server in settings.servers]
    for index, server in enumerate(settings.servers):
        if names.index(server.name) != index:
            yield f"servers[{index}].name", "a name used once", server.name
        if not server.urls and not server.context:
            yield f"servers[{index}].urls", "one URL or more, or context: NAME", "[]"
        if server.creds_file and server.nkey_file:
            yield f"servers[{index}].nkey_file", "at most one of creds_file and nkey_file", "both"
        for number, url in enumerate(server.urls):
            if fault := _url_fault(url):
                yield f"servers[{index}].urls[{number}]", fault, ascii(url)[:80]
    for name in settings.keys:
        if not is_name(name.replace("_", "-")):
            yield "keys", "names of actions (see `?` in the console)", ascii(name)[:80]


_URL = re.compile(r"(nats|tls)://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")
_LOOPBACK = re.compile(r"nats://(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?")


def _url_fault(url: str) -> str:
    if not _URL.fullmatch(url):
        return "a URL such as tls://central:4222 (IPv6 addresses in brackets)"
    if url.startswith("nats://") and not _LOOPBACK.fullmatch(url):
        return "tls:// for every address that is not loopback"
    return ""


def _with_context(server: ServerSettings, environ: Mapping[str, str]) -> ServerSettings:
    """The same server with what its context says where the config says nothing; raises LoginRefused."""
    if not server.context:
        return server
    from console.logins import LoginRefused, load_context  # keys cost time: only where there is a context
    from hubagent.wire.nats_login import Way

    context = load_context(server.context, environ)
    for url in context.way.urls:
        if fault := _url_fault(url):
            raise LoginRefused(context.path, f"url: expected {fault}, found {ascii(url)[:80]}")
    way = context.under(Way(server.urls, server.ca_file, server.creds_file, server.nkey_file))
    return msgspec.structs.replace(server, **way._asdict())


def _absolute(settings: Settings, base: Path) -> Settings:
    """The same settings with every path made absolute."""

    def full(text: str) -> str:
        return str(base / Path(text).expanduser()) if text else ""

    servers = [
        msgspec.structs.replace(
            server,
            ca_file=full(server.ca_file),
            creds_file=full(server.creds_file),
            nkey_file=full(server.nkey_file),
        )
        for server in settings.servers
    ]
    return msgspec.structs.replace(
        settings,
        key_file=full(settings.key_file),
        fleet_key_file=full(settings.fleet_key_file),
        roster_file=full(settings.roster_file),
        themes_dir=full(settings.themes_dir),
        fleet_dir=full(settings.fleet_dir),
        servers=servers,
    )


_WORDS = {"str": "text", "object": "a mapping", "array": "a list", "bool": "true or false", "float": "a number"}
