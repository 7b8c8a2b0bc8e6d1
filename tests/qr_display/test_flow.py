"""Blocks shrink together, and what cannot be shown whole is left out from the end."""

import pytest

from agent.qr_display.canvas import Canvas, MarkKind, Rect, Style
from agent.qr_display.design import Cut
from agent.qr_display.flow import SHRINKS, Block, Figure, Pill, Table, Text, fitting_shrink, flow, total_height

HEAD = Text("Scan the code to pay", Style(cut=Cut.STRONG, size=30, smallest=12, lines=3))
PRICES = Table(rows=(("per kWh", "4,50 kr"), ("per minute", "0,25 kr")), label_size=16, value_size=20, smallest=12)
BLOCKS: list[Block] = [HEAD, PRICES, Pill(label="Time left", value="0:54", size=16, smallest=12), Figure("12,34", "kWh", 60, 12)]


def _texts(canvas: Canvas) -> list[str]:
    return [mark.text for mark in canvas.marks if mark.kind is MarkKind.TEXT]


@pytest.mark.parametrize("height", [400, 300, 250, 200])
def test_blocks_shrink_until_they_fit_and_stay_inside(height: int) -> None:
    box = Rect(10, 10, 250, 10 + height)
    shrink = fitting_shrink(box, BLOCKS, 10)
    assert shrink in SHRINKS
    assert total_height(box.width, BLOCKS, 10, shrink) <= height
    canvas = Canvas(260, 420)
    flow(canvas, box, BLOCKS, 10)
    assert all(box.contains(mark.box) for mark in canvas.marks)
    assert "kWh" in _texts(canvas)


def test_less_room_never_means_larger_text() -> None:
    shrinks = [fitting_shrink(Rect(0, 0, 240, height), BLOCKS, 10) or 0 for height in range(150, 400, 10)]
    assert shrinks == sorted(shrinks)


def test_what_does_not_fit_is_left_out_from_the_end() -> None:
    canvas = Canvas(260, 120)
    flow(canvas, Rect(10, 10, 250, 110), BLOCKS, 10)
    texts = _texts(canvas)
    assert "Scan the code to pay" in " ".join(texts)
    assert "kWh" not in texts


def test_a_table_that_is_too_narrow_puts_labels_above_values() -> None:
    wide, narrow = Canvas(300, 200), Canvas(300, 200)
    PRICES.draw(wide, Rect(0, 0, 300, 100), 1.0)
    PRICES.draw(narrow, Rect(0, 0, 80, 200), 1.0)
    rows = [mark.box for mark in wide.marks]
    assert rows[0].right < rows[1].left
    stacked = [mark.box for mark in narrow.marks]
    assert stacked[0].bottom <= stacked[1].top
    assert max(box.right for box in stacked) <= 80
    assert PRICES.height(80, 1.0) > PRICES.height(300, 1.0)
    assert (PRICES.is_cut(80, 1.0), PRICES.is_cut(20, 1.0)) == (False, True)


def test_the_total_of_a_receipt_is_larger_than_the_rest() -> None:
    canvas = Canvas(300, 200)
    Table(rows=(("Net", "1"), ("Total", "2")), label_size=16, value_size=20, smallest=12, has_total=True).draw(
        canvas, Rect(0, 0, 300, 100), 1.0
    )
    sizes = {mark.text: mark.size for mark in canvas.marks}
    assert sizes["2"] > sizes["1"] == 20


def test_number_and_unit_stand_on_one_baseline() -> None:
    canvas = Canvas(300, 100)
    Figure("12", "kWh", 60, 12).draw(canvas, Rect(0, 0, 300, 80), 1.0)
    number, unit = canvas.marks
    assert abs(number.box.bottom - unit.box.bottom) <= 1
    assert number.box.right < unit.box.left
