"""Options that every simulation understands, and the report of which faults were held."""

import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import ledger
from tests.support.faults import FaultReport, carried
from tests.support.wheel import installed, wheel  # noqa: F401  # fixtures of all tests

# Other programs may have the machine in the middle of an example; each test has its own time limit.
settings.register_profile("hubdeck", settings(), deadline=None)
settings.load_profile("hubdeck")
os.umask(0o022)  # folders that others may write to are refused, by design


def pytest_addoption(parser):
    """`--seed=N` runs one seed of the simulations, `--seeds=N` so many from 0; `--fault-report=DIR` writes tables."""
    parser.addoption("--seed", type=int, default=None, help="one seed of the simulations")
    parser.addoption("--seeds", type=int, default=200, help="how many seeds the simulations run")
    parser.addoption("--fault-report", default=None, help="write faults.md and partition.md into this directory")


def pytest_configure(config):
    """Ctrl-C reaches what tests start, also where the suite runs in the background of a shell; who writes the report."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = config.getoption("--fault-report")
    if folder and not hasattr(config, "workerinput"):
        day = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        config.pluginmanager.register(FaultReport(Path(folder), "make partition-table", day), "fault-report")


def pytest_collection_modifyitems(config, items):
    """With `--fault-report` only tests that carry a fault run."""
    for item in items:
        marked = [fault for marker in item.iter_markers("fault") for fault in marker.args]
        doc = item.function.__doc__ or ""
        faults = carried(item.name, doc, marked)
        if faults:
            facts = {
                "faults": faults,
                "scenario": _scenario(item, doc),
                "is_real": item.get_closest_marker("real") is not None,
            }
            item.user_properties.append(("faults", facts))
    if config.getoption("--fault-report"):
        items[:] = [item for item in items if dict(item.user_properties).get("faults")]


def _scenario(item, doc):
    """The docstring's sentence without its ids, and the parameter."""
    _, colon, rest = doc.partition(": ")
    words = " ".join((rest if colon and carried("", doc) else doc).split()).rstrip(".")
    return words + (f" [{item.callspec.id}]" if hasattr(item, "callspec") else "")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Each test has a page of its own."""
    ledger.turn()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Hand the page over with the test's own result."""
    if call.when == "call" and dict(item.user_properties).get("faults"):
        item.user_properties.append(("page", ledger.page().as_property()))
    return (yield)
