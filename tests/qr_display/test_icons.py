"""Icons are there, stay in their box, and differ."""

import pytest

from agent.qr_display.icons import ICONS, disc_mask, icon_mask


@pytest.mark.parametrize("name", ICONS)
@pytest.mark.parametrize("side", [14, 20, 41, 96])
def test_an_icon_fills_a_good_part_of_its_box(name: str, side: int) -> None:
    mask = icon_mask(name, side)
    assert mask.size == (side, side)
    box = mask.getbbox()
    assert box is not None
    assert max(box[2] - box[0], box[3] - box[1]) >= 0.6 * side
    ink = sum(mask.tobytes()) / 255 / side**2
    assert 0.08 < ink < 0.7


@pytest.mark.parametrize("side", [14, 41])
def test_no_two_icons_look_alike(side: int) -> None:
    assert len({icon_mask(name, side).tobytes() for name in ICONS}) == len(ICONS)


def test_edges_are_smooth() -> None:
    grey = [value for value in disc_mask(40).tobytes() if 0 < value < 255]
    assert len(grey) > 40
