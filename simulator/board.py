"""What a simulated charger has inside the daemon's process: link, clock and display, worked by the control socket."""

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.domain.screen import StationView
from simulator.network import CuttableLink, NetworkMode
from simulator.wire import Refused


class BoardClock:
    """The `WallClock` of a simulated board: real time at the start, moved on by the event loop's clock, and changed by `clock.set`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start = datetime.now(UTC)
        self._started_at = 0.0
        self._offset = timedelta(0)
        self._is_known = True

    def start(self) -> None:
        """Tie the clock to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._start = datetime.now(UTC)
        self._started_at = self._loop.time()

    def utc(self) -> datetime | None:
        """Give aware UTC, or None where the board does not know the time."""
        return self._untouched() + self._offset if self._is_known else None

    def is_synchronized(self) -> bool:
        """No time service: only the CSMS corrects a simulated board."""
        return False

    def set(self, utc: datetime | None) -> None:
        """Let the board believe that it is `utc` now, or that it does not know."""
        self._is_known = utc is not None
        if utc is not None:
            self._offset = utc - self._untouched()

    def _untouched(self) -> datetime:
        if self._loop is None:
            return datetime.now(UTC)
        return self._start + timedelta(seconds=self._loop.time() - self._started_at)


class BoardDisplay:
    """The `DisplayPort` of a simulated board: keeps the newest picture and encodes it when somebody looks."""

    def __init__(self) -> None:
        self.view: StationView | None = None
        self.pictures = 0
        self._png: Callable[[], bytes] | None = None

    def show_png(self, view: StationView, png: Callable[[], bytes]) -> None:
        """Take the newest picture."""
        self.view = view
        self._png = png
        self.pictures += 1

    async def png(self) -> bytes:
        """Encode the picture that is shown now, in a worker thread. Raises Refused when nothing was shown yet."""
        if self._png is None:
            raise Refused("the display has shown nothing yet")
        return await asyncio.to_thread(self._png)


class Board:
    """The daemon's side of the control socket."""

    def __init__(self) -> None:
        self.network = CuttableLink()
        self.clock = BoardClock()
        self.display = BoardDisplay()

    def set_network(self, mode: NetworkMode) -> None:
        """Cut or restore the link to the CSMS."""
        self.network.set_mode(mode)

    def set_clock(self, utc: datetime | None) -> None:
        """Set the board's clock, or make it not know the time."""
        self.clock.set(utc)

    async def draw(self, path: str) -> int:
        """Write the newest picture to a PNG file; gives its size in bytes. Raises Refused or OSError."""
        picture = await self.display.png()
        await asyncio.to_thread(Path(path).write_bytes, picture)
        return len(picture)

    def cut_power(self) -> None:
        """Kill this process, once the answer to the call is out."""
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGKILL)
