"""The first start of a hub: keys and config are made once, checked in words, and never written over."""

from pathlib import Path

import pytest

from hubagent.__main__ import main
from hubagent.wire.signing import parse_keys


def test_init_makes_keys_and_config_and_says_what_is_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two different keys, private, and a config that names the servers."""
    config, state = tmp_path / "etc" / "hubagent.yaml", tmp_path / "state"
    words = ["init", "-c", str(config), "--hub", "alpha", "--state-dir", str(state), "--server", "central=tls://c:4222"]
    assert main(words) == 0
    keys = parse_keys((state / "hub.key").read_text())
    said = capsys.readouterr().out
    assert keys.login_public in said
    assert keys.signer.public in said
    assert keys.login_seed not in said
    assert (state / "hub.key").stat().st_mode & 0o077 == 0
    assert "tls://c:4222" in config.read_text()
    assert "next:" in said


def test_init_again_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys and config are kept, byte for byte."""
    config, state = tmp_path / "hubagent.yaml", tmp_path / "state"
    words = ["init", "-c", str(config), "--hub", "alpha", "--state-dir", str(state)]
    main(words)
    before = (config.read_bytes(), (state / "hub.key").read_bytes())
    assert main(words) == 0
    assert (config.read_bytes(), (state / "hub.key").read_bytes()) == before
    assert "kept" in capsys.readouterr().out


@pytest.mark.parametrize("hub", ["a.b", "*", "", "A", "a\r\nb", "ä"])
def test_init_refuses_a_name_that_could_not_be_a_subject(hub: str, tmp_path: Path) -> None:
    """Exit status 2, and no file is made."""
    assert main(["init", "-c", str(tmp_path / "c"), "--hub", hub, "--state-dir", str(tmp_path / "s")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_check_names_every_file_that_is_missing_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1; a file, what is wrong, and the next step for each."""
    config = tmp_path / "hubagent.yaml"
    main(["init", "-c", str(config), "--hub", "alpha", "--state-dir", str(tmp_path / "state")])
    assert main(["check", "-c", str(config)]) == 1
    said = capsys.readouterr().err
    assert "fleet.pub" in said
    (tmp_path / "state" / "hub.key").chmod(0o644)
    assert main(["check", "-c", str(config)]) == 1
    assert "chmod 600" in capsys.readouterr().err


def test_a_config_that_is_wrong_is_usage_and_names_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2 with file, line, key path, expected and found."""
    config = tmp_path / "hubagent.yaml"
    config.write_text("hub: {id: alpha, state_dir: /x}\ndestinations:\n  - {name: c, urls: [5]}\n")
    for command in ("run", "check", "status"):
        assert main([command, "-c", str(config)]) == 2
        assert f"{config}:3: destinations[0].urls[0]: expected" in capsys.readouterr().err
