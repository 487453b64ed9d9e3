"""`hubagent join 'TOKEN'`: keys made on this machine, one question to the fleet, and everything written; or nothing."""

import asyncio
import contextlib
import os
import platform
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from hubagent import setup
from hubagent.clock import Clock
from hubagent.edges import certificates, state_dir
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.edges.state_dir import StateRefused
from hubagent.loops.enrolment import Enrolment, NotEnrolled
from hubagent.wire import signing
from hubagent.wire.addresses import certificate_names, uses_tls
from hubagent.wire.certificates import CertificateRefused, check_chain, fingerprint, new_key, request
from hubagent.wire.enrolment import GRANTED, EnrolAnswer, EnrolRequest, Token, keys_fingerprint, open_token
from hubagent.wire.first_config import Places, first_config
from hubagent.wire.roster import Roster, RosterRefused, open_roster

POLICY = LinkPolicy(ping_s=2.0, timeout_s=4.0, reconnect_min_s=0.25, reconnect_max_s=1.0)


@dataclass(frozen=True, slots=True)
class Machine:
    """What is made here before the fleet is asked; the private halves never leave."""

    token: Token
    config: Path
    state: Path
    keys_text: str = field(repr=False)
    keys: signing.Keys
    tls_key: bytes = field(repr=False)

    @property
    def request(self) -> EnrolRequest:
        """What the fleet is asked with."""
        csr = request(self.tls_key, self.token.hub).decode() if self.tls_key else ""
        node = "".join(one for one in platform.node() if one.isprintable())[:64]
        return EnrolRequest(
            1, self.token.id, self.token.hub, self.keys.login_public, self.keys.signer.public, csr, node
        )


def join(line: str, config: Path, directory: Path, clock: Clock, say: Callable[[str], None]) -> None:
    """Join the token's fleet under the token's name; raises TokenRefused, StateRefused or NotEnrolled."""
    token = open_token(line, clock.wall())
    _refuse_other_fleet(token, config, directory)
    text = "".join(signing.seed_from(os.urandom(32)) + "\n" for _ in range(2))
    tls_key = new_key() if token.ca else b""
    machine = Machine(token, config, directory, text, signing.parse_keys(text), tls_key)
    ca = f", CA fingerprint {fingerprint(token.ca.encode())[:32]}" if token.ca else ""
    say(f"fleet {token.fleet}, hub {token.hub}{ca}")
    say(f"this machine's keys: {keys_fingerprint(machine.keys.login_public, machine.keys.signer.public)}")
    with _held(directory):
        asyncio.run(_ask(machine, clock, say))


def _refuse_other_fleet(token: Token, config: Path, directory: Path) -> None:
    """A machine belongs to one fleet and has one name."""
    known = directory / "fleet.pub"
    if known.exists() and known.read_text().strip() != token.fleet_key:
        todo = "use another --state-dir, or uninstall this hub first"
        raise StateRefused(str(known), f"this machine belongs to another fleet than {token.fleet}", todo)
    if config.exists():
        from hubagent.config import load

        found = load(config)
        if found.hub.id != token.hub:
            todo = f"have the admin invite {found.hub.id}, or use another --config and --state-dir"
            raise StateRefused(str(config), f"this machine is hub {found.hub.id}, the token is for {token.hub}", todo)
        if found.state_dir.resolve() != directory.resolve():
            raise StateRefused(str(config), f"its state_dir is {found.state_dir}", "give the same with --state-dir")


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Hold the state directory while joining: no agent runs on it. Where nothing came of it, nothing is left."""
    made = not directory.exists()
    descriptor = state_dir.lock(directory)
    try:
        yield
    except BaseException:
        if made:
            (directory / "agent.lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise
    finally:
        os.close(descriptor)


async def _ask(machine: Machine, clock: Clock, say: Callable[[str], None]) -> None:
    token = machine.token
    links = [
        Link(
            one.name, setup.safe_urls(one), identity=token.id, login_seed=token.seed, policy=POLICY, clock=clock,
            tls=_trusting(token), name=f"hubagent join {token.hub}",
        )
        for one in token.servers
    ]  # fmt: skip

    def take(answer: EnrolAnswer) -> None:
        for words in _take(machine, answer, clock.wall()):
            say(words)

    await Enrolment(links, machine.request, machine.keys.signer, clock, say).run(token.until - clock.wall(), take)


def _trusting(token: Token) -> ssl.SSLContext | None:
    """The token's CA and no other."""
    if not token.ca:
        return None
    try:
        context = ssl.create_default_context(cadata=token.ca)
    except ssl.SSLError as error:
        raise NotEnrolled(f"the token's CA cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _take(machine: Machine, answer: EnrolAnswer, now: float) -> list[str]:
    """Check what was given against what the token promised, then write it; what was written, in words."""
    if answer.state != GRANTED:
        raise NotEnrolled(f"the admin's console refused: {answer.why or 'no reason given'}")
    roster = _verified(machine, answer)
    server = next((one for one in roster.servers if one.hub == machine.token.hub), None)
    pem = b""
    if server is not None and uses_tls(server):
        names = certificate_names(roster, machine.token.hub)
        try:
            check_chain(answer.certificate.encode(), machine.tls_key, machine.token.ca.encode(), names, now)
        except CertificateRefused as error:
            raise NotEnrolled(f"the certificate that was given cannot be used: {error}") from error
        pem = answer.certificate.encode() + machine.tls_key
    return _write(machine, roster, answer.roster, pem)


def _verified(machine: Machine, answer: EnrolAnswer) -> Roster:
    token = machine.token
    try:
        roster = open_roster(token.fleet_key, answer.roster)
    except RosterRefused as error:
        raise NotEnrolled(f"the roster that was given is not of the token's fleet: {error}") from error
    known = roster.hub(token.hub)
    if known is None or (known.login, known.signing) != (machine.keys.login_public, machine.keys.signer.public):
        raise NotEnrolled("the roster that was given does not have this machine's keys")
    return roster


def _write(machine: Machine, roster: Roster, sealed: bytes, pem: bytes) -> list[str]:
    """Keys first: what the fleet now knows must not be lost."""
    state, token, path = machine.state, machine.token, machine.config
    said = [f"{state / 'hub.key'}: this machine's keys"]
    certificates.write_private(state / "hub.key", machine.keys_text.encode())
    if pem:
        certificates.write_private(state / "server.pem", pem)
        said.append(f"{state / 'server.pem'}: the server's certificate")
    if token.ca:
        (state / "ca.pem").write_text(token.ca)
    (state / "fleet.pub").write_text(token.fleet_key + "\n")
    state_dir.save_roster(state / "roster.json", sealed)
    said.append(f"{state / 'roster.json'}: roster version {roster.version}")
    if path.exists():
        return [*said, f"{path}: kept", *_next(path)]
    path.parent.mkdir(parents=True, exist_ok=True)
    places = Places(str(state.resolve()))
    path.write_text(yaml.safe_dump(first_config(roster, token.hub, places, has_ca=bool(token.ca)), sort_keys=False))
    return [*said, f"{path}: made", *_next(path)]


def _next(path: Path) -> list[str]:
    return [f"next: sudo hubagent install -c {path}   (or, in the foreground: hubagent run -c {path})"]
