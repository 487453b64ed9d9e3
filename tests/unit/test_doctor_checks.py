"""Each check of the doctor over facts as they may be found."""

from dataclasses import replace

import pytest

from console.commands.doctor import CHECKS
from console.doctor import hub_checks, server_checks
from console.doctor.checks import Check, Finding, ask, worst_of
from console.doctor.facts import (
    AuthorityFacts,
    Facts,
    FileFacts,
    Greeting,
    HubFacts,
    LocalFacts,
    ServerFacts,
    StreamFacts,
)
from hubagent.wire.reports import (
    CRITICAL,
    OK,
    UNKNOWN,
    WARNING,
    AgentFigures,
    AlertTotals,
    Detail,
    Disk,
    DiskUse,
    GroupState,
    Lane,
    Live,
    ServiceTotals,
)
from hubagent.wire.roster import Group, Hub, Operator, Roster, Server
from hubagent.wire.streams import HUB_SERVER_STREAMS, WITNESS_STREAMS

WALL = 1_800_000_000.0
DAY = 86_400.0
GIB = 1 << 30


def live(**changes) -> Live:
    """A summary with nothing wrong."""
    facts = {
        "v": 1, "hub": "alpha", "boot": "b", "seq": 1, "t": WALL, "version": "0.1.0", "roster_v": 3, "severity": "ok",
        "disk": DiskUse("/", 0.2), "lanes": [Lane("central", "evt", "LIVE", 0, 0), Lane("edge", "evt", "LIVE", 0, 0)],
        "groups": [GroupState("core", "ACTIVE", 4, 1.0, "armed", witness="ok")],
        "services": ServiceTotals(2, 2), "alerts": AlertTotals(0),
    }  # fmt: skip
    return Live(**facts | changes)


def detail(**changes) -> Detail:
    """Full figures with nothing wrong."""
    figures = AgentFigures(0.01, 40 << 20, 0.002, 0.004, {"central": 0.01, "edge": 0.02})
    facts = {
        "v": 1, "hub": "alpha", "boot": "b", "seq": 1, "t": WALL, "agent": figures,
        "disks": [Disk("/", 100 * GIB, 20 * GIB)], "spool_bytes": 1 << 20, "spool_budget": 2 * GIB,
    }  # fmt: skip
    return Detail(**facts | changes)


def streams(role: str) -> dict[str, StreamFacts | str]:
    """The streams as the agent of a server makes them."""
    wanted = WITNESS_STREAMS if role == "witness" else HUB_SERVER_STREAMS
    return {one.name: StreamFacts(one.config(GIB, "x"), 1 << 20, GIB, 5, {"ops.evt.alpha": 5}) for one in wanted}


def server(name: str, **changes) -> ServerFacts:
    """A server with nothing wrong."""
    role = "witness" if name == "witness" else "hub-server"
    url = f"tls://{name}:4222"
    greeting = Greeting(url, True, "", 0.01, "2.15.1", True, "TLSv1.3", WALL + 60 * DAY, WALL - DAY)
    good = ServerFacts(
        name, role, "alpha", (url,), (greeting,), True, "", 0.01, streams(role),
        None if role == "witness" else 3, (1 << 20, -1), None if role == "witness" else (),
    )  # fmt: skip
    return replace(good, **changes)


ROSTER = Roster(
    1, "test", 3, [Hub("alpha", "U1", "U2")], [Operator("ana", "U3", "U4", "operator")],
    [Server("central", ["tls://central:4222"], "hub-server", "alpha"), Server("edge", ["tls://edge:4222"], "hub-server", "alpha"),
     Server("witness", ["tls://witness:4222"], "witness", "alpha")],
    [Group("core", ["alpha"], "fast", "armed")],
)  # fmt: skip
LOCAL = LocalFacts(
    "0.1.0", (3, 11, 7), "UTF-8", True, "tmux-256color", 120, 40, "truecolor", 4096, True,
    (FileFacts("/k", 0o600, True), FileFacts("/c", 0o644, False)),
    (AuthorityFacts("/ca.pem", "ab12", WALL + 5000 * DAY), AuthorityFacts("/issuing.pem", "cd34", WALL + 900 * DAY, True)),
)  # fmt: skip
HUB = HubFacts("alpha", True, 0.5, live(), detail(), 0.01)
GOOD = Facts(WALL, "ana", "operator", LOCAL, ROSTER, (server("central"), server("edge"), server("witness")), (HUB,), 0)
NAMED = {check.name: check for check in CHECKS}


def result(name: str, facts: Facts) -> tuple[str, str]:
    """What one check says."""
    answer = ask(NAMED[name], facts)
    return answer.result, answer.text


def with_live(**changes) -> Facts:
    """The good fleet, whose hub says something else."""
    return replace(GOOD, hubs=(replace(HUB, live=live(**changes)),))


def with_detail(**changes) -> Facts:
    """The good fleet, whose hub has other figures."""
    return replace(GOOD, hubs=(replace(HUB, detail=detail(**changes)),))


def with_server(**changes) -> Facts:
    """The good fleet with something else about central."""
    return replace(GOOD, servers=(server("central", **changes), *GOOD.servers[1:]))


def greeted(**changes) -> Facts:
    """The good fleet, whose central greets otherwise."""
    return with_server(greetings=(replace(server("central").greetings[0], **changes),))


def with_local(**changes) -> Facts:
    """The good fleet, looked at from somewhere else."""
    return replace(GOOD, local=replace(LOCAL, **changes))


def lane(**changes) -> list[Lane]:
    """One lane in trouble."""
    return [Lane(**{"dest": "central", "lane": "evt", "state": "LIVE", "chunks": 9, "bytes": 900} | changes)]


def with_stream(name: str, stream: StreamFacts | str) -> Facts:
    """The good fleet with one other stream on central."""
    return with_server(streams=streams("hub-server") | {name: stream})


EVT = streams("hub-server")["EVT"]


def test_a_good_fleet_is_ok_in_every_check():
    """Nothing cries without a reason."""
    answers = [ask(check, GOOD) for check in CHECKS]
    assert [(one.check.name, one.result, one.text) for one in answers if one.result != OK] == []
    assert worst_of(answers) == OK


def test_every_check_says_what_why_and_what_to_do_and_has_a_name_of_its_own():
    """At least 25, and none is only a number."""
    assert len(CHECKS) >= 25
    assert len(NAMED) == len(CHECKS)
    for check in CHECKS:
        assert all((check.name, check.what, check.why, check.todo)), check.name


def test_a_fleet_of_which_nothing_can_be_seen_is_unknown_or_critical_and_never_ok():
    """But for what is here: files, Python, terminal."""
    nothing = Facts(WALL, "ana", "viewer", LOCAL)
    local = {
        "file-modes",
        "authority-expiry",
        "python",
        "compiled",
        "locale",
        "terminal",
        "terminal-size",
        "colours",
        "open-files",
    }
    for check in CHECKS:
        if check.name not in local:
            assert ask(check, nothing).result != OK, check.name


CASES = [
    ("server-reachable", greeted(is_ok=False, why="connection refused"), CRITICAL, "central: connection refused"),
    ("witness-reachable", replace(GOOD, servers=GOOD.servers[:2]), WARNING, "no witness"),
    ("server-login", with_server(is_up=False, why="authorization violation"), CRITICAL, "authorization"),
    ("server-round-trip", with_server(rtt_s=0.4), WARNING, "central: 400ms"),
    ("server-round-trip", with_server(rtt_s=2.0), CRITICAL, "central"),
    ("tls", greeted(url="nats://central:4222", tls=""), CRITICAL, "plain text"),
    ("tls", greeted(url="nats://127.0.0.1:4222", tls=""), OK, "all 3"),
    ("certificate-expiry", greeted(ends=WALL + 3 * DAY), WARNING, "ends in 3d"),
    ("certificate-expiry", greeted(ends=WALL - 60), CRITICAL, "ended"),
    ("certificate-expiry", greeted(is_ok=False, why="its certificate does not verify: expired"), CRITICAL, "expired"),
    ("server-version", greeted(version="2.11.4"), WARNING, "too old"),
    ("server-version", greeted(version="2.14.4"), WARNING, "known faults"),
    ("jetstream", greeted(has_jetstream=False), CRITICAL, "nothing can be stored"),
    ("sync-interval", with_server(hub=""), UNKNOWN, "cannot be seen"),
    ("streams", with_stream("EVT", "stream not found"), CRITICAL, "EVT: stream not found"),
    ("streams", with_stream("EVT", replace(EVT, config=EVT.config | {"max_age": 5})), WARNING, "EVT.max_age is 5"),
    ("streams", with_stream("EVT", replace(EVT, config=EVT.config | {"subjects": ["x"]})), CRITICAL, "EVT.subjects"),
    ("stream-room", with_stream("EVT", replace(EVT, bytes=int(GIB * 0.96))), CRITICAL, "central EVT: 96 %"),
    ("event-share", with_stream("EVT", replace(EVT, subjects={"ops.evt.beta": 1_900_000})), CRITICAL, "beta, 95 %"),
    ("server-store", with_server(store=(90, 100)), WARNING, "90 %"),
    ("permissions", with_server(let_through=("listen on _I.>",)), CRITICAL, "operator may: listen on _I.>"),
    ("permissions", with_server(let_through=None), UNKNOWN, "could not be tried"),
    ("roster-servers", with_server(roster_v=2), WARNING, "central: version 2"),
    ("roster-servers", with_server(roster_v=None), CRITICAL, "none that verifies"),
    ("hub-silent", replace(GOOD, hubs=(HubFacts("alpha", True),)), CRITICAL, "alpha: not heard"),
    ("hub-silent", replace(GOOD, hubs=(replace(HUB, is_in_roster=False),)), WARNING, "not in the roster"),
    ("hub-clock", replace(GOOD, hubs=(replace(HUB, skew_s=-5.0),)), WARNING, "alpha: -5.0 s"),
    ("hub-clock", replace(GOOD, hubs=(replace(HUB, skew_s=90.0),)), CRITICAL, "alpha: +90.0 s"),
    ("hub-reaches-servers", with_live(lanes=lane(state="BUFFERING", why="no route")), CRITICAL, "central: no route"),
    (
        "hub-reaches-witness",
        with_live(groups=[GroupState("core", "STANDBY", 1, witness="unreachable")]),
        CRITICAL,
        "unreachable",
    ),
    ("hub-round-trip", with_detail(agent=AgentFigures(rtt_p99={"edge": 0.5})), WARNING, "alpha to edge: 500ms"),
    ("lanes", with_live(lanes=lane(state="FENCED")), CRITICAL, "evt to central FENCED"),
    ("lanes", with_live(lanes=lane(state="DRAINING")), OK, "DRAINING"),
    ("time-to-loss", with_live(lanes=lane(loss_s=600.0)), CRITICAL, "first loss in 10m"),
    ("spool-room", with_detail(spool_bytes=GIB + 1), WARNING, "50 %"),
    ("spool-fits-disk", with_detail(disks=[Disk("/", 10 * GIB, 9 * GIB)]), WARNING, "roomiest disk has 1.0G"),
    ("disk-room", with_live(disk=DiskUse("/var", 0.97)), CRITICAL, "alpha /var: 97 %"),
    ("roster-hubs", with_live(roster_v=2), WARNING, "version 2, the newest is 3"),
    ("agent-version", with_live(version="0.3.0"), WARNING, "more than one minor version"),
    ("agent-version", with_live(version="nightly"), UNKNOWN, "nightly"),
    ("failover-armed", with_live(groups=[GroupState("core", "ACTIVE", 1, auto="shadow")]), WARNING, "core: shadow"),
    (
        "failover-armed",
        with_live(groups=[GroupState("core", "ACTIVE", 1, auto="armed", maintenance=True)]),
        WARNING,
        "maintenance",
    ),
    ("one-active", with_live(groups=[GroupState("core", "STANDBY", 1)]), CRITICAL, "active: none"),
    ("services", with_live(services=ServiceTotals(1, 2, "web FATAL")), CRITICAL, "1 of 2 run, worst: web FATAL"),
    ("services", with_live(services=ServiceTotals(1, 2, "web BACKOFF")), WARNING, "web BACKOFF"),
    ("alerts", with_live(alerts=AlertTotals(2, "disk /")), WARNING, "2 raised, worst: disk /"),
    ("agent-words", with_detail(warnings=["one destination only"]), WARNING, "one destination only"),
    ("foreign-messages", with_detail(foreign=3), WARNING, "alpha: 3 dropped"),
    ("foreign-messages", replace(GOOD, dropped=2), WARNING, "this console: 2 dropped"),
    ("agent-lag", with_detail(agent=AgentFigures(loop_lag_p99=0.5)), WARNING, "alpha"),
    ("disk-sync", with_detail(agent=AgentFigures(fsync_p99=2.0)), CRITICAL, "alpha"),
    ("file-modes", with_local(files=(FileFacts("/k", 0o640, True),)), CRITICAL, "/k: mode 640: others may read it"),
    ("file-modes", with_local(files=(FileFacts("/c", 0o664, False),)), WARNING, "others may change it"),
    ("python", with_local(python=(3, 10, 1)), CRITICAL, "3.10.1"),
    ("compiled", with_local(has_pyc=False), WARNING, "not compiled"),
    ("locale", with_local(encoding="ANSI_X3.4-1968"), WARNING, "ANSI"),
    ("terminal", with_local(term="dumb"), WARNING, "dumb"),
    ("terminal-size", with_local(columns=60), WARNING, "60x40"),
    ("colours", with_local(term="vt100", colours=""), WARNING, "vt100"),
    (
        "authority-expiry",
        with_local(authorities=(AuthorityFacts("/ca.pem", "ab", WALL + 100 * DAY),)),
        WARNING,
        "authority replace",
    ),
    (
        "authority-expiry",
        with_local(authorities=(AuthorityFacts("/i.pem", "cd", WALL + 9 * DAY, True),)),
        CRITICAL,
        "authority renew",
    ),
    ("authority-expiry", with_local(authorities=(AuthorityFacts("/ca.pem", "ab", WALL - DAY),)), CRITICAL, "ended"),
    ("authority-expiry", with_local(authorities=(AuthorityFacts("/ca.pem", "", None),)), CRITICAL, "no certificate"),
    ("open-files", with_local(nofile=256), WARNING, "256"),
]


@pytest.mark.parametrize(("name", "facts", "expected", "words"), CASES, ids=[f"{one[0]}-{one[2]}" for one in CASES])
def test_what_is_wrong_is_found_and_named(name: str, facts: Facts, expected: str, words: str):
    """The result, and the words that say about what."""
    found, text = result(name, facts)
    assert (found, words in text) == (expected, True), text


def test_a_fleet_with_one_server_and_no_witness_says_so():
    """It works, and says that there is no second copy and no automatic failover."""
    from msgspec.structs import replace as changed

    roster = changed(ROSTER, servers=ROSTER.servers[:1])
    facts = replace(GOOD, roster=roster)
    assert result("second-copy", facts)[0] == WARNING
    assert result("group-witness", facts)[0] == WARNING


def test_two_active_hubs_are_critical_and_an_unfenced_one_a_warning():
    """The two things that make a service run twice."""
    twin = replace(HUB, id="beta", live=live(hub="beta"))
    assert result("one-active", replace(GOOD, hubs=(HUB, twin)))[0] == CRITICAL
    unfenced = live(groups=[GroupState("core", "ACTIVE", 1, not_fenced=["beta"])])
    assert result("one-active", replace(GOOD, hubs=(replace(HUB, live=unfenced),))) == (
        WARNING, "core: alpha is active, not fenced: beta",
    )  # fmt: skip


def test_the_worst_finding_is_the_result_and_others_are_counted():
    """A long list stays readable."""
    many = [Finding(WARNING, f"hub-{number}", "odd") for number in range(20)]
    answer = ask(Check("x", "x", "x", "x", lambda _: [Finding(OK, "a", "fine"), *many]), GOOD)
    assert answer.result == WARNING
    assert answer.text.endswith("and 14 more")
    assert len(answer.findings) == 21


@pytest.mark.parametrize(
    ("version", "is_good"),
    [("2.12.15", True), ("2.12.14", False), ("2.13.9", False), ("2.14.5", True), ("2.15.0", True), ("3.0.0", True),
     ("2.9.1", False), ("", False), ("dev", False)],
)  # fmt: skip
def test_versions_with_known_faults(version: str, is_good: bool):
    """The line of each release counts, not only the number."""
    assert (server_checks.version_fault(version) == "") is is_good


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [("0.1.0", "0.1.9", 0), ("0.2.0", "0.1.9", 1), ("1.0.0", "0.9.0", 1000), ("x", "0.1.0", None)],
)
def test_distance_of_versions(one: str, other: str, apart: int | None):
    """Minor versions count, within one major."""
    assert hub_checks.minor_distance(one, other) == apart
