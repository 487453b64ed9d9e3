"""A console link that says what a test tells it to, and remembers what it was asked."""

from concurrent.futures import Future

from console.fleet import LiveSeen, ServerChanged
from hubagent.wire.commands import Gate, Reply
from hubagent.wire.reports import Detail, DiskUse, GroupState, Lane, Live, Service, ServiceTotals


class FakeLink:
    """The same face as console.link.Link; nothing happens by itself."""

    def __init__(self, identity="ana", role="operator"):
        self.identity, self.role, self.failure = identity, role, None
        self.reports = []
        self.calls = []
        self.gates = [Gate("no-other-action", True, "none"), Gate("service-known", True, "RUNNING")]
        self.replies = {}  # hub → Reply, or an exception, or None for no answer yet
        self.sent = []
        self.readings = []

    def start(self):
        """Remembered."""
        self.calls.append("start")

    def stop(self):
        """Remembered."""
        self.calls.append("stop")

    def drain(self):
        """What the test said since the last drain."""
        taken, self.reports = self.reports, []
        return taken

    def watch(self, hub):
        """Remembered."""
        self.calls.append(("watch", hub))

    def follow(self, hub, service, lines=100):
        """Remembered."""
        self.calls.append(("follow", hub, service))

    def send(self, hub, verb, args, reason=""):
        """Answered at once: accepted, or what `replies` holds for the hub."""
        future = Future()
        cmd_id = f"cmd{len(self.sent)}"
        self.sent.append((hub, verb, dict(args), reason, cmd_id, future))
        answer = self.replies.get(hub, Reply(cmd_id, "accepted"))
        if isinstance(answer, Exception):
            future.set_exception(answer)
        elif answer is not None:
            future.set_result(answer)
        return future

    def preflight(self, hub, verb, args):
        """Answered at once with `gates`; an exception fails, None leaves it open."""
        future = Future()
        self.calls.append(("preflight", hub, verb, dict(args)))
        if isinstance(self.gates, Exception):
            future.set_exception(self.gates)
        elif self.gates is not None:
            future.set_result(self.gates)
        return future

    def check_copies(self):
        """Remembered."""
        self.calls.append("check_copies")

    def completeness(self, hub, since):
        """Answered at once with `readings`."""
        future = Future()
        self.calls.append(("completeness", hub))
        future.set_result(self.readings)
        return future

    def say(self, *reports):
        """Leave reports for the next drain."""
        self.reports.extend(reports)


def live(hub, seq=1, **changes):
    """A healthy hub's summary."""
    whole = {
        "v": 1, "hub": hub, "boot": "b1", "seq": seq, "t": 1_800_000_000.0, "version": "0.1.0", "roster_v": 1,
        "severity": "ok", "cpu": 0.12, "mem": 0.4, "load1": 0.5, "disk": DiskUse("/", 0.33),
        "lanes": [lane("central"), lane("edge"), lane("central", "evt"), lane("edge", "evt")],
        "services": ServiceTotals(1, 1),
    }  # fmt: skip
    return Live(**{**whole, **changes})


def lane(dest, name="met", state="LIVE", **changes):
    """A lane, live unless told otherwise."""
    return Lane(**{"dest": dest, "lane": name, "state": state, "chunks": 0, "bytes": 0, **changes})


def group(role="STANDBY", name="core", **changes):
    """A hub's word on a group."""
    return GroupState(**{"group": name, "role": role, "epoch": 7, "auto": "armed", "witness": "ok", **changes})


def detail(hub, seq=1, **changes):
    """A hub's detail with one service."""
    web = Service(
        "web", "RUNNING", release="1.1", pid=42, up_s=500.0, healthy=True, releases=["1.0", "1.1"], last_good="1.0"
    )
    return Detail(**{"v": 1, "hub": hub, "boot": "b1", "seq": seq, "t": 1_800_000_000.0, "services": [web], **changes})


def small_fleet():
    """Reports of the demo's fleet, all well."""
    return [
        ServerChanged("central", "up", rtt_s=0.001),
        ServerChanged("edge", "up", rtt_s=0.002),
        LiveSeen("central", live("central", groups=[group("ACTIVE", left_s=0.5)])),
        LiveSeen("central", live("edge", groups=[group()])),
        *(LiveSeen("central", live(one)) for one in ("alpha", "beta", "gamma", "witness")),
    ]
