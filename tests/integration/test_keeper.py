"""Two keepers in two processes over a real witness: who acts is written down by the processes themselves."""

import asyncio
import signal
import threading

import pytest

from tests.support.lease_fleet import Fleet, first_active
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.alone]


async def test_other_hub_takes_over_within_the_budget_when_the_holder_is_killed(tmp_path):
    """kill -9 of the holder: the other acts after about W, and never at the same time."""
    async with Fleet(tmp_path) as fleet:
        active, other = await first_active(fleet)
        await until(lambda: len(fleet.times(active, "acts")) > 300)
        killed = fleet.send(active, signal.SIGKILL)
        await fleet.active(other, killed)
        took_s = min(at for at in fleet.times(other, "acts") if at > killed) - killed
        assert took_s < 5.0
        fleet.check_no_overlap()


async def test_a_frozen_holder_does_not_act_when_it_wakes(tmp_path):
    """SIGSTOP beyond the span, then SIGCONT: the first act after the pause is a check."""
    async with Fleet(tmp_path) as fleet:
        active, other = await first_active(fleet)
        stopped = fleet.send(active, signal.SIGSTOP)
        await fleet.active(other, stopped)
        thawed = fleet.send(active, signal.SIGCONT)
        await until(lambda: any(at > thawed for at in fleet.times(active, "demoted")))
        await until(lambda: len([at for at in fleet.times(other, "acts") if at > thawed]) > 200)
        assert not fleet.acts(active, thawed)
        fleet.check_no_overlap()


async def test_loss_of_the_witness_alone_changes_nothing(tmp_path):
    """The holder goes on by promise while the witness is away, and by the store when it is back."""
    async with Fleet(tmp_path) as fleet:
        active, other = await first_active(fleet)
        await until(lambda: len(fleet.times(active, "acts")) > 200)
        fleet.witness.kill()
        gone = fleet.clock.boottime()
        await until(lambda: fleet.acts(active, gone + 3.0))
        fleet.witness.start()
        back = fleet.clock.boottime()
        await until(lambda: fleet.acts(active, back + 2.0))
        assert not fleet.acts(other)
        assert not fleet.times(active, "demoted")


async def test_a_clean_end_hands_over_without_waiting_out_the_lease(tmp_path):
    """SIGTERM of the holder: drained, released, and the other is active much sooner than W."""
    async with Fleet(tmp_path, profile="normal") as fleet:
        active, other = await first_active(fleet)
        await until(lambda: len(fleet.times(active, "acts")) > 500)
        told = fleet.send(active, signal.SIGTERM)
        await fleet.active(other, told)
        took_s = min(at for at in fleet.times(other, "acts") if at > told) - told
        assert took_s < 1.6, f"took {took_s:.2f} s, the lease alone runs 1.6 s"
        await until(lambda: fleet.processes[active].poll() is not None)
        assert fleet.times(active, "drained")
        fleet.check_no_overlap()


async def test_a_store_rolled_back_costs_at_most_one_takeover(tmp_path):
    """V13: An older copy of the witness: the token never falls, nobody acts at once, and one hub ends up active."""
    async with Fleet(tmp_path) as fleet:
        active, _ = await first_active(fleet)
        await until(lambda: len(fleet.times(active, "acts")) > 200)
        fleet.witness.stop()
        fleet.witness.copy_store(tmp_path / "copy")
        fleet.witness.start()
        began = fleet.clock.boottime()
        await until(lambda: fleet.acts(active, began + 1.5))
        fleet.witness.kill()
        fleet.witness.restore_store(tmp_path / "copy")
        fleet.witness.start()
        back = fleet.clock.boottime()
        await until(lambda: fleet.acts("a", back + 2.5) or fleet.acts("b", back + 2.5), 15.0)
        epochs = sorted((line[0], line[3]) for hub in "ab" for line in fleet.lines(hub) if line[2] == "promoted")
        assert [epoch for _, epoch in epochs] == sorted({epoch for _, epoch in epochs})
        fleet.check_no_overlap()


async def test_v13_a_store_rolled_back_over_a_takeover_gives_no_epoch_twice(tmp_path):
    """V13: the copy still names the holder of before; whoever acts next has an epoch above every one there was."""
    async with Fleet(tmp_path) as fleet:
        active, other = await first_active(fleet)
        fleet.witness.stop()
        fleet.witness.copy_store(tmp_path / "copy")
        fleet.witness.start()
        began = fleet.clock.boottime()
        await until(lambda: fleet.acts(active, began + 1.0))
        killed = fleet.send(active, signal.SIGKILL)
        await fleet.active(other, killed)
        await until(lambda: bool(fleet.times(other, "promoted")))  # written by a callback, perhaps after its first act
        await until(lambda: fleet.acts(other, fleet.times(other, "promoted")[-1] + 1.0))
        fleet.witness.kill()
        fleet.witness.restore_store(tmp_path / "copy")
        fleet.witness.start()
        back = fleet.clock.boottime()
        await until(lambda: fleet.said(other, "promoted", back), 15.0)
        promoted = sorted((line[0], line[3]) for hub in "ab" for line in fleet.lines(hub) if line[2] == "promoted")
        epochs = [epoch for _, epoch in promoted]
        assert len(epochs) >= 3
        assert epochs == sorted(set(epochs))
        fleet.check_no_overlap()


async def test_a_plain_pair_never_promotes_itself(tmp_path):
    """Without a witness both wait for a person."""
    async with Fleet(tmp_path, has_witness=False) as fleet:
        fleet.start("a")
        fleet.start("b")
        await until(lambda: all((tmp_path / f"{hub}.log").exists() for hub in "ab"))
        waited = threading.Event()
        await asyncio.to_thread(waited.wait, 3.0)
        assert not fleet.acts("a")
        assert not fleet.acts("b")
