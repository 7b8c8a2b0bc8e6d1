"""The picture and the QR code in it: segno makes the modules, the rest is bytes.

segno is imported when the first code is drawn; a charger without public charging never pays for it.
"""

from __future__ import annotations

import struct
import threading
import zlib
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from agent.domain.values import dataclass

if TYPE_CHECKING:
    from agent.domain.screen import StationView

QUIET_ZONE = 4
"""Modules of white around the code (ISO/IEC 18004 asks for 4)."""
MIN_MODULE_PX = 4
"""Smaller modules are hard to read for a phone held at arm's length in front of a small display."""


class QrQuality(StrEnum):
    """Error correction level. OCPP 2.1 `QRCodeQuality` names them Low, Medium, Quartile and High."""

    LOW = "l"
    MEDIUM = "m"
    QUARTILE = "q"
    HIGH = "h"


class Frame:
    """A finished picture: RGB, 8 bits per channel, rows from the top, no padding. Never changes.

    `view` is what it shows, for outputs that want it in words. `png()` encodes once, when somebody asks.
    """

    __slots__ = ("_lock", "_png", "height", "rgb", "view", "width")

    def __init__(self, width: int, height: int, rgb: bytes, view: StationView | None = None) -> None:
        """`rgb` must hold width x height x 3 bytes."""
        if len(rgb) != width * height * 3:
            message = f"a {width}x{height} RGB picture has {width * height * 3} bytes, not {len(rgb)}"
            raise ValueError(message)
        self.width = width
        self.height = height
        self.rgb = rgb
        self.view = view
        self._png: bytes | None = None
        self._lock = threading.Lock()

    def png(self) -> bytes:
        """The picture as PNG. Written by hand because it is small and needs no PIL; fast compression, because it is seen once."""
        with self._lock:
            if self._png is None:
                self._png = _encode_png(self.width, self.height, self.rgb)
            return self._png

    def __repr__(self) -> str:
        """Size only: a picture says nothing in a log."""
        return f"Frame({self.width}x{self.height})"


@dataclass(frozen=True, slots=True, kw_only=True)
class QrCode:
    """The modules of one code without its quiet zone: `size` x `size`, row by row, one byte each, 1 is dark."""

    payload: str
    version: int
    size: int
    modules: bytes

    @property
    def full_size(self) -> int:
        """Modules per side with the quiet zone."""
        return self.size + 2 * QUIET_ZONE

    def module_px(self, side_px: int) -> int | None:
        """The largest whole number of pixels per module with which code and quiet zone fit into a square, None when below the minimum."""
        px = side_px // self.full_size
        return px if px >= MIN_MODULE_PX else None


@lru_cache(maxsize=16)
def make_code(payload: str, quality: QrQuality = QrQuality.MEDIUM) -> QrCode | None:
    """The smallest ordinary QR code for a text at exactly this level, or None when even the largest cannot hold it.

    Never a Micro QR, which most phones cannot read, and never a silently raised level (`boost_error`), so that QRCodeQuality is honoured.
    """
    import segno

    try:
        code = segno.make_qr(payload, error=quality.value, boost_error=False)
    except segno.DataOverflowError:
        return None
    modules = b"".join(bytes(row) for row in code.matrix)
    return QrCode(payload=payload, version=int(code.version), size=len(code.matrix), modules=modules)


def _encode_png(width: int, height: int, rgb: bytes) -> bytes:
    stride = width * 3
    # No filter: most rows equal the one above, which zlib finds by itself, and subtracting them in Python costs more than it saves.
    rows = b"".join(b"\0" + rgb[start : start + stride] for start in range(0, len(rgb), stride))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 1)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
