"""The present moment: monotonic time of the event loop, and the best wall time that is known. Never sets the system's clock.

One source at a time is believed, the best there is (`ClockTrust`): the time service that disciplines the board's clock, the CSMS, the
board's clock alone. Where there is none, what is on disk says at least how early it cannot be.
"""

import asyncio
import logging
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from agent.domain.time import ClockTrust, Instant
from agent.domain.values import dataclass

_log = logging.getLogger("agent.clock")

NOT_BEFORE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Build time: no board that runs this software lives earlier; a clock that says so was never set."""
NOT_AFTER: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""A CSMS that says a later time is wrong; the last years that Python can name would also end every computation with them."""
TOLERATED: Final = timedelta(seconds=2)
"""A smaller difference to the CSMS's time is the network's and is left alone."""
SUSPICIOUS: Final = timedelta(seconds=60)
"""A time service and a CSMS that differ by more: one of them is wrong, and a person has to see which."""
_GRACE: Final = timedelta(days=1)
"""The last run's clock may have been a little ahead of the one that is looked at now."""
_ASKED_EVERY_MS: Final = 10_000
"""How often the kernel is asked whether its clock is disciplined."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BoardClock(Protocol):
    """The board's own clock."""

    def utc(self) -> datetime | None:
        """Aware UTC, or None where the board does not know."""

    def is_synchronized(self) -> bool:
        """Whether a time service (NTP, PTP, GNSS) disciplines this clock now."""


class SystemClock:
    """The clock of the operating system; unknown while it shows a time before this software was made."""

    def utc(self) -> datetime | None:
        """Aware UTC, or None."""
        now = datetime.now(UTC)
        return now if now >= NOT_BEFORE else None

    def is_synchronized(self) -> bool:
        """What the kernel says of its clock (`agent.runtime.ntp`)."""
        try:
            from agent.runtime.ntp import kernel_is_synchronized
        except (ImportError, MemoryError):  # no ctypes, or forbidden by the sandbox: then the CSMS tells the time
            return False
        return kernel_is_synchronized()


def kernel_boot_id() -> str:
    """The kernel's id of this boot. Raises OSError where there is no /proc."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStatus:
    """What a technician wants to know. `utc` is None while it is not known; `not_before` is known always.

    `synchronized_s`: seconds since the time service or the CSMS last said what time it is, also in an earlier boot; None: never, or not
    known. `csms_ahead_s`: how far the CSMS's time was ahead of ours when it last told.
    """

    trust: ClockTrust
    utc: datetime | None
    not_before: datetime
    synchronized_s: float | None
    csms_ahead_s: float | None
    csms_told_s: float | None


class Clock:
    """Gives the present Instant.

    `ntp`: the board's clock as it is. `ocpp`: the CSMS's time, carried on by monotonic time, so that a jump of the board's clock is not
    seen. `rtc`: the board's clock, not earlier than the disk. `persisted` and `unknown`: no wall time.
    """

    def __init__(self, board: BoardClock, boot_id: str) -> None:
        self._board = board
        self.boot_id = boot_id
        self._told: tuple[int, datetime] | None = None
        """The CSMS's time as it is used: moved only when it differs by more than the network explains."""
        self._told_at: int | None = None
        self._csms_ahead: timedelta | None = None
        self._newest: tuple[int, datetime] | None = None
        self._synchronized: tuple[int, datetime] | None = None
        self._asked_at: int | None = None
        self._is_synchronized = False
        self._synchronized_at: int | None = None
        self._refused: datetime | None = None
        self._board_lines: deque[tuple[int, datetime]] = deque(maxlen=4)
        """What moments were recorded by while nobody else knew: a new line where the board's clock jumped."""

    # --- what is known before anybody says anything

    def set_floor(self, floor: datetime | None) -> None:
        """A board's clock that says an earlier time is not believed: the newest time on disk. Moves on with monotonic time, never sinks."""
        if floor is not None and floor > _carried_on(self._newest):
            self._newest = (_mono_ms(), floor)

    def set_last_synchronized(self, utc: datetime | None) -> None:
        """When an earlier run was last told the time by somebody trusted: what `not_before` counts on from, and the age of the time."""
        if utc is not None and NOT_BEFORE <= utc < NOT_AFTER:
            self._synchronized = (_mono_ms(), utc)

    def resume(self, mono_ms: int, utc: datetime) -> None:
        """Carry on from what an earlier run of this boot was told: the monotonic clock is the kernel's and went on meanwhile."""
        if mono_ms <= _mono_ms() and NOT_BEFORE <= utc < NOT_AFTER:
            self._told = (mono_ms, utc)
            self._told_at = mono_ms

    # --- the present

    def now(self) -> Instant:
        """The present moment, whole milliseconds."""
        mono_ms = _mono_ms()
        return Instant(self.boot_id, mono_ms, self._utc(mono_ms))

    @property
    def trust(self) -> ClockTrust:
        """Where the wall time comes from."""
        self._ask_the_kernel(_mono_ms())
        if self._ntp_utc() is not None:
            return ClockTrust.NTP
        if self._told is not None:
            return ClockTrust.OCPP
        if self._board_utc() is not None:
            return ClockTrust.RTC
        return ClockTrust.UNKNOWN if self._newest is None and self._synchronized is None else ClockTrust.PERSISTED

    def not_before(self) -> datetime:
        """It cannot be earlier than this, whatever is known: good for judging a certificate's end, too little for a timestamp.

        Only what a time service or a CSMS said counts: a board's clock that was years ahead once must not lock the station out.
        """
        return _carried_on(self._synchronized)

    def ntp_utc(self) -> datetime | None:
        """The wall time while a time service keeps it: the one source that does not depend on the CSMS."""
        return self.now().utc if self.trust is ClockTrust.NTP else None

    def status(self) -> ClockStatus:
        """Everything a technician wants to know."""
        now, trust = self.now(), self.trust
        return ClockStatus(
            trust=trust,
            utc=now.utc,
            not_before=self.not_before(),
            synchronized_s=self._synchronized_s(now),
            csms_ahead_s=None if self._csms_ahead is None else self._csms_ahead.total_seconds(),
            csms_told_s=None if self._told_at is None else (now.mono_ms - self._told_at) / 1000,
        )

    # --- the CSMS

    def csms_time(self, utc: datetime, took: timedelta = timedelta()) -> Instant | None:
        """Take the CSMS's time in; gives the moment to remember when it changed what is known. An absurd time is not believed.

        Where a time service is good, the CSMS's time is compared and not used: two sources that take turns are worse than either.
        `took`: between question and answer. The answer may be that old, so it does not prove a clock wrong that is ahead by no more.
        """
        if not NOT_BEFORE <= utc < NOT_AFTER:
            if self._refused is None:
                _log.warning("the CSMS says that it is %s, which is not believed; its operator must set its clock", utc.isoformat())
            self._refused = utc
            return None
        self._refused = None
        mono_ms = _mono_ms()
        self._ask_the_kernel(mono_ms, is_urgent=True)
        known = self._utc(mono_ms)
        self._told_at = mono_ms
        self._csms_ahead = None if known is None else utc - known
        if known is not None and (-TOLERATED <= known - utc <= TOLERATED + took or self._ntp_utc() is not None):
            # From here on monotonic time carries on what is known, so that no later jump of the board's clock is seen.
            self._told = (mono_ms, known)
            return None
        self._told = (mono_ms, utc)
        self._csms_ahead = timedelta(0)
        _log.warning("clock corrected by the CSMS from %s to %s", "unknown" if known is None else known.isoformat(), utc.isoformat())
        return Instant(self.boot_id, mono_ms, self._utc(mono_ms))

    @property
    def csms_differs(self) -> bool:
        """Whether the time service and the CSMS contradict each other."""
        return self._csms_ahead is not None and abs(self._csms_ahead) > SUSPICIOUS and self.trust is ClockTrust.NTP

    # --- sources

    def _utc(self, mono_ms: int) -> datetime | None:
        utc = self._ntp_utc()
        if utc is None and self._told is not None:
            told_ms, told = self._told
            utc = told + timedelta(milliseconds=mono_ms - told_ms)
        if utc is None:
            utc = self._board_utc()
            if utc is not None:
                self._note_line(mono_ms, utc)
        return None if utc is None else utc.replace(microsecond=utc.microsecond // 1000 * 1000)

    def _note_line(self, mono_ms: int, utc: datetime) -> None:
        if self._board_lines:
            begun_ms, begun = self._board_lines[-1]
            if abs(utc - begun - timedelta(milliseconds=mono_ms - begun_ms)) <= TOLERATED:
                return
        self._board_lines.append((mono_ms, utc))

    def wrong_board_utc(self, now: Instant) -> datetime | None:
        """What the board's clock said, carried on to now, if moments were recorded by it and it was wrong; None where it was right."""
        for begun_ms, begun in reversed(self._board_lines):
            carried_on = begun + timedelta(milliseconds=now.mono_ms - begun_ms)
            if now.utc is not None and abs(carried_on - now.utc) > TOLERATED:
                return carried_on
        return None

    def _ntp_utc(self) -> datetime | None:
        """The board's time while a time service keeps it, whatever the disk says: a wrong time on disk must not outlive its cause."""
        if not self._is_synchronized:
            return None
        utc = self._board.utc()
        return utc if utc is not None and NOT_BEFORE <= utc < NOT_AFTER else None

    def _board_utc(self) -> datetime | None:
        utc = self._board.utc()
        return utc if utc is not None and max(self.not_before(), _carried_on(self._newest)) - _GRACE <= utc < NOT_AFTER else None

    def _ask_the_kernel(self, mono_ms: int, *, is_urgent: bool = False) -> None:
        if not is_urgent and self._asked_at is not None and mono_ms - self._asked_at < _ASKED_EVERY_MS:
            return
        self._asked_at = mono_ms
        self._is_synchronized = self._board.is_synchronized()
        utc = self._ntp_utc()
        if utc is not None:
            self._synchronized_at = mono_ms
            # When the time service goes away, its time goes on by monotonic time until the CSMS says otherwise.
            self._told = (mono_ms, utc)

    def _synchronized_s(self, now: Instant) -> float | None:
        moments = [at for at in (self._told_at, self._synchronized_at) if at is not None]
        if moments:
            return (now.mono_ms - max(moments)) / 1000
        if now.utc is None or self._synchronized is None:
            return None
        return max(0.0, (now.utc - self._synchronized[1]).total_seconds())


def _carried_on(known: tuple[int, datetime] | None) -> datetime:
    """A time that was known at a monotonic moment, counted on to now; the build time where there is none."""
    return NOT_BEFORE if known is None else known[1] + timedelta(milliseconds=_mono_ms() - known[0])


def _mono_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
