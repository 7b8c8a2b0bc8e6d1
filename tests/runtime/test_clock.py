"""The present moment, and whose word about it is taken."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from agent.domain.time import ClockTrust
from agent.runtime.clock import Clock

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
