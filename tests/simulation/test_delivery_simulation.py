"""Delivery in a simulated world: whatever dies, in whatever order, nothing is lost in silence and nothing repeated."""

from dataclasses import replace

import pytest

from tests.support import ledger
from tests.support.delivery_mutants import (
    BELIEVING_HUB,
    HUBS,
    RESTORED_HUBS,
    RESTORED_SENDERS,
    SENDERS,
    ExpectsNothingSender,
)
from tests.support.delivery_world import RESTORING, Faults, run_seed

pytestmark = pytest.mark.timeout(1500)  # two thousand seeds in make test

# Seeds that once failed: they always run.
FIXED = (3, 23, 27, 29, 34, 38, 56, 64, 66, 92, 114, 120, 230, 263, 1184, 1393, 1797, 1805, 1860, 2220, 32894)
RESTORED_FIXED = (31, 59, 83, 118, 124, 155, 194, 235, 239, 300, 385, 418, 762, 1144, 1382, 1500, 2515, 70763)
MUTANT_SEEDS = 60


def seeds(config) -> list[int]:
    one = config.getoption("--seed")
    return [one] if one is not None else sorted({*range(config.getoption("--seeds")), *FIXED})


def test_delivery_holds_in_every_seed(pytestconfig):
    """Acks and frames lost or late, tails lost, streams emptied, full and made anew, crashes, restored and damaged logs."""
    for seed in seeds(pytestconfig):
        found = run_seed(seed)
        assert not found, "\n".join(found)


def test_delivery_holds_while_logs_are_restored_again_and_again(pytestconfig):
    """Each restored copy knows other numbers, other acknowledgements and other substitutes than the streams."""
    asked = seeds(pytestconfig)
    some = asked if len(asked) == 1 else sorted({*(seed for seed in asked if seed % 4 == 3), *RESTORED_FIXED})
    for seed in some:
        found = run_seed(seed, replace(RESTORING))
        assert not found, "\n".join(found)


def test_delivery_without_faults_is_quiet():
    """The checker is not satisfied by silence alone: without faults everything arrives."""
    assert run_seed(0, Faults(*[0.0] * 15)) == []


@pytest.mark.parametrize("sender", SENDERS, ids=lambda one: one.__name__)
def test_broken_sender_is_caught(sender):
    """A simulation that lets one of these pass proves nothing."""
    assert any(run_seed(seed, sender=sender) for seed in range(MUTANT_SEEDS))


@pytest.mark.parametrize("hub", HUBS, ids=lambda one: (one.sender_class or one).__name__)
def test_broken_hub_is_caught(hub):
    """The same for what surrounds the sender."""
    assert any(run_seed(seed, hub=hub) for seed in range(MUTANT_SEEDS))


@pytest.mark.slow  # the rarest slips show in one seed of hundreds
@pytest.mark.parametrize("sender", RESTORED_SENDERS, ids=lambda one: one.__name__)
def test_sender_that_mishandles_a_restored_log_is_caught(sender):
    """Where logs are restored again and again."""
    assert any(run_seed(seed, replace(RESTORING), sender=sender) for seed in range(4 * MUTANT_SEEDS))


@pytest.mark.parametrize("hub", RESTORED_HUBS, ids=lambda one: one.sender_class.__name__)
def test_hub_that_mishandles_a_restored_log_is_caught(hub):
    """The same for what is renumbered and spared."""
    assert any(run_seed(seed, replace(RESTORING), hub=hub) for seed in range(MUTANT_SEEDS))


def test_hub_that_believes_the_cursors_of_a_restored_log_is_caught():
    """A tail was lost after them, and the log that knew it was replaced: one seed of 70,000 showed it."""
    assert any(run_seed(seed, replace(RESTORING), hub=BELIEVING_HUB) for seed in RESTORED_FIXED)


def test_t2_wall_step_of_a_server_repeats_nothing_because_no_dedupe_window_is_relied_on():
    """T2: acks lost and frames late while the server's window forgets all; who relies on the window is caught."""
    broken = Faults(*[0.0] * 15)
    broken.ack_lost, broken.late, broken.link_cut = 0.3, 0.2, 0.05
    mutant = next(hub for hub in HUBS if getattr(hub, "sender_class", None) is ExpectsNothingSender)
    assert any(run_seed(seed, replace(broken), hub=mutant) for seed in range(20))
    ledger.turn()  # what the broken one repeated is not ours
    assert not [found for seed in range(20) for found in run_seed(seed, replace(broken))]
