"""A link without a server: what is subscribed can be delivered to, what is published is kept."""

from dataclasses import dataclass, field

from hubagent.edges.nats_link import Message
from hubagent.errors import LinkDown


@dataclass
class FakeLink:
    """One server as commands see it; `down` makes every publish raise."""

    server: str = "central"
    down: bool = False
    subscribed: dict = field(default_factory=dict)
    published: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)

    def subscribe(self, subject, callback) -> None:
        """Remember the callback."""
        self.subscribed[subject] = callback

    def deliver(self, subject: str, payload: bytes, headers=None, reply: str = "reply.1") -> None:
        """A message comes in."""
        self.subscribed[subject](Message(subject, reply, payload, dict(headers or {})))

    async def publish(self, subject, payload, headers=None) -> None:
        """Keep it."""
        if self.down:
            raise LinkDown(self.server)
        self.published.append((subject, payload, dict(headers or {})))
