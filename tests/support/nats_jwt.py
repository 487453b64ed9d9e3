"""A NATS in operator mode, as an installation that is already there often is: operator, accounts and a creds file."""

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path

import nkeys

from tests.support.nats import NatsServer

UNLIMITED = {
    "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1,
    "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A seed and its public key."""

    seed: str
    public: str

    def jwt(self, subject: "Pair", name: str, claims: dict[str, object]) -> str:
        """Claims about a subject, signed by this pair."""
        body = {
            "iss": self.public,
            "sub": subject.public,
            "name": name,
            "iat": 1_700_000_000,
            "jti": name,
            "nats": claims,
        }
        parts = [_packed({"typ": "JWT", "alg": "ed25519-nkey"}), _packed(body)]
        signature = nkeys.from_seed(bytearray(self.seed.encode())).sign(".".join(parts).encode())
        return ".".join([*parts, base64.urlsafe_b64encode(signature).decode().rstrip("=")])


def _packed(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def pair(kind: int) -> Pair:
    """A new pair of this kind (an nkeys.PREFIX_BYTE_…)."""
    seed = bytes(nkeys.encode_seed(os.urandom(32), kind)).decode()
    return Pair(seed, bytes(nkeys.from_seed(bytearray(seed.encode())).public_key).decode())


def operator_mode(folder: Path) -> tuple[NatsServer, Path]:
    """A server that knows one account, and the creds file of one of its users."""
    operator, system, account, user = (
        pair(kind)
        for kind in (
            nkeys.PREFIX_BYTE_OPERATOR,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_USER,
        )
    )
    claims = {"type": "account", "version": 2, "limits": UNLIMITED}
    operator_claims = {"type": "operator", "version": 2, "system_account": system.public}
    preload = {
        # The system account must not have JetStream.
        system.public: operator.jwt(
            system, "SYS", claims | {"limits": UNLIMITED | {"disk_storage": 0, "mem_storage": 0}}
        ),
        account.public: operator.jwt(account, "OPS", claims),
    }
    config = (
        f"operator: {operator.jwt(operator, 'op', operator_claims)}\nsystem_account: {system.public}\n"
        f"resolver: MEMORY\nresolver_preload: {json.dumps(preload)}\n"
    )
    jwt = account.jwt(user, "hub", {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1})
    creds = folder / "hub.creds"
    creds.write_text(
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )
    creds.chmod(0o600)
    return NatsServer(folder / "jwt", config=config), creds
