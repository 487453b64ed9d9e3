"""The console's config: a good one is taken, a bad one is refused with file, line, key path, expected and found."""

import re
from pathlib import Path

import pytest

from console.config import default_path, load
from console.errors import USAGE, ConfigError

GOOD = """identity: ana
key_file: ana.key
fleet_key_file: fleet.pub
servers:
  - name: central
    urls: ["nats://127.0.0.1:4222"]
"""


def write(folder: Path, text: str) -> Path:
    """A config file."""
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_a_minimal_config_is_read_only_and_its_paths_count_from_its_directory(tmp_path):
    """Relative paths work from wherever the console is started."""
    settings = load(write(tmp_path, GOOD))
    assert settings.read_only
    assert Path(settings.key_file) == tmp_path / "ana.key"
    assert settings.roster_file == ""


@pytest.mark.parametrize(
    ("change", "line", "key", "found"),
    [
        ("thme: dark\n", 7, "thme", "an unknown one"),
        ("    url: x\n", 7, "servers[0].url", "an unknown one"),
        ("read_only: perhaps\n", 7, "read_only", "'perhaps'"),
        ("timeout_s: 0\n", 7, "timeout_s", "0"),
        ("identity: bob\n", 7, "identity", "it a second time"),
        ("fleet_key: UABC\n", 7, "fleet_key", "both"),
        ('  - {name: central, urls: ["tls://x:4222"]}\n', 7, "servers[1].name", "central"),
        ('  - {name: edge, urls: ["nats://10.0.0.1:4222"]}\n', 7, "servers[1].urls[0]", "'nats://10.0.0.1:4222'"),
        ("  - {name: edge, urls: []}\n", 7, "servers[1].urls", "[]"),
        ('  - {name: EDGE, urls: ["tls://x"]}\n', 7, "servers[1].name", "'EDGE'"),
        ("keys: [\n", 8, "file", "expected the node content"),
    ],
)
def test_a_bad_line_is_named(tmp_path, change, line, key, found):
    """The error says where, what was expected, and what was found."""
    path = write(tmp_path, GOOD + change)
    with pytest.raises(ConfigError) as raised:
        load(path)
    error = raised.value
    assert (error.file, error.line, error.key) == (str(path), line, key)
    assert found in error.found
    assert re.fullmatch(rf"{re.escape(str(path))}:{line}: \S+: expected .+, found .+", str(error))
    assert error.exit_status == USAGE


@pytest.mark.parametrize("text", ["", "- a\n", "identity: ana\n", "\x00", "a: &a [*a, *a]\n"])
def test_what_is_no_config_at_all_is_refused(tmp_path, text):
    """Never another exception."""
    with pytest.raises(ConfigError):
        load(write(tmp_path, text))


def test_a_missing_file_says_what_to_do(tmp_path):
    """The first run of a person who has no config yet."""
    with pytest.raises(ConfigError, match="-c FILE"):
        load(tmp_path / "none.yaml")


def test_the_default_path_follows_xdg():
    """$XDG_CONFIG_HOME, else ~/.config."""
    assert default_path({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == Path("/x/hubdeck/config.yaml")
    assert default_path({"HOME": "/h"}) == Path("/h/.config/hubdeck/config.yaml")
