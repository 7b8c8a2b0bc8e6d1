"""Colours that can be read, and layouts that are data."""

from dataclasses import replace

import pytest

from agent.domain.screen import ScreenKind
from agent.qr_display.canvas import MarkKind
from agent.qr_display.design import (
    AMBER,
    AMBER_INK,
    INK,
    LAYOUTS,
    MEDIUM,
    NOTICE_ICONS,
    PAPER,
    QUIET,
    SMALL,
    STATE_COLOURS,
    STATE_ICONS,
    TILE,
    TINTS,
    Layout,
    contrast,
)
from agent.qr_display.icons import ICONS
from agent.qr_display.screens import compose
from tests.qr_display.examples import EXAMPLES, station


def test_contrast_is_that_of_wcag() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)
    assert contrast((255, 255, 255), (119, 119, 119)) == contrast((119, 119, 119), (255, 255, 255))


def test_every_pair_of_the_palette_is_readable() -> None:
    """WCAG 2.2 AA asks for 4.5; body text in the sun gets 7."""
    for ground in (PAPER, TILE, *TINTS.values()):
        assert contrast(INK, ground) >= 7
        assert contrast(QUIET, ground) >= 4.5
    for strong, tint in TINTS.items():
        assert contrast(PAPER, strong) >= 4.5
        assert contrast(strong, tint) >= 4.5
    assert contrast(AMBER_INK, AMBER) >= 7


def test_every_state_has_a_colour_with_a_tint_and_an_icon() -> None:
    assert set(STATE_COLOURS) == set(STATE_ICONS) == set(ScreenKind)
    assert set(STATE_COLOURS.values()) == set(TINTS)
    assert set(STATE_ICONS.values()) | set(NOTICE_ICONS.values()) <= set(ICONS)


def test_layouts_are_named_by_their_size() -> None:
    assert list(LAYOUTS) == [f"{layout.width}x{layout.height}" for layout in LAYOUTS.values()]


@pytest.mark.parametrize(
    "layout",
    [
        replace(SMALL, name="480x320", width=480, height=320, header=46, margin=14),
        replace(MEDIUM, name="1280x800", width=1280, height=800),
        replace(MEDIUM, name="480x800", width=480, height=800, columns=1),
    ],
    ids=lambda layout: layout.name,
)
def test_another_size_is_only_data(layout: Layout) -> None:
    for view in EXAMPLES.values():
        canvas = compose(station(view, language="nb"), layout)
        assert canvas.marks
        assert all(canvas.bounds.contains(mark.box) and not mark.is_cut for mark in canvas.marks)
        assert canvas.unfit_payloads == set()
        assert (view.qr_payload is not None) == any(mark.kind is MarkKind.CODE for mark in canvas.marks)
