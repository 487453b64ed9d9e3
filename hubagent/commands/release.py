"""`hubagent release GROUP`: after the death of this hub's agent, stop the group's services and let its lease go."""

import argparse
import asyncio
from pathlib import Path

from hubagent import config, logins, policies, setup
from hubagent.clock import SystemClock
from hubagent.config import Settings
from hubagent.core.outcome import Outcome
from hubagent.edges import state_dir
from hubagent.edges.certificates import client_context
from hubagent.edges.children import GuardClient
from hubagent.edges.lease_store import LeaseStore
from hubagent.edges.nats_link import Link
from hubagent.edges.tokens import Tokens
from hubagent.errors import HubagentError, NotAllowed
from hubagent.loops.release_group import release_group
from hubagent.wire.roster import Roster

RELEASE_S_MAX = 5.0  # afterwards the lease has ended by itself


def run(options: argparse.Namespace) -> int:
    """Release one group; 0 done, 1 refused, with the reason."""
    settings = config.load(Path(options.config))
    try:  # while this is held, no agent runs and none begins
        state_dir.lock(settings.state_dir, state_dir.RELEASING)
    except state_dir.StateRefused as error:
        why = f"{error.path}: {error.what}; while it runs use: hubagent demote {options.group}"
        raise NotAllowed("agent-dead", why) from error
    outcome = asyncio.run(_release(options.group, settings, _epoch(options.group, settings)))
    if not outcome.ok:
        raise NotAllowed(outcome.gate, outcome.why)
    print(f"{options.group}: released")
    return 0


def _epoch(group: str, settings: Settings) -> int:
    """The epoch of the agent that died: the highest token that this hub has seen must be its own."""
    kept = Tokens(settings.state_dir / "tokens.json").load(group)
    if kept.holder != settings.hub.id:
        raise NotAllowed("lease-held", f"{kept.holder or 'nobody'} was seen with epoch {kept.epoch}, not this hub")
    return kept.epoch


async def _release(group: str, settings: Settings, epoch: int) -> Outcome:
    roster = setup.load_roster(settings)
    settings = setup.with_urls(logins.with_contexts(settings), roster)
    link = _link(settings)
    keys = state_dir.load_keys(setup.key_path(settings))
    store = LeaseStore(link, group, keys.signer, lambda hub: _key(roster, hub))
    guard = GuardClient(settings.state_dir / "guard.sock")
    try:
        async with asyncio.timeout(RELEASE_S_MAX):
            return await release_group(group, settings.hub.id, epoch, store, link, guard)
    except TimeoutError:
        raise NotAllowed("time", f"the lease of {group} was not released within {RELEASE_S_MAX:g} s") from None
    except BaseExceptionGroup as failed:
        raise _first(failed) from None


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    ours, _ = failed.split(HubagentError)
    return ours.exceptions[0] if ours else failed


def _link(settings: Settings) -> Link:
    witness = settings.witness
    if witness is None:
        raise NotAllowed("witness", "there is none in the config: a plain pair has no record to release")
    keys = state_dir.load_keys(setup.key_path(settings))
    login = logins.login(witness, keys.login_seed)
    tls = client_context(witness.ca_file) if any(url.startswith("tls://") for url in witness.urls) else None
    return Link(
        "witness", witness.urls, identity=settings.hub.id, login_seed=login.seed, creds_file=login.creds_file,
        policy=policies.link_policy(settings), clock=SystemClock(), tls=tls, name=f"hubagent {settings.hub.id} release",
    )  # fmt: skip


def _key(roster: Roster, hub: str) -> str | None:
    known = roster.hub(hub)
    return known.signing if known else None
