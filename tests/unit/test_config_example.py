"""`config.example.yaml` lists every setting with its default, and nothing else."""

import re
import types
from pathlib import Path
from typing import get_args, get_origin

import msgspec
import yaml

from hubagent.config import AlertSettings, Settings, Size, load, parse_size
from hubagent.core.alerts import AlertPolicy

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


def struct_in(kind) -> type | None:
    """The settings class behind a list or an optional field."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    if get_origin(kind) in (list, types.UnionType) or get_origin(kind) is not None:
        return next((found for part in get_args(kind) if (found := struct_in(part))), None)
    return None


def settings_in(kind: type, prefix: str = "") -> dict[str, object]:
    """Every key path of the code with its default; `...` where it is required."""
    found: dict[str, object] = {}
    for field in msgspec.structs.fields(kind):
        path = f"{prefix}{field.name}"
        found[path] = default_of(field)
        inner = struct_in(field.type)
        if inner is not None:
            found.update(settings_in(inner, path + "."))
    return found


def default_of(field) -> object:
    """The default as YAML would write it."""
    if field.required:
        return ...
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, msgspec.Struct):
        return {}  # a section of its own: its fields are compared one by one
    return value


def documented(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Every key path of the example's nodes with the comment above it (the first time it is given)."""
    found: dict[str, tuple[str, str]] = {}
    visit(yaml.compose("\n".join(lines)), "", lines, found)
    return found


def visit(node, prefix, lines, found) -> None:
    """Walk mappings and lists; keys of `env` are the user's own."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            visit(item, prefix, lines, found)
    if isinstance(node, yaml.MappingNode) and not prefix.endswith("env."):
        for key, value in node.value:
            path = prefix + key.value
            found.setdefault(path, (comment_above(lines, key.start_mark.line), value.tag))
            visit(value, path + ".", lines, found)


def comment_above(lines: list[str], line: int) -> str:
    """The comment lines right above a line, as one text."""
    words: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        words.insert(0, lines[line].strip().lstrip("# "))
    return " ".join(words)


LINES = EXAMPLE.read_text().splitlines()


def test_the_example_is_a_good_config():
    """It loads as it stands."""
    settings = load(EXAMPLE)
    assert settings.hub.id == "alpha"
    assert len(settings.services) == 2


def test_example_and_code_have_the_same_settings():
    """Both ways."""
    assert sorted(documented(LINES)) == sorted(settings_in(Settings))


def test_every_setting_has_its_default_and_a_sentence():
    """The default in the comment is the one of the code."""
    code = settings_in(Settings)
    for path, (comment, _) in documented(LINES).items():
        expected = code[path]
        if expected is ...:
            assert comment.endswith("Required."), path
            continue
        match = re.fullmatch(r"(.+[.:;].*) Default: (.+)", comment)
        assert match is not None, f"{path}: {comment}"
        default = yaml.safe_load(match[2])
        assert (parse_size(default) if isinstance(expected, Size) else default) == expected, path


def test_units_are_named():
    """A key that ends in _s says seconds; a size says bytes."""
    code = settings_in(Settings)
    for path, (comment, _) in documented(LINES).items():
        if path.endswith("_s"):
            assert "econds" in comment, path
        if isinstance(code[path], Size):
            assert "bytes" in comment.lower(), path


def test_alert_settings_and_policies_have_the_same_fields():
    """The daemon hands them over by name."""
    names = {field.name for field in msgspec.structs.fields(AlertSettings)}
    assert names < set(AlertPolicy.__slots__)
    assert AlertPolicy(**msgspec.structs.asdict(load(EXAMPLE).alerts[0])).above == 0.95
