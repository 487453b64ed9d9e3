"""The table of the console: any number of rows, of which only the visible ones are ever formatted or painted."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from console.present.text import Column, Row, Span, fit, pad
from console.widgets.toned import Toned

HEAD_LINES = 1
GUTTER = 2  # a mark and a blank


class Painted(NamedTuple):
    """What stands on one line of the screen, to know what changed."""

    row: Row | None
    is_cursor: bool = False
    is_marked: bool = False


class ResourceTable(Toned, can_focus=True):
    """Rows with a cursor that follows a key, not a line (Line API; one dirty span for a changed row)."""

    class Opened(Message):
        """A row was clicked twice."""

    def __init__(self, *, id: str, ellipsis: str = "…") -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self.keys: list[str] = []
        self.marked: set[str] = set()
        self.cursor_key = ""
        self.ellipsis_text = ellipsis
        self._cursor = 0
        self._columns: Sequence[Column] = ()
        self._sizes: list[tuple[int, int]] = []
        self._row: Callable[[str], Row] = lambda key: Row(key, ())
        self._empty = ""
        self._painted: list[Painted] = []

    def show(self, columns: Sequence[Column], keys: list[str], row: Callable[[str], Row], empty: str = "") -> None:
        """Show rows of these keys; `row` is asked for the visible ones."""
        sizes = fit(columns, max(1, self.size.width - GUTTER))
        is_other = columns != self._columns or sizes != self._sizes or len(keys) != len(self.keys)
        self._columns, self._sizes, self._row, self._empty = columns, sizes, row, empty
        self._keep_cursor(keys)
        self.virtual_size = Size(self.size.width, len(keys) + HEAD_LINES)
        self._scroll_to_cursor()
        self.repaint(whole=is_other)

    def clear(self) -> None:
        """Forget rows, marks and cursor: another view comes."""
        self.keys, self._painted, self._cursor, self.cursor_key = [], [], 0, ""
        self.marked.clear()
        self.scroll_to(y=0, animate=False, force=True)
        self.refresh()

    def repaint(self, *, whole: bool = False) -> None:
        """Format the visible rows, and mark dirty what differs from what stands there."""
        before, self._painted = self._painted, [self._paint(index) for index in self.visible_range()]
        if whole or len(before) != len(self._painted):
            self.refresh()
            return
        for index, (old, new) in enumerate(zip(before, self._painted, strict=True)):
            if old != new:
                self.refresh(Region(*self._dirty(old, new, index + HEAD_LINES)))

    def visible_range(self) -> range:
        """Indices of the rows that are on screen."""
        top = self.scroll_offset.y
        return range(top, min(len(self.keys), top + max(0, self.size.height - HEAD_LINES)))

    def move(self, steps: int) -> None:
        """Move the cursor; it stops at both ends."""
        self.move_to(self._cursor + steps)

    def move_to(self, index: int) -> None:
        """Put the cursor on a row, and bring it into view."""
        if not self.keys:
            return
        self._cursor = min(max(0, index), len(self.keys) - 1)
        self.cursor_key = self.keys[self._cursor]
        self._scroll_to_cursor()
        self.repaint()

    @property
    def page(self) -> int:
        """Rows of half a screen."""
        return max(1, (self.size.height - HEAD_LINES) // 2)

    def render_line(self, y: int) -> Strip:
        """The head, a row, or a word on why there is none."""
        base = self.base_style
        if y < HEAD_LINES:
            return self.strip([Span(" " * GUTTER), *self._head()], self.size.width, base)
        index = y - HEAD_LINES
        if not self.keys:
            return self.strip([Span(f"  {self._empty}", "dim")] if index == 1 else [], self.size.width, base)
        if index >= len(self._painted):
            self._painted = [self._paint(one) for one in self.visible_range()]
        if index >= len(self._painted):
            return self.strip([], self.size.width, base)
        painted = self._painted[index]
        if painted.is_cursor:
            base += self.get_component_rich_style("row--cursor")
        mark = Span("* " if painted.is_marked else "  ", "key")
        return self.strip([mark, *self._cells(painted.row)], self.size.width, base)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Other rows are visible now."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self._painted = [self._paint(index) for index in self.visible_range()]

    def on_resize(self, _: events.Resize) -> None:
        """Columns fit another width."""
        self._sizes = fit(self._columns, max(1, self.size.width - GUTTER)) if self._columns else []
        self._scroll_to_cursor()
        self.repaint(whole=True)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel moves the cursor."""
        event.stop()
        self.move(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel moves the cursor."""
        event.stop()
        self.move(-3)

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor, a second one opens."""
        index = event.y - HEAD_LINES + self.scroll_offset.y
        if event.y >= HEAD_LINES and index < len(self.keys):
            self.move_to(index)
            if event.chain == 2:
                self.post_message(self.Opened())

    def _keep_cursor(self, keys: list[str]) -> None:
        """The cursor stays on its key; where that is gone, on the row that took its place."""
        self.keys = keys
        if not keys:
            self._cursor, self.cursor_key = 0, ""
            return
        held = self._cursor < len(keys) and keys[self._cursor] == self.cursor_key
        if not held:
            self._cursor = keys.index(self.cursor_key) if self.cursor_key in keys else min(self._cursor, len(keys) - 1)
        self.cursor_key = keys[self._cursor]
        self.marked.intersection_update(keys)

    def _scroll_to_cursor(self) -> None:
        height = max(1, self.size.height - HEAD_LINES)
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, force=True)
        elif self._cursor >= top + height:
            self.scroll_to(y=self._cursor - height + 1, animate=False, force=True)

    def _paint(self, index: int) -> Painted:
        key = self.keys[index]
        return Painted(self._row(key), index == self._cursor, key in self.marked)

    def _dirty(self, old: Painted, new: Painted, y: int) -> tuple[int, int, int, int]:
        """The one span of a line that holds every difference: x, y, width, height."""
        is_same_kind = old.row and new.row and old[1:] == new[1:] and len(old.row.cells) == len(new.row.cells)
        if not is_same_kind or old.row is None or new.row is None:
            return 0, y, self.size.width, 1
        first, last, x = -1, 0, GUTTER
        for index, width in self._sizes:
            if index < len(new.row.cells) and old.row.cells[index] != new.row.cells[index]:
                first = x if first < 0 else first
                last = x + width
            x += width + 1
        return (first, y, last - first, 1) if first >= 0 else (0, y, 0, 0)

    def _head(self) -> list[Span]:
        spans = []
        for index, width in self._sizes:
            column = self._columns[index]
            spans += [Span(pad(column.title, width, is_right=column.is_right), "head"), Span(" ")]
        return spans

    def _cells(self, row: Row | None) -> list[Span]:
        spans: list[Span] = []
        for index, width in self._sizes:
            cell = row.cells[index] if row and index < len(row.cells) else Span("")
            text = pad(cell.text, width, is_right=self._columns[index].is_right, end=self.ellipsis_text)
            if cell.tone in {"", "dim"}:  # a gap of the same look; fewer segments to paint
                spans.append(Span(text + " ", cell.tone))
            else:
                spans += [Span(text, cell.tone), Span(" ")]
        return spans
