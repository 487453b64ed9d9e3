"""Certificates for tests: an authority of our own, servers that show its certificates, and impostors."""

import json
import ssl
import time
from pathlib import Path

from hubagent.wire import certificates
from tests.support.nats import NatsServer


class TestAuthority:
    """A root with its issuing authority, and files that servers and clients read."""

    __test__ = False

    def __init__(self, folder: Path, fleet: str = "test") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, now = folder, time.time()
        self.root = certificates.new_root(fleet, now)
        self.issuing = certificates.new_issuing(self.root, fleet, now)
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(self.root.certificate)

    def server_pem(self, path: Path, *names: str, life_s: float = 3600.0, now: float | None = None) -> Path:
        """A certificate with its key in one file."""
        key = certificates.new_key()
        begins = time.time() if now is None else now
        chain = certificates.issue(self.issuing, certificates.request(key, names[0]), names, begins, life_s)
        path.write_bytes(chain + key)
        path.chmod(0o600)
        return path

    def context(self) -> ssl.SSLContext:
        """What a client trusts."""
        return ssl.create_default_context(cafile=str(self.ca_file))


def secure_server(folder: Path, pem: Path, *, port: int = 0) -> NatsServer:
    """A server that takes clients by TLS only."""
    tls = {"cert_file": str(pem), "key_file": str(pem), "min_version": "1.2"}
    return NatsServer(folder, port=port, jetstream=False, config=f"tls: {json.dumps(tls)}\n")
