"""Blocks below each other: each says how high it is, and all shrink together until they fit their box."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from agent.domain.values import dataclass
from agent.qr_display.canvas import Rect, Style, fit, line_height, text_width
from agent.qr_display.design import INK, LINE, QUIET, TILE, Cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.qr_display.canvas import Canvas, VerticalAlign
    from agent.qr_display.design import Colour

SHRINKS = (1.0, 0.94, 0.88, 0.82, 0.76, 0.7, 0.64, 0.58, 0.52)
"""The steps in which a whole group gets smaller; no text gets smaller than its style allows."""
_NO_LIMIT = 10_000


class Block(Protocol):
    """Something in a flow. `shrink` is one of SHRINKS."""

    def height(self, width: int, shrink: float) -> int:
        """Px."""

    def is_cut(self, width: int, shrink: float) -> bool:
        """True when a text does not fit whole."""

    def draw(self, canvas: Canvas, box: Rect, shrink: float) -> None:
        """Draws into a box of that height."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text of one or more lines."""

    text: str
    style: Style

    def height(self, width: int, shrink: float) -> int:
        return fit(self.text, width, _NO_LIMIT, _shrunk(self.style, shrink)).height

    def is_cut(self, width: int, shrink: float) -> bool:
        return fit(self.text, width, _NO_LIMIT, _shrunk(self.style, shrink)).is_cut

    def draw(self, canvas: Canvas, box: Rect, shrink: float) -> None:
        canvas.text(self.text, box, replace(_shrunk(self.style, shrink), valign="top"))


@dataclass(frozen=True, slots=True)
class Figure:
    """A big number with a small unit on the same baseline."""

    number: str
    unit: str
    size: int
    smallest: int
    colour: Colour = INK
    centred: bool = False

    def _size(self, width: int, shrink: float) -> int:
        size = max(self.smallest, round(self.size * shrink))
        # The number changes with every picture and is seldom measured before, so the size is computed and only then checked.
        while size > self.smallest and (needed := self._width(size)) > width:
            size = max(self.smallest, min(size - 1, size * width // needed))
        return size

    def _unit_size(self, size: int) -> int:
        return max(self.smallest, round(size * 0.42))

    def _width(self, size: int) -> int:
        if not self.unit:
            return text_width(self.number, Cut.NUMBER, size)
        return text_width(self.number, Cut.NUMBER, size) + round(size * 0.16) + text_width(self.unit, Cut.STRONG, self._unit_size(size))

    def height(self, width: int, shrink: float) -> int:
        return round(self._size(width, shrink) * 1.02)

    def is_cut(self, width: int, shrink: float) -> bool:
        return self._width(self._size(width, shrink)) > width

    def draw(self, canvas: Canvas, box: Rect, shrink: float) -> None:
        size = self._size(box.width, shrink)
        left = box.left + ((box.width - self._width(size)) // 2 if self.centred else 0)
        middle = box.top + box.height // 2
        number_width = text_width(self.number, Cut.NUMBER, size)
        number = Rect(
            left, middle - line_height(size) // 2, min(left + number_width, box.right), middle - line_height(size) // 2 + line_height(size)
        )
        canvas.text(self.number, number, Style(cut=Cut.NUMBER, size=size, smallest=size, colour=self.colour))
        if self.unit:
            # Both stand on one baseline: half the difference of the heights of their capitals.
            unit_size = self._unit_size(size)
            shift = round((size - unit_size) * 0.727 / 2)
            start = number.left + number_width + round(size * 0.16)
            unit = Rect(start, number.top + shift, max(box.right, start + 1), number.bottom + shift)
            canvas.text(self.unit, unit, Style(cut=Cut.STRONG, size=unit_size, smallest=min(unit_size, self.smallest), colour=QUIET))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of a quiet label on the left and a strong value on the right, all in one size. The last row may be a total.

    Where the box is too narrow for that, label and value stand below each other.
    """

    rows: tuple[tuple[str, str], ...]
    label_size: int
    value_size: int
    smallest: int
    has_total: bool = False
    padding: float = 0.55
    max_ems: int = 0
    """The widest that a row may get, in label sizes, so that the eye finds the value that belongs to a label; 0 is no limit."""

    def _sizes(self, width: int, shrink: float) -> tuple[int, int]:
        """Sizes of labels and values with which every row fits on one line, if there are such."""
        label, value = (max(self.smallest, round(size * shrink)) for size in (self.label_size, self.value_size))
        wanted = value
        while (label > self.smallest or value > self.smallest) and not self._fits(width, label, value):
            label, value = max(self.smallest, label - (value <= label + 2)), max(self.smallest, value - 1)
        return (label, value) if self._fits(width, label, value) else (self.smallest, min(wanted, self.smallest + 4))

    def _fits(self, width: int, label: int, value: int) -> bool:
        return all(self._row_width(row, label, value) <= width for row in self.rows)

    def _row_width(self, row: tuple[str, str], label: int, value: int) -> int:
        return text_width(row[0], Cut.TEXT, label) + round(label * 0.6) + text_width(row[1], Cut.STRONG, value)

    def _row_height(self, index: int, label: int, value: int, *, is_stacked: bool) -> int:
        if is_stacked:
            return round(label * 1.1) + round(value * 1.5)
        return round(value * (1.3 if self._is_total(index) else 1) * (1.1 + self.padding))

    def _total_size(self, width: int, label: int, value: int) -> int:
        for size in range(round(value * 1.3), value, -1):
            if text_width(self.rows[-1][0], Cut.STRONG, value) + label + text_width(self.rows[-1][1], Cut.NUMBER, size) <= width:
                return size
        return value

    def height(self, width: int, shrink: float) -> int:
        label, value = self._sizes(width, shrink)
        is_stacked = not self._fits(width, label, value)
        return sum(self._row_height(index, label, value, is_stacked=is_stacked) for index in range(len(self.rows)))

    def is_cut(self, width: int, shrink: float) -> bool:
        label, value = self._sizes(width, shrink)
        if self._fits(width, label, value):
            return False
        return any(max(text_width(name, Cut.TEXT, label), text_width(text, Cut.STRONG, value)) > width for name, text in self.rows)

    def draw(self, canvas: Canvas, box: Rect, shrink: float) -> None:
        label, value = self._sizes(box.width, shrink)
        is_stacked = not self._fits(box.width, label, value)
        if self.max_ems:
            narrow = max(self.max_ems * label, *(self._row_width(row, label, value) for row in self.rows))
            box = Rect(box.left, box.top, min(box.right, box.left + narrow), box.bottom)
        top = box.top
        for index, row in enumerate(self.rows):
            place = Rect(box.left, top, box.right, top + self._row_height(index, label, value, is_stacked=is_stacked))
            top = place.bottom
            if is_stacked:
                self._draw_stacked(canvas, place, row, label, value)
            else:
                self._draw_row(canvas, place, index, label, value)

    def _draw_stacked(self, canvas: Canvas, place: Rect, row: tuple[str, str], label: int, value: int) -> None:
        upper, lower = place.rows(round(label * 1.1), 0)
        canvas.text(row[0], upper, Style(cut=Cut.TEXT, size=label, smallest=self.smallest, colour=QUIET))
        canvas.text(row[1], lower, Style(cut=Cut.STRONG, size=value, smallest=self.smallest, valign="top"))

    def _draw_row(self, canvas: Canvas, place: Rect, index: int, label: int, value: int) -> None:
        name, text = self.rows[index]
        is_total = self._is_total(index)
        cut, size = (Cut.NUMBER, self._total_size(place.width, label, value)) if is_total else (Cut.STRONG, value)
        label_cut, label_size, colour = (Cut.STRONG, value, INK) if is_total else (Cut.TEXT, label, QUIET)
        left = Rect(place.left, place.top, place.right - text_width(text, cut, size) - label // 2, place.bottom)
        canvas.text(name, left, Style(cut=label_cut, size=label_size, smallest=self.smallest, colour=colour))
        canvas.text(text, place, Style(cut=cut, size=size, smallest=self.smallest, align="right"))
        if index + 1 < len(self.rows):
            is_before_total = self._is_total(index + 1)
            canvas.rule(Rect(place.left, place.bottom - 1 - is_before_total, place.right, place.bottom), INK if is_before_total else LINE)

    def _is_total(self, index: int) -> bool:
        return self.has_total and index == len(self.rows) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pill:
    """A label and a value on a rounded ground of their own."""

    label: str
    value: str
    size: int
    smallest: int
    ground: Colour = TILE

    def _widths(self, size: int) -> tuple[int, int]:
        return text_width(self.label, Cut.TEXT, size), text_width(self.value, Cut.STRONG, size)

    def _size(self, width: int, shrink: float) -> int:
        for size in range(max(self.smallest, round(self.size * shrink)), self.smallest, -1):
            if sum(self._widths(size)) + round(2.2 * size) <= width:
                return size
        return self.smallest

    def height(self, width: int, shrink: float) -> int:
        return round(self._size(width, shrink) * 1.8)

    def is_cut(self, width: int, shrink: float) -> bool:
        size = self._size(width, shrink)
        return sum(self._widths(size)) + round(2.2 * size) > width

    def draw(self, canvas: Canvas, box: Rect, shrink: float) -> None:
        size = self._size(box.width, shrink)
        label, value = self._widths(size)
        pad = round(0.8 * size)
        pill = Rect(box.left, box.top, min(box.left + label + value + round(0.6 * size) + 2 * pad, box.right), box.bottom)
        canvas.panel(pill, self.ground, pill.height // 2)
        inner = pill.inset(pad, 0)
        canvas.text(self.label, inner, Style(cut=Cut.TEXT, size=size, smallest=size, colour=QUIET))
        canvas.text(self.value, inner, Style(cut=Cut.STRONG, size=size, smallest=size, align="right"))


def fitting_shrink(box: Rect, blocks: Sequence[Block], gap: int) -> float | None:
    """The largest step with which the blocks fit whole into the box; None when they do not even at the smallest."""
    for shrink in SHRINKS:
        if total_height(box.width, blocks, gap, shrink) <= box.height and not any(block.is_cut(box.width, shrink) for block in blocks):
            return shrink
    return None


def total_height(width: int, blocks: Sequence[Block], gap: int, shrink: float) -> int:
    """Px of all blocks and the gaps between them."""
    return sum(block.height(width, shrink) for block in blocks) + round(gap * shrink) * max(0, len(blocks) - 1)


def flow(canvas: Canvas, box: Rect, blocks: Sequence[Block], gap: int, valign: VerticalAlign = "middle") -> Rect:
    """Draws the blocks and returns the box that they take. Blocks that do not fit even at the smallest step are left out from the end."""
    kept = list(blocks)
    while len(kept) > 1 and fitting_shrink(box, kept, gap) is None:
        kept.pop()
    shrink = fitting_shrink(box, kept, gap) or SHRINKS[-1]
    height = total_height(box.width, kept, gap, shrink)
    top = {"top": box.top, "middle": box.top + (box.height - height) // 2, "bottom": box.bottom - height}[valign]
    start = max(top, box.top)
    top = start
    for block in kept:
        bottom = top + block.height(box.width, shrink)
        block.draw(canvas, Rect(box.left, top, box.right, bottom), shrink)
        top = bottom + round(gap * shrink)
    return Rect(box.left, start, box.right, top)


def _shrunk(style: Style, shrink: float) -> Style:
    return style if shrink == 1.0 else replace(style, size=max(style.smallest, round(style.size * shrink)))
