"""Tones to styles: the one place where a span of the model becomes a styled segment."""

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.scroll_view import ScrollView
from textual.strip import Strip

from console.present.text import TONES, Span
from hubagent.wire.sanitise import clean_line


class Toned(ScrollView):
    """A Line API widget whose text comes in tones; the style sheet says what each looks like."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"tone--{tone}" for tone in TONES} | {"row--cursor"}

    _base: Style | None = None
    _styles: dict[tuple[str, Style], Style] | None = None

    @property
    def base_style(self) -> Style:
        """The widget's own style, worked out once for each change of the style sheet: every line asks for it."""
        if self._base is None:
            self._base = self.rich_style
        return self._base

    def notify_style_update(self) -> None:
        """Another theme, or another focus."""
        super().notify_style_update()
        self._base = self._styles = None

    def tone_style(self, tone: str) -> Style:
        """The style of a tone, without a ground of its own."""
        if not tone:
            return Style.null()
        return self.get_component_rich_style(f"tone--{tone}", partial=True)

    def strip(self, spans: Iterable[Span], width: int, base: Style) -> Strip:
        """Spans as one strip of exactly this width; each text is made harmless once more."""
        segments = [Segment(clean_line(text, 2000), self._style(tone, base)) for text, tone in spans if text]
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, tone: str, base: Style) -> Style:
        if self._styles is None:
            self._styles = {}
        style = self._styles.get((tone, base))
        if style is None:
            style = self._styles[tone, base] = base + self.tone_style(tone)
        return style
