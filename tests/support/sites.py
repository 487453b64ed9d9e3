"""The places where a first day happens: bare machines in namespaces, else directories and loopback addresses; one face."""

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support import netns
from tests.support.demo import processes
from tests.support.machine import LOG, PROGRAM, Machine, spawn
from tests.support.nats import free_port
from tests.support.wheel import install

STATE = "/var/lib/hubdeck"
END_SECONDS = 30.0


class InNamespaces:
    """A machine with a root of its own: every command is run exactly as the manual has it."""

    kind = "network namespaces"

    def __init__(self, machine: Machine) -> None:
        self.machine, self.place = machine, machine.address
        self.program = f"{PROGRAM}/bin"
        self.had = machine.files()
        self._by_hand: subprocess.Popen | None = None

    def argv(self, *words: str) -> list[str]:
        """What runs a command there."""
        return self.machine.inside(*words)

    def file(self, path: str) -> Path:
        """A file there, relative to the home directory of root."""
        return self.machine.path(str(Path("/root", path)))

    def run(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """One command there."""
        return self.machine.run(*words, status=status)

    def receive(self, folder: Path) -> None:
        """`scp -r FOLDER root@HERE:/var/lib/hubdeck`: owned by root, files as private as they were."""
        subprocess.run(["cp", "-r", folder, self.file(STATE)], check=True)

    def join(self, token: str) -> None:
        """`hubagent join`."""
        self.run(f"{self.program}/hubagent", "join", token)

    def install(self) -> str:
        """`hubagent install`; where no systemd runs, what it says to run."""
        said = self.run(f"{self.program}/hubagent", "install").stdout
        if not self.machine.is_booted:
            self._hand = shlex.split(said.rpartition("run: ")[2])
            self._start_by_hand()
        return said

    def _start_by_hand(self) -> None:
        self._by_hand = spawn(*self.argv(*self._hand), log=self.machine.folder / "agent.log")

    def upgrade(self) -> None:
        """The same wheel once more, and the agent restarted."""
        wheel = next(self.machine.path("/opt/wheels").glob("*.whl")).name
        words = ("install", "--quiet", "--no-index", "--no-deps", "--force-reinstall", f"/opt/wheels/{wheel}")
        self.run(f"{self.program}/pip", *words)
        if self.machine.is_booted:
            self.run("systemctl", "restart", "hubagent")
            return
        self.run("sh", "-c", f"kill $(cat {STATE}/agent.lock)")
        assert self._by_hand is not None
        self._by_hand.wait(END_SECONDS)
        self._start_by_hand()

    def uninstall(self) -> str:
        """`hubagent uninstall --purge`, and the program itself."""
        said = self.run(f"{self.program}/hubagent", "uninstall", "--purge").stdout
        self.run("rm", "-r", PROGRAM)
        return said

    def processes(self) -> dict[int, str]:
        """What runs there: pid, command line."""
        return self.machine.processes()

    def left(self) -> list[str]:
        """Files, processes and users that were not there before."""
        users = self.run("getent", "passwd", "hubdeck", status=None).stdout.split()
        return [*sorted(self.machine.files() - self.had), *map(str, self.machine.processes().values()), *users]

    def words(self) -> str:
        """What the agent and the init said, for a failure."""
        log = self.machine.path(LOG) if self.machine.is_booted else self.machine.folder / "agent.log"
        return log.read_text()[-3000:] if log.exists() else ""


class OnLoopback:
    """A directory that stands for a machine: the agent is started by hand, as `hubagent install` says without systemd."""

    kind = "loopback addresses"

    def __init__(self, folder: Path, place: str, program: Path) -> None:
        self.root, self.place, self.program = folder, place, str(program)
        (folder / "etc").mkdir(parents=True)
        (folder / "home").mkdir()
        user = f"hubdeck:x:{os.geteuid()}:{os.getegid()}::/nonexistent:/usr/sbin/nologin\n"
        (folder / "etc/passwd").write_text(user)
        (folder / "etc/group").write_text(f"hubdeck:x:{os.getegid()}:\n")
        self.had = self._files()
        self._agent: subprocess.Popen | None = None

    def argv(self, *words: str) -> list[str]:
        """What runs a command there."""
        return ["env", "-C", str(self.root / "home"), *words]

    def file(self, path: str) -> Path:
        """A file there."""
        return self.root / (path.lstrip("/") if path.startswith("/") else f"home/{path}")

    def run(self, *words: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """One command there."""
        done = subprocess.run(self.argv(*words), capture_output=True, text=True, timeout=120, check=False)
        assert status is None or done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def receive(self, folder: Path) -> None:
        """A copy of the folder."""
        self.file(STATE).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", folder, self.file(STATE)], check=True)

    def join(self, token: str) -> None:
        """`hubagent join` into the directory."""
        config = self.file("/etc/hubdeck/hubagent.yaml")
        self.run(f"{self.program}/hubagent", "join", token, "--state-dir", str(self.file(STATE)), "-c", str(config))

    def install(self) -> str:
        """`hubagent install --prefix`, and the agent by hand."""
        said = self.run(*self._with_prefix("install")).stdout
        self._start()
        return said

    def _with_prefix(self, *words: str) -> list[str]:
        return [f"{self.program}/hubagent", *words, "--prefix", str(self.root)]

    def _start(self) -> None:
        places = self.file("/etc/hubdeck/hubagent.yaml"), self.file(f"{STATE}/hubagent.yaml")
        config = next(one for one in places if one.exists())
        words = self.argv(f"{self.program}/hubagent", "run", "-c", str(config))
        self._agent = spawn(*words, log=self.root.with_suffix(".log"))

    def upgrade(self) -> None:
        """The agent restarted; the program is one for all here."""
        assert self._agent is not None
        self._agent.terminate()
        self._agent.wait(END_SECONDS)
        self._start()

    def uninstall(self) -> str:
        """`hubagent uninstall --purge --prefix`; it ends the agent that was started by hand, too."""
        reaper = self._agent
        assert reaper is not None
        done = subprocess.Popen(self._with_prefix("uninstall", "--purge"), stdout=subprocess.PIPE, text=True)
        reaper.wait(END_SECONDS)
        said = done.communicate(timeout=END_SECONDS)[0]
        assert done.returncode == 0, said
        return said

    @property
    def agent_pid(self) -> int:
        """The agent that was started by hand."""
        assert self._agent is not None
        return self._agent.pid

    def processes(self) -> dict[int, str]:
        """What names the directory on its command line."""
        return processes(self.root)

    def left(self) -> list[str]:
        """Files and processes that were not there before."""
        return [*sorted(self._files() - self.had), *self.processes().values()]

    def _files(self) -> set[str]:
        return {f"/{path.relative_to(self.root)}" for path in self.root.rglob("*") if not path.is_dir()}

    def words(self) -> str:
        """What the agent said, for a failure."""
        log = self.root.with_suffix(".log")
        return log.read_text()[-3000:] if log.exists() else ""

    def end(self) -> None:
        """Kill what is left of it, the agent first: it would start its guard again."""
        if self._agent is not None:
            self._agent.kill()
            self._agent.wait()
        while left := self.processes():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


Site = InNamespaces | OnLoopback


@contextlib.contextmanager
def sites(
    folder: Path, wheel: Path, *names: str, put: Callable[[Path, Path], Path] = install
) -> Iterator[tuple[dict[str, Site], str]]:
    """`desk` and the machines of these names, and why they are no namespaces where they are not (`put` installs then)."""
    folder.mkdir(parents=True, exist_ok=True)
    why = netns.why_not(folder / "probe")
    with contextlib.ExitStack() as stack:
        found: dict[str, Site] = {}
        if not why:
            lab = stack.enter_context(netns.Lab(folder / "lab", netns.image(folder / "image", wheel)))
            for number, name in enumerate(("desk", *names)):
                is_server = name != "desk"
                machine = lab.machine(name, f"10.0.0.{number or 9}", with_systemd=is_server)
                found[name] = InNamespaces(machine)
        else:
            found |= stack.enter_context(on_loopback(folder, put(wheel, folder / "venv"), *names))
        yield found, why


@contextlib.contextmanager
def on_loopback(folder: Path, program: Path, *names: str) -> Iterator[dict[str, Site]]:
    """`desk` and directories for the machines of these names; nothing of them runs afterwards."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        found: dict[str, Site] = {}
        for number, name in enumerate(("desk", *names)):
            found[name] = site = OnLoopback(folder / name, f"127.0.1.{number}:{port}", program)
            stack.callback(site.end)
        yield found
