"""Runs the programs that a group's promotion and demotion call, with a deadline; their output is kept."""

import asyncio
import os
import signal
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hubagent.errors import HubagentError
from hubagent.wire.sanitise import clean

OUTPUT_BYTES_MAX = 4096  # the last of it is kept with the event
ENVIRONMENT_KEPT = ("PATH", "HOME", "LANG")


@dataclass
class HookRefused(HubagentError):
    """A hook that must not be run: absent, no program, or changeable by others."""

    program: str
    why: str

    def __str__(self) -> str:
        return f"hook {self.program}: {self.why}"


@dataclass(frozen=True, slots=True)
class HookResult:
    """What became of a hook. `status` is its exit status, None where it was killed at its deadline."""

    status: int | None
    output: str


def check(program: str) -> None:
    """Raise HookRefused unless the program is there, executable, and nobody else may write it."""
    path = Path(program)
    if not path.is_absolute():
        raise HookRefused(program, "name it with its full path")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise HookRefused(program, error.strerror or "not there") from error
    if not stat.S_ISREG(mode) or not os.access(path, os.X_OK):
        raise HookRefused(program, "it is no executable file; chmod +x it")
    if mode & 0o022:
        raise HookRefused(program, f"others may write it (mode {stat.S_IMODE(mode):o}); chmod go-w it")


async def run(argv: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> HookResult:
    """Run it to its end or its deadline, then end its whole process group; raises HookRefused."""
    check(argv[0])
    kept = {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=kept | dict(environment),
        start_new_session=True,
    )
    assert process.stdout is not None
    output = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            while piece := await process.stdout.read(4096):
                output = (output + piece)[-OUTPUT_BYTES_MAX:]
            await process.wait()
    except TimeoutError:
        return HookResult(None, clean(output.decode(errors="replace")))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return HookResult(process.returncode, clean(output.decode(errors="replace")))
