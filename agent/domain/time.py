"""Moments that survive a wrong clock. Order and durations use monotonic time only; wall time is for people and the CSMS."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from agent.domain.values import dataclass


class ClockTrust(StrEnum):
    """Where the wall clock's time comes from, the worst first."""

    UNKNOWN = "unknown"
    PERSISTED = "persisted"
    RTC = "rtc"
    OCPP = "ocpp"
    NTP = "ntp"


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment on this station: kernel boot id, monotonic milliseconds within that boot, and UTC where it is known."""

    boot_id: str
    mono_ms: int
    utc: datetime | None = None

    def __post_init__(self) -> None:
        if self.utc is not None and self.utc.utcoffset() != timedelta(0):
            msg = f"Instant.utc must be an aware UTC datetime, got {self.utc!r}"
            raise ValueError(msg)

    def plus_ms(self, ms: int) -> "Instant":
        """The moment `ms` milliseconds later (earlier when negative), wall time included."""
        utc = None if self.utc is None else self.utc + timedelta(milliseconds=ms)
        return Instant(self.boot_id, self.mono_ms + ms, utc)

    def ms_since(self, earlier: "Instant") -> int:
        """Milliseconds from `earlier` to here: monotonic within one boot, by wall time across boots, 0 where neither is known."""
        if self.boot_id == earlier.boot_id:
            return self.mono_ms - earlier.mono_ms
        if self.utc is not None and earlier.utc is not None:
            return max(0, round((self.utc - earlier.utc) / timedelta(milliseconds=1)))
        return 0

    def anchored_to(self, anchor: "Instant") -> "Instant":
        """This moment with the wall time counted from `anchor` by monotonic time, so that a clock jump between them changes nothing.

        Where the anchor's own wall time is not known yet, this one's is forgotten too: both get it later from the same source.
        """
        if self.boot_id != anchor.boot_id:
            return self
        if anchor.utc is None:
            return replace(self, utc=None)
        return replace(self, utc=anchor.utc + timedelta(milliseconds=self.mono_ms - anchor.mono_ms))


def wire_time(utc: datetime) -> str:
    """RFC 3339 with milliseconds and Z, as OCPP wants date-times: `2026-01-01T10:00:00.000Z`."""
    return utc.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_wire_time(text: str) -> datetime:
    """Read an RFC 3339 date-time of a CSMS, with or without milliseconds, `Z` or an offset. Raises ValueError on a naive one."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        msg = f"date-time {text!r} has no time zone"
        raise ValueError(msg)
    return moment.astimezone(UTC)
