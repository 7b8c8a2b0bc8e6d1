"""Looks after the clock: keeps the anchor of this boot on disk, and tells when the time has a new source, is old, or is doubtful."""

from datetime import datetime, timedelta
from typing import Final, Protocol

from agent.domain.time import ClockTrust, wire_time
from agent.runtime.clock import SUSPICIOUS, Clock

LOOK_S: Final = 60.0
"""How often `look` is to be called, beside what the CSMS says."""


class Anchors(Protocol):
    """The disk, as the timekeeper needs it."""

    def set_anchor(self, boot_id: str, mono_ms: int, utc: datetime, board_utc: datetime | None) -> None:
        """Note the wall time of a moment of a boot, and what the board's clock would have said then where that was wrong."""


class Notes(Protocol):
    """The technician's event list."""

    def note(self, name: str, detail: str, *, is_warning: bool) -> None:
        """A line for it. `name` is a stable word in snake_case."""


class Timekeeper:
    """`told` when the CSMS tells its time, `look` now and then; `alarm` is the sentence of what is wrong, empty while all is well."""

    def __init__(self, clock: Clock, anchors: Anchors, notes: Notes, *, alarm_after_h: int) -> None:
        self._clock = clock
        self._anchors = anchors
        self._notes = notes
        self._alarm_after_s = alarm_after_h * 3600.0
        self._trust: ClockTrust | None = None
        self._began_ms = clock.now().mono_ms
        self._is_stale = False
        self._differs = False

    def told(self, utc: datetime, took: timedelta = timedelta()) -> None:
        """The CSMS told its time, so long after it was asked."""
        before = self._clock.now().utc
        moved = self._clock.csms_time(utc, took)
        if moved is not None and moved.utc is not None and before is not None:
            step_s = (moved.utc - before).total_seconds()
            self._notes.note("clock_corrected", f"by {step_s:+.1f} s to {wire_time(moved.utc)}, as the CSMS says", is_warning=True)
        self.look()

    def look(self) -> None:
        """Ask every source again, keep the anchor, and tell what changed."""
        now, trust = self._clock.now(), self._clock.trust
        if trust is not self._trust:
            was = "" if self._trust is None else f", was {self._trust.value}"
            since = f"not before {wire_time(self._clock.not_before())}" if now.utc is None else wire_time(now.utc)
            self._notes.note("clock_source", f"{trust.value}{was}; it is {since}", is_warning=False)
            self._trust = trust
        if now.utc is not None and trust in (ClockTrust.NTP, ClockTrust.OCPP):
            self._anchors.set_anchor(now.boot_id, now.mono_ms, now.utc, self._clock.wrong_board_utc(now))
        self._tell_stale()
        self._tell_difference()

    def alarm(self) -> tuple[str, str]:
        """What is wrong with the clock and what to do, in one sentence each; both empty while all is well."""
        if self._clock.csms_differs:
            return self._difference()
        return self._age()

    def _difference(self) -> tuple[str, str]:
        ahead_s = self._clock.status().csms_ahead_s or 0.0
        where = "ahead of" if ahead_s > 0 else "behind"
        text = f"the CSMS's clock is {abs(ahead_s):.0f} s {where} ours, which a time service keeps; ours counts"
        return text, "let the CSMS operator check its clock, then check the station's NTP servers"

    def _age(self) -> tuple[str, str]:
        status = self._clock.status()
        age_s = status.synchronized_s
        if age_s is None:
            # Nobody knows for how long; since this start at least.
            age_s = (self._clock.now().mono_ms - self._began_ms) / 1000
        if age_s < self._alarm_after_s:
            return "", ""
        cure = "see why neither NTP nor the CSMS is reached: `timedatectl timesync-status`, `chargerctl ocpp test`"
        return f"nobody has said what time it is for {age_s / 3600:.0f} h", cure

    def _tell_stale(self) -> None:
        text, _ = self._age()
        if bool(text) is not self._is_stale:
            self._is_stale = bool(text)
            if text:
                self._notes.note("clock_stale", text, is_warning=True)
            else:
                self._notes.note("clock_fresh", "the time is known again", is_warning=False)

    def _tell_difference(self) -> None:
        differs = self._clock.csms_differs
        if differs is not self._differs:
            self._differs = differs
            if differs:
                self._notes.note("clock_differs", self._difference()[0], is_warning=True)
            else:
                within_s = SUSPICIOUS.total_seconds()
                self._notes.note("clock_agrees", f"the CSMS and the time service agree within {within_s:.0f} s", is_warning=False)
