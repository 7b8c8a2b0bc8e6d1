"""Reads codes back from drawn pixels with a decoder that is not ours."""

import zxingcpp
from PIL import Image

from agent.qr_display.render import Frame


def picture(frame: Frame) -> Image.Image:
    return Image.frombytes("RGB", (frame.width, frame.height), frame.rgb)


def codes_in(frame: Frame) -> list[str]:
    return sorted(found.text for found in zxingcpp.read_barcodes(picture(frame)) if found.valid)
