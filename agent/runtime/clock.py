"""The present moment: monotonic time of the event loop, and the best wall time that is known. Never sets the system's clock."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from agent.domain.time import ClockTrust, Instant

_log = logging.getLogger("agent.clock")

NOT_BEFORE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""No board that runs this software lives earlier: a clock that says so was never set."""
NOT_AFTER: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""A CSMS that says a later time is wrong; the last years that Python can name would also end every computation with them."""
TOLERATED: Final = timedelta(seconds=2)
"""A smaller difference to the CSMS's time is the network's and is left alone."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BoardClock(Protocol):
    """The board's own clock."""

    def utc(self) -> datetime | None:
        """Aware UTC, or None where the board does not know."""


class SystemClock:
    """The clock of the operating system; unknown while it shows a time before this software was made."""

    def utc(self) -> datetime | None:
        """Aware UTC, or None."""
        now = datetime.now(UTC)
        return now if now >= NOT_BEFORE else None


def kernel_boot_id() -> str:
    """The kernel's id of this boot. Raises OSError where there is no /proc."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


class Clock:
    """Gives the present Instant. The CSMS's time corrects the board's where they differ, and replaces it where the board has none."""

    def __init__(self, board: BoardClock, boot_id: str) -> None:
        self._board = board
        self.boot_id = boot_id
        self._offset = timedelta(0)
        self._told: tuple[int, datetime] | None = None
        self._not_before = NOT_BEFORE
        self._refused: datetime | None = None

    def now(self) -> Instant:
        """The present moment, whole milliseconds."""
        mono_ms = int(asyncio.get_running_loop().time() * 1000)
        return Instant(self.boot_id, mono_ms, self._utc(mono_ms))

    @property
    def trust(self) -> ClockTrust:
        """Where the wall time comes from."""
        if self._told is not None:
            return ClockTrust.OCPP
        return ClockTrust.RTC if self._board_utc() is not None else ClockTrust.UNKNOWN

    def set_floor(self, floor: datetime | None) -> None:
        """Nothing earlier than this is believed: the newest time on disk."""
        if floor is not None and floor > self._not_before:
            self._not_before = floor

    def csms_time(self, utc: datetime) -> Instant | None:
        """Take the CSMS's time in; gives the moment to remember when it changed what is known. An absurd time is not believed."""
        if not NOT_BEFORE <= utc < NOT_AFTER:
            if self._refused is None:
                _log.warning("the CSMS says that it is %s, which is not believed; its operator must set its clock", utc.isoformat())
            self._refused = utc
            return None
        self._refused = None
        mono_ms = int(asyncio.get_running_loop().time() * 1000)
        known = self._utc(mono_ms)
        self._told = (mono_ms, utc)
        if known is not None and abs(utc - known) <= TOLERATED:
            return None
        board = self._board_utc()
        self._offset = timedelta(0) if board is None else utc - board
        _log.warning("clock corrected by the CSMS from %s to %s", "unknown" if known is None else known.isoformat(), utc.isoformat())
        return Instant(self.boot_id, mono_ms, self._utc(mono_ms))

    def _utc(self, mono_ms: int) -> datetime | None:
        board = self._board_utc()
        if board is not None:
            utc = board + self._offset
        elif self._told is not None:
            told_ms, told = self._told
            utc = told + timedelta(milliseconds=mono_ms - told_ms)
        else:
            return None
        return utc.replace(microsecond=utc.microsecond // 1000 * 1000)

    def _board_utc(self) -> datetime | None:
        utc = self._board.utc()
        return utc if utc is not None and utc >= self._not_before - timedelta(days=1) else None
