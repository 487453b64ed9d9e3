"""Signatures: of one domain, one subject, one payload, one key."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubagent.wire import signing
from hubagent.wire.chunk import Chunk, open_chunk, sign_chunk
from hubagent.wire.codec import encode
from hubagent.wire.signing import (
    KeyRefused,
    is_public_key,
    open_sealed,
    parse_keys,
    public_of,
    seal,
    seed_from,
    signer,
    verify,
)

DOMAINS = [signing.CHUNK, signing.COMMAND, signing.REPLY, signing.LEASE, signing.PEER, signing.ROSTER, signing.MANIFEST]
SEED, OTHER = seed_from(bytes(32)), seed_from(bytes(range(32)))
KEY = signer(SEED)


def test_a_signature_verifies_for_its_own_domain_subject_payload_and_key_only():
    """Anything else is False, each by itself."""
    signature = KEY.sign(signing.COMMAND, "cmd.alpha", b"payload")
    assert verify(KEY.public, signing.COMMAND, "cmd.alpha", b"payload", signature)
    assert not verify(KEY.public, signing.COMMAND, "cmd.beta", b"payload", signature)
    assert not verify(KEY.public, signing.COMMAND, "cmd.alpha", b"payloae", signature)
    assert not verify(signer(OTHER).public, signing.COMMAND, "cmd.alpha", b"payload", signature)
    others = [domain for domain in DOMAINS if domain != signing.COMMAND]
    assert not any(verify(KEY.public, domain, "cmd.alpha", b"payload", signature) for domain in others)
    assert len(set(DOMAINS)) == len(DOMAINS)


@given(st.text(max_size=100), st.text(max_size=60), st.text(max_size=20), st.binary(max_size=50))
@settings(deadline=None)
def test_any_signature_and_key_text_is_false_and_never_an_exception(signature, public, subject, payload):
    """Headers and rosters come from the wire."""
    assert verify(KEY.public, signing.CHUNK, subject, payload, signature) is False
    assert verify(public, signing.CHUNK, subject, payload, KEY.sign(signing.CHUNK, "x", payload)) is False
    assert is_public_key(public) is False


@pytest.mark.parametrize("signature", [None, "", "A" * 88, "\r\n", "=" * 88])
def test_a_missing_or_empty_signature_is_false(signature):
    """Unsigned is never valid."""
    assert not verify(KEY.public, signing.CHUNK, "s", b"p", signature)


@given(st.binary(min_size=1, max_size=60), st.integers(0, 59), st.integers(1, 255))
@settings(deadline=None)
def test_one_altered_byte_of_a_sealed_document_is_refused(body, place, change):
    """In the body or in the signature."""
    sealed = seal(KEY, signing.ROSTER, body)
    assert open_sealed(KEY.public, signing.ROSTER, sealed) == body
    at = (place + 89) % len(sealed)
    altered = sealed[:at] + bytes([sealed[at] ^ change]) + sealed[at + 1 :]
    if altered.partition(b"\n")[2] != body or at < 80:
        with pytest.raises(KeyRefused):
            open_sealed(KEY.public, signing.ROSTER, altered)


@given(st.text(max_size=80))
def test_any_text_is_no_seed(text):
    """KeyRefused, and never another exception."""
    with pytest.raises(KeyRefused):
        public_of(text)
    with pytest.raises(KeyRefused):
        parse_keys(text)


def test_only_user_seeds_are_keys():
    """An account's seed signs nothing here."""
    import nkeys

    account = bytes(nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_ACCOUNT)).decode()
    with pytest.raises(KeyRefused, match="begins with SU"):
        signer(account)
    assert not is_public_key(bytes(nkeys.from_seed(bytearray(account.encode())).public_key).decode())


def test_a_key_file_has_two_different_keys():
    """X18: A signing key that logs in could be made to sign a server's nonce."""
    keys = parse_keys(f"{SEED}\n{OTHER}\n")
    assert (keys.login_public, keys.signer.public) == (public_of(SEED), public_of(OTHER))
    with pytest.raises(KeyRefused, match="equal"):
        parse_keys(f"{SEED}\n{SEED}\n")
    with pytest.raises(KeyRefused, match="two lines"):
        parse_keys(SEED)


def test_keys_are_not_shown():
    """X14: Neither in a repr nor in an error."""
    keys = parse_keys(f"{SEED}\n{OTHER}\n")
    assert SEED not in repr(keys)
    assert OTHER not in repr(keys)
    assert "SigningKey" not in repr(keys.signer)
    with pytest.raises(KeyRefused) as caught:
        parse_keys(f"{SEED}\n{SEED}\n")
    assert SEED not in str(caught.value)


def test_a_foreign_chunk_is_none():
    """Unsigned, of another subject, altered, or signed and no chunk (fault X17)."""
    payload = encode(Chunk(1, "a", 1, "evt", 1, signing.ZERO_HASH, "b", 0.0, 0.0, 0))
    signature = sign_chunk(KEY, "ops.evt.a", payload)
    assert open_chunk(KEY.public, "ops.evt.a", payload, signature).n == 1
    assert open_chunk(KEY.public, "ops.evt.b", payload, signature) is None
    assert open_chunk(KEY.public, "ops.evt.a", payload, None) is None
    assert open_chunk(KEY.public, "ops.evt.a", payload + b" ", signature) is None
    assert open_chunk(KEY.public, "ops.evt.a", b"{}", sign_chunk(KEY, "ops.evt.a", b"{}")) is None
