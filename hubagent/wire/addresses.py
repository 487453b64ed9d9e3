"""Addresses of servers: a URL's host and port, what a server listens on, and the names its certificate holds for."""

import ipaddress
import re
from typing import NamedTuple

from hubagent.wire.roster import Roster, Server

PORT = 4222
_ADDRESS = re.compile(r"(?:(nats|tls)://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")


class AddressRefused(ValueError):
    """Text that is no address of a server; it is shown escaped."""

    def __init__(self, text: str) -> None:
        super().__init__(f"an address is HOST or HOST:PORT (IPv6 in brackets), found {ascii(text)[:80]}")


class Address(NamedTuple):
    """One address; IPv6 hosts keep their brackets."""

    host: str
    port: int
    scheme: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: str, port: int = PORT) -> Address:
    """`HOST`, `HOST:PORT` or a URL, or AddressRefused."""
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match[3] or port) < 65_536:
        raise AddressRefused(text)
    if match[2].startswith("["):
        try:
            ipaddress.IPv6Address(match[2][1:-1])
        except ValueError as error:
            raise AddressRefused(text) from error
    return Address(match[2], int(match[3] or port), match[1] or "")


def is_loopback(host: str) -> bool:
    """Tell whether this host is this machine's own loopback, as the configs' rule for plain text sees it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def url(address: Address, *, tls: bool | None = None) -> str:
    """Where clients connect: TLS everywhere but on loopback, unless said otherwise."""
    secure = not is_loopback(address.host) if tls is None else tls
    return f"{'tls' if secure else 'nats'}://{address}"


def listen(server: Server) -> str:
    """What that server listens on: its loopback address, else every address of the machine."""
    first = parse_address(server.urls[0])
    if is_loopback(first.host):
        return str(first)
    return f"{'[::]' if first.host.startswith('[') else '0.0.0.0'}:{first.port}"  # noqa: S104  # clients are elsewhere


def uses_tls(server: Server) -> bool:
    """Tell whether clients come to this server by TLS."""
    return any(one.startswith("tls://") for one in server.urls)


def certificate_names(roster: Roster, hub: str) -> list[str]:
    """What this hub's certificate may hold for: its own name, and the hosts of the servers it runs. Nothing else."""
    hosts = [parse_address(one).host for server in roster.servers if server.hub == hub for one in server.urls]
    return list(dict.fromkeys([hub, *hosts]))
