"""`hubdeck wire [--schema]`: the wire contract, for whoever reads a fleet with another program."""

import argparse

from console.commands.output import write_json, write_table
from console.errors import DONE
from hubagent.wire.contract import USES, schema


def run(options: argparse.Namespace) -> int:
    """Print JSON Schema, or which record is on which subject; nothing is connected to."""
    if options.schema:
        write_json(schema())
    else:
        rows = [(use.subject, use.kind, use.record.__name__, use.text) for use in USES]
        write_table(("SUBJECT", "KIND", "RECORD", "WHAT"), rows, is_plain=False)
    return DONE
