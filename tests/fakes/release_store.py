"""Releases in memory, with the face of `hubagent.edges.release_store.ReleaseStore`."""

from hubagent.errors import ReleaseRefused


class FakeReleaseStore:
    """Keeps versions, the current one and the document; what is in `broken` is refused by `check`."""

    def __init__(self, installed=("1.0", "1.1"), current="1.1") -> None:
        self.versions, self.now, self.document = list(installed), current, None
        self.broken: set[str] = set()

    def load(self):
        """The document saved last."""
        return self.document

    async def save(self, document) -> None:
        """Keep the document."""
        self.document = document

    def installed(self):
        """Versions that are there."""
        return list(self.versions)

    def current(self):
        """The one in force."""
        return self.now

    async def check(self, version) -> None:
        """Raise ReleaseRefused where it is missing or broken."""
        if version not in self.versions or version in self.broken:
            raise ReleaseRefused(version, "is broken")

    async def switch(self, version) -> None:
        """Make it the one in force."""
        await self.check(version)
        self.now = version
