"""The command line without a network: what is refused, in one line, and what is not imported."""

import subprocess
import sys

import pytest

from console import cli
from console.__main__ import main
from console.commands.moments import since
from console.commands.output import safe, write_table
from console.errors import Usage


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """`hubdeck` in a process of its own, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "console", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


def test_help_imports_neither_textual_nor_nats_nor_rich():
    """Help is quick because it does not load what it does not use."""
    code = (
        "import sys; from console import cli; cli.parser().format_help(); "
        "print(sorted(set(sys.modules) & {'textual', 'nats', 'rich', 'yaml', 'nacl', 'msgspec', 'asyncio'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("stauts",), "invalid choice"),
        (("restart",), "required: SERVICE@HUB"),
        (("restart", "web", "--yes"), "a target is SERVICE@HUB"),
        (("restart", "web@AL\x1b[31mPHA", "--yes"), "a target is SERVICE@HUB"),
        (("rollback", "web@alpha", "--to", "../etc", "--yes"), "--to is a release version"),
        (("restart", "web@alpha"), "add --yes"),
        (("stop", "web@alpha", "--yes", "--force", "running"), "--force needs --reason"),
        (("logs", "web@alpha", "--lines", "9999"), "--lines"),
        (("drill", "core", "--schedule", "at night", "--yes"), "'daily HH:MM' or '<weekday> HH:MM', in UTC"),
        (("records", "alpha", "--lane", "log"), "invalid choice"),
        ((), "needs a terminal"),
        (("status", "-c", "/no/such/file"), "no such file"),
        (("demo", "--hubs", "0"), "--hubs"),
    ],
)
def test_a_usage_error_is_one_clean_line_and_exit_2(words, says, tmp_path):
    """What, and what to do; never a traceback, never a control character."""
    config = tmp_path / "console.yaml"
    config.write_text(
        'identity: ana\nkey_file: k\nfleet_key: U\nservers: [{name: central, urls: ["nats://127.0.0.1:1"]}]\n'
    )
    done = run(*(("-c", str(config)) if words[:1] != ("demo",) else ()), *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    if words[:1] != ("demo",):
        assert done.stderr.count("\n") == 1
    assert all(one.isprintable() for one in done.stderr.rstrip("\n").replace("\n", ""))


def test_an_unknown_key_file_is_named(tmp_path):
    """The first thing that goes wrong at a new console."""
    config = tmp_path / "console.yaml"
    config.write_text(
        'identity: ana\nkey_file: none.key\nfleet_key: U\nservers: [{name: central, urls: ["nats://127.0.0.1:1"]}]\n'
    )
    done = run("status", "-c", str(config))
    assert done.returncode == 2
    assert "none.key: key_file: expected a readable key file" in done.stderr


def test_the_config_may_stand_before_or_after_the_command():
    """Both are typed."""
    for words in (["-c", "x", "status"], ["status", "-c", "x"]):
        assert cli.parser().parse_args(words).config == "x"
    assert cli.parser().parse_args(["status"]).config is None


def test_version_is_printed(capsys):
    """One line."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("hubdeck ")


def test_an_internal_error_is_one_line(capsys, monkeypatch):
    """A person gets a sentence; who debugs sets a variable."""

    def broken(argv):
        raise ValueError("a\nb\x1b[31m")

    monkeypatch.setattr(cli, "main", broken)
    assert main([]) == 1
    said = capsys.readouterr().err
    assert said.startswith("hubdeck: internal error: ValueError")
    assert said.count("\n") == 1
    monkeypatch.setenv("HUBDECK_TRACEBACK", "1")
    with pytest.raises(ValueError, match="a"):
        main([])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 910.0), ("15m", 100.0), ("1970-01-01T00:01:00", 60.0), ("1970-01-01T01:00:00+01:00", 0.0)],
)
def test_since_takes_spans_and_moments(text, seconds):
    """Times without a zone are UTC."""
    assert since(text, 1000.0) == seconds


@pytest.mark.parametrize("text", ["", "1w", "-1h", "yesterday", "1h\x1b[31m"])
def test_since_refuses_the_rest(text):
    """And says what it takes."""
    with pytest.raises(Usage, match="--since"):
        since(text, 1000.0)


def test_tables_are_clean_in_both_forms(capsys):
    """A cell is made harmless at the last step; plain is ASCII with tabs."""
    rows = [("\x1b[31mred", 5), (None, "ü\tx")]
    write_table(("A", "N"), rows, is_plain=False, right="N")
    write_table(("A", "N"), rows, is_plain=True)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.splitlines()[-2:] == ["?red\t5", "-\t? x"]
    assert safe("x" * 500, 10) == "xxxxxxxxx…"
