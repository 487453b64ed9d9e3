"""Work that may wait for the disk, in a thread, while the guard goes on hearing its clients and keeping its deadlines."""

import _thread
import os
from collections.abc import Callable

from hubagent.guard.registry import Watch


class Aside:
    """One piece of work at a time; `turn` is one turn of the guard's loop, which must not ask for more of it."""

    def __init__(self, watch: Watch, turn: Callable[[], object]) -> None:
        self._turn = turn
        self._done, self._say = os.pipe()
        self._is_working = self._has_ended_well = False
        self._error: OSError | None = None
        watch.add(self._done, "done", None)

    def do(self, work: Callable[[], None]) -> None:
        """Return when it is done, and raise the OSError that it raised."""
        assert not self._is_working
        self._is_working, self._has_ended_well, self._error = True, False, None
        try:
            _thread.start_new_thread(self._work, (work,))
        except RuntimeError:  # no thread to be had: late is better than not at all
            self._work(work)
        while self._is_working:
            self._turn()
        if self._error is not None:
            raise self._error
        assert self._has_ended_well, "the work of the disk ended without a word"

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
            self._has_ended_well = True
        except OSError as error:
            self._error = error
        finally:
            os.write(self._say, b"1")

    def done(self) -> None:
        """The loop has heard the end of it."""
        os.read(self._done, 1)
        self._is_working = False
