"""Install and uninstall on a directory that stands for a machine, and the processes of a real one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hubagent import install
from hubagent.edges.steps import EndAgent, EndGuard, Remove, StepFailed, Systemctl
from hubagent.edges.system import System, is_removable
from hubagent.errors import NotAllowed
from hubagent.install import UNIT_PATH, Wanted
from tests.support.demo import processes, wait

pytestmark = pytest.mark.real

CONFIG = "/etc/hubdeck/hubagent.yaml"
TEXT = """
hub: {id: alpha, state_dir: /var/lib/hubdeck}
destinations: [{name: central, urls: ["tls://central:4222"]}]
services: [{name: web, unit: nginx.service}]
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A directory with the few files that a machine's user list needs, and a config that somebody brought."""
    root = tmp_path / "machine"
    (root / "etc/hubdeck").mkdir(parents=True)
    (root / "run/systemd/system").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    for name in ("shadow", "gshadow"):
        (root / "etc" / name).write_text("root:*::\n" if name == "gshadow" else "root:*:19000::::::\n")
    (root / CONFIG.lstrip("/")).write_text(TEXT)
    return root


def hubagent(machine: Path, *words: str, status: int = 0) -> str:
    """One `hubagent` command on the machine in the directory."""
    command = [sys.executable, "-m", "hubagent", *words, "--prefix", str(machine)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def files(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Every file with mode, owner and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (facts.st_mode, facts.st_uid, facts.st_gid, content)
    return found


def test_a_dry_run_says_every_step_and_changes_nothing(machine: Path):
    """What would be done is what is then done."""
    before = files(machine)
    said = hubagent(machine, "install", "--dry-run")
    assert files(machine) == before
    done = hubagent(machine, "install")
    assert [line.removeprefix("would ") for line in said.splitlines()] == done.splitlines()
    assert "would add the system user hubdeck" in said


def test_an_installation_has_user_directories_unit_and_link_and_a_second_run_does_nothing(machine: Path):
    """Idempotent, with the right owners and modes."""
    hubagent(machine, "install")
    uid, gid = System(machine).user("hubdeck")
    state, config = (machine / "var/lib/hubdeck").stat(), (machine / CONFIG.lstrip("/")).stat()
    assert (state.st_mode & 0o7777, state.st_uid, state.st_gid) == (0o750, uid, gid)
    assert (config.st_mode & 0o7777, config.st_uid, config.st_gid) == (0o640, 0, gid)
    assert (machine / "etc/systemd/system/multi-user.target.wants/hubagent.service").is_symlink()
    assert "nginx.service" in (machine / "etc/polkit-1/rules.d/50-hubagent.rules").read_text()
    before = files(machine)
    assert "nothing to do" in hubagent(machine, "install")
    assert files(machine) == before


def test_a_config_in_the_state_directory_can_be_installed_too(machine: Path):
    """As the folder that `hubdeck fleet new` makes for a hub with a server: everything in one place."""
    folder = machine / "var/lib/hubdeck"
    folder.mkdir(parents=True)
    (folder / "hubagent.yaml").write_text(TEXT.replace("/var/lib/hubdeck", "."))
    shutil.rmtree(machine / "etc/hubdeck")
    words = ("install",)  # without a config in /etc, the one of the folder is meant
    hubagent(machine, *words)
    uid, gid = System(machine).user("hubdeck")
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (uid, 0o750)
    assert ((folder / "hubagent.yaml").stat().st_uid, (folder / "hubagent.yaml").stat().st_gid) == (0, gid)
    assert "nothing to do" in hubagent(machine, *words)
    hubagent(machine, "uninstall", "--purge")  # the unit says where its config is
    assert not folder.exists()


def test_keys_that_root_made_are_given_to_the_user(machine: Path):
    """A hub that joined as root must be able to read its own keys; links are changed, not followed."""
    state = machine / "var/lib/hubdeck"
    state.mkdir(parents=True)
    (state / "hub.key").write_text("secret")
    (state / "hub.key").chmod(0o600)
    outside = machine / "outside"
    outside.write_text("not ours")
    (state / "link").symlink_to(outside)
    hubagent(machine, "install")
    uid, _ = System(machine).user("hubdeck")
    assert (state / "hub.key").stat().st_uid == uid
    assert outside.stat().st_uid == os.geteuid()


def test_uninstall_keeps_the_records_and_purge_leaves_nothing(machine: Path):
    """Without --purge what cannot be made again stays; with it the machine is as it was, but for the config."""
    before = files(machine)
    hubagent(machine, "install")
    said = hubagent(machine, "uninstall")
    assert "kept: /var/lib/hubdeck" in said
    assert not (machine / UNIT_PATH.lstrip("/")).exists()
    assert (machine / "var/lib/hubdeck").is_dir()
    (machine / CONFIG.lstrip("/")).unlink()  # it works from what the installation wrote down
    hubagent(machine, "uninstall", "--purge")
    after = files(machine)
    assert System(machine).user("hubdeck") is None
    left = {path for path in set(after) - set(before) if not path.startswith("etc/") or "hub" in path}
    assert not {path for path in left if (machine / path).is_file() or "hubdeck" in path}
    assert not (machine / "etc/hubdeck").exists()
    assert "nothing to do" in hubagent(machine, "uninstall", "--purge")


def test_a_user_that_was_there_before_stays(machine: Path):
    """Only what the installation brought is taken away."""
    with (machine / "etc/passwd").open("a") as file:
        file.write("ops:x:700:700::/home/ops:/bin/sh\n")
    with (machine / "etc/group").open("a") as file:
        file.write("ops:x:700:\n")
    hubagent(machine, "install", "--user", "ops")
    hubagent(machine, "uninstall", "--purge")
    assert System(machine).user("ops") == (700, 700)


def test_without_systemd_it_says_what_to_run(machine: Path):
    """No unit is written where nothing would read it."""
    (machine / "run/systemd/system").rmdir()
    said = hubagent(machine, "install")
    assert re.search(r"run: setpriv --reuid hubdeck .* run -c /etc/hubdeck/hubagent.yaml", said)
    assert not (machine / UNIT_PATH.lstrip("/")).exists()


def test_a_config_that_names_a_system_directory_is_never_purged(machine: Path):
    """`state_dir: /var/lib` is a slip of the pen; nothing at all is removed then."""
    (machine / CONFIG.lstrip("/")).write_text(TEXT.replace("/var/lib/hubdeck", "/var/lib"))
    (machine / "var/lib/other").mkdir(parents=True)
    assert "no directory of hubdeck's own" in hubagent(machine, "uninstall", "--purge", status=1)
    assert (machine / "var/lib/other").is_dir()


@pytest.mark.parametrize("path", ["/", "/var/lib", "//etc/", "/var/../etc", "etc/x", "/usr/local", ""])
def test_directories_of_the_system_are_not_removable(path: str):
    """Whatever a config or a note says."""
    assert not is_removable(path)
    with pytest.raises(StepFailed):
        System(Path("/nonexistent"))._remove(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("state_dir", "/var/lib/a b"), ("state_dir", "relative"), ("user", "Root Me"), ("user", "a\nb")],
)
def test_what_would_break_a_unit_is_refused(key: str, value: str):
    """A space or a new line in a path would change the meaning of the unit."""
    from hubagent.config import DestinationSettings, HubSettings, Settings

    state, user = (value, "hubdeck") if key == "state_dir" else ("/var/lib/hubdeck", value)
    settings = Settings(
        hub=HubSettings(id="alpha", state_dir=state),
        destinations=[DestinationSettings(name="central", urls=["tls://c:4222"])],
    )
    with pytest.raises(NotAllowed):
        install.wanted(settings, CONFIG, user, "/opt/hubdeck/bin/hubagent")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path):
    """`systemd-analyze verify` has nothing to say about it."""
    program = tmp_path / "hubagent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    one = Wanted("root", CONFIG, "/var/lib/hubdeck", str(program), "/usr/hubdeck-store")
    unit = tmp_path / "hubagent.service"
    unit.write_text(install.unit_text(one))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.replace("\n", "")) == (0, ""), done.stderr
    assert "ReadWritePaths=/usr/hubdeck-store" in unit.read_text()


def test_a_program_that_the_user_cannot_reach_is_refused_with_a_way_out(tmp_path: Path):
    """An installation in a closed home directory would only fail at the start."""
    program = tmp_path / "home/venv/bin/hubagent"
    program.parent.mkdir(parents=True)
    program.touch()
    (tmp_path / "home").chmod(0o700)
    text = install.unreachable(Wanted("hubdeck", CONFIG, "/var/lib/hubdeck", str(program)), System())
    assert "is closed to others" in text
    assert "/opt/hubdeck" in text


def test_the_installer_of_a_whole_machine_starts_only_what_can_run(tmp_path: Path):
    """A hub without keys is enabled, not started; one that runs already is restarted when its unit changed."""

    class Whole(System):
        active = enabled = False

        def is_unit(self, word: str, unit: str) -> bool:
            return self.enabled if word == "is-enabled" else self.active

    system = Whole()
    one = Wanted("hubdeck", CONFIG, "/var/lib/hubdeck", "/opt/hubdeck/bin/hubagent")
    words = [step.words for step in install.run_steps(one, system, changed=True, faults=["no keys"])]
    assert words == [("daemon-reload",), ("enable", "hubagent.service")]
    system.enabled = system.active = True
    words = [step.words for step in install.run_steps(one, system, changed=True, faults=[])]
    assert words == [("daemon-reload",), ("restart", "hubagent.service")]
    assert not list(install.run_steps(one, system, changed=False, faults=[]))


def test_uninstall_stops_the_agent_before_its_guard_and_removes_files_last(machine: Path):
    """Otherwise a living agent would start its guard again, or a service would write into what is gone."""
    system = System(machine)
    system.path(UNIT_PATH).parent.mkdir(parents=True, exist_ok=True)
    system.path(UNIT_PATH).touch()
    one = Wanted("hubdeck", CONFIG, "/var/lib/hubdeck", "/x", made=("user",))
    kinds = [type(step) for step in install.uninstall_steps(one, system, purge=True)]
    assert kinds[0] is Systemctl
    assert kinds.index(EndAgent) < kinds.index(EndGuard) < kinds.index(Remove)


def test_uninstall_ends_agent_guard_and_services(tmp_path: Path):
    """A hub that was started by hand leaves no process and, purged, no file."""
    root = tmp_path / "hub"
    state = root / "hubdeck"
    agent, system = start_hub(root, state), System()
    try:
        uninstall_by_hand(root, state, agent, system)
    finally:
        agent.kill()
        for left in processes(root):
            os.kill(left, signal.SIGKILL)


def uninstall_by_hand(root: Path, state: Path, agent: subprocess.Popen, system: System) -> None:
    """The steps of an uninstall without those that touch the machine's own files."""
    one = Wanted("root", str(root / "hubagent.yaml"), str(state), sys.executable)
    wait("the service runs", lambda: service_pid(state))
    pid = service_pid(state)
    assert system.is_agent_running(str(state))
    for step in install.uninstall_steps(one, system, purge=True):
        if isinstance(step, EndAgent | EndGuard) or (isinstance(step, Remove) and str(root) in step.path):
            system.do(step)
    assert agent.wait(10) == 0
    assert not Path(f"/proc/{pid}").exists()
    assert not state.exists()


def start_hub(root: Path, state: Path) -> subprocess.Popen:
    """A hub agent with one service, and nobody to deliver to."""
    from console import founding
    from hubagent.wire.roster import Hub, Operator, Roster, Server

    keys = founding.make_keys(state / "hub.key")
    admin = founding.make_keys(root / "admin.key")
    fleet = founding.make_fleet_key(state)
    roster = Roster(
        1, "test", 1, [Hub("alpha", keys.login, keys.signing)],
        [Operator("admin", admin.login, admin.signing, "admin")],
        [Server("central", ["nats://127.0.0.1:1"], "hub-server")],
    )  # fmt: skip
    (state / "roster.json").write_bytes(founding.seal_roster(fleet, roster))
    config = {
        "hub": {"id": "alpha", "state_dir": str(state)},
        "destinations": [{"name": "central", "urls": ["nats://127.0.0.1:1"]}],
        "services": [{"name": "web", "argv": ["/bin/sleep", "600"], "grace_s": 1}],
    }
    (root / "hubagent.yaml").write_text(json.dumps(config))
    with (root / "agent.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "hubagent", "run", "-c", str(root / "hubagent.yaml")], stdout=log, stderr=log
        )


def service_pid(state: Path) -> int:
    """The process of the only service, as the guard wrote it down; 0 before that."""
    try:
        text = (state / "guard.json").read_text()
    except OSError:
        return 0
    match = re.search(r'"pid": ?(\d+)', text)
    return int(match[1]) if match else 0
