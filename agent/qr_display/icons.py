"""The icons, drawn from lines, circles and polygons on a grid of 24 x 24 units. No image files."""

from __future__ import annotations

from functools import lru_cache
from math import cos, radians, sin
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Callable

OVERSAMPLING = 4
"""Pillow draws without anti-aliasing, so shapes are drawn larger and scaled down."""
_GRID = 24
_STROKE = 2.2

Point = tuple[float, float]


class Pen:
    """Draws on the grid; `ink=0` rubs out."""

    def __init__(self, side: int) -> None:
        """`side`: pixels of the finished icon."""
        self.image = Image.new("L", (side * OVERSAMPLING, side * OVERSAMPLING), 0)
        self._draw = ImageDraw.Draw(self.image)
        self._unit = side * OVERSAMPLING / _GRID

    def line(self, *points: Point, width: float = _STROKE, ink: int = 255) -> None:
        """A polyline with round ends and joints."""
        scaled = [self._at(point) for point in points]
        self._draw.line(scaled, fill=ink, width=max(1, round(width * self._unit)))
        for point in points:
            self.disc(point, width / 2, ink=ink)

    def disc(self, centre: Point, radius: float, ink: int = 255) -> None:
        """A filled circle."""
        (x, y), r = self._at(centre), radius * self._unit
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)

    def ring(self, centre: Point, radius: float, width: float = _STROKE) -> None:
        """A circle; `radius` reaches the middle of the stroke."""
        self.arc(centre, radius, 0, 360, width)

    def arc(self, centre: Point, radius: float, start: float, end: float, width: float = _STROKE) -> None:
        """Part of a circle with round ends, clockwise in degrees from three o'clock."""
        (x, y), r = self._at(centre), (radius + width / 2) * self._unit
        self._draw.arc((x - r, y - r, x + r, y + r), start, end, fill=255, width=max(1, round(width * self._unit)))
        if end - start < 360:
            for angle in (start, end):
                self.disc((centre[0] + radius * cos(radians(angle)), centre[1] + radius * sin(radians(angle))), width / 2)

    def polygon(self, *points: Point, ink: int = 255) -> None:
        """A filled polygon."""
        self._draw.polygon([self._at(point) for point in points], fill=ink)

    def box(self, left: float, top: float, right: float, bottom: float, *, radius: float = 0.0, ink: int = 255) -> None:
        """A filled rectangle, rounded if asked."""
        corners = (*self._at((left, top)), *self._at((right, bottom)))
        self._draw.rounded_rectangle(corners, radius=radius * self._unit, fill=ink)

    def frame(self, left: float, top: float, right: float, bottom: float, *, radius: float = 2.0, width: float = _STROKE) -> None:
        """The outline of a rounded rectangle."""
        corners = (*self._at((left, top)), *self._at((right, bottom)))
        self._draw.rounded_rectangle(corners, radius=radius * self._unit, outline=255, width=max(1, round(width * self._unit)))

    def _at(self, point: Point) -> Point:
        return point[0] * self._unit, point[1] * self._unit


def _plug(pen: Pen) -> None:
    pen.line((8.6, 2.8), (8.6, 7.5), width=2.6)
    pen.line((15.4, 2.8), (15.4, 7.5), width=2.6)
    pen.box(5, 7, 19, 10.2, radius=1.4)
    pen.box(6.4, 8, 17.6, 13.4, radius=0.6)
    pen.disc((12, 12.6), 5.6)
    pen.line((12, 17), (12, 21.6), width=2.6)


def _bolt(pen: Pen) -> None:
    pen.polygon((13.8, 1.6), (4.4, 13.4), (10.6, 13.4), (9.6, 22.4), (19.6, 9.8), (13.0, 9.8))


def _check(pen: Pen) -> None:
    pen.line((4.6, 12.8), (9.8, 18), (19.6, 6.8), width=3.2)


def _cross(pen: Pen) -> None:
    pen.line((6, 6), (18, 18), width=3.2)
    pen.line((18, 6), (6, 18), width=3.2)


def _warning(pen: Pen) -> None:
    pen.line((12, 4), (2.9, 19.6), (21.1, 19.6), (12, 4), width=2.6)
    pen.polygon((12, 4), (2.9, 19.6), (21.1, 19.6))
    pen.line((12, 9.4), (12, 13.8), width=2.3, ink=0)
    pen.disc((12, 16.9), 1.35, ink=0)


def _pause(pen: Pen) -> None:
    pen.box(5.6, 4, 10.2, 20, radius=1.4)
    pen.box(13.8, 4, 18.4, 20, radius=1.4)


def _clock(pen: Pen) -> None:
    pen.ring((12, 12), 9)
    pen.line((12, 6.8), (12, 12), (15.6, 14.4))


def _card(pen: Pen) -> None:
    pen.frame(1.8, 6.6, 15.4, 21, radius=2)
    pen.line((5.4, 16.8), (9.6, 16.8))
    pen.box(5, 10, 9, 13, radius=0.8)
    pen.arc((12.6, 11.2), 5.4, -78, -12)
    pen.arc((12.6, 11.2), 9, -78, -12)


def _offline(pen: Pen) -> None:
    for radius in (5.2, 9.6, 14):
        pen.arc((12, 20), radius, -132, -48)
    pen.disc((12, 19), 2)
    pen.line((4.4, 3.4), (20.4, 21.2), width=5.4, ink=0)
    pen.line((4.4, 3.4), (20.4, 21.2))


def _barred(pen: Pen) -> None:
    pen.ring((12, 12), 9, width=2.6)
    pen.line((5.8, 5.8), (18.2, 18.2), width=2.6)


def _add(pen: Pen) -> None:
    pen.ring((12, 12), 9.4)
    pen.line((12, 7.2), (12, 16.8), width=2.6)
    pen.line((7.2, 12), (16.8, 12), width=2.6)


def _car(pen: Pen) -> None:
    pen.polygon((6.6, 5), (17.4, 5), (20, 11.4), (4, 11.4))
    pen.line((6.8, 5.2), (17.2, 5.2), width=2)
    pen.polygon((8, 7), (16, 7), (17.4, 11), (6.6, 11), ink=0)
    pen.box(2.6, 10.6, 21.4, 17.6, radius=2.4)
    pen.box(3.6, 16, 7.2, 20.4, radius=1.2)
    pen.box(16.8, 16, 20.4, 20.4, radius=1.2)
    pen.disc((6.8, 14), 1.5, ink=0)
    pen.disc((17.2, 14), 1.5, ink=0)


ICONS: dict[str, Callable[[Pen], None]] = {
    "plug": _plug,
    "bolt": _bolt,
    "check": _check,
    "cross": _cross,
    "warning": _warning,
    "pause": _pause,
    "clock": _clock,
    "card": _card,
    "offline": _offline,
    "barred": _barred,
    "add": _add,
    "car": _car,
}


@lru_cache(maxsize=64)
def icon_mask(name: str, side: int) -> Image.Image:
    """The shape of an icon, `side` px square: 0 is nothing, 255 is ink."""
    pen = Pen(side)
    ICONS[name](pen)
    return pen.image.resize((side, side), Image.Resampling.BOX)


@lru_cache(maxsize=64)
def disc_mask(diameter: int) -> Image.Image:
    """A smooth filled circle."""
    image = Image.new("L", (diameter * OVERSAMPLING, diameter * OVERSAMPLING), 0)
    ImageDraw.Draw(image).ellipse((0, 0, diameter * OVERSAMPLING - 1, diameter * OVERSAMPLING - 1), fill=255)
    return image.resize((diameter, diameter), Image.Resampling.BOX)
