"""The first day's machines: namespaces where they can be made, else loopback addresses, and a word why."""

import os
from pathlib import Path

import pytest

from tests.support import netns
from tests.support.first_day import FirstDay
from tests.support.sites import OnLoopback, on_loopback, sites

NEEDED = ("ip", "unshare", "nsenter", "pivot_root", "setpriv", "useradd")
ROOT_ONLY = "only root can make namespaces"


def tools(folder: Path, *names: str) -> Path:
    """A PATH with these programs; each of them fails."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text("#!/bin/sh\necho not permitted here >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("missing", NEEDED)
def test_a_missing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str):
    """Before anything is started."""
    names = NEEDED[: NEEDED.index(missing)]
    monkeypatch.setenv("PATH", str(tools(tmp_path / "bin", *names)))
    words = f"{missing} is not installed" if os.geteuid() == 0 else ROOT_ONLY
    assert netns.why_not(tmp_path / "probe").startswith(words)
    assert not (tmp_path / "probe").exists()


def test_tools_that_may_not_do_it_are_found_out_by_trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As in a container without rights: the reason is said, and nothing is left running."""
    monkeypatch.setenv("PATH", str(tools(tmp_path / "bin", *NEEDED)))
    why = netns.why_not(tmp_path / "probe")
    assert why.startswith(("namespaces cannot be made here", "no Python from 3.11", ROOT_ONLY))
    if why.startswith("namespaces"):
        assert "not permitted here" in why


def test_without_namespaces_every_machine_is_a_loopback_address_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Same names, one port, different addresses; the wheel is installed once, for all of them."""
    monkeypatch.setenv("PATH", str(tools(tmp_path / "bin")))
    installed: list[tuple[Path, Path]] = []

    def put(wheel: Path, folder: Path) -> Path:
        installed.append((wheel, folder))
        return folder / "bin"

    with sites(tmp_path / "lab", Path("one.whl"), "central", "edge", put=put) as (found, why):
        assert why
        assert list(found) == ["desk", "central", "edge"]
        assert {type(one) for one in found.values()} == {OnLoopback}
        hosts, ports = zip(*(one.place.split(":") for one in found.values()), strict=True)
        assert len(set(hosts)) == 3
        assert all(host.startswith("127.") for host in hosts)
        assert len(set(ports)) == 1
        assert {one.program for one in found.values()} == {str(tmp_path / "lab/venv/bin")}
    assert installed == [(Path("one.whl"), tmp_path / "lab/venv")]


def test_on_loopback_the_fleet_is_asked_for_tls(tmp_path: Path):
    """There it would be founded in plain text otherwise, and the day would not try what it is about."""
    seen = tmp_path / "words"
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/hubdeck"
    program.write_text(f'#!/bin/sh\necho "$@" >> {seen}\n')
    program.chmod(0o755)
    with on_loopback(tmp_path / "lab", program.parent, "central", "edge", "witness") as found:
        FirstDay(found).found()
    words = seen.read_text().split()
    assert words[:2] == ["fleet", "new"]
    assert "--tls" in words


def test_a_machine_on_loopback_leaves_nothing_running(tmp_path: Path):
    """Its agent is ended with it, whatever the test did."""
    (tmp_path / "bin").mkdir()
    agent = tmp_path / "bin/hubagent"
    agent.write_text('#!/bin/sh\n[ "$1" = run ] || exit 0\nexec sleep 600\n')
    agent.chmod(0o755)
    with on_loopback(tmp_path / "lab", agent.parent, "alpha") as found:
        alpha = found["alpha"]
        (config := alpha.file("/etc/hubdeck/hubagent.yaml")).parent.mkdir(parents=True)
        config.write_text("{}")
        alpha.install()
        pid = alpha.agent_pid
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
