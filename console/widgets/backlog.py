"""Tells whether the terminal is behind: a stalled link fills Textual's queue of writes and would then block us."""

from typing import Any

WRITES_MAX = 8  # of the 30 that Textual's writer holds


def is_behind(app: Any) -> bool:
    """True while frames wait to be written; painting goes on, whole, when they are gone."""
    writer = getattr(getattr(app, "_driver", None), "_writer_thread", None)
    queue = getattr(writer, "_queue", None)
    return queue is not None and queue.qsize() > WRITES_MAX
