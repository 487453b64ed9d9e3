"""Tokens, and the admin's desk: once, for one name, for ten minutes, whole; anything else is refused in words."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.trust.desk import Desk
from hubagent.wire import certificates, signing, subjects
from hubagent.wire.codec import encode
from hubagent.wire.enrolment import (
    GRANTED,
    REFUSED,
    WAIT,
    EnrolRequest,
    Token,
    TokenRefused,
    keys_fingerprint,
    open_token,
    seal_token,
)
from hubagent.wire.roster import Invitation, Server
from hubagent.wire.signing import public_of, seed_from, signer

NOW = 1_800_000_000.0
FLEET = signer(seed_from(b"f" * 32))
CA = certificates.new_root("acme", NOW).certificate.decode()
TOKEN = Token(
    1, "acme", "alpha", "0123456789abcdef", seed_from(b"o" * 32), FLEET.public, NOW + 600,
    [Server("central", ["tls://10.0.0.1:4222"], "hub-server", "central")], CA,
)  # fmt: skip
LINE = seal_token(FLEET, TOKEN)


def test_a_token_is_one_line_and_opens_as_it_was_sealed():
    """Even where a terminal wrapped it."""
    assert "\n" not in LINE
    assert open_token(LINE, NOW) == TOKEN
    assert open_token(LINE[:40] + "\n  " + LINE[40:] + "\n", NOW) == TOKEN


def test_a_token_is_over_after_ten_minutes():
    """In words."""
    with pytest.raises(TokenRefused, match="expired 2 min ago"):
        open_token(LINE, NOW + 720)


@pytest.mark.parametrize("line", ["", " ", "x", LINE[:-7], LINE[:200], LINE + "AAAA", "A" * 20_000, "löffel", "a b/+="])
def test_what_is_no_token_is_refused(line):
    """And what to do."""
    with pytest.raises(TokenRefused, match="have the admin run `hubdeck invite` again"):
        open_token(line, NOW)


@given(st.data())
def test_an_altered_token_is_refused(data):
    """Whichever character it is."""
    place = data.draw(st.integers(0, len(LINE) - 2))  # the last one's low bits carry nothing
    letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
    altered = LINE[:place] + letter + LINE[place + 1 :]
    if altered != LINE:
        with pytest.raises(TokenRefused):
            open_token(altered, NOW)


@given(st.text(max_size=200))
def test_any_text_is_refused_in_one_way(text):
    """One error and no other."""
    with pytest.raises(TokenRefused):
        open_token(text, NOW)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"v": 2}, "version 2"),
        ({"hub": "a.b"}, "no hub"),
        ({"hub": ">"}, "no hub"),
        ({"id": "*"}, "no hub"),
        ({"servers": []}, "no server"),
        ({"ca": "nothing"}, "no certificate"),
        ({"fleet_key": "U123"}, "no fleet key"),
        ({"fleet_key": public_of(seed_from(b"x" * 32))}, "altered"),
    ],
)
def test_a_token_that_says_something_odd_is_refused(changed, words):
    """Names and keys are checked before they are used (X5)."""
    with pytest.raises(TokenRefused, match=words):
        open_token(seal_token(FLEET, msgspec.structs.replace(TOKEN, **changed)), NOW)


def test_a_tokens_repr_shows_no_seed():
    """X14: no secret in what a person or a log sees."""
    assert TOKEN.seed not in repr(TOKEN)
    assert TOKEN.seed not in f"{TokenRefused('x')}"


# The desk

INVITATION = Invitation("0123456789abcdef", "alpha", public_of(TOKEN.seed), NOW + 600)


def keys(letter: str) -> tuple[str, signing.Signer]:
    """A login and a signer."""
    return public_of(seed_from(letter.encode() * 32)), signer(seed_from(letter.upper().encode() * 32))


def asking(letter: str = "k", by: str = "", **changed) -> tuple[bytes, str]:
    """A request and its signature."""
    login, key = keys(letter)
    request = EnrolRequest(1, INVITATION.id, "alpha", login, key.public, "csr", "box")
    payload = encode(msgspec.structs.replace(request, **changed))
    return payload, keys(by or letter)[1].sign(signing.ENROLMENT, subjects.enrol("alpha"), payload)


def test_the_first_machine_that_asks_is_the_one():
    """Asked again it hears the same; another machine hears that the token was used."""
    desk = Desk(INVITATION)
    assert desk.judge(*asking()).state == WAIT
    assert desk.asked.is_set()
    assert desk.judge(*asking()).state == WAIT
    other = desk.judge(*asking("z"))
    assert (other.state, desk.request.login) == (REFUSED, keys("k")[0])
    assert keys_fingerprint(keys("k")[0], keys("k")[1].public) in other.why


def test_the_machine_is_told_what_the_admin_decided():
    """Granted, then done; or refused."""
    desk = Desk(INVITATION)
    desk.judge(*asking(done=True))
    assert not desk.done.is_set()
    desk.grant(b"roster", "pem")
    answer = desk.judge(*asking())
    assert (answer.state, answer.roster, answer.certificate) == (GRANTED, b"roster", "pem")
    desk.judge(*asking(done=True))
    assert desk.done.is_set()
    refusing = Desk(INVITATION)
    refusing.judge(*asking())
    refusing.refuse("no")
    assert (refusing.judge(*asking()).state, refusing.judge(*asking()).why) == (REFUSED, "no")


def test_what_is_not_signed_by_its_own_key_is_not_answered():
    """Fault X1: unsigned, another key, an altered byte, other bytes."""
    desk = Desk(INVITATION)
    payload, signature = asking()
    for pair in (
        (payload, None), (payload, ""), asking(by="z"), (payload.replace(b"box", b"fox"), signature), (b"{}", signature),
        (b"", signature), (b"[" * 1000, signature),
    ):  # fmt: skip
        assert desk.judge(*pair) is None
    assert desk.request is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"id": "fedcba9876543210"}, "another invitation"),
        ({"hub": "beta"}, "another invitation"),
        ({"login": "U123"}, "two keys"),
        ({"login": keys("k")[1].public}, "two keys"),
        ({"login": keys("r")[0]}, "revoked"),
        ({"login": INVITATION.login}, "revoked"),
    ],
)
def test_a_request_that_cannot_be_granted_does_not_use_the_token(changed, words):
    """The next one may."""
    desk = Desk(INVITATION, frozenset({keys("r")[0]}))
    answer = desk.judge(*asking(**changed))
    assert answer.state == REFUSED
    assert words in answer.why
    assert desk.judge(*asking()).state == WAIT


def test_a_request_cannot_be_used_as_another_signed_thing():
    """X18: Domains and subjects part them."""
    payload, signature = asking()
    public = keys("k")[1].public
    assert signing.verify(public, signing.ENROLMENT, "enroll.alpha", payload, signature)
    assert not signing.verify(public, signing.COMMAND, "enroll.alpha", payload, signature)
    assert not signing.verify(public, signing.ENROLMENT, "enroll.beta", payload, signature)


def test_the_token_is_long_enough_to_guess_nothing_and_short_enough_for_a_line():
    """About 1.5 kB."""
    assert len(LINE) < 2000
    assert base64.urlsafe_b64decode(LINE + "=" * (-len(LINE) % 4)).count(b"\n") >= 1
