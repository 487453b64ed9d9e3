"""One service's process group from its start until nothing of it is left."""

import contextlib
import os
import signal

from hubagent.guard import kernel
from hubagent.guard.output import Output

RECHECK_S = 0.05  # how often a group that should be gone is looked at ...
AGAIN_S = 0.01  # ... and how soon after it was killed
KILLING_S_MAX = 5.0  # then a process in uninterruptible sleep is given up, and named in the exit
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
Exit = dict[str, object]


class Child:
    """A running service; `facts` is what guard.json keeps of it."""

    def __init__(self, facts: dict[str, object], pid: int, pidfd: int, output: Output, *, is_adopted: bool) -> None:
        self.facts = facts
        self.name = str(facts["name"])
        self.pid = pid
        self.start = kernel.start_of(pid)
        self.pidfd = pidfd
        self.output = output
        self.is_adopted = is_adopted
        self.is_asked = False  # somebody wanted it to stop
        self.is_failed = False  # it could not exec: reported in the reply, not as an exit
        self.survivors = 0
        self._kill_at: float | None = None
        self._killing_since: float | None = None
        self._gone_at: float | None = None  # when the leader died
        self._look_at = 0.0  # before that, no search through /proc: a flood elsewhere must not repeat it each turn
        self._press_at = 0.0  # the same for `press`, which is also asked while nobody may be ended
        facts["pid"], facts["start"] = pid, self.start

    @property
    def run(self) -> str:
        """The mark that every process of this run carries in its environment."""
        return str(self.facts["run"])

    @property
    def token(self) -> tuple[int, str]:
        """The fencing token under which it was started."""
        return int(str(self.facts["epoch"])), str(self.facts["holder"])

    def is_active_in(self, group: str) -> bool:
        """Tell whether this group's authority is what lets it run."""
        return self.facts["mode"] == "active" and self.facts["group"] == group

    def up_s(self, now: float) -> float:
        """Seconds since its start, until now or until its leader died."""
        return round(max(0.0, (self._gone_at or now) - self.start / TICKS_PER_SECOND), 3)

    def stop(self, grace_s: float, now: float, sight: kernel.Sight) -> None:
        """Ask the group to stop at once, then whoever left it, each once; a later call may only shorten the grace."""
        kill_at = now + grace_s
        if self._kill_at is None:
            if not self._send_group(signal.SIGTERM):
                kernel.send(self.pidfd, signal.SIGTERM)  # just forked: no group yet
            members = sight.members(self.pid, self.start, self.run)
            left = [one for one in members if one[0] != self.pid and kernel.group_of(one[0]) != self.pid]
            kernel.send_each(left, signal.SIGTERM)
        self._kill_at = kill_at if self._kill_at is None else min(kill_at, self._kill_at)
        self.is_asked = True

    def strike(self, now: float) -> None:
        """KILL the group at once, without the search for those who left it: `kill` follows."""
        if self._killing_since is None:
            self._killing_since = now
        self._kill_at = now if self._kill_at is None else min(now, self._kill_at)
        self._send_group(signal.SIGKILL)
        kernel.send(self.pidfd, signal.SIGKILL)

    def kill(self, now: float, sight: kernel.Sight) -> None:
        """KILL the group, then whoever left it, each by pidfd."""
        self.strike(now)
        kernel.send_each(sight.members(self.pid, self.start, self.run), signal.SIGKILL)

    def _send_group(self, number: int) -> bool:
        if self._is_leader_ours():
            with contextlib.suppress(ProcessLookupError, PermissionError):  # before its setsid
                os.killpg(self.pid, number)
                return True
        return False

    def _is_leader_ours(self) -> bool:
        # Unreaped, it keeps its number; adopted, init may have reaped it, so the start time must still match.
        return kernel.start_of(self.pid) == self.start

    def leader_died(self, now: float) -> None:
        """The pidfd became readable: a crash takes its group along, a wanted stop leaves it its grace."""
        self._gone_at = now
        self._look_at = now
        if not self.is_asked:
            self._kill_at = now

    def press(self, now: float, sight: kernel.Sight) -> None:
        """KILL what has outlived its grace."""
        if self._kill_at is None or now < max(self._kill_at, self._press_at):
            return
        self._press_at = now + RECHECK_S
        if self._gone_at is None or sight.members(self.pid, self.start, self.run):
            self._look_at = now + (RECHECK_S if self._killing_since else AGAIN_S)
            self.kill(now, sight)

    def is_over(self, now: float, sight: kernel.Sight) -> bool:
        """Do what is due; True when leader and group are gone, or given up."""
        if now < self._look_at or (self._gone_at is None and (self._kill_at is None or now < self._kill_at)):
            return False
        self._look_at = now + RECHECK_S
        self.press(now, sight)
        if self._gone_at is None:
            return False
        self.survivors = len(sight.members(self.pid, self.start, self.run))
        is_gone = not self.survivors and not sight.is_blind
        return is_gone or (self._killing_since is not None and now > self._killing_since + KILLING_S_MAX)

    def deadline(self, now: float) -> float | None:
        """When `is_over` wants to be asked again, beside when the pidfd speaks."""
        if self._gone_at is not None or self._killing_since is not None:
            return max(now, self._look_at)
        return self._kill_at

    def reap(self, now: float) -> Exit:
        """Close everything and tell how it ended; an adopted one's code is unknown."""
        code, by = (None, None) if self.is_adopted else self._wait()
        os.close(self.pidfd)
        self.output.close()
        ended: Exit = {"pid": self.pid, "code": code, "signal": by, "up_s": self.up_s(now), "asked": self.is_asked}
        if self.survivors:
            ended["survivors"] = self.survivors
        return ended

    def _wait(self) -> tuple[int | None, int | None]:
        ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
        if ended is None:  # not dead: its leader was given up
            return None, None
        if ended.si_code == os.CLD_EXITED:
            return ended.si_status, None
        return None, ended.si_status
