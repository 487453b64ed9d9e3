"""What logs in to a NATS that is not hubdeck's own: creds and NKey files, contexts of the `nats` tool.

Agent and console read them with these; each brings its own `look` at a file, and its own error.
"""

import base64
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

import msgspec
import nkeys

from hubagent.wire.signing import KeyRefused, public_of

FILE_BYTES_MAX = 64 << 10
KEY_BYTES_MAX = 16 << 10
Look = Callable[
    [str], tuple[int, bytes]
]  # a path → its mode, and its bytes: no more than FILE_BYTES_MAX + 1 are wanted
# What a context may ask for that hubdeck does not do; each would otherwise be a login that fails without a word.
_REFUSED = {
    "user": "a user and password", "password": "a user and password", "token": "a token", "nsc": "an nsc user",
    "user_jwt": "a JWT without its seed", "jetstream_domain": "a JetStream domain", "tls_first": "TLS before INFO",
    "socks_proxy": "a SOCKS proxy", "cert": "a client certificate", "jetstream_api_prefix": "another JetStream API prefix",
}  # fmt: skip
_JWT, _SEED = "BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"


class LoginUnusable(ValueError):
    """A login file or context that cannot be used; `why` never carries a key."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


@contextmanager
def refused_as(error: Callable[[str, str], Exception]) -> Iterator[None]:
    """Say LoginUnusable as the reader's own error, of path and reason."""
    try:
        yield
    except LoginUnusable as unusable:
        raise error(unusable.path, unusable.why) from unusable


class Way(NamedTuple):
    """How to reach a server and get in."""

    urls: Sequence[str] = ()
    ca_file: str = ""
    creds_file: str = ""
    nkey_file: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of a `nats` context that hubdeck uses."""

    path: str
    way: Way

    def under(self, said: Way) -> Way:
        """What was said, and where nothing was said what the context says; of its two logins the creds file."""
        has_login = said.creds_file or said.nkey_file
        creds, nkey = (said if has_login else self.way)[2:]
        return Way(
            said.urls or list(self.way.urls), said.ca_file or self.way.ca_file, creds, "" if creds else nkey
        )  # fmt: skip


def read_context(name: str, environ: Mapping[str, str], look: Look) -> Context:
    """The context of this name; raises LoginUnusable for what hubdeck cannot follow."""
    if not name or "/" in name or name.startswith(".") or "\0" in name:
        raise LoginUnusable(ascii(name)[:60], "a context is named by its name, not by a path")
    home = environ.get("HOME", "/root")
    path = f"{environ.get('XDG_CONFIG_HOME') or f'{home}/.config'}/nats/context/{name}.json"
    try:
        raw = look(path)[1]
    except FileNotFoundError as error:
        raise LoginUnusable(path, "no such context; `nats context ls` lists those of this user") from error
    except OSError as error:
        raise LoginUnusable(path, error.strerror or "unreadable") from error
    return Context(path, _parsed(path, raw, home))


def _parsed(path: str, raw: bytes, home: str) -> Way:
    if len(raw) > FILE_BYTES_MAX:
        raise LoginUnusable(path, f"more than {FILE_BYTES_MAX} bytes")
    try:
        fields = msgspec.json.decode(raw, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LoginUnusable(path, "no context: expected a JSON object") from error
    for key, words in _REFUSED.items():
        if fields.get(key):
            raise LoginUnusable(path, f"it wants {words} ({key}); hubdeck logs in by creds or nkey file only")
    urls = tuple(url.strip() for url in str(fields.get("url", "")).split(",") if url.strip())
    if not urls:
        raise LoginUnusable(path, "it has no url")
    return Way(urls, *(_absolute(fields.get(key), path, home) for key in ("ca", "creds", "nkey")))


def _absolute(value: object, path: str, home: str) -> str:
    if not isinstance(value, str) or not value:
        return ""
    if value == "~" or value.startswith("~/"):
        return home + value[1:]
    return str(PurePosixPath(path).parent / value)


def read_nkey(path: str, look: Look, owner: str) -> str:
    """The seed of an NKey file: its first word that is one; `owner` is who may read it, in words."""
    for word in _private(path, look, owner).split():
        if word.startswith("SU"):
            if not _is_seed(word):
                raise LoginUnusable(path, "the seed in it is damaged: its checksum does not fit")
            return word
    raise LoginUnusable(path, "no seed of a user (SU…) is in it")


def read_creds(path: str, look: Look, owner: str) -> str:
    """The text of a creds file that can be used, its lines ended as the client wants them."""
    text = _private(path, look, owner)
    lines = [line.strip() for line in text.splitlines()]
    if not (_after(lines, _JWT) and _after(lines, _SEED)):
        raise LoginUnusable(path, "no creds file: expected a user JWT and an NKey seed, as `nsc generate creds` writes")
    if not text.isascii() or not _is_seed(_after(lines, _SEED)):
        raise LoginUnusable(path, "the JWT or the seed in it is damaged; write it again with `nsc generate creds`")
    return "\n".join(lines) + "\n"


def _private(path: str, look: Look, owner: str) -> str:
    """The text of a file that nobody else may read."""
    try:
        mode, raw = look(path)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            why = f"others may read it (mode {stat.S_IMODE(mode):o}); chmod 600 it, owned by {owner}"
            raise LoginUnusable(path, why)
        if len(raw) > KEY_BYTES_MAX:
            raise LoginUnusable(path, f"more than {KEY_BYTES_MAX} bytes: no key file")
        return raw.decode()
    except OSError as error:
        raise LoginUnusable(path, error.strerror or "unreadable") from error
    except UnicodeDecodeError as error:
        raise LoginUnusable(path, "no text") from error


def _after(lines: list[str], word: str) -> str:
    """The line after the first one with this word."""
    return next((below for line, below in pairwise(lines) if word in line), "")


def _is_seed(word: str) -> bool:
    """The library takes a seed with letters changed; its checksum does not."""
    try:
        raw = base64.b32decode(word + "=" * (-len(word) % 8))
        return bool(public_of(word)) and nkeys.crc16(raw[:-2]).to_bytes(2, "little") == raw[-2:]
    except (KeyRefused, ValueError):  # binascii.Error is a ValueError
        return False
