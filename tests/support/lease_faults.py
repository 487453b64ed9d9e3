"""Fault schedules for the lease world: drawn from a seed, or enumerated to a small depth."""

import itertools

from hubagent.core import lease_events as ev
from hubagent.core.lease_policy import PROFILES
from tests.support.lease_world import World

QUIET_S = 6.0  # after the last fault: waits, ranks, retries and two takeovers fit
QUIET_LONG_S = 16.0  # the same where a hub may have come to the longest profile


def seeded(seed: int, lease_class, *, seconds: float = 10.0, hubs=("a", "b"), kinds=(), **options) -> World:
    """A world that lives through faults drawn from the seed, then heals, and must settle."""
    world = World(seed, hubs, lease_class, drift=0.01, **options)
    rng = world.random
    world.network.lose = rng.choice((0.0, 0.0, 0.05, 0.2))
    world.network.duplicate = rng.choice((0.0, 0.1))
    world.network.slow = rng.choice((0.0, 0.0, 0.05, 0.3))
    world.start()
    while world.now < seconds:
        world.run(rng.uniform(0.05, 1.2))
        rng.choice(kinds or FAULTS)(world)
    settle(world, QUIET_LONG_S if kinds else QUIET_S)
    return world


def pointed(seed: int, lease_class, kinds, network, *, seconds: float = 6.0) -> World:
    """A shorter world that lives through few kinds of faults only; safety alone is looked at."""
    world = World(seed, ("a", "b", "c") if seed % 2 else ("a", "b"), lease_class, drift=0.01)
    for name, value in network.items():
        setattr(world.network, name, value)
    world.start()
    while world.now < seconds:
        world.run(world.random.uniform(0.05, 1.2))
        world.random.choice(kinds)(world)
    return world


def late_member(lease_class) -> World:
    """The roster of `c` names it, the others' does not yet; the store is emptied, and nobody hears c."""
    world = World(0, ("a", "b", "c"), lease_class, members={"a": ("a", "b"), "b": ("a", "b")}).start()
    world.run_until(lambda: world.acting() == ["a"], 2.0)
    world.cut("a", "c")
    world.cut("b", "c")
    world.cut("b", "store")
    world.rows.empty()
    world.restart("c", 0.01)  # it never saw the record that did not name it
    world.run(3.0)
    return world


def away_while_the_span_grew(lease_class, *, is_down: bool) -> World:
    """`b` is down or cut off while the profile becomes a longer one; then the store is put back to the shorter, and nobody hears `a`."""
    world = World(0, ("a", "b"), lease_class, profile="rapid").start()
    world.run_until(lambda: world.acting() == ["a"], 2.0)
    world.run(1.0)
    seq = world.rows.seq
    if is_down:
        world.hubs["b"].stop()
    for other in ("a", "store"):
        world.cut("b", other)
    world.hubs["a"].feed(ev.Configure(("a", "b"), PROFILES["normal"]))
    world.run(2 * PROFILES["normal"].wait_s)
    assert world.hubs["a"].lease.profile.name == "normal"
    world.heal()
    for other in ("b", "store"):
        world.cut("a", other)
    world.rows.roll_back(world.rows.seq - seq + 1)
    if is_down:
        world.hubs["b"].start()
    world.run(5.0)
    return world


def settle(world: World, quiet_s: float = QUIET_S) -> None:
    """End all faults; exactly one hub must be active before long, and stay so."""
    world.heal()
    world.rows.come_up()
    net = world.network
    net.lose = net.slow = net.duplicate = 0.0
    for hub in world.hubs.values():
        hub.is_hung = False
        if hub.lease is None:
            hub.start()
    world.run(quiet_s)
    changes = len(world.changes)
    world.run(1.5)
    assert len(world.acting()) == 1, world.story(f"nobody settled: {world.acting()}")
    assert len(world.changes) == changes, world.story("it does not come to rest")


def _hub(world: World) -> str:
    return world.random.choice(list(world.hubs))


def _active_or_any(world: World) -> str:
    return next(iter(world.acting()), _hub(world))


def pause(world: World) -> None:
    """SIGSTOP of one agent."""
    world.pause(_active_or_any(world), world.random.uniform(0.05, 2.0))


def restart(world: World) -> None:
    """kill -9 of one agent."""
    world.restart(_hub(world), world.random.uniform(0.0, 1.5))


def sleep(world: World) -> None:
    """Suspend one machine."""
    world.sleep(_hub(world), world.random.uniform(0.05, 2.0))


def hang(world: World) -> None:
    """The main loop of one agent hangs for a while."""
    hub = world.hubs[_hub(world)]
    hub.is_hung = True
    world.at(world.now + world.random.uniform(0.1, 2.0), lambda: setattr(hub, "is_hung", False))


def cut_store(world: World) -> None:
    """One hub and the store no longer hear each other, or only one way."""
    pair = [_active_or_any(world), "store"]
    world.random.shuffle(pair)
    world.cut(*pair, both=world.random.random() < 0.5)
    world.at(world.now + world.random.uniform(0.1, 2.5), world.heal)


def cut_peers(world: World) -> None:
    """Two hubs no longer hear each other, or only one way."""
    pair = world.random.sample(list(world.hubs), 2)
    world.cut(*pair, both=world.random.random() < 0.5)
    world.at(world.now + world.random.uniform(0.1, 2.5), world.heal)


def store_down(world: World) -> None:
    """The witness is away for a while."""
    world.rows.go_down()
    world.at(world.now + world.random.uniform(0.05, 3.0), world.rows.come_up)


def store_back(world: World) -> None:
    """The witness comes back with an older copy, at once."""
    world.rows.roll_back(world.random.choice((1, 2, 5, 30)))


def store_emptied(world: World) -> None:
    """The witness comes back empty."""
    world.rows.empty()


def switch(world: World) -> None:
    """An operator moves the group."""
    hub = world.hubs[_active_or_any(world)]
    target = next(name for name in world.hubs if name != hub.name)
    hub.feed(ev.Switchover(world.random.randrange(1 << 30), target, frozenset({"minimum-hold", "few-changes"})))


def slow_answers(world: World) -> None:
    """The store answers the active hub late, and then nobody hears that hub any more."""
    name = _active_or_any(world)
    world.late["store", name] = 0.3
    for other in ("store", *(one for one in world.hubs if one != name)):
        world.at(world.now + 0.5, lambda other=other: world.cut(name, other, both=False))
    world.at(world.now + 2.5, lambda: (world.heal(), world.late.clear()))


def cut_holder(world: World) -> None:
    """The active hub and the store no longer hear each other; the members still do."""
    world.cut(_active_or_any(world), "store")
    world.at(world.now + 2.5, world.heal)


def isolate(world: World) -> None:
    """Nobody and nothing hears the active hub, nor it them."""
    name = _active_or_any(world)
    for other in ("store", *(one for one in world.hubs if one != name)):
        world.cut(name, other)
    world.at(world.now + world.random.uniform(0.4, 2.5), world.heal)


def reconfigure(world: World) -> None:
    """The roster names another profile; every hub hears of it, one after the other."""
    profile = PROFILES[world.random.choice(("rapid", "fast", "normal"))]
    for hub in world.hubs.values():
        boots = hub.boots
        change = ev.Configure(tuple(world.hubs), profile)
        world.at(
            world.now + world.random.uniform(0.0, 0.3),
            lambda hub=hub, boots=boots, change=change: hub.feed(change, boots),
        )


def strain(world: World) -> None:
    """One hub measures slow answers, or quick ones again; the machine may be slower than any profile."""
    slow = world.random.choice((0.0, 0.0, 0.1, 0.2, 2.0))
    world.hubs[_hub(world)].feed(ev.Measured(slow, world.random.choice((0.0, 0.1))))


def nothing(world: World) -> None:
    """A quiet moment."""


FAULTS = (pause, restart, sleep, hang, cut_store, cut_peers, store_down, store_back, store_emptied, switch, nothing)
CHANGING = (*FAULTS, reconfigure, reconfigure, strain, strain, isolate, isolate)


# --- enumerated


def _on(name: str, call):
    def fault(world: World) -> None:
        call(world, name)

    return fault


def _cut(world: World, name: str) -> None:
    world.cut(name, "store")
    world.at(world.now + 0.9, world.heal)


def _no_answers(world: World, name: str) -> None:
    world.cut("store", name, both=False)
    world.at(world.now + 0.9, world.heal)


def _alone(world: World) -> None:
    world.cut("a", "b")
    world.cut("a", "store")
    world.at(world.now + 1.0, world.heal)


def _switch(world: World) -> None:
    forced = frozenset({"minimum-hold", "few-changes"})
    world.hubs["a"].feed(ev.Switchover(world.random.randrange(1 << 30), "b", forced))


STEPS = (
    nothing,
    _on("a", lambda world, name: world.pause(name, 0.9)),
    _on("b", lambda world, name: world.pause(name, 0.9)),
    _on("a", lambda world, name: world.restart(name, 0.02)),
    _on("b", lambda world, name: world.restart(name, 0.02)),
    _on("a", _cut),
    _on("a", _no_answers),
    _on("b", _no_answers),
    _alone,
    _switch,
    lambda world: world.rows.roll_back(3),
    lambda world: world.rows.empty(),
)
SPACINGS = (0.1, 0.31, 0.75)


def schedules(depth: int):
    """Every run of `depth` faults at each spacing."""
    return itertools.product(SPACINGS, itertools.product(STEPS, repeat=depth))


def enumerated(spacing: float, steps, lease_class, **options) -> World:
    """Two hubs, a holds; then these faults in order, healed and settled."""
    world = World(0, ("a", "b"), lease_class, **options).start()
    world.hubs["a"].rate, world.hubs["b"].rate = 0.99, 1.01  # the worst case: a slow holder, a fast candidate
    world.run(1.2)
    for step in steps:
        step(world)
        world.run(spacing)
    world.run(1.6)
    return world
