"""`hubdeck invite HUB`: one token, one machine, ten minutes; the admin confirms the fingerprint of its keys."""

import argparse
import secrets
import signal
import sys
from dataclasses import dataclass, replace

import msgspec

from console import founding
from console.commands.asking import confirmed
from console.commands.changing import fleet_dir
from console.commands.hub import parse_label
from console.commands.output import note, safe, write, write_json
from console.commands.session import Session, session
from console.errors import DONE, Refused, Usage
from console.trust.changes import add_server, difference, end_invitation, enrol, invite
from console.trust.desk import Desk
from console.trust.files import FleetDir, write_console_configs
from console.trust.publishing import Handed, hand_out, newest
from hubagent.wire import certificates
from hubagent.wire.addresses import AddressRefused, certificate_names, parse_address, url, uses_tls
from hubagent.wire.certificates import LEAF_SECONDS, CertificateRefused
from hubagent.wire.enrolment import TOKEN_SECONDS, EnrolRequest, Token, keys_fingerprint, seal_token
from hubagent.wire.roster import Hub, Invitation, Roster, Server
from hubagent.wire.signing import public_of
from hubagent.wire.subjects import is_name

RELOAD_SECONDS = 5.0  # for the hubs that have a server to take the invitation
DONE_SECONDS = 15.0  # for the machine to write what it was given
LABEL_CHARS_MAX = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the machine shall be."""

    hub: str
    labels: dict[str, str]
    server: Server | None

    def enrolled(self, base: Roster, request: EnrolRequest) -> Roster:
        """The roster with the machine in it."""
        roster = enrol(base, Hub(self.hub, request.login, request.signing, self.labels))
        if self.server is None:
            return roster
        return msgspec.structs.replace(add_server(roster, self.server), version=roster.version)


def run(options: argparse.Namespace) -> int:
    """Invite one machine and wait for it."""
    if not (options.yes or options.dry_run or sys.stdin.isatty()):
        raise Usage(f"invite {options.hub}: nobody to confirm the machine's fingerprint; add --yes, or use a terminal")
    wanted = _wanted(options)
    fleet = fleet_dir(options)
    with session(options) as visit:
        visit.connect()
        base, seed = newest(visit, fleet), founding.new_seed()
        if wanted.server is not None:
            wanted = replace(wanted, server=_secured(wanted.server, base))
        until = visit.clock.wall() + TOKEN_SECONDS
        invitation = Invitation(secrets.token_hex(8), wanted.hub, public_of(seed), until)
        invited = invite(base, invitation)
        if options.dry_run:
            for line in difference(base, invited):
                write(safe(line, 400))
            note(f"invite {wanted.hub}: dry run, nothing was changed")
            return DONE
        hand_out(visit, fleet, base, invited, RELOAD_SECONDS, servers_only=True)
        line = _token(fleet, invited, invitation, seed)
        return _reception(visit, fleet, wanted, invitation, line, options)


def _wanted(options: argparse.Namespace) -> Wanted:
    if not is_name(options.hub):
        raise Usage(f"hub {ascii(options.hub)[:60]} is no name: a-z, 0-9 and -, at most 63")
    labels = dict(map(parse_label, options.label))
    for key, value in labels.items():
        if not is_name(key) or len(value) > LABEL_CHARS_MAX:
            raise Usage(f"label {ascii(key)[:60]}: the key is a name, the value at most {LABEL_CHARS_MAX} characters")
    return Wanted(options.hub, labels, _server(options))


def _server(options: argparse.Namespace) -> Server | None:
    if not options.server:
        return None
    name, equals, place = options.server.partition("=")
    try:
        address = parse_address(place)
    except AddressRefused as error:
        raise Usage(f"invite: {error}") from error
    if not equals or not is_name(name):
        raise Usage(f"invite: --server NAME=HOST[:PORT], found {ascii(options.server)[:60]}")
    return Server(name, [url(address)], "witness" if name == "witness" else "hub-server", options.hub)


def _secured(server: Server, roster: Roster) -> Server:
    """By TLS where the other servers are, on loopback too; refused now where there is one of this name."""
    has_tls = any(uses_tls(one) for one in roster.servers)
    add_server(roster, server)
    return msgspec.structs.replace(server, urls=[url(parse_address(server.urls[0]), tls=True if has_tls else None)])


def _token(fleet: FleetDir, roster: Roster, invitation: Invitation, seed: str) -> str:
    servers = [one for one in roster.servers if one.role == "hub-server"]
    token = Token(
        1, roster.fleet, invitation.hub, invitation.id, seed, fleet.public(), invitation.until, servers, fleet.ca()
    )
    return seal_token(fleet.signer(), token)


def _reception(
    visit: Session, fleet: FleetDir, wanted: Wanted, invitation: Invitation, line: str, options: argparse.Namespace
) -> int:
    """Show the token, wait for the machine, let it in; whatever happens, the invitation ends."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # a lost terminal ends the invitation too
        signal.signal(number, signal.default_int_handler)
    desk = Desk(invitation, frozenset(newest(visit, fleet).revoked))
    serving = visit.link.call(desk.serve)
    try:
        _show_token(fleet, wanted, line, options)
        request = _wait_for_request(visit, desk)
        _confirm(desk, wanted, request, options)
        handed = _let_in(visit, fleet, wanted, desk, request)
    finally:
        base = newest(visit, fleet)
        ended = hand_out(visit, fleet, base, end_invitation(base, invitation.id), 0.0)
        serving.cancel()
    if not desk.done.is_set():
        note(f"{wanted.hub} is in the roster, but its machine did not say that it has written everything; look there")
    for path in write_console_configs(fleet, newest(visit, fleet)):
        note(f"{path}: servers brought up to date")
    _report(wanted, handed, ended, options)
    return DONE


def _show_token(fleet: FleetDir, wanted: Wanted, line: str, options: argparse.Namespace) -> None:
    if options.json:
        write_json({"v": 1, "hub": wanted.hub, "token": line, "seconds": TOKEN_SECONDS}, is_line=True)
    else:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    ca = f"; CA fingerprint {certificates.fingerprint(fleet.ca().encode())[:32]}" if fleet.ca() else ""
    note(f"on the machine of {wanted.hub}, within {TOKEN_SECONDS / 60:.0f} min: hubagent join 'TOKEN'{ca}")


def _wait_for_request(visit: Session, desk: Desk) -> EnrolRequest:
    left = desk.invitation.until - visit.clock.wall()
    if not visit.wait_until(desk.asked.is_set, left) or desk.request is None:
        raise Refused(f"invite {desk.invitation.hub}", "expired", "no machine asked in time; invite it again")
    return desk.request


def _confirm(desk: Desk, wanted: Wanted, request: EnrolRequest, options: argparse.Namespace) -> None:
    shown = keys_fingerprint(request.login, request.signing)
    note(safe(f"machine {request.machine or 'without a name'} asks to be hub {wanted.hub}; its keys: {shown}"))
    if options.yes or confirmed("does the machine show the same fingerprint, and shall it join?"):
        return
    desk.refuse("the admin did not confirm the fingerprint")
    raise Refused(f"invite {wanted.hub}", "confirmed", "not confirmed; the machine was refused")


def _let_in(visit: Session, fleet: FleetDir, wanted: Wanted, desk: Desk, request: EnrolRequest) -> Handed:
    """In force on the servers first, then the machine is told: it never holds what nobody knows."""
    base = newest(visit, fleet)
    try:
        roster = wanted.enrolled(base, request)
        certificate = _certificate(fleet, roster, wanted.hub, request, visit.clock.wall())
        handed = hand_out(visit, fleet, base, roster, RELOAD_SECONDS, servers_only=True)
    except (Refused, CertificateRefused) as error:
        desk.refuse(str(error))
        visit.wait_until(lambda: False, 2.5)  # it asks every two seconds
        raise Refused(f"invite {wanted.hub}", "enrolled", str(error)) from error
    desk.grant(fleet.sealed(), certificate)
    visit.wait_until(desk.done.is_set, DONE_SECONDS)
    return handed


def _certificate(fleet: FleetDir, roster: Roster, hub: str, request: EnrolRequest, now: float) -> str:
    """For a hub that runs a server which is reached by TLS; the names come from the roster, never from the request."""
    issuing = fleet.issuing()
    if issuing is None or not any(one.hub == hub and uses_tls(one) for one in roster.servers):
        return ""
    names = certificate_names(roster, hub)
    return certificates.issue(issuing, request.csr.encode(), names, now, LEAF_SECONDS).decode()


def _report(wanted: Wanted, handed: Handed, ended: Handed, options: argparse.Namespace) -> None:
    if options.json:
        write_json({"v": 1, "hub": wanted.hub, "joined": True, "roster_v": ended.version}, is_line=True)
        return
    write(f"{wanted.hub} joined: roster version {handed.version}; its invitation ended with version {ended.version}")
