"""Counts what the write-ahead log costs, by reading the log's own frame headers (https://www.sqlite.org/fileformat2.html#walformat).

The file is reused in place after a checkpoint, so its size tells nothing. It is the only file of the database on which SQLite holds no
POSIX lock: opening and closing the others in this process would drop SQLite's locks on them.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24


class WalMeter:
    """Frames and bytes that were appended to one write-ahead log since it was opened here."""

    def __init__(self, path: Path, page_bytes: int) -> None:
        self._path = path
        self._frame_bytes = FRAME_HEADER_BYTES + page_bytes
        self._fd = -1
        self._salts = b""
        self._frames = 0
        self._pages: set[bytes] = set()

    @property
    def log_bytes(self) -> int:
        """Length of the part of the log that is in use."""
        return self._frames * self._frame_bytes

    def folded(self) -> int:
        """Bytes that a checkpoint now wrote into the file: each page of the log once."""
        count = len(self._pages)
        self._pages.clear()
        return count * (self._frame_bytes - FRAME_HEADER_BYTES)

    def measure(self) -> tuple[int, bool]:
        """Bytes written since the last call, and whether the log was begun anew (one sync more)."""
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return 0, False  # no log yet: nothing was written
        salts = os.pread(self._fd, HEADER_BYTES, 0)[16:24]
        if len(salts) < 8:  # two salts of four bytes
            return 0, False
        is_new = salts != self._salts
        written = 0
        if is_new:
            self._salts, self._frames, written = salts, 0, HEADER_BYTES
            self._pages.clear()
        while True:
            header = os.pread(self._fd, FRAME_HEADER_BYTES, HEADER_BYTES + self._frames * self._frame_bytes)
            if header[8:16] != salts:
                return written, is_new
            self._frames += 1
            self._pages.add(header[:4])
            written += self._frame_bytes

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1
