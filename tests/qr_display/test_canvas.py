"""Boxes, fitting of texts, and what the sheet remembers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.qr_display.canvas import Canvas, Mark, MarkKind, Rect, Style, fit, line_height, text_width
from agent.qr_display.design import INK, PAPER, TILE, Cut
from tests.qr_display.decoding import picture

STYLE = Style(cut=Cut.TEXT, size=20, smallest=12, lines=2)


def test_rows_and_columns_share_what_is_left() -> None:
    box = Rect(10, 20, 110, 220)
    assert box.rows(40, 0, gap=10) == [Rect(10, 20, 110, 60), Rect(10, 70, 110, 220)]
    assert box.columns(0, 0, 0) == [Rect(10, 20, 43, 220), Rect(43, 20, 76, 220), Rect(76, 20, 110, 220)]
    assert box.square(50) == Rect(35, 95, 85, 145)
    assert box.inset(5, 10) == Rect(15, 30, 105, 210)


def test_boxes_that_only_touch_do_not_overlap() -> None:
    assert not Rect(0, 0, 10, 10).overlaps(Rect(10, 0, 20, 10))
    assert Rect(0, 0, 10, 10).overlaps(Rect(9, 9, 20, 20))
    assert Rect(0, 0, 10, 10).contains(Rect(0, 0, 10, 10))
    assert not Rect(0, 0, 10, 10).contains(Rect(0, 0, 11, 10))


def test_a_short_text_keeps_its_size_and_a_longer_one_is_wrapped_then_shrunk_then_cut() -> None:
    assert fit("Ledig", 200, 100, STYLE) == fit("Ledig", 2000, 1000, STYLE)
    wrapped = fit("Koble til bilen nå", 110, 100, STYLE)
    assert (len(wrapped.lines), wrapped.size) == (2, 20)
    shrunk = fit("Koble til bilen nå", 70, 100, STYLE)
    assert len(shrunk.lines) == 2
    assert 12 <= shrunk.size < 20
    cut = fit("Koble til bilen nå og vent", 60, 100, STYLE)
    assert (cut.size, cut.is_cut) == (12, True)
    assert cut.lines[-1].endswith("…")


def test_lines_are_balanced_so_that_no_word_is_left_alone() -> None:
    lines = fit("Add this charger in the portal", 260, 100, STYLE).lines
    assert lines == ("Add this charger", "in the portal")


def test_a_no_break_space_holds_and_a_host_name_breaks_after_a_dot() -> None:
    assert fit("4,50\N{NO-BREAK SPACE}kr per kWh", 80, 100, STYLE).lines[0] == "4,50\N{NO-BREAK SPACE}kr"
    assert fit("payments.example.com", 110, 100, STYLE).lines == ("payments.", "example.com")


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet="abc WÅjgy.-,1234 ", min_size=1, max_size=60),
    st.integers(20, 300),
    st.integers(20, 120),
    st.sampled_from(Cut),
    st.integers(1, 3),
)
def test_no_fitted_text_is_wider_or_higher_than_its_box(text: str, width: int, height: int, cut: Cut, lines: int) -> None:
    fitted = fit(text, width, height, Style(cut=cut, size=24, smallest=12, lines=lines))
    assert len(fitted.lines) <= lines
    assert fitted.height <= max(height, line_height(12))
    for line in fitted.lines:
        assert text_width(line, cut, fitted.size) <= width or len(line) <= 2
    if not fitted.is_cut:
        assert "".join("".join(fitted.lines).split()) == "".join(text.split())


def test_the_marks_tell_what_is_where_with_its_true_ground() -> None:
    canvas = Canvas(100, 40)
    canvas.panel(Rect(0, 0, 100, 40), TILE)
    canvas.text("Ledig", Rect(10, 5, 90, 35), Style(cut=Cut.STRONG, size=20, smallest=12, align="centre"))
    (mark,) = canvas.marks
    assert (mark.kind, mark.text, mark.colour, mark.ground, mark.size) == (MarkKind.TEXT, "Ledig", INK, TILE, 20)
    image = picture(canvas.frame())
    changed = image.point(lambda value: 255 if value < 200 else 0).convert("L").getbbox()
    assert changed is not None
    assert mark.box.contains(Rect(*changed)), "the ink stays in the box that is remembered"


@pytest.mark.parametrize("align", ["left", "centre", "right"])
def test_alignment(align: str) -> None:
    canvas = Canvas(100, 40)
    canvas.text("Hi", Rect(10, 5, 90, 35), Style(cut=Cut.STRONG, size=20, smallest=12, align=align))  # type: ignore[arg-type]
    mark: Mark = canvas.marks[0]
    left, right = mark.box.left - 10, 90 - mark.box.right
    assert {"left": left < 4, "centre": abs(left - right) < 4, "right": right < 4}[align]


@pytest.mark.parametrize(("width", "height", "radius"), [(20, 12, 6), (20, 12, 5), (13, 13, 6), (5, 40, 30), (40, 5, 0), (1, 1, 4)])
def test_a_rounded_panel_fills_its_box_and_nothing_else(width: int, height: int, radius: int) -> None:
    canvas = Canvas(60, 60)
    canvas.panel(Rect(10, 10, 10 + width, 10 + height), INK, radius)
    image = picture(canvas.frame())
    assert image.point(lambda value: 255 - value).convert("L").getbbox() == (10, 10, 10 + width, 10 + height)
    assert image.getpixel((10 + width // 2, 10 + height // 2)) == INK
    if radius >= 5 and min(width, height) >= 10:
        assert image.getpixel((10, 10)) != INK
        assert image.getpixel((9, 9)) == PAPER
