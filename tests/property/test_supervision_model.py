"""Whatever happens: never two live children of one name, never more starts in a window than the budget allows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubagent.core import supervision as core
from hubagent.core.service_policy import ServicePolicy
from hubagent.core.supervision import Supervision

WINDOW_S, BUDGET = 60.0, 4
POLICY = ServicePolicy("web", ("web",), start_s=1.0, backoff_min_s=0.5, crash_exits=BUDGET, crash_window_s=WINDOW_S)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["want", "unwant", "started", "refused", "exit", "obey", "time", "forget"]),
        st.sampled_from([0.0, 0.1, 1.0, 2.0, 7.0, 61.0]),
        st.floats(0.0, 1.0),
    ),
    max_size=60,
)


class World:
    """A guard as the model sees it: at most one open start, children that end when the story says so."""

    def __init__(self, kind) -> None:
        self.one = kind(POLICY)
        self.now = 0.0
        self.pid = 0
        self.open_starts = 0
        self.living: set[int] = set()
        self.asked = False
        self.auto_starts: list[float] = []  # those that no person asked for

    def step(self, kind, seconds, jitter) -> None:
        """Let time pass up to each deadline on the way, then let one thing happen."""
        end = self.now + seconds
        while (due := self.one.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.do(self.one.tick(self.now), is_auto=True)
        self.now = end
        getattr(self, f"_{kind}")(jitter)

    def do(self, effects, *, is_auto) -> None:
        """Carry effects out, and check what must never be."""
        for effect in effects:
            if isinstance(effect, core.Spawn):
                self.open_starts += 1
                assert self.open_starts == 1, "two starts are open"
                assert not self.living, "a start while a child lives"
                if is_auto:
                    self.auto_starts.append(self.now)
            elif isinstance(effect, core.Stop):
                self.asked = True
        recent = [at for at in self.auto_starts if at > self.now - WINDOW_S]
        assert len(recent) <= BUDGET, "more starts in a window than the budget"

    def feed(self, event, *, is_auto=True) -> None:
        """One event."""
        self.do(self.one.handle(event, self.now), is_auto=is_auto)

    def _want(self, _) -> None:
        self.auto_starts.clear()  # a person may always start it
        self.feed(core.Wanted(), is_auto=False)

    def _unwant(self, _) -> None:
        self.feed(core.Unwanted())

    def _started(self, _) -> None:
        if self.open_starts:
            self.open_starts = 0
            self.pid += 1
            self.living.add(self.pid)
            assert len(self.living) == 1
            self.feed(core.Started(self.pid))

    def _refused(self, jitter) -> None:
        if self.open_starts:
            self.open_starts = 0
            self.feed(core.SpawnFailed("no", jitter))

    def _exit(self, jitter) -> None:
        if self.living:
            pid = self.living.pop()
            asked, self.asked = self.asked, False
            self.feed(core.Exited(pid, code=1, asked=asked, jitter=jitter))

    def _obey(self, jitter) -> None:
        if self.asked:
            self._exit(jitter)

    def _time(self, _) -> None:
        self.do(self.one.tick(self.now), is_auto=True)

    def _forget(self, _) -> None:
        """The guard answers anew, and names what lives."""
        for pid in self.living:
            self.feed(core.Adopted(pid, 1.0))


def _run(kind, steps) -> None:
    world = World(kind)
    for step in steps:
        world.step(*step)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_never_two_children_and_never_more_starts_than_the_budget(steps):
    """Holds for every story."""
    _run(Supervision, steps)


class StartsWhileStopping(Supervision):
    """Broken: wanted again, it starts without waiting for the end."""

    def _want(self, event, now):
        if self.state == core.STOPPING:
            self.wanted = True
            return self._start("", now)
        return super()._want(event, now)


class StartsWhatRuns(Supervision):
    """Broken: wanted means started."""

    def _want(self, event, now):
        return [*super()._want(event, now), core.Spawn()]


class NeverGivesUp(Supervision):
    """Broken: no crash budget."""

    def _crashed(self, why, jitter, now):
        self._crashes.clear()
        return super()._crashed(why, jitter, now)


class ForgetsItsFailures(Supervision):
    """Broken: running for a moment clears the crash budget."""

    def tick(self, now):
        """One tick too kind."""
        effects = super().tick(now)
        if self.state == core.RUNNING:
            self._crashes.clear()
        return effects


# Each time it runs, lives two seconds, dies, and the back-off passes.
CRASHES = [
    ("want", 0.0, 0.0),
    *(step for wait in (1.0, 1.0, 2.0, 4.0, 8.0) for step in (("started", 0, 0), ("exit", 2.0, 0), ("time", wait, 0))),
]


@pytest.mark.parametrize(
    ("kind", "story"),
    [
        (StartsWhileStopping, [("want", 0, 0), ("started", 0, 0), ("unwant", 0, 0), ("want", 0, 0)]),
        (StartsWhatRuns, [("want", 0, 0), ("started", 0, 0), ("want", 0, 0)]),
        (NeverGivesUp, CRASHES),
        (ForgetsItsFailures, CRASHES),
    ],
)
def test_the_checks_catch_a_broken_supervision(kind, story):
    """A checker that catches nothing proves nothing; the sound one passes the same story."""
    with pytest.raises(AssertionError):
        _run(kind, story)
    _run(Supervision, story)
