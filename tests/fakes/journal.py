"""A journal in memory, with the face of `hubagent.edges.journal.Journal`."""

from hubagent.edges.journal import Entry


class FakeJournal:
    """Keeps entries; `fail` makes `sync` raise it; what was synced outlives a `FakeJournal(on_disk=...)`."""

    def __init__(self, on_disk: dict[str, Entry] | None = None) -> None:
        self.entries: dict[str, Entry] = dict(on_disk or {})
        self.on_disk: dict[str, Entry] = dict(on_disk or {})
        self.fail: Exception | None = None

    def seen(self, cmd_id: str) -> Entry | None:
        """The entry of this id."""
        return self.entries.get(cmd_id)

    def put(self, entry: Entry) -> None:
        """Remember in memory."""
        self.entries[entry.cmd_id] = entry

    async def sync(self) -> None:
        """Make durable, or raise `fail`."""
        if self.fail is not None:
            raise self.fail
        self.on_disk = dict(self.entries)

    def unfinished(self) -> list[Entry]:
        """Accepted and never ended."""
        return [entry for entry in self.entries.values() if not entry.ended]
