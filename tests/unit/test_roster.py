"""The roster: who is who, sealed; anything that would blur it is refused in words."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubagent.wire import signing
from hubagent.wire.codec import encode
from hubagent.wire.roster import Group, Hub, Operator, Roster, RosterRefused, Server, open_roster, parse_roster, selects
from hubagent.wire.signing import public_of, seal, seed_from, signer

FLEET = signer(seed_from(b"f" * 32))
PUBLIC = [public_of(seed_from(bytes([number]) * 32)) for number in range(10)]


def roster(**changed) -> Roster:
    """Two hubs, one operator, one server, one group."""
    made = Roster(
        v=1,
        fleet="test",
        version=7,
        hubs=[Hub("alpha", PUBLIC[0], PUBLIC[1], {"site": "north"}), Hub("beta", PUBLIC[2], PUBLIC[3])],
        operators=[Operator("ada", PUBLIC[4], PUBLIC[5], "admin")],
        servers=[Server("central", ["nats://127.0.0.1:4222"], "hub-server", "alpha")],
        groups=[Group("core", ["alpha", "beta"])],
    )
    return msgspec.structs.replace(made, **changed)


def test_a_sealed_roster_opens_with_the_fleets_key():
    """And tells who is who."""
    opened = open_roster(FLEET.public, seal(FLEET, signing.ROSTER, encode(roster())))
    assert opened == roster()
    assert opened.hub("alpha").labels == {"site": "north"}
    assert (opened.hub("gamma"), opened.operator("bob"), opened.group("edge")) == (None, None, None)
    assert opened.operator("ada").role == "admin"


def test_a_roster_sealed_by_another_or_for_another_purpose_is_refused():
    """The text says what to do."""
    body = encode(roster())
    other = signer(seed_from(b"g" * 32))
    for sealed in (seal(other, signing.ROSTER, body), seal(FLEET, signing.COMMAND, body), body, b"", b"\n" + body):
        with pytest.raises(RosterRefused, match="ask the fleet's admin"):
            open_roster(FLEET.public, sealed)


def test_revoked_keys_are_nobody():
    """Either key takes the identity with it."""
    assert roster(revoked=[PUBLIC[0]]).hub("alpha") is None
    assert roster(revoked=[PUBLIC[1]]).hub("alpha") is None
    assert roster(revoked=[PUBLIC[5]]).operator("ada") is None
    assert roster(revoked=[PUBLIC[5]]).hub("alpha") is not None


HUBS, OPERATORS = roster().hubs, roster().operators


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"hubs": [Hub("Alpha", PUBLIC[0], PUBLIC[1])]}, "hub must match"),
        ({"hubs": [Hub("a\x1b[2J", PUBLIC[0], PUBLIC[1])]}, "hub must match"),
        ({"hubs": [*HUBS, Hub("gamma", PUBLIC[6], PUBLIC[6])]}, "login and signing key are equal"),
        ({"hubs": [*HUBS, Hub("gamma", PUBLIC[0], PUBLIC[6])]}, "have one key"),
        ({"hubs": [*HUBS, Hub("gamma", PUBLIC[6], PUBLIC[5])]}, "have one key"),
        ({"hubs": [*HUBS, Hub("gamma", "U" * 56, PUBLIC[6])]}, "is no public nkey"),
        ({"hubs": [*HUBS, Hub("alpha", PUBLIC[6], PUBLIC[7])]}, "alpha' is listed twice"),
        ({"operators": [*OPERATORS, Operator("alpha", PUBLIC[6], PUBLIC[7], "viewer")]}, "alpha' is listed twice"),
        ({"operators": [Operator("a.b", PUBLIC[6], PUBLIC[7], "viewer")]}, "operator must match"),
        ({"groups": [Group("core", ["alpha", "gamma"])]}, "unknown hub 'gamma'"),
        ({"groups": [Group("core", ["alpha"]), Group("core", ["beta"])]}, "group 'core' is listed twice"),
        ({"groups": [Group("core", ["alpha", "alpha"])]}, "in group core a member 'alpha' is listed twice"),
        ({"groups": [Group("*", ["alpha"])]}, "group must match"),
        ({"servers": [Server("c", [], "witness"), Server("c", [], "witness")]}, "server 'c' is listed twice"),
        ({"servers": [Server("c", [], "witness", "gamma")]}, "unknown hub 'gamma'"),
        ({"servers": [Server(">", [], "witness")]}, "server must match"),
    ],
)
def test_two_identities_that_could_be_one_are_refused(changed, words):
    """Each in words that name what and where."""
    with pytest.raises(RosterRefused) as caught:
        parse_roster(encode(roster(**changed)))
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_never_another_exception(raw):
    """Signed or not."""
    for attempt in (lambda: parse_roster(raw), lambda: open_roster(FLEET.public, raw)):
        with pytest.raises(RosterRefused):
            attempt()


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("*", True),
        ("alpha", True),
        ("beta,alpha", True),
        ("alph", False),
        ("", False),
        ("site=north", True),
        ("site=south", False),
        ("rack=", False),
    ],
)
def test_a_selector_names_hubs_by_id_or_label(selector, expected):
    """What limits an operator."""
    assert selects(selector, HUBS[0]) is expected


def test_a_roster_of_ten_thousand_hubs_is_checked_in_time():
    """No step is quadratic."""
    groups = [Group(f"g{number}", ["alpha"]) for number in range(20_000)]
    assert len(parse_roster(encode(roster(groups=groups))).groups) == 20_000
