"""Waiting for a condition that no event announces."""

import asyncio


async def until(condition, seconds: float = 10.0) -> None:
    """Return once the condition holds, or raise TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # other processes cannot set an event of ours
            await asyncio.sleep(0.01)
