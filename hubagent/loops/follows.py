"""Follows outputs of services as long as somebody wants their new lines."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from hubagent.edges.outputs import Follower

FOLLOW_S = 0.25  # how often a followed output is read
Callback = Callable[[str], None]


class Follows:
    """One reader for each followed output, however many follow it."""

    def __init__(self, output_dir: Path) -> None:
        self._output_dir = output_dir
        self._callbacks: dict[str, list[Callback]] = {}

    def follow(self, name: str, callback: Callback, tasks: asyncio.TaskGroup) -> Callable[[], None]:
        """Call back with each new line until the returned function is called."""
        is_new = name not in self._callbacks
        callbacks = self._callbacks.setdefault(name, [])
        callbacks.append(callback)
        if is_new:
            tasks.create_task(self._read(name, callbacks))

        def end() -> None:
            if callback in callbacks:
                callbacks.remove(callback)

        return end

    async def _read(self, name: str, callbacks: list[Callback]) -> None:
        follower = await asyncio.to_thread(Follower, self._output_dir / f"{name}.log")
        while callbacks:
            for line in await asyncio.to_thread(follower.read):
                for callback in list(callbacks):
                    callback(line)
            await asyncio.sleep(FOLLOW_S)
        del self._callbacks[name]
        follower.close()
