"""Theme files: found, read, checked by us (Textual would crash on a bad colour later), made into Textual themes."""

import re
from pathlib import Path
from typing import Annotated

import msgspec
from textual.color import Color, ColorParseError
from textual.theme import BUILTIN_THEMES, Theme

from console.errors import ConfigError
from console.present.text import TONES
from hubagent.wire.sanitise import clean_line

DEFAULT = "okabe-ito"
MONOCHROME = "mono"
THEME_BYTES_MAX = 64 << 10
STYLES = frozenset({"none", "bold", "italic", "underline", "reverse", "dim", "strike"})
_COLORS = (
    "primary", "secondary", "accent", "success", "warning", "error", "foreground", "background", "surface", "panel",
)  # fmt: skip


class Tone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one tone looks like: a colour, and any of bold italic underline reverse dim strike."""

    color: str
    style: str = "none"


class ThemeFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of `themes/`: every colour and every tone must be there."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
    label: str
    dark: bool
    colors: dict[str, str]
    tones: dict[str, Tone]
    ansi: bool = False


def directory() -> Path:
    """Where the themes that come with hubdeck lie: beside the package, or in it when installed."""
    inside = Path(__file__).parent / "themes"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "themes"


def available(extra: Path | None = None) -> dict[str, Path]:
    """All themes by name; yours come before ours."""
    places = [directory()] + ([extra] if extra else [])
    return {path.stem: path for place in places for path in sorted(place.glob("*.yaml"))}


def find(name: str, extra: Path | None = None) -> Path:
    """The file of a theme, by name or by path; ConfigError where there is none."""
    if "/" in name or name.endswith(".yaml"):
        return Path(name).expanduser()
    known = available(extra)
    if name not in known:
        raise ConfigError("config", 0, "theme", f"one of {', '.join(known)}, or a path", ascii(name)[:60])
    return known[name]


def load(path: Path) -> Theme:
    """A checked theme; a ConfigError names file and key."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")[:THEME_BYTES_MAX]
        value = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except (OSError, UnicodeError) as error:
        raise ConfigError(str(path), 0, "file", "a readable theme file", clean_line(str(error), 120)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        found = clean_line(str(getattr(error, "problem", None) or error), 120)
        raise ConfigError(str(path), mark.line + 1 if mark else 0, "file", "valid YAML", found) from error
    try:
        file = msgspec.convert(value, ThemeFile)
    except msgspec.ValidationError as error:
        raise _refused(path, str(error)) from error
    _check(path, file)
    return _theme(file)


def _refused(path: Path, text: str) -> ConfigError:
    problem, _, where = text.partition(" - at `$")
    key = where.rstrip("`").lstrip(".") or "file"
    if named := re.search(r"(unknown|missing required) field `(.*)`", problem):
        full = clean_line(f"{key}.{named[2]}".removeprefix("file."), 80)
        missing = named[1] != "unknown"
        return ConfigError(str(path), 0, full, "a value" if missing else "a known key", "nothing" if missing else "it")
    expected, _, found = problem.removeprefix("Expected ").partition(", got ")
    return ConfigError(str(path), 0, clean_line(key, 80), clean_line(expected, 80), clean_line(found, 80) or "another")


def _check(path: Path, file: ThemeFile) -> None:
    """Every key that the style sheet uses is there, and every value is one that Textual takes."""
    for group, have, want in (("colors", file.colors, (*_COLORS, "cursor")), ("tones", file.tones, TONES)):
        for key in have:
            if key not in want:
                raise ConfigError(str(path), 0, f"{group}.{clean_line(key, 40)}", f"one of {', '.join(want)}", "it")
        for key in want:
            if key not in have:
                raise ConfigError(str(path), 0, f"{group}.{key}", "a value", "nothing")
    for key, color in file.colors.items():
        _check_color(path, f"colors.{key}", color)
    for key, tone in file.tones.items():
        _check_color(path, f"tones.{key}.color", tone.color)
        if not set(tone.style.split()) <= STYLES or not tone.style.split():
            raise ConfigError(
                str(path), 0, f"tones.{key}.style", f"some of {', '.join(sorted(STYLES))}", ascii(tone.style)[:60]
            )


def _check_color(path: Path, key: str, color: str) -> None:
    try:
        Color.parse(color)
    except ColorParseError as error:
        raise ConfigError(
            str(path), 0, key, "a colour such as #56B4E9, a CSS name or ansi_red", ascii(color)[:60]
        ) from error


def _theme(file: ThemeFile) -> Theme:
    variables = dict(BUILTIN_THEMES["ansi-dark"].variables) if file.ansi else {}
    variables |= {f"tone-{key}": tone.color for key, tone in file.tones.items()}
    variables |= {f"tone-{key}-style": tone.style for key, tone in file.tones.items()}
    variables["cursor-row"] = file.colors["cursor"]
    variables["cursor-row-style"] = "reverse" if file.colors["cursor"] == file.colors["background"] else "none"
    colors = file.colors
    return Theme(
        name=file.name,
        dark=file.dark,
        ansi=file.ansi,
        variables=variables,
        primary=colors["primary"],
        secondary=colors["secondary"],
        accent=colors["accent"],
        success=colors["success"],
        warning=colors["warning"],
        error=colors["error"],
        foreground=colors["foreground"],
        background=colors["background"],
        surface=colors["surface"],
        panel=colors["panel"],
    )
