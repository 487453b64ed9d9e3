"""Sees the demo's fleet as a console does, to know when it is complete."""

from pathlib import Path
from types import TracebackType
from typing import Self

from console import config
from console.clock import SystemClock
from console.demo.layout import Layout
from console.fleet import Fleet
from console.link import Link
from hubagent.wire.reports import Live


class Watcher:
    """A console's link and model without a screen."""

    def __init__(self, path: Path) -> None:
        self._clock = SystemClock()
        self._fleet = Fleet(self._clock.monotonic())
        self._link = Link(config.load(path))

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.stop()

    def is_ready(self, layout: Layout) -> bool:
        """Tell whether every hub is live on both servers, its services run, and `core` has its active hub."""
        for report in self._link.drain():
            self._fleet.apply(report, self._clock.monotonic())
        lives = [self._fleet.hub(hub).live for hub in layout.hubs]
        return all(live is not None and is_complete(live) for live in lives) and any(
            group.role == "ACTIVE" for live in lives if live is not None for group in live.groups
        )


def is_complete(live: Live) -> bool:
    """Tell whether a hub owes nothing to either server and every wanted service runs."""
    runs = live.services is None or live.services.running == live.services.wanted
    return runs and bool(live.lanes) and all(lane.state == "LIVE" for lane in live.lanes)
