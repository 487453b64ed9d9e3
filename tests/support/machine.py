"""A bare machine: namespaces with a network, processes and a root of its own, on which a real systemd runs where one boots.

It is an overlay over this system, so that what it writes lies in one directory and can be listed. Nothing of it is in
this system's network, process table or file tree; whatever becomes of the test, it ends with its parent.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

from tests.support.nats import _die_with_parent

CHECKOUT = Path(__file__).parents[2]
SYSTEMD = Path("/usr/lib/systemd/systemd")
CGROUPS = Path("/sys/fs/cgroup")
BOOT_SECONDS = 20.0
PROGRAM = "/opt/hubdeck"  # where docs/for-real.md puts it
UNITS = "/etc/systemd/system"
LOG = "/run/hubagent.log"  # what a unit says: there is no journal

# What a unit needs and nothing more: the units of this system (its database, its clock) stay out of the machines.
TARGETS = {
    "sysinit.target": "",
    "basic.target": "Requires=sysinit.target\nAfter=sysinit.target\n",
    "network-online.target": "",
    "multi-user.target": "Requires=basic.target\nAfter=basic.target\n",
    "shutdown.target": "DefaultDependencies=no\n",
}
REAPER = (
    "import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})\n"
    "while signal.sigwait({signal.SIGCHLD}):\n"
    "  try:\n    while os.waitpid(-1, os.WNOHANG)[0]: pass\n"
    "  except ChildProcessError: pass\n"
)
# $1 folder of the machine, $2 what its /opt begins with, $3 the checkout, which a bare machine has not; then the init.
# Layers of one overlay must not lie in each other, and the image lies in this system: so /opt is an overlay of its own.
ROOT = """
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/opt,workdir=$1/opt-work" opt
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for one in null zero full random urandom tty; do touch dev/$one; mount --bind /dev/$one dev/$one; done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
if [ -d ".$3" ]; then mount -t tmpfs -o mode=755 tmpfs ".$3"; fi
"""
CGROUP_ROOT = {
    "unified": "mount -t cgroup2 cgroup2 sys/fs/cgroup\n",
    "named": (
        "mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup\n"
        "mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified\n"
        "mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd\n"
        "mount -t cgroup2 cgroup2 sys/fs/cgroup/unified || rmdir sys/fs/cgroup/unified\n"
    ),
}
PIVOT = "pivot_root . .\numount -l .\nshift 3\n"


def python() -> str:
    """A Python from 3.11 on that every user of a machine can start; empty where there is none."""
    for one in ("/usr/bin/python3", "/usr/local/bin/python3"):
        code = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
        if Path(one).exists() and subprocess.run([one, "-c", code], capture_output=True, check=False).returncode == 0:
            return one
    return ""


def child_of(process: subprocess.Popen) -> int:
    """The one child of a process, once it is there."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + BOOT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.01)
    raise AssertionError(f"no namespaces: {process.stderr.read() if process.stderr else ''}")


def spawn(*words: str | Path, log: Path) -> subprocess.Popen:
    """A process that ends with this one."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [str(one) for one in words], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True, preexec_fn=_die_with_parent,  # noqa: PLW1509  # one ctypes call, no locks
        )  # fmt: skip


class Machine:
    """One machine; `is_booted` tells whether a systemd runs on it."""

    def __init__(self, folder: Path, name: str, address: str, image: Path | None, *, with_systemd: bool) -> None:
        self.folder, self.name, self.address, self.image = folder, name, address, image
        self._groups = _groups(f"hubdeck-{os.getpid()}-{name}") if with_systemd else []
        self.is_booted = bool(self._groups)
        for part in ("upper", "work", "root", "opt", "opt-work", "empty"):
            (folder / part).mkdir(parents=True)
            (folder / part).chmod(0o755)
        self._process = self._boot()
        self.pid = child_of(self._process)

    def _boot(self) -> subprocess.Popen:
        script = "set -e\n" + ROOT
        if self.is_booted:
            kind = "unified" if (CGROUPS / "cgroup.controllers").exists() else "named"
            script += CGROUP_ROOT[kind] + self._unit_files()
        script += PIVOT + 'exec "$@"\n'
        init = (
            ["env", "-i", "container=lxc", "PATH=/usr/sbin:/usr/bin", f"SYSTEMD_UNIT_PATH={UNITS}",
             "SYSTEMD_GENERATOR_PATH=/nonexistent", SYSTEMD, "--unit=multi-user.target", "--log-target=console"]
            if self.is_booted else [python(), "-c", REAPER]
        )  # fmt: skip
        enter = "".join(f"echo $$ > {shlex.quote(str(one / 'cgroup.procs'))}\n" for one in self._groups)
        kinds = ["--mount", "--pid", "--net", "--uts", "--ipc", *(["--cgroup"] if self._groups else [])]
        return spawn(
            "sh", "-ec", enter + 'exec "$@"', "sh", "unshare", *kinds, "--fork", "--kill-child",
            "sh", "-c", script, "sh", self.folder, self.image or self.folder / "empty", CHECKOUT, *init, log=self.folder / "boot.log",
        )  # fmt: skip

    def _unit_files(self) -> str:
        """The machine's own few units, in place of this system's; what a unit says goes to /run."""
        lines = f"rm -rf .{UNITS}\nmkdir -p .{UNITS}/hubagent.service.d\n"
        texts = {name: f"[Unit]\nDescription={name}\n{text}" for name, text in TARGETS.items()}
        said = f"[Service]\nStandardOutput=append:{LOG}\nStandardError=append:{LOG}\n"
        texts["hubagent.service.d/log.conf"] = said
        return lines + "".join(f"printf %s {shlex.quote(text)} > .{UNITS}/{name}\n" for name, text in texts.items())

    def wait_booted(self) -> None:
        """Wait until its init is in its own root, and its systemd takes commands."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            assert self._process.poll() is None, (self.folder / "boot.log").read_text()[-2000:]
            if self._is_up():
                return
            assert time.monotonic() < deadline, (self.folder / "boot.log").read_text()[-2000:]
            time.sleep(0.05)

    def _is_up(self) -> bool:
        if self.is_booted:
            return self.run("systemctl", "is-active", "multi-user.target", status=None).stdout.strip() == "active"
        return Path(f"/proc/{self.pid}/comm").read_text().startswith("python")

    # --- acting

    def inside(self, *words: str | Path) -> list[str]:
        """The argv that runs a command on the machine, as root, with a clean environment."""
        home = ["HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "TERM=xterm-256color"]
        return ["nsenter", "-t", str(self.pid), "-a", "env", "-i", "-C", "/root", *home, *map(str, words)]

    def run(self, *words: str | Path, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """One command on the machine, to its end."""
        done = subprocess.run(self.inside(*words), capture_output=True, text=True, timeout=120, check=False)
        assert status is None or done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def popen(self, *words: str | Path) -> subprocess.Popen:
        """A command on the machine whose output is read while it runs."""
        return subprocess.Popen(
            self.inside(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def path(self, path: str) -> Path:
        """A file of the machine, as this system reaches it."""
        return Path(f"/proc/{self.pid}/root{path}")

    # --- looking

    def processes(self) -> dict[int, str]:
        """Every process of the machine but its init and what systemd itself needs: pid there, command line."""
        found = {}
        for entry in self.path("/proc").iterdir():
            if entry.name.isdigit() and entry.name != "1":
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    if line:
                        found[int(entry.name)] = line
        return found

    def files(self) -> set[str]:
        """Every path that the machine has and the system below it has not; /run and /tmp are in it."""
        upper = self.folder / "upper"
        found = {f"/{path.relative_to(upper)}" for path in upper.rglob("*") if not path.is_char_device()}
        found = {path for path in found if not os.path.lexists(path)}
        found |= {f"/opt/{path.name}" for path in self.path("/opt").iterdir()}
        for top in ("/run", "/tmp"):
            found |= {f"/{path.relative_to(self.path('/'))}" for path in self.path(top).rglob("*")}
        return {path for path in found if not path.startswith(("/run/systemd/", LOG))}

    def end(self) -> None:
        """The power cord: every process of it is gone at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        for group in self._groups:
            _remove_group(group)


def _groups(name: str) -> list[Path]:
    """Control groups of a machine's own, made; empty where no systemd can have them."""
    tops = [CGROUPS] if (CGROUPS / "cgroup.controllers").exists() else [CGROUPS / "systemd", CGROUPS / "unified"]
    tops = [one for one in tops if (one / "cgroup.procs").exists() and os.access(one, os.W_OK)]
    if not tops or tops == [CGROUPS / "unified"] or not SYSTEMD.exists():
        return []
    made = [one / name for one in tops]
    for one in made:
        one.mkdir(exist_ok=True)
    return made


def _remove_group(group: Path) -> None:
    """Take a control group away once its last process has been reaped."""
    deadline = time.monotonic() + 5.0
    for folder in [*sorted(group.rglob("*/"), reverse=True), group]:
        while folder.is_dir():
            try:
                folder.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
