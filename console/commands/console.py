"""`hubdeck` without a command: builds the link and the app, and runs them until the operator leaves."""

import argparse
import asyncio
import gc
import os
import select
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from console import config
from console.clock import SystemClock
from console.errors import Usage
from console.link import Link

if TYPE_CHECKING:
    from console.app import Hubdeck

ENDING = (signal.SIGTERM, signal.SIGHUP)
BY_SIGNAL = 128  # added to its number, as shells say it


def run(options: argparse.Namespace) -> int:
    """Open the console; a terminal that cannot show it is told what can be used instead."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Usage("the console needs a terminal; without one use `hubdeck status --plain` or `--json`")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise Usage("this terminal (TERM=dumb) cannot show the console; use `hubdeck status --plain`")
    gc.disable()  # until the first frame, where the app turns it on again: a fifth of the start is collecting nothing
    settings = _settings(options)
    from console.app import Hubdeck, appearance_of

    clock = SystemClock()
    speaks_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    appearance = appearance_of(settings, is_ascii=not speaks_utf8)
    link = Link(settings, clock)
    app = Hubdeck(link, clock, appearance, is_unlocked=not settings.read_only, own_keys=settings.keys)
    try:
        return asyncio.run(_shown(app)) or 0
    finally:
        link.stop()  # the app does it too; not where it ended by an error


async def _shown(app: "Hubdeck") -> int | None:
    """Until the operator leaves or a signal ends it; either way the terminal is left as it was found."""
    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, app.exit, BY_SIGNAL + number)
    _on_hangup(loop, app)
    return await app.run_async()


def _on_hangup(loop: asyncio.AbstractEventLoop, app: "Hubdeck") -> None:
    """Leave when the terminal is closed: make and scripts keep SIGHUP to themselves. Elsewhere than on Linux it must do."""
    if sys.platform != "linux":
        return
    hangups = select.epoll()
    hangups.register(sys.stdin.fileno(), 0)  # nothing but the end of it

    def leave() -> None:
        loop.remove_reader(hangups.fileno())
        app.exit(BY_SIGNAL + signal.SIGHUP)

    loop.add_reader(hangups.fileno(), leave)


def _settings(options: argparse.Namespace) -> config.Settings:
    """The config's settings, and the command line's over them."""
    settings = config.load(Path(options.config) if options.config else config.default_path())
    named = {"theme": options.theme, "monochrome": options.monochrome, "ascii": options.ascii}
    return msgspec.structs.replace(settings, **{key: value for key, value in named.items() if value is not None})
