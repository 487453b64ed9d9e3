"""What one test did to the world and what came of it: filled by the helpers, read by the fault report."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Page:
    """One test. Of several looks at streams the worst counts."""

    injected: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    lost: int = 0
    repeated: int = 0
    declared: int = 0
    drain_s: float | None = None

    def as_property(self) -> dict[str, Any]:
        """Plain values, which travel between test processes."""
        return asdict(self) | {"injected": dict(self.injected)}


_page = Page()


def turn() -> None:
    """A new test begins."""
    global _page  # noqa: PLW0603  # one test runs at a time in a process
    _page = Page()


def page() -> Page:
    """The page of the test that runs now."""
    return _page


def inject(what: str) -> None:
    """A fault was put in force."""
    _page.injected[what] += 1


def looked(sent: int, lost: int, repeated: int, declared: int) -> None:
    """A stream was held against what was accepted; `lost` is what nothing declares."""
    _page.sent, _page.lost = max(_page.sent, sent), max(_page.lost, lost)
    _page.repeated, _page.declared = max(_page.repeated, repeated), max(_page.declared, declared)


def drained(seconds: float) -> None:
    """A destination had everything after so long."""
    _page.drain_s = max(_page.drain_s or 0.0, seconds)
