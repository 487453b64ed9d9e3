"""The wheel of this checkout, built once for each run of the tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*words: str | Path, cwd: Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """One command without this checkout on its path."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def build(folder: Path) -> Path:
    """The wheel, in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    built = run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder / "dist", ROOT, cwd=folder)
    assert built.returncode == 0, built.stderr
    return next((folder / "dist").glob("hubdeck-*.whl"))


def install(wheel: Path, folder: Path) -> Path:
    """The bin directory of a fresh environment with the wheel in it."""
    assert run(sys.executable, "-m", "venv", folder, cwd=folder.parent).returncode == 0
    put = run(folder / "bin/pip", "install", "--quiet", f"{wheel}[server]", cwd=folder.parent)
    assert put.returncode == 0, put.stderr
    return folder / "bin"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built once."""
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment with nothing but the wheel, outside the checkout."""
    return install(wheel, tmp_path_factory.mktemp("installed") / "venv")
