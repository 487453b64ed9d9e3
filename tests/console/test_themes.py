"""Theme files: ours are whole; a wrong one is refused with its file and key."""

import pytest

from console import themes
from console.app import appearance_of
from console.config import ServerSettings, Settings
from console.errors import ConfigError


def settings(**more):
    return Settings(identity="ana", key_file="k", servers=[ServerSettings(name="c", urls=["nats://127.0.0.1"])], **more)


def test_every_theme_of_ours_is_valid():
    """At least dark, light, colour-blind safe and monochrome."""
    found = themes.available()
    assert {"dark", "light", "okabe-ito", "mono", "ansi"} <= set(found)
    for path in found.values():
        assert themes.load(path).name == path.stem


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('color: "#F07A28"', 'color: "#GGGGGG"', "tones.crit.color"),
        ('primary: "#56B4E9"', 'primry: "#56B4E9"', "colors.primry"),
        ('style: "italic"', 'style: "wobbly"', "tones.old.style"),
        ("dark: true", "dark: perhaps", "dark"),
        ("ansi: false", "shiny: yes", "shiny"),
        ("  ok:", "  okay:", "tones.okay"),
    ],
)
def test_a_wrong_theme_is_refused_with_file_and_key(tmp_path, old, new, key):
    """Textual would crash later, or pass it silently."""
    path = tmp_path / "mine.yaml"
    text = themes.available()["okabe-ito"].read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        themes.load(path)
    assert (caught.value.file, caught.value.key) == (str(path), key)


@pytest.mark.parametrize("text", ["a: [", "- 1", "\x00", ""])
def test_what_is_no_theme_at_all_is_refused(tmp_path, text):
    """Never another exception."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        themes.load(path)


def test_no_color_and_monochrome_choose_the_ansi_theme_first():
    """Before the app is built: Textual asks then."""
    assert appearance_of(settings(theme="light"), {}).theme.name == "light"
    chosen = appearance_of(settings(theme="light"), {"NO_COLOR": "1"})
    assert (chosen.theme.name, chosen.theme.ansi, chosen.is_colourless) == ("mono", True, True)
    assert appearance_of(settings(monochrome=True), {}).theme.name == "mono"
    assert appearance_of(settings(ascii=True), {}).is_ascii


def test_an_unknown_theme_names_the_known_ones():
    """So that the next try works."""
    with pytest.raises(ConfigError, match="okabe-ito"):
        appearance_of(settings(theme="nope"), {})
