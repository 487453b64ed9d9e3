"""The installed console in a real terminal: a person's journeys, key by key."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from console.preflight import DEAF_SECONDS
from tests.support.demo import headless
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """One demo fleet for all journeys of this file."""
    with headless(tmp_path_factory.mktemp("demo") / "d", "--hubs", "1", "--profile", "normal") as (_, ready):
        yield ready


@contextlib.contextmanager
def console(config: str | Path, *options: str, columns: int = 80, rows: int = 24, **env: str) -> Iterator[Terminal]:
    """`hubdeck -c CONFIG` in a terminal."""
    argv = [sys.executable, "-m", "console", "-c", str(config), *options]
    with Terminal(argv, columns=columns, rows=rows, env={"LANG": "C.UTF-8", **env}) as terminal:
        yield terminal


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40)])
def test_the_first_screen_answers_without_a_key(fleet: dict, columns: int, rows: int) -> None:
    """Every hub, the servers, the group and the key line are there; `q` twice leaves with 0 and a clean terminal."""
    with console(fleet["console_config"], columns=columns, rows=rows) as terminal:
        terminal.sees("4 OK", 60).sees("central ok").sees("edge ok").sees("ARMED").sees("ACTIVE")
        for hub in fleet["agents"]:
            terminal.sees(hub)
        terminal.sees("F failover").press("q").sees("q again").press("q")
        assert terminal.ends() == 0
        assert b"\x1b[?1049l" in terminal.raw
        assert b"\x1b[?25h" in terminal.raw


def test_ctrl_c_leaves_a_clean_terminal_too(fleet: dict) -> None:
    """The alternate screen is left and the cursor is back."""
    with console(fleet["console_config"]) as terminal:
        terminal.sees("ACTIVE").press("ctrl-c")
        terminal.ends()
        assert b"\x1b[?1049l" in terminal.raw


def test_a_restart_goes_through_its_preflight_and_ends_as_done(fleet: dict) -> None:
    """Detail, `R`, the gates with the focus on Cancel, `y`, then a row that says done."""
    with console(fleet["console_config"]) as terminal:
        terminal.sees("ACTIVE").sees("alpha").press("/").type("alpha").press("enter", "enter").sees("HUB alpha").sees(
            "web"
        )
        terminal.press("R").sees("RESTART").sees("pass").sees("Cancel")
        time.sleep(DEAF_SECONDS)  # by design keys so soon after the opening are not heard
        terminal.press("y").sees("done")
        terminal.press("esc").press("q").press("q").press("q")


def test_a_failover_wants_the_name_typed_and_a_failed_gate_keeps_it_off(fleet: dict) -> None:
    """Enter on Cancel leaves, and nothing has moved."""
    with console(fleet["console_config"]) as terminal:
        terminal.sees("central ACTIVE").sees("standby").press("F").sees("FAILOVER").sees("to confirm, type core")
        terminal.press("esc").sees("FLEET")


def test_read_only_binds_no_key_that_changes_anything(fleet: dict, tmp_path: Path) -> None:
    """The first screen says read-only, and `F` explains how to unlock instead of opening a preflight."""
    settings = yaml.safe_load(Path(fleet["console_config"]).read_text())
    config = tmp_path / "console.yaml"
    config.write_text(yaml.safe_dump({**settings, "read_only": True}))
    with console(config) as terminal:
        terminal.sees("read-only").press("F").sees("unlock")
        assert "FAILOVER" not in terminal.text()


def test_it_paints_before_any_server_answers(fleet: dict, tmp_path: Path) -> None:
    """With nobody on the port the screen says connecting, and stays alive."""
    settings = yaml.safe_load(Path(fleet["console_config"]).read_text())
    settings["servers"] = [{"name": "central", "urls": ["nats://127.0.0.1:9"]}]
    config = tmp_path / "console.yaml"
    config.write_text(yaml.safe_dump(settings))
    with console(config) as terminal:
        terminal.sees("FLEET").sees("central").press("?").sees("HELP")


def test_a_frozen_server_is_one_line_and_both_lines_recover(fleet: dict) -> None:
    """edge DOWN names how many hubs buffer; after the thaw it is ok again."""
    pid = fleet["servers"]["edge"]["pid"]
    with console(fleet["console_config"]) as terminal:
        terminal.sees("edge ok")
        os.kill(pid, signal.SIGSTOP)
        try:
            terminal.sees("edge DOWN").sees("hubs buffer")
        finally:
            os.kill(pid, signal.SIGCONT)
        terminal.sees("edge ok", 30)


def test_a_tiny_window_and_back_again(fleet: dict) -> None:
    """40x10 neither crashes nor garbles; back at 80x24 everything is there."""
    with console(fleet["console_config"]) as terminal:
        terminal.sees("4 hubs").sees("ACTIVE").resize(40, 10).sees("alpha").resize(80, 24).sees("F failover").sees(
            "ACTIVE"
        )


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "xterm", "COLORTERM": ""}])
def test_few_colours_or_none_still_show_words_and_symbols(fleet: dict, env: dict[str, str]) -> None:
    """States are read without colour."""
    with console(fleet["console_config"], **env) as terminal:
        terminal.sees("OK").sees("ACTIVE")
        if "NO_COLOR" in env:
            assert b"[38;2;" not in terminal.raw


def test_a_dumb_terminal_is_refused_with_the_way_that_works(fleet: dict) -> None:
    """Exit status 2 and a hint to --plain."""
    with console(fleet["console_config"], TERM="dumb") as terminal:
        terminal.sees("--plain")
        assert terminal.ends() == 2
