"""Failover and switchover as text: commands, and below each what came of it (HUBDECK_REWRITE=1 writes it anew)."""

import os
import re
from pathlib import Path

import pytest

from hubagent.core import lease_events as ev
from hubagent.core.lease_policy import PROFILES
from hubagent.core.lease_view import group_state
from tests.support.lease_world import World

FILES = sorted(Path(__file__).parent.glob("lease_*.txt"))
SHOWN = ("role", "epoch", "left_s", "auto", "why", "holder", "maintenance", "witness", "not_fenced")
FORCED = frozenset({"minimum-hold", "few-changes"})


class Story:
    """Plays one file on one world."""

    def __init__(self):
        self.world = World(1)
        self.traced: list[str] | None = None  # every effect but reads, once `trace` was said

    def play(self, line: str) -> list[str]:
        """Do what the line says, and tell what came of it."""
        word, *rest = line.split()
        getattr(self, f"_{word}")(*rest)
        return self._told()

    def _told(self) -> list[str]:
        lines = list(self.traced or ())
        self.traced = None if self.traced is None else []
        for name, hub in self.world.hubs.items():
            lines += [f"  {name}: {note}" for note in hub.notes]
            lines += [f"  {name}: request {one.request_id} {self._outcome(one.outcome)}" for one in hub.concluded]
            hub.notes.clear()
            hub.concluded.clear()
        return lines

    def _outcome(self, outcome) -> str:
        return "done" if outcome.ok else f"failed at {outcome.gate}: {outcome.why}"

    def _hubs(self, *names):
        self.world = World(1, names).start()

    def _pair(self, *names):
        self.world = World(1, names, has_witness=False).start()

    def _trace(self):
        self.traced = []
        self.world.say = self._say

    def _say(self, name, event, effects):
        told = [effect for effect in effects if not isinstance(effect, ev.Read)]
        self.traced += [f"  {self.world.now:.3f} {name} {_rounded(effect)}" for effect in told]

    def _set_auto(self, name, word):
        self.world.hubs[name].feed(ev.SetAuto(3, word))

    def _maintenance(self, name, word):
        self.world.hubs[name].feed(ev.SetMaintenance(4, word == "on"))

    def _profile(self, name, word):
        self.world.hubs[name].feed(ev.Configure(tuple(self.world.hubs), PROFILES[word]))

    def _measured(self, name, round_trip, lag):
        self.world.hubs[name].feed(ev.Measured(float(round_trip), float(lag)))

    def _hang(self, name):
        self.world.hubs[name].is_hung = True

    def _sleep(self, name, seconds):
        self.world.sleep(name, float(seconds.removesuffix("s")))

    def _end(self, name):
        self.world.hubs[name].feed(ev.Switchover(5, stop=True))

    def _try_switch(self, name, to):
        self.world.hubs[name].feed(ev.Switchover(6, to))

    def _everything(self):
        for hub in self.world.hubs.values():
            if hub.lease is not None:
                state = group_state(hub.lease, hub.local(self.world.now))
                hub.notes.append(_rounded({name: getattr(state, name) for name in SHOWN}))

    def _advance(self, seconds):
        self.world.run(float(seconds.removesuffix("s")))

    def _cut(self, one, other):
        self.world.cut(one, other)

    def _heal(self):
        self.world.heal()

    def _kill(self, name):
        self.world.hubs[name].stop()

    def _begin(self, name):
        self.world.hubs[name].start()

    def _freeze(self, name, seconds):
        self.world.pause(name, float(seconds.removesuffix("s")))

    def _witness(self, what):
        {"down": self.world.rows.go_down, "up": self.world.rows.come_up, "empty": self.world.rows.empty}[what]()

    def _switch(self, name, to):
        self.world.hubs[name].feed(ev.Switchover(1, to, FORCED))

    def _promote(self, name):
        self.world.hubs[name].feed(ev.Promote(2))

    def _states(self):
        for hub in self.world.hubs.values():
            if hub.lease is not None:
                state = group_state(hub.lease, hub.local(self.world.now))
                hub.notes.append(f"{state.role} epoch {state.epoch} {state.why}".rstrip())


def _rounded(record) -> str:
    """A record in words, without what a reader cannot check."""
    text = re.sub(r"\d+\.\d+(e-?\d+)?", lambda found: f"{float(found[0]):.3f}", repr(record))
    return re.sub(r" t=\d+\.\d+,|LeaseRecord", "", text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_story_is_as_written(path):
    """The trace of each command is what the file says."""
    story, played = Story(), []
    for line in path.read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            played += [line, *story.play(line)]
        elif not line.startswith("  "):
            played.append(line)
    if os.environ.get("HUBDECK_REWRITE"):
        path.write_text("\n".join(played) + "\n")
    assert path.read_text().splitlines() == played
