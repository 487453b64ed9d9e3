"""What a held lease costs: CPU of a lease keeper that holds 0, 1, 10 and 100 groups, and writes a second at the witness.

`bench/lease_cost.py [--quick] [--json]`: one keeper process over a real witness, profile fast (and normal in the full
run); `cpu_ratio` is of one core, `cpu_held_ratio` what holding adds to an idle keeper.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from meter import cpu_s

from hubagent.clock import SystemClock
from hubagent.core.lease_policy import PROFILES, LeasePolicy
from hubagent.core.outcome import Outcome
from hubagent.edges.jetstream import create_stream, stream_info
from hubagent.edges.nats_link import Link, LinkPolicy
from hubagent.loops.keeper import Callbacks, Keeper
from hubagent.wire.signing import public_of, seed_from, signer
from hubagent.wire.streams import LEASE
from tests.fakes.recorder import FakeRecorder
from tests.support.nats import NatsServer
from tests.support.waiting import until

GROUPS = (0, 1, 10, 100)
HUB = "alpha"
SEED = seed_from(b"\x07" * 32)
SETTLE_S = 4.0


def link_to(url: str) -> Link:
    """A link to the witness."""
    return Link("witness", [url], identity=HUB, login_seed="", policy=LinkPolicy(), clock=SystemClock())


async def hold(url: str, count: int, profile: str, folder: Path) -> None:
    """Hold that many groups until killed; a line when all are held."""

    async def drain(group: str) -> Outcome:
        return Outcome(ok=True)

    promoted: set[str] = set()
    policies = [LeasePolicy(f"g{n}", HUB, (HUB,), PROFILES[profile], auto="armed") for n in range(count)]
    keeper = Keeper(
        HUB, policies, signer=signer(SEED), key_of={HUB: public_of(SEED)}.get, witness=link_to(url), hub_servers=[],
        tokens=folder / "tokens.json", guard=None, recorder=FakeRecorder("bench"), clock=SystemClock(),
        callbacks=Callbacks(lambda group, _: promoted.add(group), lambda group, _: promoted.discard(group), drain),
    )  # fmt: skip
    keeper.start()
    is_told = False
    while True:
        keeper.pulse()
        if not is_told and len(promoted) == count:
            print("held", flush=True)
            is_told = True
        await asyncio.sleep(keeper.pulse_s)


async def measure(count: int, profile: str, seconds: float) -> dict[str, float]:
    """CPU and writes of one keeper."""
    with tempfile.TemporaryDirectory(prefix="hubdeck-bench-") as name:
        folder = Path(name)
        with NatsServer(folder / "witness", name="witness") as witness:
            link = link_to(witness.url)
            running = asyncio.create_task(link.run())
            await until(lambda: link.is_connected)
            await create_stream(link, LEASE.config(-1, "bench"))
            argv = [sys.executable, __file__, "--hold", witness.url, str(count), profile, name]
            keeper = subprocess.Popen(argv, stdout=subprocess.PIPE)  # noqa: ASYNC220  # nothing else runs yet
            try:
                assert keeper.stdout is not None
                await asyncio.to_thread(keeper.stdout.readline)
                await asyncio.sleep(SETTLE_S)
                before, first = cpu_s(keeper.pid), (await stream_info(link, LEASE.name)).last_seq
                server = cpu_s(witness.pid)
                await asyncio.sleep(seconds)
                used, last = cpu_s(keeper.pid) - before, (await stream_info(link, LEASE.name)).last_seq
                server = cpu_s(witness.pid) - server
            finally:
                keeper.kill()
                keeper.wait()
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
    return {
        "cpu_ratio": round(used / seconds, 4),
        "writes_per_s": round((last - first) / seconds, 1),
        "witness_cpu_ratio": round(server / seconds, 4),
    }


async def main() -> None:
    """Measure each count of groups and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--hold", nargs=4, metavar=("URL", "N", "PROFILE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        url, count, profile, folder = options.hold
        await hold(url, int(count), profile, Path(folder))
    figures: dict[str, dict] = {}
    for profile in ("fast",) if options.quick else ("fast", "normal"):
        rows = {str(count): await measure(count, profile, 4.0 if options.quick else 30.0) for count in GROUPS}
        idle = rows["0"]["cpu_ratio"]
        for count, row in rows.items():
            row["cpu_held_ratio"] = round(row["cpu_ratio"] - idle, 4)
            print(
                f"{profile}, {count:>3} groups held: keeper {row['cpu_ratio']:.2%} of a core"
                f" ({row['cpu_held_ratio']:+.2%}), witness {row['witness_cpu_ratio']:.2%}, {row['writes_per_s']} writes/s"
            )
        figures[profile] = {f"groups_{count}": row for count, row in rows.items()}
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    asyncio.run(main())
