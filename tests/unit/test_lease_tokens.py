"""The token file: on disk when a call returns, never lower, and refused when damaged."""

import pytest

from hubagent.edges.tokens import KeptToken, Tokens, TokensRefused


def test_what_was_kept_is_there_for_the_next_process(tmp_path):
    """Both counters, each group apart."""
    tokens = Tokens(tmp_path / "tokens.json")
    tokens.keep_epoch("core", 4, 0.6)
    tokens.remember("core", 3, "b", 0.6)
    tokens.remember("other", 9, "c", 1.6)
    assert Tokens(tmp_path / "tokens.json").load("core") == KeptToken(4, 3, "b", 0.6)


def test_neither_counter_falls(tmp_path):
    """A lower token is not remembered; equal epochs are ordered by holder."""
    tokens = Tokens(tmp_path / "tokens.json")
    tokens.keep_epoch("core", 4, 0.6)
    tokens.keep_epoch("core", 2, 0.6)
    for token in ((3, "b"), (3, "a"), (2, "z")):
        tokens.remember("core", *token, 0.6)
    assert tokens.load("core") == KeptToken(4, 3, "b", 0.6)


@pytest.mark.parametrize("content", [b"", b"{", b'{"v": 1, "groups": {"core": {"epoch": "x"}}}', b'{"v": 1}'])
def test_a_damaged_file_is_refused_and_says_what_to_do(tmp_path, content):
    """Safety before availability."""
    path = tmp_path / "tokens.json"
    path.write_bytes(content)
    with pytest.raises(TokensRefused, match="refuses to act"):
        Tokens(path).load("core")
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_written_is_an_error_not_a_lost_token(tmp_path):
    """The memory keeps what the disk has."""
    tokens = Tokens(tmp_path / "gone" / "tokens.json")
    with pytest.raises(TokensRefused):
        tokens.keep_epoch("core", 4, 0.6)
    assert tokens.load("core") == KeptToken()
