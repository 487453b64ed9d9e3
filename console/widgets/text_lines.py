"""Lines of toned text: the header, the status bar and every pane without a cursor."""

from collections.abc import Sequence

from textual.geometry import Region, Size
from textual.strip import Strip

from console.present.text import Line
from console.widgets.toned import Toned


class TextLines(Toned):
    """Shows lines; only those that changed are painted again."""

    def __init__(self, *, id: str, is_growing: bool = False, can_focus: bool = False) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self.can_focus = can_focus
        self.is_growing = is_growing
        self.lines: tuple[Line, ...] = ()

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines from now on; a growing widget takes exactly their height."""
        before, self.lines = self.lines, tuple(lines)
        if len(before) != len(self.lines):
            self.virtual_size = Size(self.size.width, len(self.lines))
            if self.is_growing:
                self.styles.height = max(1, len(self.lines))
            self.refresh(layout=self.is_growing)
            return
        top = self.scroll_offset.y
        for index, (old, new) in enumerate(zip(before, self.lines, strict=True)):
            if old != new and 0 <= index - top < self.size.height:
                self.refresh(Region(0, index - top, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        """One visible line."""
        index = y + self.scroll_offset.y
        spans = self.lines[index] if index < len(self.lines) else ()
        return self.strip(spans, self.size.width, self.base_style)

    @property
    def plain(self) -> str:
        """What it says, for tests and for people who copy."""
        return "\n".join("".join(span.text for span in one) for one in self.lines)
