"""The code's modules and the picture's bytes."""

import io
import subprocess
import sys
import zlib

import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agent.qr_display.canvas import Canvas, Rect
from agent.qr_display.render import MIN_MODULE_PX, QUIET_ZONE, Frame, QrQuality, make_code
from tests.qr_display.decoding import codes_in

SPEC_EXAMPLE = "https://www.example.com/qr/CS0001/1/CN63y502maVh/v1/abcdefg"


@pytest.mark.parametrize("quality", QrQuality)
@pytest.mark.parametrize("payload", ["1", "A", "https://a.no", SPEC_EXAMPLE])
def test_the_level_is_honoured_and_a_code_is_never_micro(payload: str, quality: QrQuality) -> None:
    """A short text tempts segno to a Micro QR code, and spare room tempts it to raise the level (`boost_error`)."""
    code = make_code(payload, quality)
    assert code is not None
    assert code.size >= 21
    assert code.size == 17 + 4 * code.version
    image = Image.frombytes("L", (code.size, code.size), bytes(255 * (1 - module) for module in code.modules))
    framed = Image.new("L", (code.full_size, code.full_size), 255)
    framed.paste(image, (QUIET_ZONE, QUIET_ZONE))
    found = zxingcpp.read_barcode(framed.resize((code.full_size * 4,) * 2, Image.Resampling.NEAREST))
    assert found is not None
    assert found.text == payload
    assert found.format == zxingcpp.BarcodeFormat.QRCode
    assert found.ec_level == quality.value.upper()


def test_the_example_of_the_standard_needs_41_modules() -> None:
    code = make_code(SPEC_EXAMPLE)
    assert code is not None
    assert (len(SPEC_EXAMPLE), code.version, code.full_size) == (59, 4, 41)
    assert (code.module_px(163), code.module_px(164), code.module_px(205)) == (None, 4, 5)


def test_a_text_too_long_for_any_code_gives_none() -> None:
    assert make_code("x" * 3000) is None


def test_a_code_is_drawn_with_its_quiet_zone_or_not_at_all() -> None:
    code = make_code(SPEC_EXAMPLE)
    assert code is not None
    canvas = Canvas(200, 170, (200, 0, 0))
    assert not canvas.code(code, Rect(0, 0, 163, 170))
    assert canvas.marks == []
    assert canvas.code(code, Rect(0, 0, 200, 170))
    box = canvas.marks[0].box
    assert (box.width, canvas.marks[0].size) == (164, MIN_MODULE_PX)
    frame = canvas.frame()
    image = Image.frombytes("RGB", (200, 170), frame.rgb)
    quiet = QUIET_ZONE * MIN_MODULE_PX
    for edge in (
        (box.left, box.top, box.right, box.top + quiet),
        (box.left, box.bottom - quiet, box.right, box.bottom),
        (box.left, box.top, box.left + quiet, box.bottom),
        (box.right - quiet, box.top, box.right, box.bottom),
    ):
        assert image.crop(edge).getcolors() == [((edge[2] - edge[0]) * (edge[3] - edge[1]), (255, 255, 255))]
    assert codes_in(frame) == [SPEC_EXAMPLE]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_the_png_holds_the_same_pixels(width: int, height: int, data: st.DataObject) -> None:
    rgb = data.draw(st.binary(min_size=width * height * 3, max_size=width * height * 3))
    image = Image.open(io.BytesIO(Frame(width, height, rgb).png()))
    image.load()
    assert (image.mode, image.size, image.tobytes()) == ("RGB", (width, height), rgb)


def test_the_png_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Frame(2, 2, bytes(12))
    first = frame.png()
    monkeypatch.setattr(zlib, "compress", None)
    assert frame.png() is first


def test_a_picture_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="12 bytes, not 11"):
        Frame(2, 2, bytes(11))


def test_importing_the_display_costs_no_pil_segno_or_babel() -> None:
    modules = "agent.qr_display.display, agent.qr_display.outputs.png"
    program = f"import sys; import {modules}; print(sorted({{'PIL', 'segno', 'babel'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip() == "[]"
