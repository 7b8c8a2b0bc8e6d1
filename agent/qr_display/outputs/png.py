"""The newest picture as a PNG file, for a web page, a test rig or a technician's eye."""

import os
from pathlib import Path

from agent.qr_display.render import Frame


class PngOutput:
    """Keeps the newest picture in `path`. A reader sees a whole picture or the one before, never a part.

    Not synced to the disk: after a power cut a new picture is drawn anyway. Point it to a RAM disk (`/run`) to spare the flash.
    """

    def __init__(self, path: Path) -> None:
        """`path`: the file; its directory must exist."""
        self._path = path
        self._unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def show(self, frame: Frame) -> None:
        """Writes the picture beside the file and renames it over the file. Raises OSError."""
        try:
            self._unfinished.write_bytes(frame.png())
            self._unfinished.replace(self._path)
        except OSError:
            self._unfinished.unlink(missing_ok=True)
            raise
