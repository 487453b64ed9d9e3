"""Makes docs/console.svg from the real thing: the demo's fleet, its edge server frozen, as the console shows it.

Run it with the project's Python: `.venv/bin/python docs/picture.py`.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from console import config
from console.app import Hubdeck, appearance_of
from console.clock import SystemClock
from console.link import Link

WIDTH, HEIGHT = 96, 20
HERE = Path(__file__).parent


async def picture(ready: dict) -> str:
    """The console's screen as SVG, some seconds after the edge server froze."""
    settings = config.load(Path(ready["console_config"]))
    clock = SystemClock()
    link = Link(settings, clock)
    app = Hubdeck(link, clock, appearance_of(settings, is_ascii=False), is_unlocked=True)
    async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:
        while sum(hub.live is not None for hub in app.fleet.hubs.values()) < len(ready["agents"]):
            await pilot.pause(0.2)
        os.kill(ready["servers"]["edge"]["pid"], signal.SIGSTOP)
        await pilot.pause(8)
        return app.export_screenshot(title="hubdeck")


def main() -> None:
    """Start the demo, take the picture, end the demo."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "console", "demo", "--headless", "--dir", f"{directory}/d"]
        demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            ready = json.loads(demo.stdout.readline())
            svg = asyncio.run(picture(ready))
            (HERE / "console.svg").write_text(re.sub(r"@font-face\s*{[^}]*}\s*", "", svg))  # no font from elsewhere
            os.kill(ready["servers"]["edge"]["pid"], signal.SIGCONT)
        finally:
            demo.terminate()
            demo.wait()


if __name__ == "__main__":
    main()
