"""A serial cable for tests: two pseudo-terminals and a pump between them that can lose, flip, delay and split bytes.

The charger opens `charger_path` with pyserial as it opens /dev/ttyUSB0; the meter is served on `meter_fd`.
"""

import asyncio
import contextlib
import os
import random
import tty
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

ORDER_S: Final = 1e-5
"""Between chunks that wait, because the loop does not keep the order of timers for the same moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CableFaults:
    """What the cable does to bytes, in both directions. Shares are 0 to 1; `delay_s` holds back each chunk, order is kept."""

    drop_share: float = 0.0
    flip_share: float = 0.0
    split_share: float = 0.0
    delay_s: float = 0.0
    delay_share: float = 1.0
    is_cut: bool = False


class PtyCable:
    """Made in a running loop. `link` is a path that always leads to the charger's end, as udev makes one for a USB adapter."""

    def __init__(self, link: Path, *, seed: int = 0) -> None:
        self.faults = CableFaults()
        self.passed = self.dropped = self.flipped = 0
        self._link = link
        self._chance = random.Random(seed)
        self._loop = asyncio.get_running_loop()
        self._timers: set[asyncio.TimerHandle] = set()
        self._free_at = {True: 0.0, False: 0.0}
        self._meter_pump, self._meter_end = _raw_pty()
        self._charger_pump, self._charger_end = -1, -1
        self._loop.add_reader(self._meter_pump, self._pump, True)
        self.plug()

    @property
    def charger_path(self) -> str:
        """What the charger opens."""
        return str(self._link)

    @property
    def meter_fd(self) -> int:
        """What the meter is served on."""
        return self._meter_end

    def plug(self) -> None:
        """Plug the charger's adapter in: a new terminal behind the same link."""
        if self._charger_pump >= 0:
            return
        self._charger_pump, self._charger_end = _raw_pty()
        fresh = self._link.with_name(f"{self._link.name}.new")
        fresh.symlink_to(os.ttyname(self._charger_end))
        fresh.replace(self._link)
        self._loop.add_reader(self._charger_pump, self._pump, False)

    def unplug(self) -> None:
        """Pull the charger's adapter out: its terminal hangs up and the path is gone."""
        if self._charger_pump < 0:
            return
        self._loop.remove_reader(self._charger_pump)
        self._link.unlink()
        for fd in (self._charger_pump, self._charger_end):
            os.close(fd)
        self._charger_pump = self._charger_end = -1

    def close(self) -> None:
        """Take the cable away."""
        self.unplug()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._loop.remove_reader(self._meter_pump)
        for fd in (self._meter_pump, self._meter_end):
            os.close(fd)

    def _pump(self, to_charger: bool) -> None:
        source = self._meter_pump if to_charger else self._charger_pump
        try:
            data = os.read(source, 1024)
        except OSError:
            return
        for chunk in self._pieces(self._spoil(data)):
            self._forward(to_charger, chunk)

    def _spoil(self, data: bytes) -> bytes:
        """Lose and flip bytes by chance."""
        faults = self.faults
        if faults.is_cut:
            self.dropped += len(data)
            return b""
        kept = bytearray()
        for byte in data:
            if self._chance.random() < faults.drop_share:
                self.dropped += 1
            elif self._chance.random() < faults.flip_share:
                self.flipped += 1
                kept.append(byte ^ 1 << self._chance.randrange(8))
            else:
                kept.append(byte)
        return bytes(kept)

    def _pieces(self, data: bytes) -> list[bytes]:
        """Break the data between bytes by chance."""
        cuts = [0, *(at for at in range(1, len(data)) if self._chance.random() < self.faults.split_share), len(data)]
        return [data[first:last] for first, last in pairwise(cuts) if first < last]

    def _forward(self, to_charger: bool, chunk: bytes) -> None:
        """Pass a chunk on, after its delay and after everything before it."""
        now = self._loop.time()
        delay = self.faults.delay_s if self._chance.random() < self.faults.delay_share else 0.0
        due = max(now + delay, self._free_at[to_charger] + ORDER_S)
        if self.faults.split_share:
            due += 0.0005  # so that the pieces arrive as pieces
        self._free_at[to_charger] = due
        if due <= now:
            self._write(to_charger, chunk)
            return
        timer: list[asyncio.TimerHandle] = []

        def deliver() -> None:
            self._timers.discard(timer[0])
            self._write(to_charger, chunk)

        timer.append(self._loop.call_at(due, deliver))
        self._timers.add(timer[0])

    def _write(self, to_charger: bool, chunk: bytes) -> None:
        sink = self._charger_pump if to_charger else self._meter_pump
        if sink < 0:
            self.dropped += len(chunk)
            return
        with contextlib.suppress(OSError):
            self.passed += os.write(sink, chunk)


def _raw_pty() -> tuple[int, int]:
    """Open a pseudo-terminal without line discipline; its far end stays open here, so that nobody's closing hangs it up."""
    pump, end = os.openpty()
    tty.setraw(end)
    os.set_blocking(pump, False)
    return pump, end
