"""Renewing the issuing authority, and replacing the root: the new beside the old, both trusted, then the old one dropped.

Every step is planned first, so that it can be shown; a key is never written over, and a run that broke off is taken up.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from console.clock import utc
from console.errors import Refused
from console.founding import write_private
from console.trust.files import FleetDir, replace_file
from console.trust.probe import look
from hubagent.wire import certificates
from hubagent.wire.addresses import parse_address, uses_tls
from hubagent.wire.certificates import Authority, CertificateRefused
from hubagent.wire.roster import Roster, Server

RENEW, REPLACE, FINISH = "renew", "replace", "finish"
PLACE = "/var/lib/hubdeck"
TRUST_HOURS = (
    "both roots are trusted wherever the new ca.pem lies; nothing is cut off as long as it lies everywhere first"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One file that changes."""

    text: str
    do: Callable[[], None]


def plan(step: str, fleet: FleetDir, roster: Roster, now: float) -> list[Step]:
    """What this step changes, in its order; raises Refused where it is not its turn."""
    if not (fleet.root / "root.pem").exists():
        raise Refused(f"cert authority {step}", "authority", f"there is no root.pem in {fleet.root}")
    try:
        return list({RENEW: _renew, REPLACE: _replace, FINISH: _finish}[step](fleet, roster, now))
    except (CertificateRefused, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Refused(f"cert authority {step}", "authority", f"{fleet.root}: {why}") from error


def _renew(fleet: FleetDir, roster: Roster, now: float) -> Iterator[Step]:
    """A new issuing authority below the same root: nobody has to trust anything new."""
    root, fresh = _authority(fleet.root / "root.pem"), fleet.root / "issuing-next.pem"
    if _is_replacing(fleet):
        raise Refused("cert authority renew", "overlap", "the root is being replaced: run replace again first")
    if not fresh.exists():
        yield Step(
            f"+ {fresh.name}: new issuing authority, holds until {_day(now + certificates.ISSUING_SECONDS)}",
            lambda: _make(fresh, certificates.new_issuing(root, _label(roster, now), now)),
        )
    yield from _take_over(fleet.root / "issuing.pem", fresh)
    yield from _hand_issuing(fleet, roster)


def _replace(fleet: FleetDir, roster: Roster, now: float) -> Iterator[Step]:
    """A new root and a new issuing authority below it; ca.pem trusts both roots."""
    root, issuing = fleet.root / "root-next.pem", fleet.root / "issuing-below-next.pem"
    trusted = certificates.each(fleet.ca_file.read_bytes())
    if len(trusted) > 1 and not root.exists():
        raise Refused("cert authority replace", "overlap", "two roots are trusted already: finish comes next")
    if not root.exists():
        yield Step(
            f"+ {root.name}: new root, holds until {_day(now + certificates.ROOT_SECONDS)}",
            lambda: _make(root, certificates.new_root(_label(roster, now), now)),
        )
    if not (root.exists() and certificates.is_issued_by((fleet.root / "issuing.pem").read_bytes(), _first(root))):
        if not issuing.exists():
            yield Step(
                f"+ {issuing.name}: new issuing authority below it, until {_day(now + certificates.ISSUING_SECONDS)}",
                lambda: _make(issuing, certificates.new_issuing(_authority(root), _label(roster, now), now)),
            )
        yield Step(f"~ ca.pem: trusts the new root beside {_mark(trusted[0])}", lambda: _trust_both(fleet, root))
        yield from _take_over(fleet.root / "issuing.pem", issuing)
    yield from _hand_trust(fleet, fleet.ca_file)
    yield from _hand_issuing(fleet, roster)
    yield from _take_over(fleet.root / "root.pem", root)  # last: until then a further run begins where this one ended


def _finish(fleet: FleetDir, roster: Roster, now: float) -> Iterator[Step]:
    """The old root is trusted no longer; refused while any server still shows a certificate below it."""
    old = [one for one in certificates.each(fleet.ca_file.read_bytes()) if one != _first(fleet.root / "root.pem")]
    if not old or _is_replacing(fleet):
        raise Refused("cert authority finish", "overlap", "no second root is trusted: run replace first, to its end")
    for server in roster.servers:
        for url in server.urls if uses_tls(server) else []:
            if fault := look(parse_address(url), str(fleet.root / "root.pem")).fault:
                why = f"server {server.name} is not yet trusted by the new root alone ({fault}); hubdeck cert renew {server.name}"
                raise Refused("cert authority finish", "renewed", why)
    yield from _hand_trust(fleet, fleet.root / "root.pem")
    yield Step(
        f"~ ca.pem: trusts {_mark(_first(fleet.root / 'root.pem'))} alone, no longer {', '.join(map(_mark, old))}",
        lambda: replace_file(fleet.ca_file, _first(fleet.root / "root.pem")),
    )


def _take_over(path: Path, fresh: Path) -> Iterator[Step]:
    """The new file in place of the old one, which stays under the name of its fingerprint."""
    kept = path.with_name(f"{path.stem}-{certificates.fingerprint(path.read_bytes())[:12]}.pem")

    def do() -> None:
        if not kept.exists():
            os.link(path, kept)
        fresh.replace(path)

    yield Step(f"~ {path.name}: {fresh.name} in its place; the old one stays as {kept.name}", do)


def _hand_issuing(fleet: FleetDir, roster: Roster) -> Iterator[Step]:
    for hub in _issuing_hubs(fleet, roster):
        target = fleet.root / hub / "issuing.pem"
        yield Step(
            f"~ {hub}/issuing.pem: the new issuing authority",
            lambda target=target: replace_file(target, (fleet.root / "issuing.pem").read_bytes(), 0o600),  # type: ignore[misc]
        )


def _hand_trust(fleet: FleetDir, trusted: Path) -> Iterator[Step]:
    """The certificates of this file, and no key, to every folder that is handed out."""
    for path in sorted([*fleet.root.glob("*/ca.pem"), *fleet.root.glob("operators/*/ca.pem")]):
        yield Step(
            f"~ {path.relative_to(fleet.root)}: as ca.pem",
            lambda path=path: replace_file(path, b"".join(certificates.each(trusted.read_bytes()))),  # type: ignore[misc]
        )


def next_steps(step: str, fleet: FleetDir, roster: Roster) -> list[str]:
    """What has to be done on the machines, in this order; keys travel by no other way."""
    lines = ["next:"]
    if step != RENEW:
        lines.append("  on every hub of the roster, and to every operator, hand out the new ca.pem, for example:")
        lines += [f"    scp {fleet.ca_file} root@{one}:{PLACE}/ca.pem" for one in _hosts(roster.servers)]
        lines.append(
            f"    ssh root@HUB systemctl restart hubagent    # each of: {', '.join(h.id for h in roster.hubs)}"
        )
    if step == FINISH:
        return [*lines, "  then the old root's key is of no use: destroy root-*.pem and issuing-*.pem here"]
    if step == REPLACE:
        lines.append(f"  only then ({TRUST_HOURS}):")
    for hub in _issuing_hubs(fleet, roster):
        host = next(iter(_hosts([one for one in roster.servers if one.hub == hub])))
        lines.append(f"    scp {fleet.root / hub / 'issuing.pem'} root@{host}:{PLACE}/issuing.pem")
    lines += [f"    hubdeck cert renew {one.name} -c {fleet.console_config}" for one in roster.servers if uses_tls(one)]
    return [*lines, f"    hubdeck cert authority finish -c {fleet.console_config}"] if step == REPLACE else lines


def _issuing_hubs(fleet: FleetDir, roster: Roster) -> list[str]:
    """The hubs whose folder here has the issuing authority."""
    hubs = [one.hub for one in roster.servers if one.role == "hub-server"]
    return [hub for hub in hubs if hub and (fleet.root / hub / "issuing.pem").exists()]


def _hosts(servers: list[Server]) -> list[str]:
    return [parse_address(one.urls[0]).host for one in servers]


def _trust_both(fleet: FleetDir, fresh: Path) -> None:
    trusted = certificates.each(fleet.ca_file.read_bytes())
    if _first(fresh) not in trusted:
        replace_file(fleet.ca_file, b"".join([*trusted, _first(fresh)]))


def _is_replacing(fleet: FleetDir) -> bool:
    """Tell whether a replace broke off before its end."""
    return (fleet.root / "root-next.pem").exists()


def _label(roster: Roster, now: float) -> str:
    """Two authorities of one name would be taken for each other by who looks for an issuer by its name."""
    return f"{roster.fleet[:30]} {utc(now, '%Y-%m-%dT%H:%M:%S')}"


def _make(path: Path, made: Authority) -> None:
    write_private(path, made.pem.decode())


def _authority(path: Path) -> Authority:
    return certificates.load_authority(path.read_bytes())


def _first(path: Path) -> bytes:
    return certificates.each(path.read_bytes())[0]


def _mark(pem: bytes) -> str:
    return f"{certificates.fingerprint(pem)[:12]} (until {_day(certificates.validity(pem).ends)})"


def _day(moment: float) -> str:
    return utc(moment, "%Y-%m-%d")
