"""A network of bare machines: one switch in a namespace of its own, the image that they share, and why there may be none."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.support.machine import BOOT_SECONDS, PROGRAM, Machine, python, spawn


def why_not(folder: Path) -> str:
    """Why no machine can be made here, in words; empty where one can."""
    if os.geteuid() != 0:
        return "only root can make namespaces with a root of their own"
    for one in ("ip", "unshare", "nsenter", "pivot_root", "setpriv", "useradd"):
        if shutil.which(one) is None:
            return f"{one} is not installed"
    if not python():
        return "no Python from 3.11 on, with venv, that other users can start"
    try:
        with Lab(folder) as lab:
            lab.machine("probe", "10.0.0.254", with_systemd=False).run("true")
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        return f"namespaces cannot be made here: {str(error)[:200]}"
    return ""


def host(*words: str | Path) -> str:
    """One command on this system; its output."""
    done = subprocess.run([str(one) for one in words], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, (words, done.stdout[-500:], done.stderr[-500:])
    return done.stdout


class Lab:
    """Machines on one switch; a context manager that leaves no process, namespace, mount or group behind."""

    def __init__(self, folder: Path, image: Path | None = None) -> None:
        self.folder, self.image = folder, image
        self.machines: list[Machine] = []
        self._switch: subprocess.Popen | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._switch = spawn("unshare", "--net", "sleep", "infinity", log=self.folder / "switch.log")
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._is_apart(self._switch.pid):
            assert self._switch.poll() is None, (self.folder / "switch.log").read_text()
            assert time.monotonic() < deadline, "no network namespace"
            time.sleep(0.01)
        try:
            self.switch("ip", "link", "add", "switch", "type", "bridge")
            self.switch("ip", "link", "set", "switch", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    @staticmethod
    def _is_apart(pid: int) -> bool:
        """Tell whether it is in a network namespace of its own by now; what has ended is not."""
        try:
            return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        except FileNotFoundError:
            return False

    def __exit__(self, *_: object) -> None:
        for one in self.machines:
            one.end()
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()

    def switch(self, *words: str) -> str:
        """One command in the network namespace that all machines meet in."""
        assert self._switch is not None
        return host("nsenter", "-t", str(self._switch.pid), "-n", *words)

    def machine(self, name: str, address: str, *, with_systemd: bool = True) -> "Machine":
        """A new machine, booted and on the network."""
        one = Machine(self.folder / name, name, address, self.image, with_systemd=with_systemd)
        self.machines.append(one)
        port = f"port{len(self.machines)}"
        self.switch("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(one.pid))
        self.switch("ip", "link", "set", port, "master", "switch", "up")
        for words in ("addr add 127.0.0.1/8 dev lo", "link set lo up", f"addr add {address}/24 dev eth0",
                      "link set eth0 up"):  # fmt: skip
            host("nsenter", "-t", str(one.pid), "-n", "ip", *words.split())
        one.wait_booted()
        return one


def image(folder: Path, wheel: Path) -> Path:
    """A directory that stands for /opt, with hubdeck in it: a virtual environment with the wheel, made once by the commands of the manual."""
    for part in ("layer", "work", "root"):
        (folder / part).mkdir(parents=True)
        (folder / part).chmod(0o755)
    script = (
        f'set -e; mount -t overlay overlay -o "lowerdir=/,upperdir=$1/layer,workdir=$1/work" "$1/root"\n'
        'mount --rbind /dev "$1/root/dev"; mount -t proc proc "$1/root/proc"; mkdir -p "$1/root/opt/wheels"\n'
        f'cp "$2" "$1/root/opt/wheels/"; exec chroot "$1/root" sh -ec "{python()} -m venv {PROGRAM}; '
        f'{PROGRAM}/bin/pip install --quiet \\"/opt/wheels/$(basename "$2")[server]\\""\n'
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(folder), str(wheel)],
        capture_output=True, text=True, timeout=300, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "layer" / "opt"
