"""A guard that runs nothing: children are numbers, and a test decides when they end."""

import asyncio
import itertools

from hubagent.errors import GuardGone


class FakeGuard:
    """Speaks like the guard's socket; `starts` keeps every start request that was obeyed."""

    def __init__(self) -> None:
        self.is_up = True
        self.living: dict[str, dict] = {}
        self.exits: dict[str, list[dict]] = {}
        self.starts: list[dict] = []
        self.stops: list[tuple[str, float]] = []
        self.refusal = ""  # of the next start requests
        self.obeys_stop = True
        self.has_ended = False
        self._callbacks = []
        self._pids = itertools.count(100)

    async def revive(self) -> None:
        """Connect, or GuardGone while it is not up."""
        if not self.is_up:
            raise GuardGone("fake", "it is not up")

    def close(self) -> None:
        """Hang up."""

    def on_event(self, callback) -> None:
        """Call back for each event."""
        self._callbacks.append(callback)

    async def request(self, op: str, **fields):
        """One reply, in the turn after the request."""
        await asyncio.sleep(0)
        if not self.is_up:
            raise GuardGone("fake", "it is not up")
        return getattr(self, f"_{op}")(**fields)

    def _hello(self, agent=False):
        names = sorted({*self.living, *self.exits})
        services = [
            {"name": name, "pid": None, "exits": list(self.exits.get(name, []))} | self.living.get(name, {})
            for name in names
        ]
        for exits in self.exits.values():
            exits[:] = [ended | {"missed": False} for ended in exits]
        return {"ok": True, "pid": 1, "boot": "boot", "services": services}

    def _start(self, **fields):
        name = fields["name"]
        if name in self.living:
            return {"ok": False, "why": f"{name} runs already", "pid": self.living[name]["pid"]}
        if self.refusal:
            return {"ok": False, "why": self.refusal}
        self.starts.append(fields)
        pid = self.run(name, mode=fields["mode"], group=fields["group"], epoch=fields["epoch"], cwd=fields["cwd"])
        return {"ok": True, "pid": pid}

    def run(self, name, *, mode="always", group="", epoch=0, cwd="", up_s=0.0) -> int:
        """Have a child of this name from now on."""
        assert name not in self.living, f"two living children of {name}"
        pid = next(self._pids)
        self.living[name] = {"pid": pid, "mode": mode, "group": group, "epoch": epoch, "cwd": cwd, "up_s": up_s}
        return pid

    def _stop(self, name, grace_s):
        self.stops.append((name, grace_s))
        pid = self.living.get(name, {}).get("pid")
        if pid is not None and self.obeys_stop:
            self.end(name, signal=15, asked=True)
        return {"ok": True, "pid": pid}

    def _shutdown(self):
        self.has_ended = True
        self.vanish()
        return {"ok": True}

    def end(self, name, code=None, signal=None, *, asked=False, up_s=1.0, told=True) -> None:
        """Let a child end; `told` False: no agent was connected."""
        pid = self.living.pop(name)["pid"]
        ended = {"pid": pid, "code": code, "signal": signal, "up_s": up_s, "asked": asked}
        self.exits.setdefault(name, []).append(ended | {"missed": not told})
        if told:
            self._tell({"event": "exit", "name": name, **ended})

    def vanish(self) -> None:
        """Die, and take nobody along."""
        self.is_up = False
        self._tell({"event": "gone"})

    def _tell(self, event) -> None:
        for callback in self._callbacks:
            callback(event)
