"""The agent's own log: one line an event on standard error, harmless whatever a message holds."""

import logging
import sys

from hubagent.wire.sanitise import clean_line


class _Clean(logging.Formatter):
    """Nothing of the wire reaches a terminal raw, and no secret is logged at all (keys have no repr)."""

    def format(self, record: logging.LogRecord) -> str:
        return clean_line(super().format(record), 4000)


def set_up(level: str) -> None:
    """Log at this level to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Clean("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # our own link says what it means
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns at the end of every TLS connection
