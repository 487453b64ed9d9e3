"""`hubdeck`, or `python -m console`: runs the command line; whatever happens, people see one line, never a traceback."""

import os
import sys

from console import cli
from console.errors import ConsoleError


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0 done, 1 refused or failed, 2 usage, 3 outcome unknown."""
    try:
        status = cli.main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except ConsoleError as error:
        return _say(str(error), error.exit_status)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has seen enough; leave nothing for the interpreter to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("HUBDECK_TRACEBACK"):
            raise
        return _say(f"internal error: {error!r}; set HUBDECK_TRACEBACK=1 to see where, and report it", 1)
    return status


def _say(text: str, status: int) -> int:
    line = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text.replace("\n", " "))
    sys.stderr.write(f"hubdeck: {line}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
