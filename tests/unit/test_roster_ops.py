"""Changes of the roster: what each does, what it shows first, and what it refuses; and which roster is in force."""

import msgspec
import pytest

from console.errors import ConsoleError, NotThere, Refused, Usage
from console.trust import changes
from console.trust.changes import difference
from hubagent.core.roster import Known, RosterBook, Taken
from hubagent.core.roster import Refused as NotTaken
from hubagent.wire import signing
from hubagent.wire.addresses import (
    AddressRefused,
    certificate_names,
    is_loopback,
    listen,
    parse_address,
    url,
)
from hubagent.wire.codec import encode
from hubagent.wire.permissions import users
from hubagent.wire.roster import Group, Hub, Invitation, Operator, Roster, RosterRefused, Server, parse_roster
from hubagent.wire.signing import public_of, seal, seed_from, signer

FLEET = signer(seed_from(b"f" * 32))
PUBLIC = [public_of(seed_from(bytes([number]) * 32)) for number in range(20)]
BASE = Roster(
    1, "test", 7,
    [Hub("central", PUBLIC[0], PUBLIC[1]), Hub("alpha", PUBLIC[2], PUBLIC[3], {"site": "north"})],
    [Operator("ada", PUBLIC[4], PUBLIC[5], "admin"), Operator("bob", PUBLIC[6], PUBLIC[7], "viewer")],
    [Server("central", ["tls://10.0.0.1:4222"], "hub-server", "central")],
    [Group("core", ["central", "alpha"])],
)  # fmt: skip
EVE = Operator("eve", PUBLIC[8], PUBLIC[9], "operator")
INVITED = Invitation("0123456789abcdef", "beta", PUBLIC[10], 600.0)


def checked(roster: Roster) -> Roster:
    """As every reader would check it, one version on."""
    assert roster.version == BASE.version + 1
    return parse_roster(encode(roster))


def test_an_operator_is_added_and_shown_before():
    """The difference is one line, and the version."""
    made = checked(changes.add_operator(BASE, EVE))
    assert made.operator("eve") == EVE
    assert difference(BASE, made) == [
        "roster version 7 -> 8",
        f"+ operator eve operator on * signing {PUBLIC[9][:12]}…",
    ]


def test_a_revoked_operator_is_gone_and_its_keys_stay_revoked():
    """Both keys, for good."""
    made = checked(changes.revoke_operator(BASE, "bob"))
    assert made.operator("bob") is None
    assert made.revoked == [PUBLIC[6], PUBLIC[7]]
    with pytest.raises(Refused, match="revoked"):
        changes.add_operator(made, Operator("bob", PUBLIC[6], PUBLIC[9], "viewer"))


def test_a_hub_is_retired_out_of_groups_and_locked_out():
    """And an open invitation of its name ends."""
    joining = msgspec.structs.replace(BASE, joining=[msgspec.structs.replace(INVITED, hub="alpha"), INVITED])
    made = checked(changes.retire_hub(joining, "alpha"))
    assert made.hub("alpha") is None
    assert made.group("core").members == ["central"]
    assert made.revoked == [PUBLIC[2], PUBLIC[3]]
    assert [one.hub for one in made.joining] == ["beta"]
    assert PUBLIC[2] not in [login for login, _ in users(made, BASE.servers[0])]


def test_a_group_without_members_goes_too():
    """Nobody is left to take its lease."""
    alone = msgspec.structs.replace(BASE, groups=[Group("solo", ["alpha"])])
    assert checked(changes.retire_hub(alone, "alpha")).groups == []


def test_labels_are_set_and_taken_away():
    """Others stay."""
    made = checked(changes.label_hub(BASE, "alpha", {"rack": "b2", "site": None}))
    assert made.hub("alpha").labels == {"rack": "b2"}


def test_a_hub_that_joins_again_keeps_its_labels_and_loses_its_old_keys():
    """Key rotation (X15)."""
    made = checked(changes.enrol(BASE, Hub("alpha", PUBLIC[11], PUBLIC[12], {"rack": "b2"})))
    assert made.hub("alpha") == Hub("alpha", PUBLIC[11], PUBLIC[12], {"site": "north", "rack": "b2"})
    assert made.revoked == [PUBLIC[2], PUBLIC[3]]
    with pytest.raises(Refused, match="revoked"):
        changes.enrol(made, Hub("beta", PUBLIC[13], PUBLIC[3]))


def test_an_invitation_gives_one_login_that_may_only_ask():
    """Until it is over or ended."""
    made = checked(changes.invite(BASE, INVITED))
    rights = dict(users(made, BASE.servers[0], now=599.0))[PUBLIC[10]]
    assert (rights.publish, rights.subscribe) == (("enroll.beta",), ("_I.0123456789abcdef.>",))
    assert not rights.responses
    assert PUBLIC[10] not in dict(users(made, BASE.servers[0], now=600.0))
    assert PUBLIC[10] not in dict(users(changes.end_invitation(made, INVITED.id), BASE.servers[0]))
    witness = Server("witness", ["tls://10.0.0.3:4222"], "witness", "central")
    assert PUBLIC[10] not in dict(users(made, witness))


def test_a_second_invitation_of_a_name_ends_the_first():
    """One token a name."""
    made = changes.invite(changes.invite(BASE, INVITED), msgspec.structs.replace(INVITED, id="f" * 16))
    assert [one.id for one in made.joining] == ["f" * 16]


def test_a_replaced_server_has_new_keys_and_may_move():
    """The old machine is locked out."""
    made = checked(
        changes.replace_server(BASE, "central", Hub("central", PUBLIC[11], PUBLIC[12]), ["tls://10.0.0.9:4222"])
    )
    assert made.hub("central").login == PUBLIC[11]
    assert made.servers[0].urls == ["tls://10.0.0.9:4222"]
    assert made.revoked == [PUBLIC[0], PUBLIC[1]]


def test_groups_are_added_and_changed():
    """Members in order of priority."""
    made = checked(changes.add_group(BASE, Group("web", ["alpha"], "fast", "armed")))
    assert made.group("web").profile == "fast"
    made = checked(changes.set_group(BASE, "core", ["alpha", "central"], "wan", ""))
    assert made.group("core") == Group("core", ["alpha", "central"], "wan", "shadow")


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda: changes.add_operator(BASE, msgspec.structs.replace(EVE, name="bob")), Refused, "revoke that one first"),
        (lambda: changes.add_operator(BASE, msgspec.structs.replace(EVE, name="alpha")), Refused, "a hub has this name"),
        (lambda: changes.add_operator(BASE, msgspec.structs.replace(EVE, name="a.b")), Usage, "no name"),
        (lambda: changes.add_operator(BASE, msgspec.structs.replace(EVE, role="root")), Usage, "none of viewer"),
        (lambda: changes.add_operator(BASE, msgspec.structs.replace(EVE, selector="site=south")), Refused, "names no hub"),
        (lambda: changes.add_operator(BASE, msgspec.structs.replace(EVE, selector="gamma")), Refused, "names no hub"),
        (lambda: changes.revoke_operator(BASE, "eve"), NotThere, "known: ada, bob"),
        (lambda: changes.revoke_operator(BASE, "ada"), Refused, "no admin would be left"),
        (lambda: changes.retire_hub(BASE, "central"), Refused, "it runs server central"),
        (lambda: changes.retire_hub(BASE, "gamma"), NotThere, "known: central, alpha"),
        (lambda: changes.label_hub(BASE, "alpha", {"a.b": "x"}), Usage, "no name"),
        (lambda: changes.invite(BASE, msgspec.structs.replace(INVITED, hub="bob")), Refused, "an operator has this name"),
        (lambda: changes.invite(BASE, msgspec.structs.replace(INVITED, hub="*")), Usage, "no name"),
        (lambda: changes.remove_server(BASE, "central"), Refused, "no hub server would be left"),
        (lambda: changes.remove_server(BASE, "edge"), NotThere, "known: central"),
        (lambda: changes.add_server(BASE, BASE.servers[0]), Refused, "server replace"),
        (lambda: changes.add_group(BASE, Group("core", ["alpha"])), Refused, "group set"),
        (lambda: changes.add_group(BASE, Group("web", ["gamma"])), NotThere, "gamma"),
        (lambda: changes.add_group(BASE, Group("web", ["alpha", "alpha"])), Usage, "each member once"),
        (lambda: changes.set_group(BASE, "core", [], "warp", ""), Usage, "profile is one of"),
        (lambda: changes.set_group(BASE, "web", [], "", ""), NotThere, "known: core"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(change, kind, words):
    """Nothing was changed."""
    with pytest.raises(ConsoleError, match=words) as caught:
        change()
    assert type(caught.value) is kind


def test_an_invitation_with_a_key_of_somebody_is_no_roster():
    """One key, one identity."""
    for login in (PUBLIC[0], "U123", ""):
        bad = changes.invite(BASE, msgspec.structs.replace(INVITED, login=login))
        with pytest.raises(RosterRefused, match="no key of its own"):
            parse_roster(encode(bad))


# Which one is in force


def sealed(roster: Roster, key: signing.Signer = FLEET) -> bytes:
    """Signed."""
    return seal(key, signing.ROSTER, encode(roster))


def test_a_newer_roster_is_taken_and_an_older_one_refused():
    """The version never falls."""
    book = RosterBook(FLEET.public, BASE)
    newer = msgspec.structs.replace(BASE, version=8)
    assert book.judge(sealed(newer)) == Taken(newer)
    assert book.in_force == BASE
    book.take(newer, sealed(newer))
    assert book.judge(sealed(newer)) == Known()
    assert book.judge(sealed(BASE)) == NotTaken("version 7 is older than 8, which is in force")
    with pytest.raises(AssertionError):
        book.take(BASE, sealed(BASE))


def test_two_rosters_of_one_version_are_noticed():
    """Two admins published at once."""
    book = RosterBook(FLEET.public, BASE, sealed(BASE))
    other = msgspec.structs.replace(BASE, operators=BASE.operators[:1])
    assert isinstance(book.judge(sealed(other)), NotTaken)
    assert "two rosters of version 7" in book.judge(sealed(other)).why


def test_a_foreign_or_altered_roster_is_refused():
    """Another key, another fleet, an altered byte."""
    book = RosterBook(FLEET.public, BASE)
    newer = msgspec.structs.replace(BASE, version=8)
    other = signer(seed_from(b"g" * 32))
    for raw, words in (
        (sealed(newer, other), "does not verify"),
        (sealed(newer).replace(b'"viewer"', b'"admin" '), "does not verify"),
        (sealed(msgspec.structs.replace(newer, fleet="else")), "fleet else"),
        (b"", "does not verify"),
    ):
        assert words in book.judge(raw).why


# Addresses


def test_addresses_are_parsed_strictly():
    """Host, port, brackets."""
    assert parse_address("central") == ("central", 4222, "")
    assert parse_address("tls://[::1]:14") == ("[::1]", 14, "tls")
    for bad in ("", "a b", "a:0", "a:65536", "[::g]:1", "::1", "http://x", "a:1:2", "a\n", "a/../b"):
        with pytest.raises(AddressRefused):
            parse_address(bad)


def test_plain_text_is_for_loopback_only():
    """URLs and what servers listen on."""
    assert [is_loopback(host) for host in ("127.0.0.9", "localhost", "[::1]", "10.0.0.1", "x.localhost")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert url(parse_address("127.0.0.2:1")) == "nats://127.0.0.2:1"
    assert url(parse_address("10.0.0.1")) == "tls://10.0.0.1:4222"
    assert listen(BASE.servers[0]) == "0.0.0.0:4222"
    assert listen(Server("e", ["tls://[fd00::1]:5"], "hub-server")) == "[::]:5"
    assert listen(Server("e", ["nats://127.0.0.1:5"], "hub-server")) == "127.0.0.1:5"


def test_a_certificate_holds_for_the_names_of_the_roster_only():
    """The hub and its servers' hosts."""
    assert certificate_names(BASE, "central") == ["central", "10.0.0.1"]
    assert certificate_names(BASE, "alpha") == ["alpha"]
