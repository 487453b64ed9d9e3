"""The fleet's directory with its admin: the fleet key, the root and issuing authorities, the roster, the configs."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from console import founding
from console.errors import ConfigError, Refused
from hubagent.wire import certificates
from hubagent.wire.addresses import certificate_names, uses_tls
from hubagent.wire.certificates import Authority, CertificateRefused
from hubagent.wire.first_config import Places, first_config
from hubagent.wire.roster import Roster, RosterRefused, open_roster
from hubagent.wire.signing import KeyRefused, Signer, is_public_key, signer

OWN_LOGIN = ("ca_file", "creds_file", "nkey_file", "context")  # of a server in a console's config


def replace_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file atomically and durably; it never exists with looser rights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@dataclass(frozen=True, slots=True)
class FleetDir:
    """Where the admin keeps what makes the fleet a fleet; best a directory that is on no server."""

    root: Path

    @property
    def roster_file(self) -> Path:
        """The newest roster that was signed here."""
        return self.root / "roster.json"

    @property
    def console_config(self) -> Path:
        """The first admin's console."""
        return self.root / "console.yaml"

    @property
    def ca_file(self) -> Path:
        """The root's certificate, which every link trusts."""
        return self.root / "ca.pem"

    def signer(self) -> Signer:
        """The fleet key; raises ConfigError where it is not here."""
        path = self.root / "fleet.key"
        try:
            if path.stat().st_mode & 0o077:
                raise ConfigError(
                    str(path), 0, "fleet_dir", "a key that only you can read (chmod 600)", "looser rights"
                )
            return signer(path.read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no text"
            raise ConfigError(str(path), 0, "fleet_dir", "the directory of `hubdeck fleet new`", why) from error
        except KeyRefused as error:
            raise ConfigError(str(path), 0, "fleet_dir", str(error), "something else") from error

    def public(self) -> str:
        """The public half of the fleet key."""
        text = (self.root / "fleet.pub").read_text(encoding="ascii").strip()
        if not is_public_key(text):
            raise ConfigError(str(self.root / "fleet.pub"), 0, "fleet_dir", "a public nkey (U…)", "something else")
        return text

    def roster(self) -> Roster | None:
        """The newest roster signed here, or None before the first."""
        try:
            return open_roster(self.public(), self.roster_file.read_bytes())
        except FileNotFoundError:
            return None
        except RosterRefused as error:
            raise ConfigError(str(self.roster_file), 0, "roster", "a roster of this fleet", str(error)) from error

    def sealed(self) -> bytes:
        """The same as it is handed out."""
        return self.roster_file.read_bytes()

    def seal(self, roster: Roster) -> bytes:
        """Sign a roster and keep it, before anybody hears of it."""
        try:
            sealed = founding.seal_roster(self.signer(), roster)
        except RosterRefused as error:
            raise Refused("no such roster was made", "roster", str(error)) from error
        replace_file(self.roster_file, sealed)
        return sealed

    def issuing(self) -> Authority | None:
        """The issuing authority, or None in a fleet on loopback without TLS."""
        path = self.root / "issuing.pem"
        try:
            return certificates.load_authority(path.read_bytes()) if path.exists() else None
        except CertificateRefused as error:
            raise ConfigError(str(path), 0, "fleet_dir", "the issuing authority", str(error)) from error

    def ca(self) -> str:
        """The root's certificate as PEM; empty in a fleet without TLS."""
        return self.ca_file.read_text() if self.ca_file.exists() else ""

    def make_authorities(self, fleet: str, now: float) -> bool:
        """The root and the issuing authority, where they are not there yet; tells whether any was made."""
        made = False
        root = self.root / "root.pem"
        if not root.exists():
            founding.write_private(root, certificates.new_root(fleet, now).pem.decode())
            made = True
        authority = certificates.load_authority(root.read_bytes())
        if not self.ca_file.exists():
            replace_file(self.ca_file, authority.certificate)
        if not (self.root / "issuing.pem").exists():
            founding.write_private(
                self.root / "issuing.pem", certificates.new_issuing(authority, fleet, now).pem.decode()
            )
            made = True
        return made


def console_config(fleet: FleetDir, roster: Roster, identity: str, key_file: str, *, with_keys: bool) -> dict[str, Any]:
    """The config of a console; `with_keys` for an admin who signs rosters."""
    ca = {"ca_file": "ca.pem"} if fleet.ca_file.exists() else {}
    servers = [{"name": one.name, "urls": one.urls, **ca} for one in roster.servers if one.role == "hub-server"]
    return {
        "identity": identity,
        "key_file": key_file,
        "fleet_key": fleet.public(),
        "roster_file": "roster.json",
        **({"fleet_dir": "."} if with_keys else {}),
        "servers": servers,
    }


def write_yaml(path: Path, value: dict[str, Any]) -> None:
    """A config file."""
    replace_file(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=False).encode())


def write_console_configs(fleet: FleetDir, roster: Roster) -> list[Path]:
    """The configs of the consoles that were made here, as the roster is now; the paths of those that changed."""
    changed = []
    for path in [fleet.console_config, *sorted((fleet.root / "operators").glob("*/console.yaml"))]:
        if not path.exists():
            continue
        had = yaml.safe_load(path.read_text())
        if not isinstance(had, dict):
            continue
        fresh = [_kept(one, had) for one in console_config(fleet, roster, "", "", with_keys=False)["servers"]]
        if had.get("servers") != fresh:
            write_yaml(path, {**had, "servers": fresh})
            changed.append(path)
    return changed


def _kept(server: dict[str, Any], had: dict[str, Any]) -> dict[str, Any]:
    """A server with what only the operator can say: how to log in to a NATS that is already there, and its own CA."""
    before = [one for one in had.get("servers") or [] if isinstance(one, dict)]
    old = next((one for one in before if one.get("name") == server["name"]), {})
    return server | {key: old[key] for key in OWN_LOGIN if key in old}


def write_operator_folder(fleet: FleetDir, roster: Roster, name: str, keys: str) -> Path:
    """All that an operator's console needs, in one folder; the key file is private."""
    folder = fleet.root / "operators" / name
    replace_file(folder / f"{name}.key", keys.encode(), 0o600)
    if fleet.ca_file.exists():
        shutil.copyfile(fleet.ca_file, folder / "ca.pem")
    shutil.copyfile(fleet.roster_file, folder / "roster.json")
    write_yaml(folder / "console.yaml", console_config(fleet, roster, name, f"{name}.key", with_keys=False))
    return folder


def write_hub_folder(fleet: FleetDir, roster: Roster, hub: str, folder: Path, now: float, life_s: float) -> list[str]:
    """All that a hub with a server needs, in one folder (its keys are there); what was made, in words."""
    server = next(one for one in roster.servers if one.hub == hub)
    has_ca = fleet.ca_file.exists()
    said = [] if (folder / "hubagent.yaml").exists() else [f"{folder}: keys, roster and config of {hub}"]
    replace_file(folder / "roster.json", fleet.sealed())
    replace_file(folder / "fleet.pub", (fleet.public() + "\n").encode())
    if has_ca:
        replace_file(folder / "ca.pem", fleet.ca().encode())
    if has_ca and server.role == "hub-server" and not (folder / "issuing.pem").exists():
        replace_file(folder / "issuing.pem", (fleet.root / "issuing.pem").read_bytes(), 0o600)
    if uses_tls(server) and not (folder / "server.pem").exists():
        said.append(_write_certificate(fleet, roster, hub, folder, now, life_s))
    if not (folder / "hubagent.yaml").exists():
        write_yaml(folder / "hubagent.yaml", first_config(roster, hub, Places(), has_ca=has_ca))
    return said


def _write_certificate(fleet: FleetDir, roster: Roster, hub: str, folder: Path, now: float, life_s: float) -> str:
    issuing = fleet.issuing()
    assert issuing is not None, "a fleet with TLS has an issuing authority"
    names, key = certificate_names(roster, hub), certificates.new_key()
    chain = certificates.issue(issuing, certificates.request(key, hub), names, now, life_s)
    replace_file(folder / "server.pem", chain + key, 0o600)
    return f"{folder / 'server.pem'}: certificate for {', '.join(names)}"
