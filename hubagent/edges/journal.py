"""The persisted ids of commands with their replies, so that nothing acts twice and nothing vanishes with a crash."""

import asyncio
from pathlib import Path

import msgspec

from hubagent.edges.slots import Slots
from hubagent.wire.commands import Reply

# 30 s of commands at the allowed rate fit three times over: what is forgotten is long past being fresh.
ENTRIES_MAX = 500
WHY_CHARS_MAX = 200
SLOT_BYTES = 1 << 20  # 500 entries of at most 2 KiB


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One command: its digest, its reply, and whether its effect has ended."""

    cmd_id: str
    digest: str
    t: float
    verb: str
    target: str
    actor: str
    reply: Reply | None = None
    ended: bool = False


class Journal:
    """Ids in memory, and in a preallocated file before anything acts; a full disk does not stop it."""

    def __init__(self, path: Path, entries_max: int = ENTRIES_MAX) -> None:
        self._slots = Slots(path, SLOT_BYTES)
        self._entries_max = entries_max
        self._entries: dict[str, Entry] = {}
        self._lock = asyncio.Lock()

    def load(self) -> None:
        """Read what an earlier run left; blocking, once, before use."""
        raw = self._slots.load()
        entries = msgspec.json.decode(raw, type=list[Entry]) if raw else []
        self._entries = {entry.cmd_id: entry for entry in entries}

    def seen(self, cmd_id: str) -> Entry | None:
        """The entry of this id, if it came before."""
        return self._entries.get(cmd_id)

    def put(self, entry: Entry) -> None:
        """Remember in memory at once; `sync` makes it durable. The oldest ended ones are forgotten first."""
        self._entries[entry.cmd_id] = _cut(entry)
        surplus = len(self._entries) - self._entries_max
        if surplus > 0:
            for cmd_id in sorted(self._entries, key=self._age)[:surplus]:
                del self._entries[cmd_id]

    def _age(self, cmd_id: str) -> tuple[bool, float]:
        return not self._entries[cmd_id].ended, self._entries[cmd_id].t

    async def sync(self) -> None:
        """Return once everything put before this call is on disk; raises StoreFailed."""
        async with self._lock:
            await asyncio.to_thread(self._slots.save, msgspec.json.encode(list(self._entries.values())))

    def unfinished(self) -> list[Entry]:
        """Commands that were accepted and never ended, oldest first."""
        return sorted((entry for entry in self._entries.values() if not entry.ended), key=lambda entry: entry.t)


def _cut(entry: Entry) -> Entry:
    """Bound one entry: answers that carry data are not kept, long reasons are cut."""
    if entry.reply is None:
        return entry
    reply = msgspec.structs.replace(entry.reply, why=entry.reply.why[:WHY_CHARS_MAX], data={})
    return msgspec.structs.replace(entry, reply=reply)
