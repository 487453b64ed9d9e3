"""Failover seen from outside: seconds from a fault until the service runs on the other hub, and instants with two.

`bench/failover.py [--quick] [--json] [--only PROFILE.KIND …] [--trials N]`. The process table alone says where
`scheduler` runs, looked at each 3 ms; a look that sees two is an overlap. Kinds: `kill` (kill -9 of agent, guard and
server), `freeze` (SIGSTOP of the agent), `server` (SIGSTOP of the hub's server: must change nothing), `cut` (all links of
the active hub fall silent), `switch` (planned); apart from them `thaw`, which no hub can prevent: agent, guard and service
frozen together and thawed after the takeover, how long both ran. Profiles: rapid, fast, normal. Full: 200 trials of
fast.kill and fast.freeze, 40 of each other; quick: a few, within a minute. Redis with 3 Sentinels runs beside it where
installed; with `--only` where `redis` is named too.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pair import NotMeasured, Pair, wait
from sentinel import Peer, failovers

PROFILES = ("fast", "rapid", "normal")
KINDS = {
    "kill": Pair.kill,
    "freeze": Pair.freeze_agent,
    "server": Pair.freeze_server,
    "switch": Pair.switch,
    "cut": Pair.cut,
    "thaw": Pair.thaw,
}
WORDS = {
    "kill": "kill -9 of agent, guard and server",
    "freeze": "SIGSTOP of the agent",
    "server": "SIGSTOP of the hub's server",
    "cut": "all links of the active hub silent",
    "switch": "planned switchover",
    "thaw": "agent, guard and service thawed after the takeover, seconds that both ran",
}
QUICK = {"fast.kill": 2, "fast.switch": 2, "fast.freeze": 1, "fast.cut": 1, "rapid.kill": 1, "normal.kill": 1}
PEER = "redis"
QUICK_S_MAX = 42.0
CALM_S_MAX = 60.0
SETTLE_S = 0.7
BAR = 40


def counts(options: argparse.Namespace) -> dict[str, int]:
    """How many trials of each `profile.kind`."""
    if options.quick:
        wanted = dict(QUICK)
    else:
        wanted = {f"{profile}.{kind}": 40 for profile in PROFILES for kind in KINDS if kind != "thaw"}
        wanted |= {"fast.kill": 200, "fast.freeze": 200, "fast.thaw": 40}
    if options.only:
        wanted = {name: wanted.get(name, 40) for name in options.only if name != PEER}
    return {name: options.trials or count for name, count in wanted.items()}


class Results:
    """What was measured, by `profile.kind`."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.overlaps: dict[str, int] = {}
        self.failed: list[str] = []

    def run(self, pair: Pair, profile: str, kind: str, trials: int, until: float) -> None:
        """Repeat one kind, each time from a calm pair."""
        name = f"{profile}.{kind}"
        for _ in range(trials):
            if time.monotonic() > until:
                self.failed.append(f"{name}: left out, the time of --quick is over")
                return
            before = len(pair.observer.overlaps)
            try:
                wait("a calm pair", pair.is_calm, CALM_S_MAX)
                time.sleep(SETTLE_S)  # what the last fault left in the links shows within this
                wait("a pair that stays calm", pair.is_calm, CALM_S_MAX)
                took = KINDS[kind](pair)
                self.seconds.setdefault(name, []).append(took)
            except NotMeasured as error:
                self.failed.append(f"{name}: {error}")
            seen = 0 if kind == "thaw" else len(pair.observer.overlaps) - before
            self.overlaps[name] = self.overlaps.get(name, 0) + seen

    def figures(self) -> dict[str, object]:
        """The JSON: kill -9 at the top level of each profile, the other kinds below it."""
        found: dict[str, Any] = {}
        for name, seconds in self.seconds.items():
            profile, _, kind = name.partition(".")
            one = {"trials": len(seconds), "overlaps": self.overlaps[name]}
            one |= {"takeovers": int(sum(seconds))} if kind == "server" else spread(seconds)
            entry = found.setdefault(profile, {})
            entry |= one if kind == "kill" else {kind: one}
        for profile, entry in found.items():
            entry["overlaps_all"] = sum(n for name, n in self.overlaps.items() if name.startswith(f"{profile}."))
        switches = [took for name, took in self.seconds.items() if name.endswith(".switch") for took in took]
        thaws = [took for name, took in self.seconds.items() if name.endswith(".thaw") for took in took]
        found |= {"switchover_median_s": round(statistics.median(switches), 3)} if switches else {}
        return found | ({"thaw_overlap_s": round(max(thaws), 3)} if thaws else {})

    def text(self) -> str:
        """Tables and histograms for people."""
        lines = []
        for name, seconds in self.seconds.items():
            profile, _, kind = name.partition(".")
            head = f"{profile}, {WORDS[kind]}, {len(seconds)} trials: "
            if kind == "server":
                lines.append(f"{head}{int(sum(seconds))} takeovers (none is right), overlaps {self.overlaps[name]}")
                continue
            one = spread(seconds)
            spoken = f"{head}min {one['min_s']} / median {one['median_s']} / p99 {one['p99_s']} / max {one['max_s']} s"
            lines.append(spoken + ("" if kind == "thaw" else f", overlaps {self.overlaps[name]}"))
            lines += histogram(seconds)
        return "\n".join([*lines, *self.failed])


def spread(seconds: list[float]) -> dict[str, float]:
    """min, median, p99 (nearest rank) and max."""
    runs = sorted(seconds)
    p99 = runs[min(int(len(runs) * 0.99), len(runs) - 1)]
    figures = {"min_s": runs[0], "median_s": statistics.median(runs), "p99_s": p99, "max_s": runs[-1]}
    return {name: round(value, 3) for name, value in figures.items()}


def histogram(seconds: list[float]) -> list[str]:
    """Bars of text, where there are enough trials to have a shape."""
    if len(seconds) < 10:
        return []
    low, high = min(seconds), max(seconds)
    step = max((high - low) / 10, 0.001)
    bins = [0] * 10
    for took in seconds:
        bins[min(int((took - low) / step), 9)] += 1
    top = max(bins)
    return [
        f"  {low + n * step:6.3f} s {'#' * round(BAR * count / top):<{BAR}} {count}" for n, count in enumerate(bins)
    ]


def measure(wanted: dict[str, int], until: float, *, is_quick: bool) -> Results:
    """One fleet for each profile, and one more with proxies where links are cut."""
    results = Results()
    for profile in PROFILES:
        kinds = {kind: wanted[f"{profile}.{kind}"] for kind in KINDS if f"{profile}.{kind}" in wanted}
        cuts = {kind: kinds.pop(kind) for kind in ("cut",) if kind in kinds and not (is_quick and len(kinds) > 1)}
        for some, with_proxies in ((kinds, "cut" in kinds), (cuts, True)):
            if not some or time.monotonic() > until:
                results.failed += [f"{profile}.{kind}: left out, the time of --quick is over" for kind in some]
                continue
            with tempfile.TemporaryDirectory(prefix="hubdeck-bench-") as folder:
                try:
                    with Pair(Path(folder) / "d", profile, with_proxies=with_proxies) as pair:
                        for kind, trials in some.items():
                            results.run(pair, profile, kind, trials, until)
                except NotMeasured as error:
                    results.failed.append(f"{profile}: {error}")
    return results


def beside(options: argparse.Namespace, until: float) -> Peer:
    """Redis, where it was asked for and there is time."""
    if options.only and PEER not in options.only:
        return Peer(f"Redis + 3 Sentinels: not asked for; name `{PEER}` too")
    if options.quick:
        return failovers(int(time.monotonic() < until))
    return failovers(options.trials or 40)


def main() -> None:
    """Run the trials and print what came of them; 1 where something was not measured, or two ran at once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", metavar="PROFILE.KIND", default=[])
    parser.add_argument("--trials", type=int, default=0)
    options = parser.parse_args()
    until = time.monotonic() + (QUICK_S_MAX if options.quick else float("inf"))
    results = measure(counts(options), until, is_quick=options.quick)
    print(results.text(), flush=True)
    figures = results.figures()
    peer = beside(options, until)
    print(peer.text)
    if peer.seconds:
        figures["redis_sentinel"] = {"trials": len(peer.seconds), **spread(peer.seconds)}
    if options.json:
        print(json.dumps(figures))
    sys.exit((bool(results.failed) and not options.quick) or any(results.overlaps.values()))


if __name__ == "__main__":
    main()
