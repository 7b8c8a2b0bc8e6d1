"""Moments as they stand in the portal's database: UTC, microseconds, of one length, so that text order is time order."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Wall time, aware UTC."""


def stamp(moment: datetime) -> str:
    """`2026-01-01T10:00:00.000000+00:00`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def moment(text: str) -> datetime:
    """The reverse of `stamp`."""
    return datetime.fromisoformat(text)


def maybe_moment(text: str | None) -> datetime | None:
    """The reverse of `stamp` for a column that may be empty."""
    return None if text is None else datetime.fromisoformat(text)


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)
