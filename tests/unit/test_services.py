"""Promises of the services' loop over a guard, a prober and a recorder that are fakes."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from hubagent.clock import SystemClock
from hubagent.core.health import ProbePolicy
from hubagent.core.service_policy import ServicePolicy
from hubagent.edges.outputs import release_of
from hubagent.edges.probes import Answer
from hubagent.edges.systemd import SystemdRefused, UnitState
from hubagent.errors import GuardGone
from hubagent.loops.hands import start_fields
from hubagent.loops.services import Services
from tests.fakes.guard import FakeGuard
from tests.fakes.prober import FakeProber
from tests.fakes.recorder import FakeRecorder
from tests.support.waiting import until

PROBE = ProbePolicy("tcp", ("127.0.0.1:1",), interval_s=0.01, timeout_s=0.1, for_n=2, grace_s=0.0)


def policy(name="web", **settings) -> ServicePolicy:
    settings = {"start_s": 0.0, "grace_s": 1.0, "backoff_min_s": 0.02, "backoff_max_s": 0.05} | settings
    return ServicePolicy(name, **({"argv": ("web", "--port", "1")} | settings))


ACTIVE = {"run": "active", "group": "core", "demote_grace_s": 0.1}


class Hub:
    """Services with all their fakes."""

    def __init__(self, tmp_path, *policies, units=None) -> None:
        self.guard, self.prober, self.recorder = FakeGuard(), FakeProber(), FakeRecorder()
        self.services = Services(
            policies, self.guard, self.prober, self.recorder, SystemClock(), hub="alpha",
            output_dir=tmp_path / "output", units=units, busy_s=0.2,
        )  # fmt: skip

    @asynccontextmanager
    async def running(self):
        """Supervise for the length of a block."""
        task = asyncio.create_task(self.services.run())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def one(self, name="web"):
        """One service as it is shown."""
        return next(one for one in self.services.snapshot() if one.name == name)

    async def sees(self, state, name="web") -> None:
        """Wait for a state."""
        await until(lambda: self.one(name).state == state, 5.0)

    def texts(self) -> list[str]:
        """What was recorded."""
        return [event.text for event in self.recorder.events]


async def test_what_shall_always_run_is_started_and_recorded(tmp_path):
    """Manual and active ones wait for somebody."""
    hub = Hub(tmp_path, policy(), policy("tool", run="manual"), policy("scheduler", **ACTIVE))
    async with hub.running():
        await hub.sees("RUNNING")
        assert [start["name"] for start in hub.guard.starts] == ["web"]
        assert hub.guard.starts[0]["env"] == {"HUB_ID": "alpha", "HUB_SERVICE": "web"}
        assert hub.texts() == ["web STARTING: run: always", "web RUNNING: it stayed up"]
        assert hub.services.totals().running == hub.services.totals().wanted == 1


async def test_what_the_guard_already_runs_is_taken_up_and_never_doubled(tmp_path):
    """Exits that nobody saw are recorded with their codes."""
    hub = Hub(tmp_path, policy(), policy("job"))
    hub.guard.run("job")
    hub.guard.end("job", code=7, told=False)
    pid = hub.guard.run("web", up_s=60.0)
    async with hub.running():
        await hub.sees("RUNNING")
        await hub.sees("RUNNING", "job")
        assert (hub.one().pid, [start["name"] for start in hub.guard.starts]) == (pid, ["job"])
        assert hub.one().up_s >= 60.0
        assert hub.one("job").exits == ["exit 7 after 1.0 s"]
        assert "job ended while no agent ran: exit 7 after 1.0 s" in hub.texts()


async def test_a_service_that_no_config_names_is_stopped(tmp_path):
    """Nobody else would stop it."""
    hub = Hub(tmp_path, policy())
    hub.guard.run("old")
    async with hub.running():
        await until(lambda: "old" not in hub.guard.living)
        assert "old runs and is in no config: it is stopped" in hub.texts()


async def test_restart_is_done_when_it_runs_anew_and_is_well(tmp_path):
    """Another process, with the time that it took."""
    hub = Hub(tmp_path, policy(probes=(PROBE,)))
    async with hub.running():
        await hub.sees("RUNNING")
        before = hub.one().pid
        outcome = await hub.services.restart("web", cause="operator")
        assert outcome.ok
        assert outcome.took_s is not None
        assert hub.one().pid not in (None, before)
        assert (hub.one().state, hub.one().healthy) == ("RUNNING", True)


async def test_restart_fails_with_the_state_when_it_cannot_start(tmp_path):
    """The why says what a person would ask next."""
    hub = Hub(tmp_path, policy(backoff_min_s=30.0, backoff_max_s=30.0))
    async with hub.running():
        await hub.sees("RUNNING")
        hub.guard.refusal = "No such file or directory: web"
        outcome = await hub.services.restart("web")
        assert not outcome.ok
        assert outcome.why.startswith("web is BACKOFF: cannot start: No such file or directory: web")


async def test_a_start_that_never_becomes_ready_ends_in_time(tmp_path):
    """The outcome names the probe."""
    hub = Hub(tmp_path, policy(run="manual", grace_s=0.1, probes=(PROBE,)))
    hub.prober.answer = Answer(False, "connection refused")
    async with hub.running():
        outcome = await hub.services.start("web")
        assert (outcome.ok, outcome.gate) == (False, "time")
        assert "web is still STARTING" in outcome.why
        assert "tcp: connection refused" in outcome.why


async def test_stop_is_done_when_it_has_stopped_and_it_stays_so(tmp_path):
    """Stopping what is stopped is done at once."""
    hub = Hub(tmp_path, policy())
    async with hub.running():
        await hub.sees("RUNNING")
        assert (await hub.services.stop("web")).ok
        assert (await hub.services.stop("web")).ok
        assert hub.guard.stops == [("web", 1.0)]
        assert hub.one().state == "STOPPED"
        assert (await hub.services.start("web")).ok


async def test_an_unknown_service_is_refused(tmp_path):
    """With the name of what is missing."""
    hub = Hub(tmp_path)
    async with hub.running():
        assert (await hub.services.restart("nope")).gate == "service"


async def test_a_crash_is_followed_by_a_restart_and_a_loop_by_fatal(tmp_path):
    """Exit codes are kept, and it is not started again."""
    hub = Hub(tmp_path, policy(crash_exits=3))
    async with hub.running():
        for _ in range(3):
            await until(lambda: "web" in hub.guard.living)
            hub.guard.end("web", code=3)
        await hub.sees("FATAL")
        assert len(hub.guard.starts) == 3
        assert hub.one().exits == ["exit 3 after 1.0 s"] * 3
        assert hub.recorder.events[-1].severity == "critical"
        assert hub.services.totals().worst == "web FATAL"


async def test_ill_health_is_recorded_and_shown(tmp_path):
    """A service that runs and is ill is the worst one."""
    hub = Hub(tmp_path, policy(probes=(PROBE,)))
    async with hub.running():
        await hub.sees("RUNNING")
        hub.prober.answer = Answer(False, "HTTP 500")
        await until(lambda: hub.one().healthy is False)
        assert hub.services.totals().worst == "web unhealthy"
        assert "web unhealthy: tcp: HTTP 500" in hub.texts()
        hub.prober.answer = Answer(True)
        await until(lambda: hub.one().healthy is True)


async def test_becoming_active_starts_the_groups_services_under_its_token(tmp_path):
    """And only those of that group; a later epoch starts them anew."""
    hub = Hub(tmp_path, policy("scheduler", **ACTIVE), policy("other", **(ACTIVE | {"group": "side"})))
    async with hub.running():
        refused = await hub.services.start("scheduler")
        assert (refused.ok, refused.gate) == (False, "lease")
        hub.services.activate("core", 4, "alpha")
        await hub.sees("RUNNING", "scheduler")
        [start] = hub.guard.starts
        assert (start["mode"], start["group"], start["epoch"], start["holder"]) == ("active", "core", 4, "alpha")
        assert (start["env"]["HUB_EPOCH"], start["env"]["HUB_GROUP"]) == ("4", "core")
        hub.services.activate("core", 5, "alpha")
        await until(lambda: len(hub.guard.starts) == 2)
        assert hub.guard.stops == [("scheduler", 0.1)]
        assert hub.guard.starts[1]["epoch"] == 5


async def test_becoming_standby_stops_within_the_demotion_grace_and_a_drain_with_the_full_one(tmp_path):
    """A planned switchover is gentle, a demotion is quick."""
    hub = Hub(tmp_path, policy("scheduler", **ACTIVE))
    async with hub.running():
        hub.services.activate("core", 4, "alpha")
        await hub.sees("RUNNING", "scheduler")
        assert (await hub.services.drain_group("core")).ok
        hub.services.activate("core", 5, "alpha")
        await hub.sees("RUNNING", "scheduler")
        hub.services.deactivate("core", "lapsed")
        await hub.sees("STOPPED", "scheduler")
        assert hub.guard.stops == [("scheduler", 1.0), ("scheduler", 0.1)]


async def test_a_deadline_that_reaches_the_guard_late_is_no_crash(tmp_path):
    """The start is asked again at once."""
    hub = Hub(tmp_path, policy("scheduler", **ACTIVE))
    async with hub.running():
        hub.guard.refusal = "lease: no live deadline for this group"
        hub.services.activate("core", 4, "alpha")
        await hub.sees("STARTING", "scheduler")
        await asyncio.sleep(0.05)
        hub.guard.refusal = ""
        await hub.sees("RUNNING", "scheduler")
        assert hub.one("scheduler").exits == []
        assert not any("BACKOFF" in text for text in hub.texts())


async def test_when_the_guard_dies_what_lives_is_kept_and_what_died_is_started_again(tmp_path):
    """Each exactly once."""
    hub = Hub(tmp_path, policy(), policy("dies"))
    async with hub.running():
        await hub.sees("RUNNING")
        await hub.sees("RUNNING", "dies")
        pid = hub.one().pid
        hub.guard.vanish()
        del hub.guard.living["dies"]
        await asyncio.sleep(0.1)
        hub.guard.is_up = True
        await until(lambda: len(hub.guard.starts) == 3)
        await hub.sees("RUNNING", "dies")
        assert hub.one().pid == pid
        assert [start["name"] for start in hub.guard.starts] == ["web", "dies", "dies"]
        assert "the guard was lost and answers again: web went on meanwhile" in hub.texts()


async def test_a_changed_service_is_restarted_and_a_stopped_one_stays_stopped(tmp_path):
    """A reload is no crash: nothing backs off, and nothing starts that an operator stopped."""
    hub = Hub(tmp_path, policy(), policy("rests"))
    async with hub.running():
        await hub.sees("RUNNING")
        await hub.sees("RUNNING", "rests")
        assert (await hub.services.stop("rests", cause="stop by ana")).ok
        pid = hub.one().pid
        hub.services.reconfigure([policy(start_s=0.01), policy("rests", start_s=0.01)])
        await until(lambda: hub.one().pid not in (None, pid), 5.0)
        await hub.sees("RUNNING")
        assert not [text for text in hub.texts() if "BACKOFF" in text]
        assert "web STOPPING: configuration reloaded" in hub.texts()
        assert hub.one("rests").state == "STOPPED"
        assert [start["name"] for start in hub.guard.starts] == ["web", "rests", "web"]


def test_a_found_process_tells_its_release_by_its_folder(tmp_path):
    """ROOT/releases/VERSION, and nothing else."""
    root = tmp_path / "web"
    (root / "releases" / "1.1" / "bin").mkdir(parents=True)
    assert release_of(str(root), str(root / "releases" / "1.1")) == "1.1"
    assert release_of(str(root), str(root / "releases" / "1.1" / "bin")) == "1.1"
    for other in (root, root / "releases", tmp_path, tmp_path / "releases" / "1.1"):
        assert release_of(str(root), str(other)) == ""
    assert release_of("", str(root / "releases" / "1.1")) == ""


async def test_without_a_guard_that_is_said_once_and_tried_on(tmp_path):
    """Nothing is doubled when it comes."""
    hub = Hub(tmp_path, policy())
    hub.guard.is_up = False
    async with hub.running():
        await until(lambda: hub.texts().count("no guard: guard fake: it is not up") == 1)
        await asyncio.sleep(0.2)
        assert hub.texts() == ["no guard: guard fake: it is not up"]
        hub.guard.is_up = True
        await hub.sees("RUNNING")
        assert len(hub.guard.starts) == 1


class LosesReplies(FakeGuard):
    """Obeys the first start and dies before it answers."""

    def _start(self, **fields):
        reply = super()._start(**fields)
        if len(self.starts) == 1:
            self.vanish()
            raise GuardGone("fake", "the connection ended")
        return reply


async def test_a_start_whose_answer_was_lost_is_looked_up_and_not_repeated(tmp_path):
    """The outcome was unknown, and the process was there."""
    hub = Hub(tmp_path, policy())
    hub.guard = LosesReplies()
    hub.services = Services(
        [policy()], hub.guard, hub.prober, hub.recorder, SystemClock(), hub="alpha", output_dir=tmp_path / "output"
    )
    async with hub.running():
        await until(lambda: hub.guard.starts)
        hub.guard.is_up = True
        await hub.sees("RUNNING")
        assert len(hub.guard.starts) == 1


async def test_shutdown_stops_all_and_begins_no_guard_again(tmp_path):
    """A hub that is taken out of service."""
    hub = Hub(tmp_path, policy(), policy("other"))
    async with hub.running():
        await hub.sees("RUNNING")
        await hub.sees("RUNNING", "other")
        await hub.services.shutdown()
        assert (hub.guard.has_ended, hub.guard.living) == (True, {})
        hub.guard.is_up = True
        await asyncio.sleep(0.1)
        assert len(hub.guard.starts) == 2


async def test_a_change_is_told_to_whoever_shows_it(tmp_path):
    """So that live goes out at once."""
    hub = Hub(tmp_path, policy())
    told = asyncio.Event()
    hub.services.on_change(told.set)
    async with hub.running():
        await asyncio.wait_for(told.wait(), 5.0)


async def test_a_service_of_a_release_runs_from_the_present_versions_own_folder(tmp_path):
    """Not through the link, which may be switched under it."""
    (tmp_path / "1.1" / "bin").mkdir(parents=True)
    (tmp_path / "current").symlink_to("1.1")
    fields = start_fields(policy(argv=("bin/web",), cwd="bin", release_root=str(tmp_path)), "alpha", tmp_path, {})
    folder = (tmp_path / "1.1").resolve()
    assert (fields["argv"], fields["cwd"]) == ([str(folder / "bin/web")], str(folder / "bin"))
    assert fields["env"]["HUB_RELEASE"] == "1.1"
    for program in ("python3", "/usr/bin/web"):
        assert start_fields(policy(argv=(program,), release_root=str(tmp_path)), "a", tmp_path, {})["argv"] == [program]


class FakeUnits:
    """systemd with one unit."""

    def __init__(self) -> None:
        self.state = UnitState("inactive", 0, None)
        self.fails = False

    async def start(self, unit) -> None:
        """Start it, or refuse."""
        if self.fails:
            raise SystemdRefused(unit, "Unit not found.")
        self.state = UnitState("active", 77, None)

    async def stop(self, unit) -> None:
        """Stop it."""
        self.state = UnitState("inactive", 0, 0)

    async def show(self, unit) -> UnitState:
        """What it does."""
        return self.state


async def test_a_unit_is_supervised_like_a_child(tmp_path):
    """Started, restarted, stopped, through systemd instead of the guard."""
    hub = Hub(tmp_path, policy(argv=(), unit="web.service"), units=FakeUnits())
    async with hub.running():
        await hub.sees("RUNNING")
        assert (hub.one().pid, hub.guard.starts) == (77, [])
        assert (await hub.services.restart("web")).ok
        assert (await hub.services.stop("web")).ok
        assert hub.guard.stops == []


async def test_a_unit_that_systemd_refuses_is_backed_off(tmp_path):
    """With systemd's own words."""
    units = FakeUnits()
    units.fails = True
    hub = Hub(tmp_path, policy(argv=(), unit="web.service", backoff_min_s=9.0, backoff_max_s=9.0), units=units)
    async with hub.running():
        await hub.sees("BACKOFF")
        assert "unit web.service: Unit not found." in hub.one().why


@pytest.mark.parametrize("lines", [0, 2])
async def test_the_end_of_an_output_is_read(tmp_path, lines):
    """Across the rotation, cleaned, and nothing of what is no service."""
    hub = Hub(tmp_path, policy())
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "web.log.1").write_text("one\ntwo\n")
    (tmp_path / "output" / "web.log").write_text("\x1b[31mthree\n")
    assert hub.services.tail("web", lines) == ["two", "\N{REPLACEMENT CHARACTER}three"][: lines or 0]
    assert hub.services.tail("../web", 5) == []


async def test_new_lines_of_an_output_are_followed_until_unfollowed(tmp_path):
    """From now on, through a rotation."""
    hub = Hub(tmp_path, policy())
    path = tmp_path / "output" / "web.log"
    path.parent.mkdir()
    path.write_text("old\n")
    lines = []
    async with hub.running():
        await hub.sees("RUNNING")
        end = hub.services.follow("web", lines.append)
        await asyncio.sleep(0.3)
        with path.open("a") as file:
            file.write("new\n")
        await until(lambda: lines == ["new"])
        path.rename(tmp_path / "output" / "web.log.1")
        path.write_text("rotated\n")
        await until(lambda: lines == ["new", "rotated"])
        end()
        with path.open("a") as file:
            file.write("later\n")
        await asyncio.sleep(0.4)
        assert lines == ["new", "rotated"]
