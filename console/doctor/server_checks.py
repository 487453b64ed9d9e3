"""Checks of the hub servers and the witness, as they are seen from here."""

import re
from collections.abc import Iterator
from typing import Any

from console.doctor.checks import Check, Finding, limits
from console.doctor.facts import Facts, Greeting, ServerFacts, StreamFacts
from console.present.units import age, millis, percent, size
from hubagent.wire.reports import CRITICAL, OK, UNKNOWN, WARNING
from hubagent.wire.streams import HUB_SERVER_STREAMS, WITNESS_STREAMS, Stream

DAY = 86_400.0
RTT_WARN_S, RTT_CRIT_S = 0.25, 1.5
EXPIRY_WARN_S, EXPIRY_CRIT_S = 14 * DAY, 2 * DAY
ROOM_WARN, ROOM_CRIT = 0.8, 0.95
# The first releases of each line without the faults that a fleet would meet (lost acknowledged messages, logins).
FIXED = {(2, 12): 15, (2, 14): 5}
FIRST_LINE = (2, 12)


def _greetings(facts: Facts) -> Iterator[tuple[ServerFacts, Greeting]]:
    for server in facts.servers:
        for greeting in server.greetings:
            yield server, greeting


def _label(server: ServerFacts, greeting: Greeting) -> str:
    return server.name if len(server.greetings) == 1 else f"{server.name} ({greeting.url})"


def reach(facts: Facts) -> Iterator[Finding]:
    """Hub servers answer from here."""
    for server, one in _greetings(facts):
        if server.role != "witness":
            text = f"answers in {millis(one.took_s)}" if one.is_ok else one.why
            yield Finding(OK if one.is_ok else CRITICAL, _label(server, one), text)


def reach_witness(facts: Facts) -> Iterator[Finding]:
    """The witness answers from here."""
    if not any(server.role == "witness" for server in facts.servers):
        yield Finding(WARNING, "", "the roster has no witness: no failover can be automatic")
    for server, one in _greetings(facts):
        if server.role == "witness":
            text = f"answers in {millis(one.took_s)}" if one.is_ok else f"{one.why} (hubs may still reach it)"
            yield Finding(OK if one.is_ok else WARNING, _label(server, one), text)


def logged_in(facts: Facts) -> Iterator[Finding]:
    """The operator's key opens each hub server."""
    for server in facts.hub_servers:
        if server.is_up is not None:
            yield Finding(OK if server.is_up else CRITICAL, server.name, "logged in" if server.is_up else server.why)


def round_trips(facts: Facts) -> Iterator[Finding]:
    """Round trips from here."""
    seen = ((server.name, server.rtt_s) for server in facts.hub_servers if server.is_up)
    return limits(seen, RTT_WARN_S, RTT_CRIT_S, millis)


def two_servers(facts: Facts) -> Iterator[Finding]:
    """There is a second copy of the records."""
    if facts.roster is None:
        return
    count = sum(one.role != "witness" for one in facts.roster.servers)
    yield Finding(OK if count > 1 else WARNING, "", f"{count} hub server{'s' if count != 1 else ''} in the roster")


def encrypted(facts: Facts) -> Iterator[Finding]:
    """TLS wherever the address is not loopback."""
    for server, one in _greetings(facts):
        if one.is_ok:
            is_near = bool(re.match(r"nats://(127\.|localhost|\[::1\])", one.url))
            text = f"TLS {one.tls}" if one.tls else "plain text on loopback" if is_near else "plain text"
            yield Finding(OK if one.tls or is_near else CRITICAL, _label(server, one), text)


def certificates(facts: Facts) -> Iterator[Finding]:
    """Certificates end far from now."""
    for server, one in _greetings(facts):
        if "certificate" in one.why.lower():
            yield Finding(CRITICAL, _label(server, one), one.why)
        elif one.ends is not None:
            left = one.ends - facts.wall
            result = CRITICAL if left < EXPIRY_CRIT_S else WARNING if left < EXPIRY_WARN_S else OK
            yield Finding(
                result, _label(server, one), f"ends in {age(left)}" if left > 0 else f"ended {age(-left)} ago"
            )
        elif one.is_ok and not one.tls:
            yield Finding(OK, _label(server, one), "none: plain text")


def versions(facts: Facts) -> Iterator[Finding]:
    """Servers are new enough."""
    for server, one in _greetings(facts):
        if one.is_ok:
            fault = version_fault(one.version)
            yield Finding(
                WARNING if fault else OK, _label(server, one), f"{one.version or '?'}{fault and ': ' + fault}"
            )


def version_fault(version: str) -> str:
    """What is known to be wrong with a server's version; empty for a good one."""
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if match is None:
        return "no release number: a build of one's own"
    line, patch = (int(match[1]), int(match[2])), int(match[3])
    wanted = "has known faults; take 2.12.15, 2.14.5 or later"
    if line < FIRST_LINE:
        return "too old: " + wanted
    if line == (2, 13):
        return wanted
    return wanted if patch < FIXED.get(line, 0) else ""


def jetstream(facts: Facts) -> Iterator[Finding]:
    """JetStream is on."""
    for server, one in _greetings(facts):
        if one.is_ok:
            text = "on" if one.has_jetstream else "off: nothing can be stored"
            yield Finding(OK if one.has_jetstream else CRITICAL, _label(server, one), text)


def syncs(facts: Facts) -> Iterator[Finding]:
    """A stored record is on disk when it is acknowledged."""
    heard = {hub.id for hub, _ in facts.heard}
    for server in facts.servers:
        if server.hub and server.hub in heard:
            yield Finding(OK, server.name, f"always, set by the agent of {server.hub}")
        elif server.hub:
            yield Finding(UNKNOWN, server.name, f"its hub {server.hub} is not heard")
        else:
            yield Finding(UNKNOWN, server.name, "cannot be seen through NATS; look for sync_interval: always there")


def streams(facts: Facts) -> Iterator[Finding]:
    """Streams are there, as they should be."""
    for server in facts.servers:
        if server.streams is None:
            if server.is_up is not None:
                yield Finding(UNKNOWN, server.name, "its streams could not be asked for")
            continue
        found = list(_drift(server, server.streams))
        yield from found
        if not found:
            yield Finding(OK, server.name, ", ".join(server.streams))


def _drift(server: ServerFacts, seen: dict[str, StreamFacts | str]) -> Iterator[Finding]:
    for wanted in WITNESS_STREAMS if server.role == "witness" else HUB_SERVER_STREAMS:
        stream = seen.get(wanted.name)
        if not isinstance(stream, StreamFacts):
            yield Finding(CRITICAL, server.name, f"{wanted.name}: {stream or 'missing'}")
            continue
        for key, should, found in differences(wanted, stream.config):
            result = CRITICAL if key in {"subjects", "storage"} else WARNING
            yield Finding(result, server.name, f"{wanted.name}.{key} is {found!r}, should be {should!r}")


def differences(wanted: Stream, config: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    """What differs between a stream as data and as the server has it: key, wanted, found."""
    goal = wanted.config(0, "")
    for key in ("subjects", "storage", *wanted.options):
        if key != "allow_direct" and config.get(key) != goal[key]:
            yield key, goal[key], config.get(key)


def room(facts: Facts) -> Iterator[Finding]:
    """Streams that refuse when full have room."""
    for server in facts.servers:
        for name, stream in (server.streams or {}).items():
            if isinstance(stream, StreamFacts) and stream.config.get("discard") == "new" and stream.max_bytes > 0:
                ratio = stream.bytes / stream.max_bytes
                result = CRITICAL if ratio >= ROOM_CRIT else WARNING if ratio >= ROOM_WARN else OK
                yield Finding(result, f"{server.name} {name}", f"{percent(ratio)} % of {size(stream.max_bytes)}")


def shares(facts: Facts) -> Iterator[Finding]:
    """No hub has filled its share of the event stream."""
    for server in facts.hub_servers:
        stream = (server.streams or {}).get("EVT")
        if isinstance(stream, StreamFacts) and (share := int(stream.config.get("max_msgs_per_subject", 0))) > 0:
            most = max(stream.subjects.items(), key=lambda one: one[1], default=("", 0))
            ratio = most[1] / share
            result = CRITICAL if ratio >= ROOM_CRIT else WARNING if ratio >= ROOM_WARN else OK
            who = most[0].rpartition(".")[2] or "no hub"
            yield Finding(result, server.name, f"fullest: {who}, {percent(ratio)} %")


def stores(facts: Facts) -> Iterator[Finding]:
    """The account's store has room."""
    for server in facts.servers:
        if server.store is None:
            continue
        used, limit = server.store
        if limit <= 0:
            yield Finding(OK, server.name, f"{size(used)}, without a limit of its own")
        else:
            yield from limits([(server.name, used / limit)], ROOM_WARN, ROOM_CRIT, lambda ratio: f"{percent(ratio)} %")


def refusals(facts: Facts) -> Iterator[Finding]:
    """What this operator may not do is refused."""
    for server in facts.hub_servers:
        if server.let_through is None:
            if server.is_up is not None:
                yield Finding(UNKNOWN, server.name, "could not be tried")
        elif server.let_through:
            yield Finding(CRITICAL, server.name, f"{facts.role} may: {', '.join(server.let_through)}")
        else:
            yield Finding(OK, server.name, f"what a {facts.role} may not do is refused")


def roster_on_servers(facts: Facts) -> Iterator[Finding]:
    """Every hub server has the newest roster."""
    if facts.roster is None:
        yield Finding(CRITICAL, "", "no roster that the fleet key signed was found")
        return
    for server in facts.hub_servers:
        if server.roster_v is None:
            result = CRITICAL if server.is_up else UNKNOWN
            yield Finding(result, server.name, "has none that verifies" if server.is_up else "could not be read")
        else:
            is_newest = server.roster_v == facts.roster.version
            yield Finding(OK if is_newest else WARNING, server.name, f"version {server.roster_v}")


SERVER_CHECKS = (
    Check("server-reachable", "each hub server answers from here", "the console sees through them",
          "look at the network, the firewall and `systemctl status hubagent` there", reach),
    Check("witness-reachable", "the witness answers from here", "without it no failover is automatic",
          "start the hub that runs it; hubs that are served by promises go on meanwhile", reach_witness),
    Check("server-login", "this operator's key is let in", "a login that fails sees nothing",
          "is the identity in the roster (hubdeck operator list), and has the server the newest one?", logged_in),
    Check("server-round-trip", f"round trips below {millis(RTT_WARN_S)}", "slow links make commands expire and ages grow",
          "look for a saturated or far link", round_trips),
    Check("second-copy", "there are two hub servers", "with one, its disk is the only copy",
          "hubdeck invite HUB --server edge=HOST: that machine then runs the second one", two_servers),
    Check("tls", "TLS wherever it is not loopback", "commands are signed, but records and metrics could be read",
          "give the server a certificate, and use tls:// addresses; fleets of hubdeck fleet new have them", encrypted),
    Check("certificate-expiry", "certificates verify and hold for 14 days", "an expired one cuts every hub off at once",
          "they renew by themselves at two thirds of their life: see hubdeck cert status, then hubdeck cert renew", certificates),
    Check("server-version", "no version with known faults", "older ones lose acknowledged messages in some crashes",
          "upgrade nats-server: pip install -U 'hubdeck[server]', then restart the service nats-server", versions),
    Check("jetstream", "JetStream is on", "records are stored by it", "switch it on in the server's configuration",
          jetstream),
    Check("sync-interval", "stored means on disk (sync_interval: always)",
          "with the default, two minutes of acknowledged records can be gone after a power cut",
          "set sync_interval: always in the jetstream block of a server that no hub agent configures", syncs),
    Check("streams", "streams are as they should be", "retention and refusal rules are the promise that records stay",
          "hubagent streams check says what differs; hubagent streams apply makes what is missing", streams),
    Check("stream-room", "streams that refuse when full have room", "a full EVT blocks the event lane of every hub",
          "give it more bytes (server.max_store), or wait for its age limit", room),
    Check("event-share", "no hub has used up its share of EVT", "its own events are then refused",
          "find out why it writes so many events (hubdeck events HUB)", shares),
    Check("server-store", "the server's store has room", "a full store refuses everything", "more disk, or max_store",
          stores),
    Check("permissions", "what this role may not do is refused, tried for real", "a server without the roster's users "
          "lets one stolen key do everything", "let the server's hub agent configure it, or paste `hubagent streams permissions`",
          refusals),
    Check("roster-servers", "each hub server has the newest roster", "revocations reach hubs through them",
          "an admin hands it out again: hubdeck fleet publish", roster_on_servers),
)  # fmt: skip
