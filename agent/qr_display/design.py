"""The design system: colours, type scale, spacing, and the layouts as data. Dark on light, because chargers stand in the sun.

Every pair of text and ground has a contrast of at least 4.5 (WCAG 2.2 AA); a test computes it from the drawn pixels.
"""

from __future__ import annotations

from enum import StrEnum

from agent.domain.screen import Notice, ScreenKind
from agent.domain.values import dataclass

Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
TILE: Colour = (236, 241, 244)
LINE: Colour = (196, 207, 214)
INK: Colour = (12, 27, 38)
QUIET: Colour = (66, 84, 97)
"""Second-rank text: labels, units, small print."""
GREEN: Colour = (8, 104, 62)
BLUE: Colour = (10, 82, 160)
RED: Colour = (172, 28, 28)
GREY: Colour = (70, 84, 94)
AMBER: Colour = (255, 226, 150)
AMBER_INK: Colour = (92, 52, 0)
TINTS: dict[Colour, Colour] = {GREEN: (221, 242, 230), BLUE: (222, 236, 251), RED: (252, 228, 226), GREY: TILE}
"""The pale ground that belongs to a strong colour."""


class Cut(StrEnum):
    """The bundled fonts by their use."""

    TEXT = "Inter-Medium.otf"
    STRONG = "Inter-Bold.otf"
    NUMBER = "InterDisplay-Bold.otf"


STATE_COLOURS: dict[ScreenKind, Colour] = {
    ScreenKind.STARTING: GREY,
    ScreenKind.AVAILABLE: GREEN,
    ScreenKind.AUTHORIZING: BLUE,
    ScreenKind.PREPARING: BLUE,
    ScreenKind.CHARGING: GREEN,
    ScreenKind.SUSPENDED: BLUE,
    ScreenKind.STOPPING: BLUE,
    ScreenKind.FINISHED: GREEN,
    ScreenKind.REFUSED: RED,
    ScreenKind.FAULTED: RED,
    ScreenKind.UNAVAILABLE: GREY,
    ScreenKind.OFFLINE: GREY,
    ScreenKind.UNCLAIMED: BLUE,
}

STATE_ICONS: dict[ScreenKind, str] = {
    ScreenKind.STARTING: "clock",
    ScreenKind.AVAILABLE: "plug",
    ScreenKind.AUTHORIZING: "card",
    ScreenKind.PREPARING: "plug",
    ScreenKind.CHARGING: "bolt",
    ScreenKind.SUSPENDED: "pause",
    ScreenKind.STOPPING: "clock",
    ScreenKind.FINISHED: "check",
    ScreenKind.REFUSED: "cross",
    ScreenKind.FAULTED: "warning",
    ScreenKind.UNAVAILABLE: "barred",
    ScreenKind.OFFLINE: "offline",
    ScreenKind.UNCLAIMED: "add",
}

NOTICE_ICONS: dict[Notice, str] = {
    Notice.SHOW_CARD: "card",
    Notice.PLUG_IN: "plug",
    Notice.WAITING_FOR_VEHICLE: "car",
    Notice.PRESENT_TOKEN_OR_PAY: "card",
    Notice.UNPLUG: "check",
    Notice.TIMED_OUT: "clock",
    Notice.OFFLINE_NO_PAYMENT: "offline",
}
"""Where the notice says more than the state, its icon stands in the middle."""

WARNINGS: frozenset[Notice] = frozenset(
    {
        Notice.OFFLINE_SESSION_CONTINUES,
        Notice.METER_SILENT,
        Notice.STORAGE_FAILED,
        Notice.TIMED_OUT,
        Notice.NO_PRICE,
        Notice.OFFLINE_NO_PAYMENT,
    }
)
"""Notices on an amber ground when they stand in a banner; the others stand on the tint of the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeScale:
    """Sizes in px. `smallest` is what a text may shrink to before it is wrapped or cut."""

    hero: int
    number: int
    title: int
    headline: int
    body: int
    label: int
    smallest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One display size. `columns`: so many EVSEs stand side by side; with more, tabs name them all and one of them is shown at a time."""

    name: str
    width: int
    height: int
    margin: int
    gap: int
    radius: int
    header: int
    columns: int
    single: TypeScale
    column: TypeScale


SMALL = Layout(
    name="320x240",
    width=320,
    height=240,
    margin=10,
    gap=8,
    radius=8,
    header=36,
    columns=1,
    single=TypeScale(hero=58, number=25, title=19, headline=20, body=14, label=12, smallest=11),
    column=TypeScale(hero=58, number=25, title=16, headline=18, body=14, label=12, smallest=11),
)
MEDIUM = Layout(
    name="800x480",
    width=800,
    height=480,
    margin=28,
    gap=18,
    radius=16,
    header=76,
    columns=2,
    single=TypeScale(hero=124, number=50, title=36, headline=40, body=26, label=21, smallest=15),
    column=TypeScale(hero=84, number=36, title=27, headline=26, body=20, label=17, smallest=14),
)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (SMALL, MEDIUM)}


def contrast(first: Colour, second: Colour) -> float:
    """Contrast ratio of WCAG 2.2, 1 to 21."""
    bright, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: Colour) -> float:
    linear = [
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in (value / 255 for value in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
