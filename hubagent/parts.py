"""Builds the parts of a hub agent from its settings, in the order in which they need each other."""

import secrets
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubagent import group_checks, logins, policies, setup
from hubagent.clock import Clock
from hubagent.config import ServerSettings, Settings
from hubagent.core.lease_policy import PROFILES
from hubagent.core.outcome import Outcome
from hubagent.core.rollout import RolloutPolicy
from hubagent.core.service_policy import ServicePolicy
from hubagent.edges.certificates import client_context
from hubagent.edges.children import GuardClient
from hubagent.edges.host import open_host
from hubagent.edges.hub_maintenance import HubMaintenance
from hubagent.edges.journal import Journal
from hubagent.edges.nats_link import Link
from hubagent.edges.probes import Prober
from hubagent.edges.release_store import ReleaseStore
from hubagent.edges.server import EmbeddedServer, find_binary
from hubagent.edges.spool import Spool
from hubagent.edges.state_dir import StateRefused, load_keys
from hubagent.edges.stopped import Stopped
from hubagent.loops.actions import certificate_verb, group_verbs, rollback_verb, service_verbs, word_verbs
from hubagent.loops.certificates import CertificateFiles, Certificates
from hubagent.loops.chunk_log import ChunkLog
from hubagent.loops.commands import Commands
from hubagent.loops.delivery import Delivery, DeliveryPolicy
from hubagent.loops.drill_parts import DrillParts
from hubagent.loops.drills import Drills
from hubagent.loops.embedded import Embedded
from hubagent.loops.groups import Groups
from hubagent.loops.keeper import Keeper
from hubagent.loops.maintenance import maintenance_verb
from hubagent.loops.orders import Action
from hubagent.loops.recorder import SpoolRecorder
from hubagent.loops.rollout import Rollouts
from hubagent.loops.roster import Rosters
from hubagent.loops.sampling import Sampling
from hubagent.loops.services import Services
from hubagent.loops.sources import AgentSources
from hubagent.wire.reports import AgentFigures
from hubagent.wire.roster import Roster, Server
from hubagent.wire.signing import Keys


def tls_context(ca_file: str, urls: Sequence[str]) -> ssl.SSLContext | None:
    """The fleet's CA and the host's name are checked wherever TLS is asked for."""
    return client_context(ca_file) if any(url.startswith("tls://") for url in urls) else None


def _fixed_services(old: Settings, new: Settings) -> list[str]:
    """What of the services a reload cannot change: their releases and systemd units are known to other parts too."""

    def fixed(settings: Settings) -> dict[str, object]:
        return {one.name: (one.release, one.unit) for one in settings.services if one.release or one.unit}

    was, now = fixed(old), fixed(new)
    return [f"services.{name}: release and unit need a restart" for name in was | now if was.get(name) != now.get(name)]


@dataclass(slots=True)
class Parts:
    """Every part of one hub agent."""

    settings: Settings
    path: Path
    clock: Clock
    observe: bool = False
    on_change: Callable[[], None] = lambda: None  # the reporter's, once it is there
    boot: str = field(default_factory=lambda: secrets.token_hex(8))
    keys: Keys = field(init=False)
    roster: Roster = field(init=False)
    links: dict[str, Link] = field(init=False)
    spool: Spool = field(init=False)
    recorder: SpoolRecorder = field(init=False)
    delivery: Delivery = field(init=False)
    stopped: Stopped = field(init=False)
    _server_policy: ServicePolicy | None = field(init=False, default=None)
    services: Services = field(init=False)
    rollouts: Rollouts = field(init=False)
    sampling: Sampling = field(init=False)
    commands: Commands = field(init=False)
    rosters: Rosters = field(init=False)
    groups: Groups | None = field(init=False, default=None)
    drills: Drills | None = field(init=False, default=None)
    maintenance: HubMaintenance = field(init=False)
    embedded: Embedded | None = field(init=False, default=None)
    witness_link: Link | None = field(init=False, default=None)
    certificates: Certificates | None = field(init=False, default=None)
    on_certificate: Callable[[], Awaitable[None]] = field(init=False)  # the daemon's: have the server read it
    sources: AgentSources = field(init=False)
    _all_links: list[Link] = field(init=False, default_factory=list)  # those of the keeper's thread too
    _own_urls: set[str] = field(init=False)  # servers whose addresses the config gives: the roster does not move them

    def __post_init__(self) -> None:
        settings = self.settings
        self.keys = load_keys(setup.key_path(settings))
        self.roster = setup.load_roster(settings)
        self._own_urls = {one.name for one in settings.destinations if one.urls}
        if settings.witness and settings.witness.urls:
            self._own_urls.add("witness")
        settings = self.settings = setup.with_urls(logins.with_contexts(settings), self.roster)
        self.links = {
            one.name: self.link(one.name, one.urls, tls_context(one.ca_file, one.urls)) for one in settings.destinations
        }
        self._build_log()
        self.rosters = Rosters(
            setup.roster_path(settings),
            setup.fleet_key(settings),
            self.roster,
            list(self.links.values()),
            self.recorder,
        )
        self._build_services()
        self._build_sampling()
        self._build_groups()
        self._build_certificates()
        self._build_commands()
        self.sources = AgentSources(
            self.sampling, self.delivery, self.services, self.rollouts, self.commands, self.rosters, self.groups,
            list(self.links.values()), int(settings.spool.budget), self.notes,
            self.certificates.alerts if self.certificates else list, lambda: self.maintenance.by,
        )  # fmt: skip

    def link(self, server: str, urls: Sequence[str], tls: ssl.SSLContext | None = None) -> Link:
        """A link of this hub to a server; it belongs to the event loop that runs it."""
        known = next((one for one in self.settings.destinations if one.name == server), None)
        entry = logins.login(known or (self.settings.witness if server == "witness" else None), self.keys.login_seed)
        made = Link(
            server, urls, identity=self.settings.hub.id, login_seed=entry.seed, creds_file=entry.creds_file,
            policy=policies.link_policy(self.settings), clock=self.clock, tls=tls, name=f"hubagent {self.settings.hub.id}",
        )  # fmt: skip
        self._all_links.append(made)
        return made

    def changed(self) -> None:
        """Something changed that operators should see at once."""
        self.on_change()

    def notes(self) -> list[str]:
        """What an operator should know of this agent itself."""
        said = [f"{name}: {link.why}" for name, link in self.links.items() if not link.is_connected]
        if self.spool.failed is not None:
            said.append(str(self.spool.failed))
        if self.embedded is not None:
            said += self.embedded.drift
        said += self._roster_notes()
        said += group_checks.warnings(self.settings, self.rosters.in_force)
        if len(self.links) == 1:
            said.append("one destination only: there is no second copy of the records")
        return said

    def _roster_notes(self) -> list[str]:
        """What the roster in force asks for and only a restart brings."""
        hub, roster = self.settings.hub.id, self.rosters.in_force
        if roster.hub(hub) is None:
            return [f"hub {hub} was retired from the fleet: uninstall this agent, or have it invited again"]
        then, now = ({one.name for one in had.groups if hub in one.members} for had in (self.roster, roster))
        unknown = [one for one in roster.groups if hub in one.members and one.profile not in PROFILES]
        said = [f"group {one.name}: profile {ascii(one.profile)[:40]} is not known here" for one in unknown]
        before, after = ({(one.name, one.role, one.hub == hub) for one in had.servers} for had in (self.roster, roster))
        said += ["the roster's servers changed: restart the agent"] if before != after else []
        return said + (["this hub joined or left a group: restart the agent"] if then != now else [])

    def cut_links(self, seconds: float) -> None:
        """Every link of this agent is down for so long, also those of the keeper's thread; 0 ends it."""
        for link in self._all_links:
            link.cut(seconds)

    def follow_roster(self, roster: Roster) -> None:
        """Take over what changes in place when a newer roster is in force: where servers are, who is in a group."""
        known = {one.name: one for one in roster.servers if one.name not in self._own_urls}
        for link in self._all_links:
            if link.server in known:
                self._move(link, known[link.server])
        if self.groups is not None:
            for group in roster.groups:
                if group.profile in PROFILES:
                    self.groups.keeper.configure(group.name, tuple(group.members), PROFILES[group.profile])

    def _move(self, link: Link, server: Server) -> None:
        try:
            link.set_urls(setup.safe_urls(server))
        except StateRefused as error:  # it stays where it was: a roster must not end the agent
            self.recorder.event("note", "warning", str(error))

    def _build_log(self) -> None:
        settings, state = self.settings, self.settings.state_dir
        chunk, retention = policies.chunk_policy(settings), policies.retention_policy(settings)
        log = ChunkLog(settings.hub.id, self.boot, self.keys.signer, chunk, self.clock)
        self.spool = Spool(
            state / "spool.db",
            log,
            self.clock,
            quarantine=state / "quarantine",
            ballast_bytes=int(settings.spool.reserve),
        )
        self.recorder = SpoolRecorder(self.spool, log, self.clock)
        self.delivery = Delivery(
            key=self.keys.signer, spool=self.spool, log=log, recorder=self.recorder, links=self.links,
            policy=DeliveryPolicy(retention=retention, chunk=chunk), clock=self.clock,
        )  # fmt: skip

    def _build_services(self) -> None:
        settings, state = self.settings, self.settings.state_dir
        supervised: list[ServicePolicy] = [] if self.observe else policies.service_policies(settings)
        if settings.server is not None:
            self._server_policy = self._build_server(settings.server)
            supervised.insert(0, self._server_policy)
        guard = GuardClient(state / "guard.sock", settings.hub.leash)
        prober = Prober(next(iter(self.links.values())))
        self.stopped = Stopped(state / "stopped.json")
        self.services = Services(
            supervised, guard, prober, self.recorder, self.clock, hub=settings.hub.id, output_dir=state / "output",
            kept_stopped=self.stopped.names, on_agent_gone=self._on_agent_gone(),
        )  # fmt: skip
        released = [] if self.observe else [one for one in settings.services if one.release is not None]
        stores = {
            one.name: ReleaseStore(Path(one.release.root), state / "rollout" / f"{one.name}.book")
            for one in released
            if one.release
        }
        gates = {one.name: RolloutPolicy(one.release.gate_s, one.release.bake_s) for one in released if one.release}
        self.rollouts = Rollouts(self.services, stores, gates, self.recorder, self.clock)

    def _on_agent_gone(self) -> dict[str, list[str]]:
        """What the guard runs for each group when this agent dies; in a plain pair there is no record to release."""
        if self.settings.witness is None:
            return {}
        program, path = [sys.executable, "-m", "hubagent", "release"], str(self.path.resolve())
        groups = [group.name for group in self.roster.groups if self.settings.hub.id in group.members]
        return {group: [*program, group, "-c", path] for group in groups}

    def _build_server(self, server: ServerSettings) -> ServicePolicy:
        """The embedded server as a service; its configuration is written before anything starts."""
        state = self.settings.state_dir
        known = next((one for one in self.roster.servers if one.name == server.role), None)
        if known is None:
            known = Server(
                server.role, [], "witness" if server.role == "witness" else "hub-server", self.settings.hub.id
            )
        embedded = EmbeddedServer(
            server.role,
            server.listen,
            Path(server.store),
            server.max_store,
            server.cert_file,
            server.key_file,
            server.ca_file,
        )
        link = self.links.get(server.role)
        if link is None:
            urls = known.urls or [f"nats://{server.listen}"]
            ca_file = self.settings.witness.ca_file if self.settings.witness else ""
            link = self.witness_link = self.link(server.role, urls, tls_context(ca_file, urls))
        config = state / "nats-server.conf"
        self.embedded = Embedded(embedded, known, config, setup.roster_path(self.settings), link, self.recorder)
        self.embedded.configure(self.roster, self.clock.wall())
        return policies.server_policy(find_binary(server.binary), str(config))

    def _build_sampling(self) -> None:
        def own() -> AgentFigures:
            return AgentFigures(
                fsync_p99=self.delivery.fsync_p99_s(),
                rtt_p99={name: link.rtt_p99_s for name, link in self.links.items()},
            )

        self.sampling = Sampling(
            open_host(), self.recorder, self.clock, self.settings.sampling.interval_s,
            policies.alert_policies(self.settings), own,
            lambda: (self.delivery.spool_bytes(), int(self.settings.spool.budget)),
        )  # fmt: skip

    def _build_groups(self) -> None:
        settings = self.settings
        self.maintenance = HubMaintenance(settings.state_dir / "maintenance")
        leases = [] if self.observe else policies.lease_policies(settings, self.roster)
        if not leases:
            return
        self.groups = Groups(
            settings.hub.id, self.services, self.delivery.lanes, self._disk_full_s, self.recorder, self.clock,
            list(self.links.values()), policies.hook_policies(settings), self.changed,
        )  # fmt: skip
        witness = settings.witness
        self.groups.keeper = Keeper(
            settings.hub.id, leases,
            signer=self.keys.signer, key_of=self._signing_key,
            witness=self.link("witness", witness.urls, tls_context(witness.ca_file, witness.urls)) if witness else None,
            # Links of the keeper's own, on its own thread: what the main loop waits for must not hold a lease up.
            hub_servers=[
                self.link(one.name, one.urls, tls_context(one.ca_file, one.urls)) for one in settings.destinations
            ],
            tokens=settings.state_dir / "tokens.json", guard=settings.state_dir / "guard.sock",
            recorder=self.recorder, clock=self.clock, callbacks=self.groups.callbacks(),
            own_servers=self._own_servers,
        )  # fmt: skip
        drill_parts = DrillParts(
            settings.hub.id, self.groups, self.services, self.delivery.lanes, settings.state_dir, self.changed,
            self._local_order, self.cut_links,
        )  # fmt: skip
        self.groups.keeper.set_hub_maintenance(on=bool(self.maintenance.by))
        self.drills = self.groups.drills = Drills(drill_parts, self.recorder, self.clock)

    async def _local_order(self, verb: str, args: Mapping[str, Any], actor: str, reason: str) -> Outcome:
        """One from this machine itself; the commands are built after those that may give such orders."""
        return await self.commands.local(verb, args, actor, reason)

    def _own_servers(self) -> set[str]:
        """The servers on this machine, by the roster in force."""
        return {one.name for one in self.rosters.in_force.servers if one.hub == self.settings.hub.id}

    def _build_certificates(self) -> None:
        """Only for certificates of the fleet's own CA, which lie in one file: others are renewed by whoever made them."""
        server, state = self.settings.server, self.settings.state_dir
        if server is None or not server.cert_file or server.cert_file != server.key_file:
            return
        files = CertificateFiles(Path(server.cert_file), state / "ca.pem", state / "issuing.pem")

        async def installed() -> None:
            await self.on_certificate()

        self.certificates = Certificates(
            self.settings.hub.id, files, self.keys.signer, list(self.links.values()), self.links.get(server.role),
            lambda: self.rosters.in_force, self.recorder, self.clock, installed,
        )  # fmt: skip

    def _signing_key(self, hub: str) -> str | None:
        known = self.rosters.in_force.hub(hub)
        return known.signing if known else None

    def _disk_full_s(self) -> float | None:
        """The soonest that anything is full, at the earliest."""
        return min((forecast.low_s for forecast in self.sampling.forecasts()), default=None)

    def _build_commands(self) -> None:
        journal = Journal(self.settings.state_dir / "commands.journal")
        journal.load()
        states = self.groups.groups if self.groups else list
        actions: dict[str, Action] = {
            **service_verbs(self.services, states, self.stopped),
            **(group_verbs(self.groups) if self.groups else {}),
            **(self.drills.verbs() if self.drills else {}),
            **maintenance_verb(self.settings.hub.id, self.maintenance, self.groups, self.recorder, self.changed),
            **rollback_verb(self.services, self.rollouts),
            **word_verbs(self.recorder.event, self.sampling.acknowledge),
            **(certificate_verb(self.certificates) if self.certificates else {}),
        }
        self.commands = Commands(
            self.settings.hub.id, lambda: self.rosters.in_force, self.keys.signer, list(self.links.values()),
            self.recorder, journal, self.clock, actions, changed=self.changed,
            epochs=lambda: {state.group: state.epoch for state in states()},
            resume=self.drills.resume if self.drills else lambda verb, target: None,
        )  # fmt: skip

    def reload(self, settings: Settings) -> list[str]:
        """Take over what can change in place; the keys that need a restart, in words. All or nothing."""
        fixed = ("hub", "destinations", "witness", "server", "sampling", "spool", "link", "hooks")
        settings = setup.with_urls(logins.with_contexts(settings), self.roster)
        refused = [f"{key} needs a restart" for key in fixed if getattr(settings, key) != getattr(self.settings, key)]
        refused += _fixed_services(self.settings, settings)
        if not refused:
            self.settings = settings
            self.sampling.set_thresholds(policies.alert_policies(settings))
            self._reload_services()
        return refused

    def _reload_services(self) -> None:
        if not self.observe:
            kept = [self._server_policy] if self._server_policy else []
            self.services.reconfigure([*kept, *policies.service_policies(self.settings)])
