"""A delivering hub as a process of its own, to be killed: prints each accepted value, one a line."""

import asyncio
import sys
from pathlib import Path

from tests.support.hub import HubParts, quick_policy


async def main(folder: str, first: str, *servers: str) -> None:
    """Record without end; `servers` are name=url."""
    urls = dict(one.split("=", 1) for one in servers)
    hub = HubParts(Path(folder), urls, policy=quick_policy(chunk_s=0.05))
    async with hub.running():
        value = int(first)
        while True:
            await hub.sample(value)
            print(f"met {value}", flush=True)
            await hub.event(value)
            print(f"evt {value}", flush=True)
            value += 1
            await asyncio.sleep(0.005)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
