"""A sheet to draw on: panels, icons, codes, and text that is measured first, so that it never leaves its box.

It keeps a list of what was put where; the tests read it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image, ImageDraw, ImageFont

from agent.domain.values import dataclass
from agent.qr_display.design import INK, PAPER, Colour, Cut
from agent.qr_display.icons import disc_mask, icon_mask
from agent.qr_display.render import QUIET_ZONE, Frame

if TYPE_CHECKING:
    from agent.domain.screen import StationView
    from agent.qr_display.render import QrCode

Align = Literal["left", "centre", "right"]
VerticalAlign = Literal["top", "middle", "bottom"]

LINE_HEIGHT = 1.22
_CAP_HEIGHT = 0.727
"""Height of capitals and figures per size; Inter's own, 0.719 in the Display cut."""
_BREAK_AFTER = re.compile(r"(?<=[.\-/:*_])")
_FONTS = Path(__file__).parent / "fonts"


@dataclass(frozen=True, slots=True)
class Rect:
    """A box in px: left and top are inside, right and bottom just outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Px."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Px."""
        return self.bottom - self.top

    def inset(self, x: int, y: int | None = None) -> Rect:
        """Smaller by `x` on the left and right and by `y` (default `x`) on the top and bottom."""
        vertical = x if y is None else y
        return Rect(self.left + x, self.top + vertical, self.right - x, self.bottom - vertical)

    def rows(self, *heights: int, gap: int = 0) -> list[Rect]:
        """Boxes below each other; a height of 0 takes an equal share of what is left."""
        return [Rect(self.left, start, self.right, end) for start, end in _spans(self.top, self.height, heights, gap)]

    def columns(self, *widths: int, gap: int = 0) -> list[Rect]:
        """Boxes beside each other; a width of 0 takes an equal share of what is left."""
        return [Rect(start, self.top, end, self.bottom) for start, end in _spans(self.left, self.width, widths, gap)]

    def square(self, side: int) -> Rect:
        """A square of that side in the middle."""
        left, top = self.left + (self.width - side) // 2, self.top + (self.height - side) // 2
        return Rect(left, top, left + side, top + side)

    def overlaps(self, other: Rect) -> bool:
        """True when the two share a pixel."""
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom

    def contains(self, other: Rect) -> bool:
        """True when the other lies inside."""
        return self.left <= other.left and self.top <= other.top and other.right <= self.right and other.bottom <= self.bottom


class MarkKind(StrEnum):
    """What was drawn."""

    TEXT = "text"
    ICON = "icon"
    CODE = "code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One thing on the sheet: its inked box (for a code with the quiet zone), its colours, and for text what it says and its size."""

    kind: MarkKind
    box: Rect
    text: str
    colour: Colour
    ground: Colour
    size: int = 0
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a text looks. It may shrink from `size` to `smallest`, then wrap into `lines`, and is cut only after that."""

    cut: Cut
    size: int
    smallest: int
    colour: Colour = INK
    align: Align = "left"
    valign: VerticalAlign = "middle"
    lines: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A text after fitting: its lines and the size at which they fit."""

    lines: tuple[str, ...]
    size: int
    is_cut: bool

    @property
    def height(self) -> int:
        """Px of all lines."""
        return len(self.lines) * line_height(self.size)


class Canvas:
    """The sheet of one picture. `unfit_payloads`: the codes that should be on it and could not be drawn readably."""

    def __init__(self, width: int, height: int, ground: Colour = PAPER) -> None:
        """An empty sheet."""
        self.bounds = Rect(0, 0, width, height)
        self.marks: list[Mark] = []
        self.unfit_payloads: set[str] = set()
        self._image = Image.new("RGB", (width, height), ground)
        self._draw = ImageDraw.Draw(self._image)
        self._draw.fontmode = "L"

    def frame(self, view: StationView | None = None) -> Frame:
        """The finished picture."""
        return Frame(self.bounds.width, self.bounds.height, self._image.tobytes(), view)

    def panel(self, box: Rect, colour: Colour, radius: int = 0) -> None:
        """A filled box, its corners rounded and smooth."""
        radius = min(radius, box.width // 2, box.height // 2)
        if radius <= 0:
            self._draw.rectangle((box.left, box.top, box.right - 1, box.bottom - 1), fill=colour)
            return
        for bar in (box.inset(radius, 0), box.inset(0, radius)):
            if bar.width > 0 and bar.height > 0:
                self._draw.rectangle((bar.left, bar.top, bar.right - 1, bar.bottom - 1), fill=colour)
        disc = disc_mask(2 * radius)
        for x, mask_x in ((box.left, 0), (box.right - radius, radius)):
            for y, mask_y in ((box.top, 0), (box.bottom - radius, radius)):
                corner = disc.crop((mask_x, mask_y, mask_x + radius, mask_y + radius))
                self._image.paste(colour, (x, y), corner)

    def outline(self, box: Rect, colour: Colour, ground: Colour, radius: int, width: int) -> None:
        """A rounded frame around `ground`."""
        self.panel(box, colour, radius)
        self.panel(box.inset(width), ground, radius - width)

    def disc(self, box: Rect, colour: Colour) -> None:
        """A filled circle in a square box."""
        self._image.paste(colour, (box.left, box.top), disc_mask(box.width))

    def rule(self, box: Rect, colour: Colour) -> None:
        """A straight line as a thin box."""
        self.panel(box, colour)

    def icon(self, name: str, box: Rect, colour: Colour) -> None:
        """An icon in a square box."""
        ground = self._ground(box.left, box.top)
        self._image.paste(colour, (box.left, box.top), icon_mask(name, box.width))
        self.marks.append(Mark(kind=MarkKind.ICON, box=box, text=name, colour=colour, ground=ground))

    def code(self, code: QrCode, box: Rect) -> bool:
        """The QR code in the middle of a box, black on white, as large as whole pixels allow. False: it does not fit, nothing is drawn."""
        px = code.module_px(min(box.width, box.height))
        if px is None:
            return False
        place = box.square(code.full_size * px)
        self.panel(place, PAPER)
        pattern = Image.frombytes("L", (code.size, code.size), code.modules.translate(_MODULE_TO_GREY))
        self._image.paste(
            pattern.resize((code.size * px, code.size * px), Image.Resampling.NEAREST),
            (place.left + QUIET_ZONE * px, place.top + QUIET_ZONE * px),
        )
        self.marks.append(Mark(kind=MarkKind.CODE, box=place, text=code.payload, colour=(0, 0, 0), ground=PAPER, size=px))
        return True

    def text(self, text: str, box: Rect, style: Style) -> Rect:
        """Writes a text into a box and returns the box that it takes (whole lines; empty for an empty text)."""
        fitted = fit(text, box.width, box.height, style)
        step = line_height(fitted.size)
        top = {
            "top": box.top,
            "middle": box.top + (box.height - fitted.height) // 2,
            "bottom": box.bottom - fitted.height,
        }[style.valign]
        for index, line in enumerate(fitted.lines):
            self._line(line, box, top + index * step, style, fitted)
        return Rect(box.left, top, box.right, top + fitted.height)

    def _line(self, line: str, box: Rect, top: int, style: Style, fitted: Fitted) -> None:
        face = font(style.cut, fitted.size)
        spare = box.width - round(face.getlength(line))
        x = box.left + {"left": 0, "centre": spare // 2, "right": spare}[style.align]
        baseline = top + round((line_height(fitted.size) + _CAP_HEIGHT * fitted.size) / 2)
        ink = self._draw.textbbox((x, baseline), line, font=face, anchor="ls")
        left, upper, right, lower = (round(edge) for edge in ink)
        inked = Rect(left, upper, right, lower)
        ground = self._ground(min(max(left, 0), self.bounds.right - 1), min(max(upper, 0), self.bounds.bottom - 1))
        self._draw.text((x, baseline), line, font=face, fill=style.colour, anchor="ls")
        self.marks.append(
            Mark(kind=MarkKind.TEXT, box=inked, text=line, colour=style.colour, ground=ground, size=fitted.size, is_cut=fitted.is_cut)
        )

    def _ground(self, x: int, y: int) -> Colour:
        red, green, blue = self._image.crop((x, y, x + 1, y + 1)).tobytes()
        return red, green, blue


@lru_cache(maxsize=64)
def font(cut: Cut, size: int) -> ImageFont.FreeTypeFont:
    """A face, loaded once per size. The basic layout engine, so that a picture does not depend on a library the board may lack."""
    return ImageFont.truetype(str(_FONTS / cut.value), size, layout_engine=ImageFont.Layout.BASIC)


def line_height(size: int) -> int:
    """Px from one line to the next."""
    return round(size * LINE_HEIGHT)


@lru_cache(maxsize=1024)
def text_width(text: str, cut: Cut, size: int) -> int:
    """Px that a line takes. Remembered, because fitting asks for the same words at the same sizes with every picture."""
    return -int(-font(cut, size).getlength(text) // 1)


@lru_cache(maxsize=512)
def fit(text: str, width: int, height: int, style: Style) -> Fitted:
    """The largest size, and then the fewest lines, with which a text fits into a box; cut with an ellipsis when nothing else helps."""
    if not text:
        return Fitted(lines=(), size=style.size, is_cut=False)
    for size in range(style.size, style.smallest - 1, -1):
        lines = _wrap(text, width, style.cut, size)
        if lines is not None and len(lines) <= style.lines and len(lines) * line_height(size) <= max(height, line_height(style.smallest)):
            balanced = _balanced(text, width, style.cut, size, lines) if len(lines) > 1 else lines
            return Fitted(lines=tuple(balanced), size=size, is_cut=False)
    size = style.smallest
    count = max(1, min(style.lines, height // line_height(size)))
    return Fitted(lines=_cut(text, width, style.cut, size, count), size=size, is_cut=True)


def _wrap(text: str, width: int, cut: Cut, size: int) -> list[str] | None:
    """Lines broken at spaces (no-break spaces hold), and inside a long word after `. - / : * _`; None when even that is too wide."""
    lines: list[str] = []
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(joined, cut, size) <= width:
            lines[-1] = joined
        elif text_width(word, cut, size) <= width:
            lines.append(word)
        elif (pieces := _break_word(word, width, cut, size)) is not None:
            lines.extend(pieces)
        else:
            return None
    return lines


def _break_word(word: str, width: int, cut: Cut, size: int) -> list[str] | None:
    lines: list[str] = []
    for piece in _BREAK_AFTER.split(word):
        if lines and text_width(lines[-1] + piece, cut, size) <= width:
            lines[-1] += piece
        elif text_width(piece, cut, size) <= width:
            lines.append(piece)
        else:
            return None
    return lines


def _balanced(text: str, width: int, cut: Cut, size: int, lines: list[str]) -> list[str]:
    """The same number of lines with the shortest longest one, so that no single word is left over."""
    low, high, best = width // 2, width, lines
    while low < high:
        middle = (low + high) // 2
        narrower = _wrap(text, middle, cut, size)
        if narrower is not None and len(narrower) <= len(lines):
            best, high = narrower, middle
        else:
            low = middle + 1
    return best


def _cut(text: str, width: int, cut: Cut, size: int, count: int) -> tuple[str, ...]:
    """`count` lines at most, broken anywhere, the last one ending in an ellipsis if anything is left over."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) < count:
        length = len(rest)
        while length > 1 and text_width(rest[:length], cut, size) > width:
            length -= 1
        lines.append(rest[:length].strip())
        rest = rest[length:].strip()
    if rest:
        last = lines[-1]
        while last and text_width(last + "…", cut, size) > width:
            last = last[:-1]
        lines[-1] = last + "…"
    return tuple(lines)


def _spans(start: int, total: int, sizes: tuple[int, ...], gap: int) -> list[tuple[int, int]]:
    free = total - sum(sizes) - gap * (len(sizes) - 1)
    shares = sizes.count(0)
    spans: list[tuple[int, int]] = []
    for size in sizes:
        share = size
        if size == 0:
            share = free // shares
            free, shares = free - share, shares - 1
        spans.append((start, start + share))
        start += share + gap
    return spans


_MODULE_TO_GREY = bytes([255, 0]) + bytes(254)
