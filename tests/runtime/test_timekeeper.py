"""What is told about the clock, and what of it is kept on disk."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.domain.time import ClockTrust
from agent.runtime.clock import Clock
from agent.runtime.timekeeper import Timekeeper
from tests.runtime.test_clock import Board

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class Outside:
    """The event list and the disk, as a list each."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, bool]] = []
        self.anchors: list[tuple[str, int, datetime]] = []
        self.wrong: list[datetime | None] = []

    def note(self, name: str, detail: str, *, is_warning: bool) -> None:
        assert detail
        self.notes.append((name, is_warning))

    def set_anchor(self, boot_id: str, mono_ms: int, utc: datetime, board_utc: datetime | None) -> None:
        self.anchors.append((boot_id, mono_ms, utc))
        self.wrong.append(board_utc)


def keeper(board: Board, **kwargs: Any) -> tuple[Timekeeper, Clock, Outside]:
    clock, outside = Clock(board, "boot-1"), Outside()
    return Timekeeper(clock, outside, outside, **{"alarm_after_h": 24, **kwargs}), clock, outside


async def test_a_change_of_the_source_is_told_once() -> None:
    board = Board(None)
    timekeeper, clock, outside = keeper(board)
    timekeeper.look()
    timekeeper.look()
    timekeeper.told(NOW)
    timekeeper.told(NOW)
    assert outside.notes == [("clock_source", False), ("clock_source", False)]
    assert clock.trust is ClockTrust.OCPP


@pytest.mark.parametrize(("board", "kept"), [(Board(NOW), 0), (Board(NOW, is_synchronized=True), 1), (Board(None), 0)])
async def test_only_a_trusted_time_is_kept_for_the_moments_that_have_none(board: Board, kept: int) -> None:
    """A board's own clock may be a year off: what it says of a moment is in that moment, and is no measure for others."""
    timekeeper, _, outside = keeper(board)
    timekeeper.look()
    assert len(outside.anchors) == kept


async def test_a_correction_by_the_csms_is_told_with_its_size() -> None:
    timekeeper, _, outside = keeper(Board(NOW))
    timekeeper.told(NOW - timedelta(hours=2))
    assert outside.notes[0] == ("clock_corrected", True)
    assert outside.anchors[-1][2] - (NOW - timedelta(hours=2)) < timedelta(seconds=5)
    assert outside.wrong[-1] is not None
    assert outside.wrong[-1] - NOW < timedelta(seconds=5)


@pytest.mark.pain(24)
@pytest.mark.virtual_time
async def test_a_csms_that_contradicts_the_time_service_is_an_alarm_until_it_agrees() -> None:
    board = Board(NOW, is_synchronized=True)
    timekeeper, clock, outside = keeper(board)
    timekeeper.told(NOW + timedelta(minutes=10))
    text, cure = timekeeper.alarm()
    assert "600 s ahead" in text
    assert "operator" in cure
    assert clock.now().utc == NOW
    timekeeper.told(NOW + timedelta(minutes=10))
    timekeeper.told(NOW)
    assert timekeeper.alarm() == ("", "")
    assert outside.notes == [("clock_source", False), ("clock_differs", True), ("clock_agrees", False)]


@pytest.mark.pain(23)
@pytest.mark.virtual_time
@pytest.mark.parametrize("board", [Board(NOW), Board(None)], ids=["rtc", "no clock"])
async def test_a_clock_that_nobody_corrects_is_an_alarm_after_the_configured_hours(board: Board) -> None:
    timekeeper, _, outside = keeper(board, alarm_after_h=3)
    await asyncio.sleep(3 * 3600 - 100)
    timekeeper.look()
    assert timekeeper.alarm() == ("", "")
    await asyncio.sleep(200)
    timekeeper.look()
    assert ("clock_stale", True) in outside.notes
    text, cure = timekeeper.alarm()
    assert "3 h" in text
    assert cure
    timekeeper.told(NOW)
    assert timekeeper.alarm() == ("", "")
    assert outside.notes[-1] == ("clock_fresh", False)
