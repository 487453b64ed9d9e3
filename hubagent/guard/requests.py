"""What a request must look like: checked whole before anything is done."""

import os

from hubagent.guard.leases import Hold

Fields = dict[str, object]
NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
SECONDS_MAX = 1e12
MODES = ("always", "active", "manual")


class BadRequest(ValueError):
    """A request that cannot be carried out as it is; the text goes into the reply."""


def name(fields: Fields, key: str = "name") -> str:
    """A name by the rule of subjects: a-z, 0-9 and -, at most 63, no - first."""
    value = fields.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 63 or value[0] == "-" or not NAME_CHARS.issuperset(value):
        raise BadRequest(f"{key}: expected a name (a-z, 0-9 and -, at most 63)")
    return value


def seconds(fields: Fields, key: str, default: float | None = None) -> float:
    """A finite number of seconds, not negative."""
    value = fields.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= SECONDS_MAX:
        raise BadRequest(f"{key}: expected seconds")
    return float(value)


def whole(fields: Fields, key: str, low: int, high: int, default: int | None = None) -> int:
    """A whole number within bounds."""
    value = fields.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadRequest(f"{key}: expected a whole number from {low} to {high}")
    return value


def text(fields: Fields, key: str, default: str = "") -> str:
    """A string without NUL."""
    value = fields.get(key, default)
    if not _is_text(value):
        raise BadRequest(f"{key}: expected text")
    assert isinstance(value, str)
    return value


def token(fields: Fields) -> tuple[int, str]:
    """A fencing token: (epoch, holder)."""
    return whole(fields, "epoch", 0, 1 << 62), text(fields, "holder")


def hold(fields: Fields, now: float) -> Hold:
    """What a lease request says, and when it was said: now, unless it tells."""
    deadline = seconds(fields, "deadline")
    return Hold(
        name(fields, "group"), token(fields), seconds(fields, "term_at", deadline), deadline, seconds(fields, "at", now)
    )


def start(fields: Fields) -> Fields:
    """The facts of a start request, every one of them checked."""
    argv, env, mode = fields.get("argv"), fields.get("env", {}), fields.get("mode", "always")
    if not isinstance(argv, list) or not argv or not argv[0] or not all(map(_is_text, argv)):
        raise BadRequest("argv: expected a list of texts, the program first")
    if not isinstance(env, dict) or not all(map(_is_text, env.values())) or not all(map(_is_variable, env)):
        raise BadRequest("env: expected an object of texts")
    if mode not in MODES:
        raise BadRequest("mode: expected always, active or manual")
    output = text(fields, "output")
    if not output.startswith("/"):
        raise BadRequest("output: expected an absolute path")
    epoch, holder = token(fields | {"epoch": fields.get("epoch") or 0})
    return {
        "name": name(fields),
        "argv": argv,
        "env": env,
        "cwd": text(fields, "cwd"),
        "mode": mode,
        "group": name(fields, "group") if mode == "active" else text(fields, "group"),
        "epoch": epoch,
        "holder": holder,
        "output": output,
        "output_bytes": whole(fields, "output_bytes", 1, 1 << 40, 4 << 20),
        "nofile": whole(fields, "nofile", 16, 1 << 24, 1024),
        "grace_s": seconds(fields, "grace_s", 5.0),
    }


def on_gone(fields: Fields) -> dict[str, list[str]]:
    """What to run for each group when the agent dies: group to argument list."""
    given = fields.get("on_agent_gone", {})
    if not isinstance(given, dict):
        raise BadRequest("on_agent_gone: expected an object of argument lists")
    for group, argv in given.items():
        name({"group": group}, "group")
        if not isinstance(argv, list) or not argv or not all(map(_is_text, argv)):
            raise BadRequest("on_agent_gone: expected a list of texts for each group, the program first")
    return dict(given)


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _is_variable(key: object) -> bool:
    return _is_text(key) and bool(key) and "=" not in str(key)
