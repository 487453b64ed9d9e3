"""A hub with a lease keeper and nothing else, as a process of its own: it writes down when it acts.

Run as `python -m tests.support.lease_agent SPEC.json`; SIGTERM hands over and ends, SIGHUP promotes by hand, SIGUSR1 blocks
the main loop, SIGUSR2 is five seconds of sleep.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from hubagent.clock import SystemClock
from hubagent.core.lease_policy import PROFILES, LeasePolicy
from hubagent.core.outcome import Outcome
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.loops.keeper import Callbacks, Keeper
from hubagent.wire.signing import public_of, signer
from tests.fakes.recorder import FakeRecorder

ACT_S = 0.002
GROUP = "core"


class TwistedClock(SystemClock):
    """A machine whose clocks are not like others: rate of boottime, lead of the wall clock, sleep on demand."""

    def __init__(self, rate: float = 1.0, wall_lead_s: float = 0.0) -> None:
        self._rate, self._wall_lead_s = rate, wall_lead_s
        self._began = super().boottime()
        self.asleep_s = 0.0

    def boottime(self) -> float:
        """Too quick or too slow, and ahead by what the machine slept."""
        return self._began + (super().boottime() - self._began) * self._rate + self.asleep_s

    def monotonic(self) -> float:
        """The same without the sleep."""
        return self.boottime() - self.asleep_s

    def wall(self) -> float:
        """Off by an hour, perhaps."""
        return super().wall() + self._wall_lead_s


def slow_disk(seconds: float) -> None:
    """Every fsync of this process takes so long from now on."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        time.sleep(seconds)
        real(descriptor)

    os.fsync = fsync


def keeper_of(spec: dict, callbacks: Callbacks, clock: SystemClock, recorder: FakeRecorder) -> Keeper:
    """A keeper over real links, with keys from the spec."""
    links = LinkPolicy(ping_s=0.5, timeout_s=1.0, reconnect_min_s=0.05, reconnect_max_s=0.2)

    def link(name: str, url: str) -> Link:
        return Link(name, url.split(","), identity=spec["hub"], login_seed="", policy=links, clock=clock)

    publics = {hub: public_of(seed) for hub, seed in spec["seeds"].items()}
    folder = Path(spec["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    members, witness = tuple(spec["members"]), spec["witness"]
    policy = LeasePolicy(
        GROUP, spec["hub"], members, PROFILES[spec["profile"]], auto=spec["auto"], has_witness=bool(witness)
    )
    return Keeper(
        spec["hub"],
        [policy],
        signer=signer(spec["seeds"][spec["hub"]]),
        key_of=publics.get,
        witness=link("witness", witness) if witness else None,
        hub_servers=[link(name, url) for name, url in spec["hub_servers"].items()],
        tokens=folder / "tokens.json",
        guard=Path(spec["guard"]) if spec.get("guard") else None,
        recorder=recorder,
        clock=clock,
        callbacks=callbacks,
        own_servers=lambda: spec.get("own_servers", ()),
    )


async def _main(spec: dict) -> None:
    true, ended = SystemClock(), asyncio.Event()
    clock = TwistedClock(spec.get("rate", 1.0), spec.get("wall_lead_s", 0.0))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGUSR1, time.sleep, spec.get("hang_s", 0.7))  # a callback that blocks the loop
    loop.add_signal_handler(signal.SIGUSR2, lambda: setattr(clock, "asleep_s", clock.asleep_s + 5.0))
    if spec.get("fsync_s"):
        slow_disk(spec["fsync_s"])
    with Path(spec["log"]).open("a", buffering=1) as log:  # noqa: ASYNC230  # a line to a local file, nothing else runs

        def write(word: str, *rest: object) -> None:
            log.write(json.dumps([true.boottime(), spec["hub"], word, *rest]) + "\n")

        async def drain(group: str) -> Outcome:
            write("drained")
            return Outcome(ok=True)

        callbacks = Callbacks(
            on_promoted=lambda group, epoch: write("promoted", epoch),
            on_demoted=lambda group, why: write("demoted", why),
            drain=drain,
        )
        keeper = keeper_of(spec, callbacks, clock, FakeRecorder(spec["hub"] + "-" + str(clock.boottime())))
        keeper.start()
        promoting: set[asyncio.Task] = set()
        loop.add_signal_handler(signal.SIGHUP, lambda: promoting.add(loop.create_task(keeper.promote(GROUP))))
        state = ""
        while not ended.is_set():
            keeper.pulse()
            seen = keeper.state(GROUP)
            if f"{seen.role}: {seen.why}" != state:
                state = f"{seen.role}: {seen.why}"
                write("state", state)
            if keeper.has_authority(GROUP):
                write("acts")
            await asyncio.sleep(ACT_S)
        await keeper.stop(release=True)
        write("ended")


if __name__ == "__main__":
    asyncio.run(_main(json.loads(Path(sys.argv[1]).read_text())))
