"""A stranger's first day, timed: from the built wheel on bare machines to hubs live over TLS with a failover done.

`bench/first_day.py [--quick] [--json]`: the commands of docs/for-real.md, one after the other, on network namespaces with a
root and a systemd of their own; where those cannot be made, in directories and on loopback addresses (it says so). Building
the wheel and `pip install` are counted apart (`prepare_s`, `pip_commands`). `first_day_s` has in it the half minute that a
group must hold its place before its first drill. Then one more machine joins (`join_s`, from `invite` until it is live on
the console), and an operator is revoked (`revoke_s`, until both servers refuse her login). What TLS costs: delivery of
chunks of 100 records to one server, and CPU of a fleet's agent, with and without, in turn, on loopback addresses.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from delivery_runs import POLICY, add_events, event
from meter import cpu_s

from tests.support import wheel
from tests.support.ca import TestAuthority
from tests.support.first_day import SERVERS, FirstDay
from tests.support.hub import HubParts, make_streams
from tests.support.nats import NatsServer
from tests.support.sites import OnLoopback, on_loopback, sites

RECORDS_PER_CHUNK = 100
APPENDS_MAX = 32
SETTLE_S = 4.0  # the start's work is not the running cost


def main() -> None:
    """Measure, print, and with --json one object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one day instead of three, shorter costs of TLS")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hubdeck-bench-") as directory:
        root = Path(directory)
        built, took = timed(lambda: wheel.build(root / "wheel"))
        result: dict = {"wheel_s": round(took, 3)}
        days = [one_day(root / f"day{number}", built) for number in range(1 if options.quick else 3)]
        result |= {key: middle([one[key] for one in days]) for key in days[0]}
        show(result)
        result |= cost_of_delivery(root / "rate", 300 if options.quick else 1000, 3 if options.quick else 5)
        result |= cost_of_running(root, 8.0 if options.quick else 60.0)
    show_cost(result)
    if options.json:
        print(json.dumps(result))


def timed(work) -> tuple:
    """What it gave, and the seconds it took."""
    began = time.perf_counter()
    found = work()
    return found, time.perf_counter() - began


def middle(values: list):
    """The median of figures; words are the same each day."""
    return values[0] if isinstance(values[0], str) else round(statistics.median(values), 3)


# --- the day


def one_day(folder: Path, built: Path) -> dict:
    """From `fleet new` to a failover; then a machine joins and an operator is revoked."""
    began = time.perf_counter()
    with sites(folder, built, *SERVERS, "alpha") as (found, why):
        day, prepared = FirstDay(found), time.perf_counter() - began
        _, founding = timed(lambda: founded(day))
        score, drilled = timed(day.drill)
        if not score["passed"]:
            sys.exit(f"bench/first_day.py: the drill failed: {score}")
        commands = len(day.commands)
        _, joining = timed(lambda: joined(day))
        day.add_operator("ana")
        revoking = day.revoke("ana")
    return {
        "first_day_s": founding + drilled, "commands": commands, "pip_commands": 2 * (len(SERVERS) + 1),
        "files_edited": 0,  # the day has no way to edit one: everything is a command
        "live_s": founding, "failover_took_s": score["took_s"], "join_s": joining, "revoke_s": revoking,
        "prepare_s": prepared, "machines": f"loopback addresses: {why}" if why else "network namespaces",
    }  # fmt: skip


def founded(day: FirstDay) -> None:
    """Until all three are live over TLS, as `hubdeck status` says."""
    day.found()
    for hub in SERVERS:
        day.install(hub)
    day.typed("desk", "hubdeck", "status")
    day.live(*SERVERS)


def joined(day: FirstDay) -> None:
    """Until the fourth machine is live on the console."""
    day.join("alpha")
    day.live(*SERVERS, "alpha")


# --- what TLS costs


def cost_of_delivery(folder: Path, chunks: int, turns: int) -> dict[str, float]:
    """Records a second without and with, in turn."""
    rates: dict[str, list[float]] = {"plain": [], "tls": []}
    authority = TestAuthority(folder / "ca")
    pem = authority.server_pem(folder / "server.pem", "central", "127.0.0.1")
    for turn in range(turns):
        for scheme, found in rates.items():
            where = folder / f"{scheme}{turn}"
            with NatsServer(where / "server") as server:
                asyncio.run(make_streams(server.url))
                if scheme == "tls":
                    server.extra = f'tls: {{cert_file: "{pem}", key_file: "{pem}"}}\n'
                server.restart()
                url = server.url.replace("nats://", "tls://") if scheme == "tls" else server.url
                found.append(asyncio.run(rate(where, url, authority, chunks)))
    plain, tls = (statistics.median(one) for one in rates.values())
    return {
        "plain_records_per_s": round(plain), "tls_records_per_s": round(tls), "tls_rate_ratio": round(tls / plain, 3),
    }  # fmt: skip


async def rate(where: Path, url: str, authority: TestAuthority, chunks: int) -> float:
    """Append (fsync), publish, acknowledge: records a second."""
    async with HubParts(where / "hub", {"central": url}, policy=POLICY, tls=authority.context()).running() as hub:
        await hub.delivered("central", "evt")
        batches = [[event(chunk * RECORDS_PER_CHUNK + n) for n in range(RECORDS_PER_CHUNK)] for chunk in range(chunks)]
        began, appended = time.perf_counter(), []
        for batch in batches:
            appended.append(hub.spool.write(lambda store, batch=batch: add_events(hub, store, batch)))
            if len(appended) >= APPENDS_MAX:
                await appended[-APPENDS_MAX]
        await asyncio.gather(*appended)
        await hub.delivered("central", "evt", 120)
        return chunks * RECORDS_PER_CHUNK / (time.perf_counter() - began)


def cost_of_running(root: Path, seconds: float) -> dict[str, float]:
    """CPU of the witness's agent, which measures, and delivers to both hub servers, as every hub does."""
    ratios = {}
    for scheme in ("plain", "tls"):
        with on_loopback(root / f"fleet-{scheme}", Path(sys.prefix) / "bin", *SERVERS) as found:
            day = FirstDay(found)
            day.found(tls=scheme == "tls")
            for hub in SERVERS:
                day.install(hub)
            day.live(*SERVERS)
            time.sleep(SETTLE_S)
            site = found["witness"]
            assert isinstance(site, OnLoopback)
            before = cpu_s(site.agent_pid)
            time.sleep(seconds)
            ratios[scheme] = (cpu_s(site.agent_pid) - before) / seconds
    return {
        "plain_cpu_ratio": round(ratios["plain"], 5), "tls_cpu_ratio": round(ratios["tls"], 5),
        "tls_cpu_added_ratio": round(ratios["tls"] - ratios["plain"], 5),
    }  # fmt: skip


# --- words


def show(result: dict) -> None:
    """The day in words."""
    print(f"on {result['machines']}; wheel {result['wheel_s']:.1f} s, environments {result['prepare_s']:.1f} s")
    print(f"three hubs live over TLS: {result['live_s']:.1f} s; with a failover done: {result['first_day_s']:.1f} s, "
          f"{result['commands']} commands (and {result['pip_commands']} of venv and pip), no file edited")  # fmt: skip
    print(f"failover {result['failover_took_s']:.2f} s; a machine joined {result['join_s']:.1f} s; "
          f"an operator revoked {result['revoke_s']:.2f} s")  # fmt: skip


def show_cost(result: dict) -> None:
    """What TLS costs, in words."""
    print(f"delivery {result['plain_records_per_s']:,} records/s plain, {result['tls_records_per_s']:,} over TLS "
          f"({result['tls_rate_ratio']:.2f}); agent {result['plain_cpu_ratio'] * 100:.2f} % of a core plain, "
          f"{result['tls_cpu_ratio'] * 100:.2f} % over TLS")  # fmt: skip


if __name__ == "__main__":
    main()
