"""How anything becomes a record: events at once, samples within a second, both durable before they count."""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from hubagent.clock import Clock
from hubagent.core.chunking import RECORD_BYTES_MAX
from hubagent.edges.spool import Spool
from hubagent.errors import NotAllowed, StoreFailed
from hubagent.loops.chunk_log import ChunkLog, OpenedLog, encode_row
from hubagent.wire.chunk import Record
from hubagent.wire.codec import encode
from hubagent.wire.sanitise import clean

WAITING_MAX = 1000  # events that a failed or full store has not taken yet; older ones are counted as suppressed
COMMAND_KINDS = frozenset({"command_intent", "command_result"})  # these use what is left last
TEXT_CHARS_MAX = 2000


class Recorder(Protocol):
    """What everybody else sees of this."""

    boot: str

    def event(
        self, kind: str, severity: str, text: str, *, data: Mapping[str, Any] | None = None,
        actor: str | None = None, cmd_id: str | None = None, reason: str | None = None,
    ) -> None:  # fmt: skip
        """Record an event; returns at once."""
        ...

    async def event_durable(
        self, kind: str, severity: str, text: str, *, data: Mapping[str, Any] | None = None,
        actor: str | None = None, cmd_id: str | None = None, reason: str | None = None,
    ) -> None:  # fmt: skip
        """Record an event; returns after its fsync, or raises StoreFailed or NotAllowed."""
        ...

    def sample(self, columns: tuple[str, ...], row: list[float | int | None]) -> None:
        """Record one sample; the columns and the row come without t and mono."""
        ...


@dataclass(frozen=True, slots=True)
class RecorderPolicy:
    """At most so many events a second, the rest is counted; how often a failed or full store is tried again."""

    events_per_s: int = 20
    reopen_s: float = 2.0
    reserve_s: float = 30.0


class SpoolRecorder:
    """The recorder of the hub agent, over its spool; all calls come from the agent's event loop."""

    def __init__(self, spool: Spool, log: ChunkLog, clock: Clock, policy: RecorderPolicy | None = None) -> None:
        self.boot = log.boot
        self.refuses_events = False  # the lane's share of the disk is used up; commands still go
        self.refuses_all = False
        self.samples_lost = 0
        self._spool, self._log, self._clock = spool, log, clock
        self._policy = policy or RecorderPolicy()
        self._waiting: deque[Record] = deque()
        self._suppressed: Counter[str] = Counter()
        self._window, self._in_window = 0.0, 0
        self._wake = asyncio.Event()

    def event(
        self, kind: str, severity: str, text: str, *, data: Mapping[str, Any] | None = None,
        actor: str | None = None, cmd_id: str | None = None, reason: str | None = None,
    ) -> None:  # fmt: skip
        """Record an event; returns at once, and it is on disk at the next group commit."""
        if not self._may_pass(kind):
            self._suppressed[kind] += 1
            self._wake.set()
            return
        self._submit(self._record(kind, severity, text, data, actor, cmd_id, reason))

    async def event_durable(
        self, kind: str, severity: str, text: str, *, data: Mapping[str, Any] | None = None,
        actor: str | None = None, cmd_id: str | None = None, reason: str | None = None,
    ) -> None:  # fmt: skip
        """Record an event; returns after its fsync, or raises StoreFailed or NotAllowed."""
        if self.refuses_all or (self.refuses_events and kind not in COMMAND_KINDS):
            raise NotAllowed("spool", "the events' share of the spool is full until a hub server takes them")
        record = self._record(kind, severity, text, data, actor, cmd_id, reason)
        raw = encode(record)
        if len(raw) > RECORD_BYTES_MAX:
            raise NotAllowed("size", f"an event of {len(raw)} bytes; at most {RECORD_BYTES_MAX}")
        await self._spool.write(lambda store: self._log.add_event(store, raw, record.t), last=kind in COMMAND_KINDS)

    def sample(self, columns: tuple[str, ...], row: list[float | int | None]) -> None:
        """Record one sample, durable within a second; the columns and the row come without t and mono."""
        t, raw = self._clock.wall(), b""
        raw = encode_row(t, self._clock.monotonic(), row)
        full = ("t", "mono", *columns)
        done = self._spool.write(lambda store: self._log.add_sample(store, full, raw, t), lazy=True)
        done.add_done_callback(self._sample_done)

    async def run(self) -> None:
        """Say what was suppressed, close metrics that are due, and bring a failed store back."""
        loop = asyncio.get_running_loop()

        def opened(log: OpenedLog) -> None:
            loop.call_soon_threadsafe(self._tell_opened, log)

        self._log.on_opened = opened
        if self._log.opened_log is not None:
            self._tell_opened(self._log.opened_log)
        self._spool.on_commit(self._wake.set)
        reserve_at = 0.0
        while True:
            await self._sleep()
            if self._spool.failed is not None:
                await self._revive()
                continue
            if self._spool.is_full and self._clock.monotonic() >= reserve_at:
                reserve_at = self._clock.monotonic() + self._policy.reserve_s
                self._spool.retake_reserve()
            self._retry_waiting()
            self._tell_suppressed()
            await self._close_due()

    async def stop(self) -> None:
        """Close the open chunk, so that a clean stop leaves nothing open."""
        await self._spool.write(self._log.close_all)

    # Inside

    def _may_pass(self, kind: str) -> bool:
        now = self._clock.monotonic()
        if now - self._window >= 1.0:
            self._window, self._in_window = now, 0
        if self._in_window >= self._policy.events_per_s or self.refuses_all:
            return False
        self._in_window += 1
        return not self.refuses_events or kind in COMMAND_KINDS

    def _record(
        self, kind: str, severity: str, text: str, data: Mapping[str, Any] | None, actor: str | None,
        cmd_id: str | None, reason: str | None,
    ) -> Record:  # fmt: skip
        return Record(
            self._clock.wall(), self._clock.monotonic(), self.boot, kind, severity, clean(text, TEXT_CHARS_MAX),
            dict(data or {}), actor, cmd_id, reason,
        )  # fmt: skip

    def _submit(self, record: Record) -> None:
        raw = encode(record)
        if len(raw) > RECORD_BYTES_MAX:
            self._suppressed[record.kind] += 1
            return
        done = self._spool.write(lambda store: self._log.add_event(store, raw, record.t))
        done.add_done_callback(lambda future: self._event_done(future, record))

    def _event_done(self, future: "asyncio.Future[None]", record: Record) -> None:
        """What a failed or full store did not take waits here for it to come back."""
        if future.cancelled() or future.exception() is None:
            return
        if len(self._waiting) >= WAITING_MAX:
            self._suppressed[self._waiting.popleft().kind] += 1
        self._waiting.append(record)

    def _sample_done(self, future: "asyncio.Future[None]") -> None:
        if future.cancelled() or future.exception() is not None:
            self.samples_lost += 1  # never accepted: it shows as a hole in sample time

    def _retry_waiting(self) -> None:
        """What waited goes in one piece, in its order and before anything newer."""
        waiting, self._waiting = self._waiting, deque()
        if waiting:
            raws, times = [encode(record) for record in waiting], [record.t for record in waiting]
            done = self._spool.write(lambda store: self._log.add_events(store, raws, times))
            for record in waiting:
                done.add_done_callback(partial(self._event_done, record=record))

    async def _sleep(self) -> None:
        """Until something was committed or suppressed, or the open chunk is due; with trouble, a little while."""
        self._wake.clear()
        if self._waiting or self._spool.failed is not None or self._spool.is_full or self.refuses_events:
            await asyncio.sleep(self._policy.reopen_s)
        elif self._suppressed:
            await asyncio.sleep(max(self._window + 1.0 - self._clock.monotonic(), 0.0))
        else:
            due = self._log.metrics_due_at
            seconds = None if due is None else max(due - self._clock.monotonic(), 0.05)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    async def _revive(self) -> None:
        await asyncio.sleep(
            self._policy.reopen_s
        )  # a disk that fails each time must not have its spool copied each time
        try:
            await self._spool.reopen()
        except StoreFailed:
            return  # the state says so; it is tried again after a while

    def _tell_suppressed(self) -> None:
        if self.refuses_events:
            return  # no room for more words; the count goes on
        suppressed, self._suppressed = self._suppressed, Counter()
        for kind, count in suppressed.items():
            text = f"{count} events of kind {kind} left out: too many in one second, or no room"
            data = {"kind": kind, "count": count}
            self._submit(self._record("suppressed", "warning", text, data, None, None, None))

    async def _close_due(self) -> None:
        due = self._log.metrics_due_at
        if due is not None and self._clock.monotonic() >= due:
            done = self._spool.write(lambda _store: None)  # the commit itself closes what is due
            await asyncio.wait((done,))

    def _tell_opened(self, opened: OpenedLog) -> None:
        data = {"last_t": opened.last_t, "inc": opened.inc}
        self.event("agent_start", "ok", "the hub agent's log is open", data=data)
        if opened.why_new:
            text = f"the log goes on as incarnation {opened.inc}: {opened.why_new}"
            self.event("incarnation_change", "warning", text, data={"inc": opened.inc, "why": opened.why_new})
