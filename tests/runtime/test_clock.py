"""The present moment, and whose word about it is taken."""

import asyncio
import logging
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from agent.domain.time import ClockTrust
from agent.runtime.clock import NOT_BEFORE, Clock, SystemClock, kernel_boot_id

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
A_MOMENT = timedelta(seconds=5)


class Board:
    """A board clock that stands still."""

    def __init__(self, utc: datetime | None) -> None:
        self.at = utc

    def utc(self) -> datetime | None:
        return self.at


async def test_the_csms_corrects_a_board_that_is_wrong() -> None:
    clock = Clock(Board(NOW), "boot-1")
    assert clock.now().utc == NOW
    told = clock.csms_time(NOW + timedelta(hours=1))
    assert told is not None
    assert clock.now().utc == NOW + timedelta(hours=1)
    assert clock.trust is ClockTrust.OCPP


async def test_a_small_difference_is_the_networks() -> None:
    clock = Clock(Board(NOW), "boot-1")
    assert clock.csms_time(NOW + timedelta(seconds=1)) is None
    assert clock.now().utc == NOW


async def test_the_csms_tells_a_board_that_does_not_know() -> None:
    clock = Clock(Board(None), "boot-1")
    assert clock.now().utc is None
    clock.csms_time(NOW)
    utc = clock.now().utc
    assert utc is not None
    assert NOW <= utc < NOW + A_MOMENT


@pytest.mark.parametrize("board", [NOW, None])
@pytest.mark.parametrize(
    "absurd",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2100, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
)
async def test_an_absurd_time_is_not_believed(board: datetime | None, absurd: datetime, caplog: pytest.LogCaptureFixture) -> None:
    """9999 ended the process: no date lies a second after it. 1970 went onto the wire. Said once, not with every heartbeat."""
    clock = Clock(Board(board), "boot-1")
    with caplog.at_level(logging.WARNING):
        assert clock.csms_time(absurd) is None
        assert clock.csms_time(absurd) is None
    assert clock.now().utc == board
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("board", "floor", "is_believed"),
    [
        (None, None, False),
        (datetime(1970, 1, 1, 0, 3, tzinfo=UTC), None, False),
        (NOT_BEFORE - timedelta(days=2), None, False),
        (NOW, None, True),
        (NOW, NOW - timedelta(days=300), True),
        (NOW, NOW + timedelta(hours=23), True),  # the last run's clock may have been a little ahead
        (NOW, NOW + timedelta(days=2), False),  # the newest record on disk is younger than this clock says
        (NOW, datetime(1999, 1, 1, tzinfo=UTC), True),
    ],
)
async def test_a_board_is_believed_from_the_newest_time_on_disk_on(
    board: datetime | None, floor: datetime | None, is_believed: bool
) -> None:
    clock = Clock(Board(board), "boot-1")
    clock.set_floor(floor)
    assert clock.now().utc == (board if is_believed else None)
    assert clock.trust is (ClockTrust.RTC if is_believed else ClockTrust.UNKNOWN)


async def test_a_floor_never_sinks() -> None:
    clock = Clock(Board(NOW), "boot-1")
    clock.set_floor(NOW + timedelta(days=10))
    clock.set_floor(NOW)
    assert clock.now().utc is None


@pytest.mark.virtual_time
async def test_without_a_board_the_time_runs_on_from_what_the_csms_said() -> None:
    clock = Clock(Board(None), "boot-1")
    first = clock.csms_time(NOW)
    assert first is not None
    await asyncio.sleep(3600)
    now = clock.now()
    assert now.utc == NOW + timedelta(hours=1)
    assert now.ms_since(first) == 3_600_000


@pytest.mark.virtual_time
async def test_a_board_that_learns_the_time_later_is_believed_from_then_on() -> None:
    board = Board(None)
    clock = Clock(board, "boot-1")
    clock.csms_time(NOW)
    await asyncio.sleep(60)
    board.at = NOW + timedelta(seconds=61)
    assert clock.now().utc == NOW + timedelta(seconds=61)


async def test_a_correction_stays_when_the_board_goes_on() -> None:
    board = Board(NOW)
    clock = Clock(board, "boot-1")
    clock.csms_time(NOW - timedelta(days=1))
    board.at = NOW + timedelta(hours=2)
    assert clock.now().utc == NOW - timedelta(days=1) + timedelta(hours=2)


@pytest.mark.parametrize(("difference_s", "is_news"), [(0, False), (2, False), (-2, False), (3, True), (-3, True)])
async def test_only_a_difference_that_the_network_does_not_explain_is_news(difference_s: int, is_news: bool) -> None:
    clock = Clock(Board(NOW), "boot-1")
    assert (clock.csms_time(NOW + timedelta(seconds=difference_s)) is not None) is is_news


async def test_a_moment_has_whole_milliseconds() -> None:
    clock = Clock(Board(NOW + timedelta(microseconds=123_456)), "boot-1")
    assert clock.now().utc == NOW + timedelta(milliseconds=123)


def test_the_systems_clock_and_boot() -> None:
    before = datetime.now(UTC)
    utc = SystemClock().utc()
    assert utc is not None
    assert before <= utc <= datetime.now(UTC)
    assert str(uuid.UUID(kernel_boot_id())) == kernel_boot_id()
