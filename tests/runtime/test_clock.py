"""The present moment, and whose word about it is taken."""

import asyncio
import ctypes
import logging
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from agent.domain.time import ClockTrust
from agent.runtime import ntp
from agent.runtime.clock import NOT_BEFORE, Clock, SystemClock, kernel_boot_id

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
A_MOMENT = timedelta(seconds=5)


class Board:
    """A board clock that stands still, with or without a time service."""

    def __init__(self, utc: datetime | None, *, is_synchronized: bool = False) -> None:
        self.at = utc
        self.has_service = is_synchronized

    def utc(self) -> datetime | None:
        return self.at

    def is_synchronized(self) -> bool:
        return self.has_service


async def test_the_csms_corrects_a_board_that_is_wrong() -> None:
    clock = Clock(Board(NOW), "boot-1")
    assert clock.now().utc == NOW
    told = clock.csms_time(NOW + timedelta(hours=1))
    assert told is not None
    assert told.utc is not None
    assert timedelta(0) <= told.utc - NOW - timedelta(hours=1) < A_MOMENT
    assert clock.trust is ClockTrust.OCPP


async def test_a_small_difference_is_the_networks() -> None:
    clock = Clock(Board(NOW), "boot-1")
    assert clock.csms_time(NOW + timedelta(seconds=1)) is None
    utc = clock.now().utc
    assert utc is not None
    assert NOW <= utc < NOW + timedelta(seconds=0.9)


@pytest.mark.parametrize(("said_s", "is_corrected"), [(-5.5, False), (-7.5, True), (2.5, True), (1.5, False)])
async def test_an_answer_that_came_late_does_not_set_a_right_clock_back(said_s: float, *, is_corrected: bool) -> None:
    """It was written somewhere between question and answer: by 4 s and the network's 2 s it may be behind, and no more ahead than ever."""
    clock = Clock(Board(NOW), "boot-1")
    moved = clock.csms_time(NOW + timedelta(seconds=said_s), timedelta(seconds=4))
    assert (moved is not None) is is_corrected
    clock = Clock(Board(NOW), "boot-1")
    assert (clock.csms_time(NOW + timedelta(seconds=said_s)) is not None) is (abs(said_s) > 2)


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
    nothing = ClockTrust.UNKNOWN if floor is None else ClockTrust.PERSISTED
    assert clock.trust is (ClockTrust.RTC if is_believed else nothing)


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
@pytest.mark.parametrize("board_then", [None, NOW - timedelta(days=20), NOW + timedelta(days=20)])
@pytest.mark.parametrize("board_first", [None, NOW, NOW - timedelta(hours=3)])
async def test_once_the_csms_has_told_no_jump_of_the_board_is_seen(board_first: datetime | None, board_then: datetime | None) -> None:
    board = Board(board_first)
    clock = Clock(board, "boot-1")
    clock.csms_time(NOW)
    await asyncio.sleep(60)
    board.at = board_then
    assert clock.now().utc == NOW + timedelta(seconds=60)
    assert clock.trust is ClockTrust.OCPP


# ------------------------------------------------------------------------------------------------------ the time service


@pytest.mark.pain(24)
@pytest.mark.virtual_time
@pytest.mark.parametrize("csms_s", [-86_400, -3, 0, 3, 59, 61, 86_400])
async def test_where_a_time_service_is_good_the_csms_moves_nothing(csms_s: int) -> None:
    """Two sources that take turns pull the clock to and fro; a great difference is for a person."""
    board = Board(NOW, is_synchronized=True)
    clock = Clock(board, "boot-1")
    for _ in range(3):
        assert clock.csms_time(NOW + timedelta(seconds=csms_s)) is None
        assert clock.now().utc == NOW
        assert clock.trust is ClockTrust.NTP
        assert clock.csms_differs is (abs(csms_s) > 60)
        assert clock.status().csms_ahead_s == csms_s
        await asyncio.sleep(300)
        board.at = NOW  # stands still


@pytest.mark.pain(23)
@pytest.mark.virtual_time
async def test_a_time_service_that_comes_after_the_csms_is_believed_and_leaves_without_a_jump() -> None:
    board = Board(NOW - timedelta(days=300))
    clock = Clock(board, "boot-1")
    clock.csms_time(NOW + timedelta(seconds=40))  # the CSMS is 40 s ahead
    await asyncio.sleep(100)
    assert clock.now().utc == NOW + timedelta(seconds=140)
    board.at, board.has_service = NOW + timedelta(seconds=100), True
    assert clock.trust is ClockTrust.NTP
    assert clock.now().utc == NOW + timedelta(seconds=100)
    board.at, board.has_service = NOW - timedelta(days=300), False  # the service dies, and somebody sets the clock back
    await asyncio.sleep(20)
    assert clock.trust is ClockTrust.OCPP
    assert clock.now().utc == NOW + timedelta(seconds=120)


async def test_a_time_service_that_says_1970_is_none() -> None:
    clock = Clock(Board(datetime(1970, 1, 1, tzinfo=UTC), is_synchronized=True), "boot-1")
    assert (clock.trust, clock.now().utc) == (ClockTrust.UNKNOWN, None)


async def test_a_wrong_time_on_disk_does_not_outlive_a_time_service() -> None:
    clock = Clock(Board(NOW, is_synchronized=True), "boot-1")
    clock.set_floor(NOW + timedelta(days=3000))
    assert (clock.trust, clock.now().utc) == (ClockTrust.NTP, NOW)


@pytest.mark.parametrize(
    ("result", "status", "maxerror_us", "expected"),
    [
        (0, 0x2001, 500_000, True),  # STA_PLL | STA_NANO, as systemd-timesyncd leaves it
        (0, 0, 1_000, True),
        (1, 0x0011, 1_000, True),  # a leap second at the end of the day
        (0, 0x0040, 1_000, False),  # STA_UNSYNC
        (5, 0x0001, 1_000, False),  # TIME_ERROR
        (0, 0x0001, 16_000_000, False),  # nobody corrected it for hours
        (-1, 0, 0, False),  # EPERM in a locked-down sandbox
    ],
)
def test_what_the_kernel_says_of_its_clock(result: int, status: int, maxerror_us: int, expected: bool) -> None:
    assert ntp.is_synchronized(result, status, maxerror_us) is expected


def test_the_kernel_is_asked_and_answers_as_its_own_tool_would() -> None:
    """The real system call: the structure is the kernel's, so the fields that nothing else reads make sense as well."""
    timex = ntp.Timex()
    result = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    assert result in range(6)
    assert (result == 5) >= bool(timex.status & 0x40)  # unsynchronized is always TIME_ERROR
    assert 0 <= timex.maxerror <= 16_000_000
    assert SystemClock().is_synchronized() is ntp.is_synchronized(result, timex.status, timex.maxerror)


@pytest.mark.pain(25)
@pytest.mark.virtual_time
@pytest.mark.parametrize("is_ntp", [False, True])
async def test_what_the_board_said_before_is_known_when_it_was_wrong(is_ntp: bool) -> None:
    """The clock jumps once by itself, and then somebody trusted speaks: the moments before get their time from there."""
    board = Board(NOW - timedelta(days=9))
    clock = Clock(board, "boot-1")
    assert clock.wrong_board_utc(clock.now()) is None, "nobody knows better"
    board.at = NOW - timedelta(days=3)
    clock.now()
    await asyncio.sleep(1000)
    board.at = NOW + timedelta(seconds=1000)
    if is_ntp:
        clock.now()  # the service has set it, and says so a moment later
        board.has_service = True
        assert clock.trust is ClockTrust.NTP
    else:
        board.at = NOW - timedelta(days=3) + timedelta(seconds=1000)
        clock.csms_time(NOW + timedelta(seconds=1000))
    assert clock.wrong_board_utc(clock.now()) == NOW - timedelta(days=3) + timedelta(seconds=1000)


@pytest.mark.parametrize("board", [None, NOW, NOW + timedelta(seconds=1)])
async def test_a_board_that_was_right_or_silent_leaves_nothing_to_repair(board: datetime | None) -> None:
    clock = Clock(Board(board), "boot-1")
    clock.now()
    clock.csms_time(NOW)
    assert clock.wrong_board_utc(clock.now()) is None


# ------------------------------------------------------------------------------------------------------ what is on disk


@pytest.mark.virtual_time
async def test_the_disk_says_how_early_it_cannot_be_and_nothing_more() -> None:
    clock = Clock(Board(None), "boot-1")
    assert (clock.trust, clock.not_before()) == (ClockTrust.UNKNOWN, NOT_BEFORE)
    clock.set_last_synchronized(NOW)
    await asyncio.sleep(3600)
    assert clock.trust is ClockTrust.PERSISTED
    assert clock.not_before() == NOW + timedelta(hours=1)
    assert clock.now().utc is None, "no timestamp is made of it"
    assert clock.ntp_utc() is None


async def test_a_board_that_was_years_ahead_once_is_no_measure_for_certificates() -> None:
    """The newest time on disk came from a battery clock that somebody has put right since: TLS must not be locked out until then."""
    clock = Clock(Board(NOW), "boot-1")
    clock.set_floor(NOW + timedelta(days=3000))
    clock.set_last_synchronized(NOW - timedelta(days=3))
    assert (clock.trust, clock.now().utc) == (ClockTrust.PERSISTED, None)
    assert clock.not_before() < NOW


@pytest.mark.virtual_time
async def test_an_agent_that_restarts_in_the_same_boot_knows_the_time_at_once() -> None:
    told_ms = Clock(Board(None), "boot-1").now().mono_ms
    await asyncio.sleep(500)
    clock = Clock(Board(None), "boot-1")
    clock.resume(told_ms, NOW)
    assert clock.now().utc == NOW + timedelta(seconds=500)
    assert clock.trust is ClockTrust.OCPP
    assert clock.status().synchronized_s == 500


async def test_an_anchor_of_the_future_is_not_resumed() -> None:
    clock = Clock(Board(None), "boot-1")
    clock.resume(clock.now().mono_ms + 60_000, NOW)
    assert clock.trust is ClockTrust.UNKNOWN


@pytest.mark.pain(23)
@pytest.mark.virtual_time
async def test_the_age_of_the_last_synchronization_is_counted_from_each_source_and_over_a_restart() -> None:
    board = Board(NOW)
    clock = Clock(board, "boot-1")
    assert clock.status().synchronized_s is None
    clock.set_last_synchronized(NOW - timedelta(hours=5))
    assert clock.status().synchronized_s == 5 * 3600
    clock.csms_time(NOW)
    await asyncio.sleep(70)
    assert clock.status().synchronized_s == 70
    board.at, board.has_service = NOW, True
    await asyncio.sleep(20)
    assert clock.trust is ClockTrust.NTP
    assert clock.status().synchronized_s == 0
    assert clock.status().csms_told_s == 90


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
