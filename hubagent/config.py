"""YAML to frozen Settings; an error names file, line, key path, what was expected and what was found."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import yaml

from hubagent.core.alerts import AlertPolicy
from hubagent.errors import ConfigError
from hubagent.wire.addresses import AddressRefused, is_loopback, parse_address
from hubagent.wire.chunk import CHUNK_BYTES_MAX
from hubagent.wire.sanitise import clean_line
from hubagent.wire.subjects import is_name

Name = Annotated[
    str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$", description="a name: a-z, 0-9 and -, at most 63")
]
SECONDS_MAX = 366 * 86_400  # a longer time is a slip of the pen, and would overflow a timer
Seconds = Annotated[float, msgspec.Meta(gt=0, le=SECONDS_MAX)]
SecondsOrNone = Annotated[float, msgspec.Meta(ge=0, le=SECONDS_MAX)]
CONFIG_BYTES_MAX = 1 << 20
SIZE_BYTES_MAX = 1 << 60
CHUNK_BYTES_MIN = 4 << 10
DEPTH_MAX = 32
ALIASES_MAX = 64  # an alias bomb ends here


class Size(int):
    """Bytes; written in YAML as a number or as `64MiB`, `2GiB`, `10GB`."""


_UNITS = {
    "": 1,
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}


def parse_size(text: object) -> Size:
    """Bytes from `2GiB` or a whole number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(text))
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"Expected a size such as 64MiB or 2GiB, got {ascii(text)[:40]}")
    size = float(match[1]) * _UNITS[match[2]]
    if size > SIZE_BYTES_MAX:
        raise ValueError(f"Expected a size of at most {SIZE_BYTES_MAX} bytes, got {ascii(text)[:40]}")
    return Size(size)


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings refuse keys they do not know."""


class HubSettings(Strict, frozen=True):
    """Who this hub is and where it keeps its state."""

    id: Name
    state_dir: str
    key_file: str = ""  # default: state_dir/hub.key
    roster_file: str = ""  # default: state_dir/roster.json
    fleet_key: str = ""  # public key that signs the roster; empty: state_dir/fleet.pub
    leash: str = ""  # a FIFO: agent and guard stop everything and end when nobody holds its writing end


class DestinationSettings(Strict, frozen=True):
    """One hub server that every chunk is delivered to."""

    name: Name
    urls: list[str] = []  # empty: as the roster says
    ca_file: str = ""
    creds_file: str = ""  # an existing NATS: log in by these credentials instead of the hub's own key
    nkey_file: str = ""  # an existing NATS: log in by the seed in this file instead
    context: str = ""  # the name of a context of the `nats` tool, for whatever is not said here


class WitnessSettings(Strict, frozen=True):
    """The third server, which keeps the leases only."""

    urls: list[str] = []  # empty: as the roster says
    ca_file: str = ""
    creds_file: str = ""  # an existing NATS: log in by these credentials instead of the hub's own key
    nkey_file: str = ""  # an existing NATS: log in by the seed in this file instead
    context: str = ""  # the name of a context of the `nats` tool, for whatever is not said here


class ServerSettings(Strict, frozen=True):
    """The embedded nats-server, where this hub has one."""

    role: Name  # the server's name in the roster: central, edge, witness
    listen: str
    store: str
    max_store: Size = Size(20 << 30)
    binary: str = "nats-server"
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""


class SamplingSettings(Strict, frozen=True):
    """How often the machine is measured."""

    interval_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 1.0


class SpoolSettings(Strict, frozen=True):
    """The durable local buffer."""

    budget: Size = Size(2 << 30)
    reserve: Size = Size(64 << 20)
    keep_s: SecondsOrNone = 1800.0
    chunk_s: Seconds = 5.0
    chunk_bytes: Size = Size(256 << 10)


class LinkSettings(Strict, frozen=True):
    """How a lost server is noticed and how fast the agent comes back."""

    ping_s: Seconds = 1.0
    timeout_s: Seconds = 2.0
    reconnect_min_s: Seconds = 0.25
    reconnect_max_s: Seconds = 2.0


class AlertSettings(Strict, frozen=True):
    """A threshold with hysteresis and hold time on one metric column, as `disk[/].used` or `mem.used`."""

    name: Name
    metric: str
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    for_s: SecondsOrNone = 30.0
    severity: Literal["warning", "critical"] = "warning"


class ProbeSettings(Strict, frozen=True):
    """One health probe; exactly one of http, tcp, command, nats is set."""

    http: str = ""
    tcp: str = ""
    command: list[str] = []
    nats: str = ""
    interval_s: Seconds = 2.0
    timeout_s: Seconds = 1.0
    for_n: Annotated[int, msgspec.Meta(ge=1)] = 2
    grace_s: SecondsOrNone = 5.0


class ReleaseSettings(Strict, frozen=True):
    """Where a service's releases lie, and the gate of a change."""

    root: str
    gate_s: Seconds = 20.0
    bake_s: SecondsOrNone = 2.0


class ServiceSettings(Strict, frozen=True):
    """One workload that the agent supervises."""

    name: Name
    argv: list[str] = []
    unit: str = ""
    run: Literal["always", "active", "manual"] = "always"
    group: str = ""
    cwd: str = ""
    env: dict[str, str] = {}
    release: ReleaseSettings | None = None
    probes: list[ProbeSettings] = []
    start_s: SecondsOrNone = 1.0
    grace_s: Seconds = 10.0
    demote_grace_s: SecondsOrNone = 0.1
    backoff_min_s: Seconds = 0.5
    backoff_max_s: Seconds = 30.0
    crash_exits: Annotated[int, msgspec.Meta(ge=1)] = 5
    crash_window_s: Seconds = 60.0
    output_bytes: Size = Size(4 << 20)
    nofile: Annotated[int, msgspec.Meta(ge=16)] = 1024


class HookSettings(Strict, frozen=True):
    """Programs run on promotion and demotion, with HUB_EPOCH and HUB_GROUP in their environment."""

    group: Name
    on_promote: list[str] = []
    on_demote: list[str] = []
    timeout_s: Seconds = 5.0


class Settings(Strict, frozen=True):
    """Everything that `config.example.yaml` lists."""

    hub: HubSettings
    destinations: Annotated[list[DestinationSettings], msgspec.Meta(min_length=1)]
    witness: WitnessSettings | None = None
    server: ServerSettings | None = None
    sampling: SamplingSettings = SamplingSettings()
    spool: SpoolSettings = SpoolSettings()
    link: LinkSettings = LinkSettings()
    alerts: list[AlertSettings] = []
    services: list[ServiceSettings] = []
    hooks: list[HookSettings] = []
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def state_dir(self) -> Path:
        """Where this hub keeps its state."""
        return Path(self.hub.state_dir)


# Every field that takes one of a few words, by its name.
_CHOICES: dict[str, tuple[str, ...]] = {
    field.name: get_args(field.type)
    for kind in (AlertSettings, ServiceSettings, Settings)
    for field in msgspec.structs.fields(kind)
    if get_origin(field.type) is Literal
}


def load(path: Path) -> Settings:
    """Read, check and assemble one config file; raises ConfigError."""
    text = _read(path)
    node = _compose(path, text)
    try:
        settings = msgspec.convert(yaml.safe_load(text), Settings, dec_hook=_decode, strict=False)
    except msgspec.ValidationError as error:
        raise _locate(path, node, str(error)) from error
    for key, expected, found in _faults(settings):
        raise ConfigError(str(path), _line(node, key), key, expected, found)
    return _absolute(settings, path.resolve().parent)


def _absolute(settings: Settings, base: Path) -> Settings:
    """The same settings with the hub's own files made absolute: relative ones count from the config's directory."""

    def full(text: str) -> str:
        return str((base / text).resolve()) if text and not text.startswith("/") else text

    def changed(one: Any, *names: str) -> Any:
        return one and msgspec.structs.replace(one, **{name: full(getattr(one, name)) for name in names})

    return msgspec.structs.replace(
        settings,
        hub=changed(settings.hub, "state_dir", "key_file", "roster_file", "leash"),
        destinations=[changed(one, "ca_file", "creds_file", "nkey_file") for one in settings.destinations],
        witness=changed(settings.witness, "ca_file", "creds_file", "nkey_file"),
        server=changed(settings.server, "store", "cert_file", "key_file", "ca_file"),
    )


def _decode(kind: type, value: object) -> Any:
    if kind is Size:
        return parse_size(value)
    raise NotImplementedError(kind)


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), 0, "file", "a readable file", error.strerror or "an error") from error
    if len(raw) > CONFIG_BYTES_MAX:
        raise ConfigError(str(path), 0, "file", f"at most {CONFIG_BYTES_MAX} bytes", f"{len(raw)} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), 0, "file", "UTF-8 text", f"byte {raw[error.start]:#x} at {error.start}") from error


def _compose(path: Path, text: str) -> yaml.Node:
    try:
        _refuse_bombs(path, text)
        node = yaml.compose(text, yaml.SafeLoader)
        yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = clean_line(str(getattr(error, "problem", None) or error), 200)
        raise ConfigError(str(path), mark.line + 1 if mark else 0, "file", "valid YAML", problem) from error
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(str(path), 1, "file", "a mapping with hub: and destinations:", "something else")
    _refuse_twice(path, node)
    return node


def _refuse_bombs(path: Path, text: str) -> None:
    """Stop at the first alias or level too many, before the costly steps see the text."""
    aliases = depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if aliases > ALIASES_MAX or depth > DEPTH_MAX:
            expected = f"at most {ALIASES_MAX} YAML aliases" if depth <= DEPTH_MAX else f"at most {DEPTH_MAX} levels"
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise ConfigError(str(path), line, "file", expected, "more")


def _refuse_twice(path: Path, root: yaml.Node) -> None:
    """Refuse a key that stands twice in one mapping; each node is visited once, however many aliases name it."""
    todo, visited = [("", root)], set()
    while todo:
        prefix, node = todo.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += [(f"{prefix}[{index}]", item) for index, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            _refuse_keys_twice(path, node, prefix)
            todo += [(f"{prefix}.{key.value}".lstrip("."), value) for key, value in node.value]


def _refuse_keys_twice(path: Path, node: yaml.MappingNode, prefix: str) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            where = clean_line(f"{prefix}.{key.value}".lstrip("."))
            raise ConfigError(str(path), key.start_mark.line + 1, where, "each key once", "it a second time")
        seen.add(key.value)


def _steps(key: str) -> Iterator[str | int]:
    for match in re.finditer(r"\[(\d+)\]|([^.\[\]]+)", key):
        yield int(match[1]) if match[1] else match[2]


def _line(node: yaml.Node | None, key: str) -> int:
    """The line of the deepest part of the key path that is there."""
    line = 1
    for step in _steps(key):
        if isinstance(step, int) and isinstance(node, yaml.SequenceNode) and step < len(node.value):
            node = node.value[step]
        elif isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == step), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
            continue
        else:
            break
        line = node.start_mark.line + 1
    return line


def _value(node: yaml.Node | None, key: str) -> str:
    for step in _steps(key):
        if isinstance(step, int) and isinstance(node, yaml.SequenceNode) and step < len(node.value):
            node = node.value[step]
        elif isinstance(node, yaml.MappingNode):
            node = next((pair[1] for pair in node.value if pair[0].value == step), None)
    if isinstance(node, yaml.ScalarNode):
        return clean_line(ascii(node.value), 80) if node.value else "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _locate(path: Path, node: yaml.Node, text: str) -> ConfigError:
    """msgspec's message (`Expected …, got … - at `$.a.b[0]``) as a ConfigError."""
    problem, _, where = text.partition(" - at `$")
    key = where.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `(.*)`", problem)
    if unknown:
        key = f"{key}.{unknown[1]}".lstrip(".")
        return ConfigError(
            str(path), _line(node, key), clean_line(key), "a known key (see config.example.yaml)", "an unknown one"
        )
    missing = re.search(r"missing required field `(.*)`", problem)
    if missing:
        return ConfigError(str(path), _line(node, key), f"{key}.{missing[1]}".lstrip("."), "a value", "nothing")
    odd_key = _ODD_KEY.search(problem)
    if odd_key:
        key = odd_key[1].lstrip(".")
        return ConfigError(str(path), _line(node, key), key or "file", "text as each key", "another kind of key")
    return ConfigError(str(path), _line(node, key), key or "file", _expected(problem, key), _value(node, key))


_ODD_KEY = re.compile(r" - at `?key`? in `?\$([^`]*)`?$")
_WORDS = {
    "object": "a mapping",
    "array": "a list",
    "str": "text",
    "float": "a number",
    "int": "a whole number",
    "Number out of range": "a number in range",
}


def _expected(problem: str, key: str) -> str:
    """msgspec's words as a person would say them."""
    field = key.rpartition(".")[2]
    if problem.startswith("Invalid enum value") and field in _CHOICES:
        return "one of " + ", ".join(_CHOICES[field])
    if "matching regex" in problem:
        return "a name: a-z, 0-9 and -, at most 63 characters"
    expected = problem.removeprefix("Expected ").partition(", got")[0].replace("`", "")
    kind, space, bound = expected.partition(" ")
    said = _WORDS.get(expected) or _WORDS.get(kind, kind) + space + bound
    return clean_line(said.replace(" | null", ""))


def _faults(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """What no single field can see: (key, expected, found)."""
    names = [service.name for service in settings.services]
    for index, service in enumerate(settings.services):
        where = f"services[{index}]"
        if names.index(service.name) != index:
            yield f"{where}.name", "a name used once", service.name
        if bool(service.argv) == bool(service.unit):
            yield where, "exactly one of argv and unit", "both" if service.argv else "neither"
        if service.run == "active" and not is_name(service.group):
            yield f"{where}.group", "the group whose active hub runs it", ascii(service.group)
        for number, probe in enumerate(service.probes):
            kinds = [kind for kind in ("http", "tcp", "command", "nats") if getattr(probe, kind)]
            if len(kinds) != 1:
                yield f"{where}.probes[{number}]", "exactly one of http, tcp, command, nats", ", ".join(kinds) or "none"
            elif probe.http and not probe.http.startswith(("http://", "https://")):
                yield (
                    f"{where}.probes[{number}].http",
                    "an address that begins with http:// or https://",
                    ascii(probe.http),
                )
        if service.backoff_max_s < service.backoff_min_s:
            yield (
                f"{where}.backoff_max_s",
                f"at least backoff_min_s ({service.backoff_min_s:g})",
                f"{service.backoff_max_s:g}",
            )
    dests = [destination.name for destination in settings.destinations]
    for index, dest in enumerate(dests):
        if dests.index(dest) != index:
            yield f"destinations[{index}].name", "a name used once", dest
    for key, urls in _urls(settings):
        for url in urls:
            if fault := url_fault(url):
                yield key, fault, ascii(url)[:80]
    for key, one in [
        ("witness", settings.witness),
        *((f"destinations[{n}]", one) for n, one in enumerate(settings.destinations)),
    ]:
        if one and one.creds_file and one.nkey_file:
            yield key, "at most one of creds_file and nkey_file", "both"
    if settings.server:
        yield from _server_faults(settings.server)
    for index, alert in enumerate(settings.alerts):
        try:  # a policy checks itself when built
            AlertPolicy(**msgspec.structs.asdict(alert))
        except ValueError as error:
            yield f"alerts[{index}]", str(error), f"{alert.name} on {clean_line(ascii(alert.metric), 60)}"
    if not CHUNK_BYTES_MIN <= settings.spool.chunk_bytes <= CHUNK_BYTES_MAX:
        yield (
            "spool.chunk_bytes",
            f"from {CHUNK_BYTES_MIN} to {CHUNK_BYTES_MAX} bytes",
            f"{settings.spool.chunk_bytes} bytes",
        )
    if settings.link.reconnect_max_s < settings.link.reconnect_min_s:
        yield (
            "link.reconnect_max_s",
            f"at least reconnect_min_s ({settings.link.reconnect_min_s:g})",
            f"{settings.link.reconnect_max_s:g}",
        )
    if settings.spool.reserve * 2 > settings.spool.budget:
        yield (
            "spool.reserve",
            f"at most half of spool.budget ({settings.spool.budget} bytes)",
            f"{settings.spool.reserve} bytes",
        )


def _urls(settings: Settings) -> Iterator[tuple[str, list[str]]]:
    for index, destination in enumerate(settings.destinations):
        yield f"destinations[{index}].urls", destination.urls
    if settings.witness:
        yield "witness.urls", settings.witness.urls


def _server_faults(server: ServerSettings) -> Iterator[tuple[str, str, str]]:
    if bool(server.cert_file) != bool(server.key_file):
        yield "server.cert_file", "cert_file and key_file, or neither", "one of them"
    try:
        host = parse_address(server.listen).host
    except AddressRefused:
        yield "server.listen", "HOST:PORT (IPv6 in brackets)", ascii(server.listen)[:80]
        return
    if not server.cert_file and not is_loopback(host):
        yield "server.listen", "a loopback address, or cert_file and key_file for TLS", ascii(server.listen)[:80]


_LOOPBACK = re.compile(r"nats://(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?$")


def url_fault(url: str) -> str:
    """What a client's URL should be instead, in words; empty where it may stay."""
    if not re.fullmatch(r"(nats|tls)://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", url):
        return "a URL such as tls://central:4222 (IPv6 addresses in brackets)"
    if url.startswith("nats://") and not _LOOPBACK.match(url):
        return "tls:// for every address that is not loopback"
    return ""
