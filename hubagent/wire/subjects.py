"""Every subject is built and parsed here, by one strict rule."""

import re

NAME_BYTES_MAX = 63
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
LANES = ("evt", "met")


class NameRefused(ValueError):
    """A name that breaks the rule; the text shows it escaped, so it is safe to print."""

    def __init__(self, kind: str, name: object) -> None:
        super().__init__(f"{kind} must match [a-z0-9][a-z0-9-]{{0,62}}, found {ascii(name)[:80]}")
        self.kind = kind


def is_name(text: object) -> bool:
    """Tell whether this is a valid hub, service, group or label key."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def is_version(text: object) -> bool:
    """Tell whether this is a valid release version (a single safe path part)."""
    return isinstance(text, str) and _VERSION.fullmatch(text) is not None


def name(text: str, kind: str = "name") -> str:
    """Give the name back, or raise NameRefused."""
    if not is_name(text):
        raise NameRefused(kind, text)
    return text


def live(hub: str) -> str:
    """Subject of a hub's 1 Hz summary."""
    return "live." + name(hub, "hub")


def detail(hub: str) -> str:
    """Subject of a hub's full figures, sent only while watched."""
    return "detail." + name(hub, "hub")


def watch(hub: str) -> str:
    """Subject that asks for detail for 15 s."""
    return "watch." + name(hub, "hub")


def hello(hub: str) -> str:
    """Subject that asks for the boot and seq that make a command fresh."""
    return "hello." + name(hub, "hub")


def command(hub: str) -> str:
    """Subject of signed commands to one hub."""
    return "cmd." + name(hub, "hub")


def fetch(hub: str) -> str:
    """Subject that asks a hub for chunks it still keeps."""
    return "fetch." + name(hub, "hub")


def ops(lane: str, hub: str) -> str:
    """Subject of a hub's chunks in one lane."""
    if lane not in LANES:
        raise NameRefused("lane", lane)
    return f"ops.{lane}." + name(hub, "hub")


def lease(group: str) -> str:
    """Subject of a group's lease record on the witness."""
    return "ops.lease." + name(group, "group")


def enrol(hub: str) -> str:
    """Subject on which an invited machine asks to be enrolled under this name."""
    return "enroll." + name(hub, "hub")


def certificate(hub: str) -> str:
    """Subject on which a hub asks the agents of the hub servers to renew its server's certificate."""
    return "cert." + name(hub, "hub")


def peer(to: str, sender: str) -> str:
    """Subject of a request between members of a group; the sender's name is last."""
    return f"peer.{name(to, 'hub')}.{name(sender, 'hub')}"


def logs(hub: str, service: str) -> str:
    """Subject of a service's output lines, sent only while followed."""
    return f"logs.{name(hub, 'hub')}.{name(service, 'service')}"


ROSTER = "roster"


def inbox_prefix(identity: str) -> str:
    """Prefix of the private inboxes of one identity."""
    return "_I." + name(identity, "identity")


def parse(subject: str) -> tuple[str, ...]:
    """Split a subject into its tokens; every token after the kind must be a name.

    Raises NameRefused for anything that this module could not have built (names in `rel` digests excepted:
    they are hexadecimal and obey the same rule).
    """
    kind, *rest = subject.split(".")
    if kind == "ops" and len(rest) == 2 and rest[0] in (*LANES, "lease"):
        return kind, rest[0], name(rest[1], "subject token")
    counts = {
        "live": 1,
        "detail": 1,
        "watch": 1,
        "hello": 1,
        "cmd": 1,
        "fetch": 1,
        "enroll": 1,
        "cert": 1,
        "peer": 2,
        "logs": 2,
        "roster": 0,
    }
    if counts.get(kind) != len(rest):
        raise NameRefused("subject", subject)
    return kind, *(name(token, "subject token") for token in rest)
