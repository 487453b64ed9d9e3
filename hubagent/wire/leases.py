"""The lease record of a group and what members ask each other (design: failover)."""

import msgspec


class LeaseRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who is active. Signed by the holder (header `Hub-Sig`, domain LEASE)."""

    group: str
    members: list[str]
    profile: str
    epoch: int
    holder: str
    boot: str
    span_ms: int  # A of the profile, the span of authority
    state: str  # held | draining | released
    t: float
    successor: str = ""
    maintenance: bool = False
    auto: str = "shadow"  # off | shadow | armed


class PeerRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Between members. `ask`: promise (not to promote for `span_ms`) | fence (obey this token) | epoch | take (pair)."""

    ask: str
    group: str
    epoch: int
    holder: str
    nonce: str
    span_ms: int = 0


class PeerReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Signed by the answering member (domain PEER, subject = nonce)."""

    nonce: str
    hub: str
    ok: bool
    epoch: int  # the highest epoch this member has ever seen
    why: str = ""
