"""The file output: whole pictures only."""

import asyncio
import io
import threading
from pathlib import Path

import pytest
from PIL import Image

from agent.qr_display.display import Display, DisplaySettings
from agent.qr_display.outputs.png import PngOutput
from agent.qr_display.render import Frame
from tests.qr_display.decoding import codes_in
from tests.qr_display.examples import EXAMPLES, URL, station


def test_the_file_holds_the_newest_picture_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    output = PngOutput(tmp_path / "display.png")
    for grey in (10, 200):
        output.show(Frame(4, 3, bytes([grey]) * 36))
    image = Image.open(tmp_path / "display.png")
    assert (image.size, image.getpixel((0, 0))) == ((4, 3), (200, 200, 200))
    assert [path.name for path in tmp_path.iterdir()] == ["display.png"]


def test_a_reader_never_sees_a_part_of_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "display.png"
    output = PngOutput(path)
    frames = [Frame(200, 100, bytes([grey]) * 60_000) for grey in (1, 2, 3)]
    output.show(frames[0])
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(150):
        output.show(frames[number % 3])
    done.set()
    reader.join()
    assert seen
    assert set(seen) <= {frame.png() for frame in frames}


def test_a_failed_write_says_so_and_leaves_the_old_picture(tmp_path: Path) -> None:
    path = tmp_path / "display.png"
    path.mkdir()
    (path / "in the way").touch()
    with pytest.raises(OSError, match=r"display\.png"):
        PngOutput(path).show(Frame(1, 1, bytes(3)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["display.png"]


async def test_a_shown_view_is_in_the_file_and_its_code_decodes(tmp_path: Path) -> None:
    path = tmp_path / "display.png"
    display = Display(PngOutput(path), DisplaySettings(size="320x240"))
    try:
        async with asyncio.timeout(20):
            await display.show(station(next(iter(EXAMPLES.values()))))
            await display.show(station(EXAMPLES["available"]))  # type: ignore[index]
    finally:
        display.close()
    image = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
    assert codes_in(Frame(image.width, image.height, image.tobytes())) == [URL]
