"""Checks of the machine and the terminal that the console runs on."""

from collections.abc import Iterator

from console.doctor.checks import Check, Finding
from console.doctor.facts import Facts
from console.present.units import age
from hubagent.wire.reports import CRITICAL, OK, WARNING

COLUMNS_MIN, ROWS_MIN = 80, 24
NOFILE_MIN = 1024
PYTHON_MIN = (3, 11)
DAY_SECONDS = 86_400.0
AUTHORITY_WARN_S, AUTHORITY_CRIT_S = 180 * DAY_SECONDS, 30 * DAY_SECONDS
GROUP_OR_OTHER, OTHERS_WRITE = 0o077, 0o022


def files(facts: Facts) -> Iterator[Finding]:
    """Keys are private, and nobody else may change what is trusted."""
    for one in facts.local.files:
        if one.mode is None:
            continue
        is_loose = one.mode & (GROUP_OR_OTHER if one.is_secret else OTHERS_WRITE)
        what = "others may read it" if one.is_secret else "others may change it"
        text = f"mode {one.mode:o}" + (f": {what}" if is_loose else "")
        yield Finding((CRITICAL if one.is_secret else WARNING) if is_loose else OK, one.path, text)


def authorities(facts: Facts) -> Iterator[Finding]:
    """The fleet's own authorities end far from now; no server's certificate outlives the one that issued it."""
    if not facts.local.authorities:
        yield Finding(OK, "", "no authority of the fleet's own here")
    for one in facts.local.authorities:
        if one.ends is None:
            yield Finding(CRITICAL, one.path, "no certificate in it")
            continue
        left, what = one.ends - facts.wall, "issues certificates" if one.is_issuing else "is trusted"
        result = CRITICAL if left < AUTHORITY_CRIT_S else WARNING if left < AUTHORITY_WARN_S else OK
        todo = (
            ""
            if result == OK
            else f"; hubdeck cert authority {'renew' if one.is_issuing else 'replace, where it is ours'}"
        )
        ends = f"ends in {age(left)}" if left > 0 else f"ended {age(-left)} ago"
        yield Finding(result, one.path, f"{one.mark} {what}, {ends}{todo}")


def python(facts: Facts) -> Iterator[Finding]:
    """Python is new enough."""
    found = facts.local.python
    yield Finding(OK if found >= PYTHON_MIN else CRITICAL, "", ".".join(map(str, found)))


def compiled(facts: Facts) -> Iterator[Finding]:
    """The packages are compiled."""
    text = "compiled" if facts.local.has_pyc else "not compiled, and every start compiles them again"
    yield Finding(OK if facts.local.has_pyc else WARNING, "", text)


def encoding(facts: Facts) -> Iterator[Finding]:
    """The locale is UTF-8."""
    is_utf8 = facts.local.encoding.lower().replace("-", "") == "utf8"
    yield Finding(OK if is_utf8 else WARNING, "", facts.local.encoding)


def term(facts: Facts) -> Iterator[Finding]:
    """The terminal can do what the screen needs."""
    local = facts.local
    if not local.is_terminal:
        yield Finding(OK, "", "not a terminal: nothing to draw on")
    elif local.term in {"", "dumb", "unknown"}:
        yield Finding(WARNING, "", f"TERM is {local.term or 'not set'}")
    else:
        yield Finding(OK, "", f"TERM is {local.term}")


def terminal_size(facts: Facts) -> Iterator[Finding]:
    """The terminal is large enough."""
    local = facts.local
    if not local.is_terminal:
        yield Finding(OK, "", "not a terminal: nothing to draw on")
    else:
        is_enough = local.columns >= COLUMNS_MIN and local.rows >= ROWS_MIN
        yield Finding(OK if is_enough else WARNING, "", f"{local.columns}x{local.rows}")


def colours(facts: Facts) -> Iterator[Finding]:
    """The terminal has colours enough for the themes."""
    local = facts.local
    if not local.is_terminal:
        yield Finding(OK, "", "not a terminal: nothing to draw on")
    else:
        is_rich = "256color" in local.term or local.colours in {"truecolor", "24bit"} or "direct" in local.term
        yield Finding(OK if is_rich else WARNING, "", local.colours or local.term or "none")


def open_files(facts: Facts) -> Iterator[Finding]:
    """Enough files may be open."""
    limit = facts.local.nofile
    yield Finding(OK if limit >= NOFILE_MIN or limit < 0 else WARNING, "", str(limit) if limit >= 0 else "unlimited")


LOCAL_CHECKS = (
    Check("file-modes", "keys are private and configs not for others to change", "who reads a key is that operator",
          "chmod 600 the keys; chmod go-w the rest", files),
    Check("authority-expiry", "the fleet's root and issuing authority hold for 180 days",
          "no server's certificate can be renewed beyond their end", "where the admin's directory is: hubdeck cert "
          "authority renew for the issuing one, replace for the root (docs/for-real.md, Certificates)", authorities),
    Check("python", "Python 3.11 or later", "older ones lack what the code uses", "install a newer Python", python),
    Check("compiled", "the packages are compiled to .pyc", "each start otherwise costs some hundred milliseconds more",
          "run once as the user that owns the installation, or: python -m compileall", compiled),
    Check("locale", "the locale is UTF-8", "signs of state are drawn with it", "export LANG=C.UTF-8, or hubdeck --ascii",
          encoding),
    Check("terminal", "TERM names a real terminal", "cursor and colours follow it", "in tmux: export TERM=tmux-256color",
          term),
    Check("terminal-size", f"at least {COLUMNS_MIN}x{ROWS_MIN}", "smaller ones hide columns", "enlarge the window",
          terminal_size),
    Check("colours", "at least 256 colours", "themes look wrong with fewer", "hubdeck --monochrome, or another TERM",
          colours),
    Check("open-files", f"at least {NOFILE_MIN} files may be open", "each connection and file is one",
          "ulimit -n 4096", open_files),
)  # fmt: skip
