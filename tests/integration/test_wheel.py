"""The built wheel, in an empty environment outside the checkout, runs the tour and finds its themes and example."""

import json
from pathlib import Path

import pytest

from tests.support.wheel import run

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_wheel_runs_the_tour(installed: Path, tmp_path: Path) -> None:
    """Every step holds, with no checkout in sight."""
    done = run(installed / "hubdeck", "demo", "--tour", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    tour = json.loads(done.stdout)
    assert tour["held"] is True
    assert len(tour["steps"]) == 6


def test_the_wheel_finds_its_themes_and_its_example_config(installed: Path, tmp_path: Path) -> None:
    """Data files are inside the packages."""
    code = (
        "from pathlib import Path; import console, hubagent;"
        "print(len(list((Path(console.__file__).parent / 'themes').glob('*.yaml'))),"
        "(Path(hubagent.__file__).parent / 'config.example.yaml').is_file())"
    )
    done = run(installed / "python", "-c", code, cwd=tmp_path)
    count, example = done.stdout.split()
    assert int(count) >= 3
    assert example == "True"
