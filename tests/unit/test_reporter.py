"""The live plane over a slow link: less often, said in the summary itself, and the other server hears each second."""

import asyncio
from contextlib import suppress

import msgspec

from hubagent.clock import SystemClock
from hubagent.edges.nats_link import Message
from hubagent.loops.reporter import FOLLOWS_MAX, HostView, Reporter
from hubagent.wire.codec import decode, encode
from hubagent.wire.reports import AgentFigures, DiskUse, GroupState, Lane, Live, ServiceTotals
from tests.fakes.clock import FakeClock
from tests.support.waiting import until


class Heard:
    """A link that is always up, and keeps what was sent."""

    def __init__(self, server: str) -> None:
        self.server, self.is_connected = server, True
        self.live: list[Live] = []

    def subscribe(self, subject, callback):
        """Nobody asks."""

    async def publish(self, subject, payload, headers=None):
        """Kept."""
        self.live.append(decode(payload, Live))


class Quiet:
    """Sources of a hub that has nothing to say."""

    def host_live(self):
        """No figures."""
        return HostView()

    def agent(self):
        """No figures."""
        return AgentFigures()

    def totals(self):
        """No services."""
        return ServiceTotals(0, 0)

    def roster_version(self):
        """Some version."""
        return 1

    def services(self, with_usage):
        """None."""
        return []

    def maintenance(self):
        """Not in maintenance."""
        return ""

    def __getattr__(self, name):
        return list


async def test_a_slow_link_hears_less_often_and_is_told_how_often():
    """Ten times faster than real: the quick link hears each 0.1 s, the slow one of the first and of news only."""
    slow, quick = Heard("central"), Heard("edge")
    reporter = Reporter(
        "alpha", "b", "0.1", [slow, quick], Quiet(), SystemClock(), note_seq=lambda _: None,
        follow=lambda _service, _line: lambda: None, interval_s=0.1,
        rates=lambda: {"central": 8000.0, "edge": None},
    )  # fmt: skip
    task = asyncio.create_task(reporter.run())
    await until(lambda: len(quick.live) >= 8 or task.done())
    assert not task.done(), task.exception()
    assert {one.interval_s for one in quick.live} == {0.1}
    assert [one.interval_s for one in slow.live] == [5.0]
    reporter.changed()
    await until(lambda: len(slow.live) == 2)
    assert slow.live[1].seq in {one.seq for one in quick.live}
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def reporter_of(sources, link=None, clock=None) -> tuple[Reporter, list[str]]:
    """A reporter over these sources, and the outputs that it follows."""
    followed: list[str] = []

    def follow(service, _line):
        followed.append(service)
        return lambda: None

    links = [link or Heard("central")]
    made = Reporter(
        "alpha", "5f9787796304a740", "0.1.0", links, sources, clock or SystemClock(), note_seq=lambda _: None,
        follow=follow,
    )  # fmt: skip
    return made, followed


class Member(Quiet):
    """A member of a group whose servers are both away."""

    def host_live(self):
        """Every figure."""
        return HostView(0.0123, 0.4567, 12.34, DiskUse("/", 0.1234))

    def lanes(self):
        """All four lanes wait."""
        return [
            Lane(dest, lane, "BUFFERING", 12, 123456, oldest_s=61.2)
            for dest in ("central", "edge") for lane in ("evt", "met")
        ]  # fmt: skip

    def groups(self):
        """It holds a lease."""
        return [GroupState("core", "ACTIVE", 3, 0.2234890700001415, "armed", holder="alpha", witness="ok")]


async def test_the_summary_leaves_out_what_says_nothing():
    """At most 600 bytes as a rule, 800 in trouble: no empty words, no usual interval, no digits beyond a millisecond."""
    link = Heard("central")
    reporter, _ = reporter_of(Member(), link)
    task = asyncio.create_task(reporter.run())
    await until(lambda: link.live or task.done())
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    raw = encode(link.live[0])
    assert link.live[0].groups[0].left_s == 0.223
    assert b"interval_s" not in raw
    assert b'"worst":""' not in raw
    assert len(raw) <= 800  # all four lanes wait and a lease is held: no more than that
    calm = msgspec.structs.replace(link.live[0], why="", severity="ok", groups=[], lanes=[
        Lane(one.dest, one.lane, "LIVE", 0, 0) for one in link.live[0].lanes
    ])  # fmt: skip
    assert len(encode(calm)) <= 600


async def test_nobody_can_have_a_hub_follow_outputs_without_end():
    """Names that are no services, and more of them than a person looks at, are counted and left."""
    reporter, followed = reporter_of(Quiet())
    for number in range(FOLLOWS_MAX + 10):
        reporter._on_watch(Message("watch.alpha", "", b'{"logs":"s%d"}' % number, {}))
    for raw in (b'{"logs":"../../etc/passwd","lines":5}', b'{"logs":"web","lines":-5}', b"[" * 5000, b"\xff"):
        reporter._on_watch(Message("watch.alpha", "", raw, {}))
    assert len(followed) == FOLLOWS_MAX
    assert reporter.bad_messages == 14


async def turns() -> None:
    """A few turns of the loop: whatever was woken has run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_summary_goes_out_within_a_turn_of_the_sample_or_change_that_makes_it_due():
    """The clock stands still: nothing but the waking moves it."""
    link, clock = Heard("central"), FakeClock()
    reporter, _ = reporter_of(Quiet(), link, clock)
    task = asyncio.create_task(reporter.run())
    await turns()
    assert len(link.live) == 1
    for number, (seconds, wake) in enumerate([(0.98, reporter.sampled), (0.2, reporter.changed)], start=2):
        clock.advance(seconds)
        await turns()
        assert len(link.live) == number - 1
        wake()
        await turns()
        assert len(link.live) == number
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
