"""Which key does what: made from the actions, an operator's own keys, and whether anything may be changed."""

from collections.abc import Iterable, Mapping

from console.actions import Action
from console.errors import ConfigError

# Left alone: terminals, tmux, screen and flow control use them.
FORBIDDEN = frozenset(f"ctrl+{letter}" for letter in "abcsqzhim")
_NAMES = {
    "slash": "/", "colon": ":", "question_mark": "?", "asterisk": "*", "circumflex_accent": "^", "minus": "-",
    "full_stop": ".", "comma": ",", "left_square_bracket": "[", "right_square_bracket": "]", "exclamation_mark": "!",
}  # fmt: skip
LABELS = {"enter": "Enter", "space": "Space", "escape": "Esc"}


def key_table(actions: Iterable[Action], own: Mapping[str, str], *, may_change: bool) -> dict[str, str]:
    """Key → name of its action; actions that change something are in it only where that is allowed."""
    actions = list(actions)
    known = {one.name for one in actions}
    table: dict[str, str] = {}
    for name, key in own.items():
        if name not in known:
            raise ConfigError("config", 0, f"keys.{name[:40]}", f"one of {', '.join(sorted(known))}", "it")
        if key in FORBIDDEN or not key:
            raise ConfigError("config", 0, f"keys.{name}", "a key that terminals and tmux do not need", ascii(key)[:40])
    for one in actions:
        for key in (own[one.name],) if one.name in own else (one.key, *one.also):
            if key in table:
                raise ConfigError("config", 0, f"keys.{one.name}", "a key used once", f"{key}, as {table[key]} has it")
            table[key] = one.name
    changing = {one.name for one in actions if one.changes}
    return table if may_change else {key: name for key, name in table.items() if name not in changing}


def typed(key: str, character: str | None) -> str:
    """One name for a pressed key: its character where it has a visible one, else Textual's name."""
    if character and character.isprintable() and character != " ":
        return character
    return _NAMES.get(key, key)


def label(key: str) -> str:
    """A key as people write it."""
    return LABELS.get(key, key)
