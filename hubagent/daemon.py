"""Composition root: runs the parts of the hub agent together, and ends them in order."""

import asyncio
import contextlib
import logging
import os
import select
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from hubagent import __version__, config, control, logs, policies
from hubagent.clock import SystemClock
from hubagent.config import Settings
from hubagent.edges import state_dir
from hubagent.edges.nats_link import Link
from hubagent.edges.systemd import Notifier
from hubagent.errors import HubagentError, StoreFailed
from hubagent.loops.micro import Micro
from hubagent.loops.reporter import Reporter
from hubagent.loops.spool_desk import SpoolDesk
from hubagent.parts import Parts
from hubagent.wire.roster import Roster

log = logging.getLogger(__name__)

DRAIN_SECONDS = 3.0  # a clean stop waits this long for the last chunks to be acknowledged
RELEASE_SECONDS = 30.0  # the active services' grace and the handover; the lease ends by itself after this
DONE = 0


def run(path: Path, settings: Settings, *, observe: bool = False) -> int:
    """Run the hub agent until SIGTERM, SIGINT or the end of its leash; its exit status."""
    logs.set_up(settings.log_level)
    state_dir.lock(settings.state_dir)
    return asyncio.run(Daemon(path, settings, observe=observe).run())


class Daemon:
    """One run of one hub agent."""

    def __init__(self, path: Path, settings: Settings, *, observe: bool) -> None:
        self._path, self._settings = path, settings
        self._clock = SystemClock()
        self._notifier = Notifier(self._clock)
        self._stop, self._is_let_go = asyncio.Event(), False
        self.parts = Parts(settings, path, self._clock, observe)
        self.reporter = self._build_reporter()

    def _build_reporter(self) -> Reporter:
        parts = self.parts
        return Reporter(
            self._settings.hub.id, parts.boot, __version__, list(parts.links.values()), parts.sources, self._clock,
            note_seq=parts.commands.note_seq, follow=parts.services.follow,
            interval_s=1.0, rates=parts.delivery.rates,
        )  # fmt: skip

    async def run(self) -> int:
        """Start, run until told to stop, drain, end."""
        parts = self.parts
        await asyncio.to_thread(parts.spool.open)
        await asyncio.to_thread(parts.rollouts.load)
        parts.on_change = self.reporter.changed
        parts.sampling.on_sample = self.reporter.sampled
        parts.services.on_change(self.reporter.changed)
        parts.rosters.on_change(self._roster_changed)
        parts.on_certificate = self._reload_server
        self._listen_to_signals()
        async with asyncio.TaskGroup() as started:
            tasks = [started.create_task(work) for work in [*self._work(), self._after_start()]]
            await self._stop.wait()
            self._notifier.stopping()
            await self._drain()
            for task in tasks:
                task.cancel()
        await asyncio.to_thread(parts.spool.close)
        return DONE

    def _work(self) -> list[Coroutine[Any, Any, Any]]:
        """Everything that runs for as long as the agent does."""
        parts = self.parts
        handlers = control.handlers(parts.commands, self._status, parts.services.tail)
        handlers |= SpoolDesk(parts.spool, parts.delivery, parts.recorder).handlers()
        links: list[Link] = [*parts.links.values(), *([parts.witness_link] if parts.witness_link else [])]
        return [
            *(link.run() for link in links),
            parts.recorder.run(),
            parts.delivery.run(),
            *([] if parts.observe else [parts.services.run()]),
            *([parts.groups.run()] if parts.groups else []),
            *([parts.drills.run()] if parts.drills else []),
            parts.sampling.run(),
            parts.commands.run(),
            parts.rosters.run(),
            self.reporter.run(),
            self._micro().run(),
            control.ControlServer(self._settings.state_dir / "agent.sock", handlers).run(),
            *([parts.embedded.run()] if parts.embedded and not parts.observe else []),
            *([parts.certificates.run()] if parts.certificates and not parts.observe else []),
            self._watch_leash(),
            self._keep_watchdog(),
        ]

    def _micro(self) -> Micro:
        parts = self.parts
        links = list(parts.links.values())
        return Micro(self._settings.hub.id, parts.boot, __version__, links, self._clock, self._errors)

    def _errors(self) -> dict[str, int]:
        """Messages that were none of ours, by what was asked."""
        return {"cmd": self.parts.commands.bad_messages, "watch": self.reporter.bad_messages}

    async def _after_start(self) -> None:
        if not self.parts.observe:
            await self.parts.rollouts.recover()
        self._notifier.ready()
        log.info("hub %s runs, boot %s", self._settings.hub.id, self.parts.boot)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    async def _watch_leash(self) -> None:
        """Stop when nobody holds the writing end of the leash any more."""
        if not self._settings.hub.leash:
            return
        descriptor = os.open(self._settings.hub.leash, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        broken = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, broken.set)
        try:
            while not _is_broken(descriptor):
                await broken.wait()
                broken.clear()
        finally:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        log.info("the leash is broken: stopping")
        self._is_let_go = True
        self._stop.set()

    async def _keep_watchdog(self) -> None:
        while self._notifier.watchdog_s is not None:
            self._notifier.watchdog()
            await asyncio.sleep(self._notifier.watchdog_s)

    async def _drain(self) -> None:
        """Say that the agent stops, close the open chunks, and give the links a moment to take them."""
        recorder = self.parts.recorder
        await self._release_groups()
        with contextlib.suppress(StoreFailed, HubagentError):
            await recorder.event_durable("agent_stop", "ok", "the hub agent stops as told")
            await recorder.stop()
        deadline = self._clock.monotonic() + DRAIN_SECONDS
        while self._clock.monotonic() < deadline and self._owes():  # noqa: ASYNC110  # rows have no event of their own
            await asyncio.sleep(0.05)

    async def _release_groups(self) -> None:
        """Hand over what this hub holds: its successor then takes over without waiting for a lease to end.

        With the leash broken the guard, the servers and the other hubs of the leash end as well: nobody is there to take it.
        """
        if self.parts.groups is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await self.parts.groups.keeper.stop(release=not self._is_let_go)
                    await self.parts.services.say_bye()

    def _owes(self) -> bool:
        links = self.parts.links
        return any(lane.chunks and links[lane.dest].is_connected for lane in self.parts.delivery.lanes())

    def _status(self) -> dict[str, Any]:
        """What `hubagent status` shows: live and detail in one."""
        live, detail = self.reporter.live(), self.reporter.detail()
        merged: dict[str, Any] = {**msgspec.to_builtins(live), "services": [], **msgspec.to_builtins(detail)}
        return merged

    def _roster_changed(self, roster: Roster) -> None:
        self.parts.follow_roster(roster)
        embedded = self.parts.embedded
        if embedded is not None and embedded.configure(roster, self._clock.wall()):
            asyncio.get_running_loop().create_task(self._reload_server())
        self.reporter.changed()

    async def _reload_server(self) -> None:
        with contextlib.suppress(HubagentError):  # a server that does not run reads its configuration when it starts
            await self.parts.services.signal(policies.SERVER_SERVICE, signal.SIGHUP)

    def _reload(self) -> None:
        """SIGHUP: take over what can change in place; say what cannot, and why."""
        self._notifier.reloading()
        try:
            settings = config.load(self._path)
            refused = self.parts.reload(settings)
            logs.set_up(settings.log_level)
        except HubagentError as error:
            refused = [str(error)]
        words = "; ".join(refused)
        text = f"reload refused: {words}" if refused else "configuration reloaded"
        self.parts.recorder.event("note", "warning" if refused else "ok", text, actor="local:signal")
        log.info("%s", text)
        self._notifier.ready()


def _is_broken(descriptor: int) -> bool:
    """Tell whether a FIFO has no writer; what is written into it means nothing."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    hung_up = any(flags & select.POLLHUP for _, flags in poll.poll(0))
    if hung_up:
        return True
    with contextlib.suppress(BlockingIOError):
        return os.read(descriptor, 4096) == b""
    return False
