"""One short visit to the fleet: open the link, hear the hubs, close it."""

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from console import config
from console.clock import Clock, SystemClock
from console.errors import ConsoleError, NotConnected
from console.fleet import CONNECTING, Fleet, Report
from console.link import Link
from console.nats_side import NatsSide

T = TypeVar("T")
CONNECT_SECONDS = 4.0  # until the first hub server answers
OTHERS_SECONDS = 1.0  # after the first, for the others
HEAR_SECONDS = 2.5  # a hub speaks once a second; who is silent this long is lost
DETAIL_HUBS_MAX = 50  # for more hubs the services are asked for only on request


@dataclass(slots=True)
class Session:
    """A started link and the model that its reports make."""

    link: Link
    fleet: Fleet
    clock: Clock

    def take(self) -> list[Report]:
        """Put what came into the model."""
        reports = self.link.drain()
        for report in reports:
            self.fleet.apply(report, self.clock.monotonic())
        return reports

    def wait_until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Take in reports until the condition holds, at most so long."""
        deadline = self.clock.monotonic() + seconds
        while True:
            self.take()
            if self.link.failure:
                raise self.link.failure
            if holds():
                return True
            left = deadline - self.clock.monotonic()
            if left <= 0:
                return False
            self.link.wait(min(left, 0.25))

    def connect(self, seconds: float = CONNECT_SECONDS) -> None:
        """Wait for a hub server and the roster; raises NotConnected, with the reason of each."""
        if self.wait_until(lambda: self.fleet.has_link() and self.fleet.roster is not None, seconds):
            # A hub may be linked to one server only, and a slow one must not hold up the rest.
            self.wait_until(lambda: all(one.state != CONNECTING for one in self.fleet.servers.values()), OTHERS_SECONDS)
            return
        if not self.fleet.has_link():
            whys = [f"{one.name}: {one.why or one.state}" for one in self.fleet.servers.values()]
            raise NotConnected("; ".join(whys))
        raise NoRoster

    def ask_details(self, hubs: list[str]) -> None:
        """Ask hubs for their detail."""

        async def ask(side: NatsSide) -> None:
            await side.watching.ask_details(hubs)

        self.get(self.link.call(ask))

    def get(self, future: "Future[T]") -> T:
        """The value of a future of the link; its errors are ours."""
        return future.result()


class NoRoster(ConsoleError):
    """Connected, but neither the servers nor the config gave a roster that verifies."""

    def __str__(self) -> str:
        return "no valid roster: no hub server has one that the fleet key signed; check fleet_key, or set roster_file"


@contextmanager
def session(options: argparse.Namespace) -> Iterator[Session]:
    """A session by the command line's options; its threads and connections end with it."""
    clock = SystemClock()
    settings = config.load(Path(options.config) if options.config else config.default_path())
    link = Link(settings, clock)
    link.start()
    try:
        yield Session(link, Fleet(clock.monotonic()), clock)
    finally:
        link.stop()
