"""The page of screens is that of this renderer."""

import re
from pathlib import Path

import zxingcpp
from PIL import Image

from agent.domain.screen import ScreenKind
from tests.qr_display.examples import EXAMPLES, URL
from tests.qr_display.gallery import DOCS, MEANINGS, page_text


def test_every_screen_has_an_example_and_a_meaning() -> None:
    assert list(EXAMPLES) == list(MEANINGS) == list(ScreenKind)


def test_the_page_is_up_to_date() -> None:
    """Remake it: python -m tests.qr_display.gallery."""
    assert (DOCS / "screens.md").read_text(encoding="utf-8") == page_text()


def test_every_picture_is_there_in_its_size_and_small_enough() -> None:
    names = re.findall(r"\((images/[^)]*)\)", page_text())
    for name in names:
        width, height = map(int, re.findall(r"(\d+)x(\d+)\.png", name)[0])
        with Image.open(DOCS / name) as image:
            assert image.size == (width, height)
    assert sum(Path(DOCS / name).stat().st_size for name in {*names, "images/display-available.png"}) < 1_000_000


def test_the_code_in_the_picture_of_the_readme_decodes() -> None:
    found = zxingcpp.read_barcode(Image.open(DOCS / "images" / "display-available.png").convert("RGB"))
    assert found is not None
    assert found.text == URL
