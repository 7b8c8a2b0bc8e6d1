"""The newest view wins, the loop is never held up, and an output that fails is not the end."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.domain.screen import Notice, ScreenKind, StationView
from agent.qr_display import display as display_module
from agent.qr_display.display import Display, DisplaySettings
from agent.qr_display.render import Frame, QrQuality
from tests.qr_display.decoding import codes_in
from tests.qr_display.examples import CLOCK, EXAMPLES, RUNNING, TARIFF, URL, evse, station

STARTING = station(EXAMPLES[ScreenKind.STARTING])
AVAILABLE = station(EXAMPLES[ScreenKind.AVAILABLE])


class Screen:
    """An output that remembers, can be told to fail, and can be held up until let go."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.threads: set[str] = set()
        self.error: OSError | None = None
        self.free = threading.Event()
        self.free.set()
        self.busy = threading.Event()

    def show(self, frame: Frame) -> None:
        self.busy.set()
        assert self.free.wait(20)
        self.threads.add(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        self.frames.append(frame)

    @property
    def views(self) -> list[StationView | None]:
        return [frame.view for frame in self.frames]


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
async def display(screen: Screen) -> AsyncIterator[Display]:
    display = Display(screen, DisplaySettings(size="320x240"))
    yield display
    screen.free.set()
    display.close()


async def _busy(screen: Screen) -> None:
    async with asyncio.timeout(20):
        while not screen.busy.is_set():
            await asyncio.sleep(0.002)


async def test_a_view_is_drawn_in_the_worker_thread(display: Display, screen: Screen) -> None:
    await display.show(AVAILABLE)
    assert screen.views == [AVAILABLE]
    assert codes_in(screen.frames[0]) == [URL]
    assert threading.current_thread().name not in screen.threads


async def test_an_equal_view_is_not_drawn_again(display: Display, screen: Screen) -> None:
    await display.show(AVAILABLE)
    await display.show(replace(AVAILABLE, evses=tuple(AVAILABLE.evses)))
    await display.show(replace(AVAILABLE, clock=CLOCK + timedelta(seconds=59)))
    assert display.drawn == len(screen.frames) == 1
    await display.show(replace(AVAILABLE, clock=CLOCK + timedelta(seconds=60)))
    assert display.drawn == len(screen.frames) == 2


async def test_only_the_newest_of_the_waiting_views_is_drawn(display: Display, screen: Screen) -> None:
    screen.free.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(display.show(STARTING))
        await _busy(screen)
        for energy_wh in range(50):
            group.create_task(display.show(station(evse(ScreenKind.CHARGING, **{**RUNNING, "energy_wh": energy_wh}))))
        group.create_task(display.show(AVAILABLE))
        await asyncio.sleep(0)
        screen.free.set()
    assert screen.views == [STARTING, AVAILABLE]


async def test_the_loop_runs_while_a_slow_output_is_busy(display: Display, screen: Screen) -> None:
    screen.free.clear()
    task = asyncio.create_task(display.show(AVAILABLE))
    await _busy(screen)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done()
    screen.free.set()
    await task
    assert screen.views == [AVAILABLE]


async def test_a_cancelled_show_leaves_the_display_usable(display: Display, screen: Screen) -> None:
    screen.free.clear()
    task = asyncio.create_task(display.show(STARTING))
    await _busy(screen)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    screen.free.set()
    await display.show(AVAILABLE)
    assert screen.views[-1] == AVAILABLE


async def test_a_failing_output_is_reported_once_and_tried_again(
    display: Display, screen: Screen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    screen.error = OSError(28, "No space left on device")
    await display.show(AVAILABLE)
    await display.show(AVAILABLE)
    assert display.problem is not None
    assert "No space left on device" in display.problem
    screen.error = None
    await display.show(AVAILABLE)
    assert (display.problem, screen.views) == (None, [AVAILABLE])
    assert [(record.levelname, "pictures" in record.message) for record in caplog.records] == [("WARNING", True), ("INFO", True)]


async def test_a_code_that_does_not_fit_is_warned_of_once_without_the_payload(
    display: Display, screen: Screen, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "one-time-password" + "x" * 300
    view = station(evse(ScreenKind.AVAILABLE, tariff=TARIFF, qr_payload=f"https://pay.example.com/{secret}"))
    await display.show(view)
    await display.show(replace(view, online=False))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "pay.example.com" in caplog.text
    assert "320x240" in caplog.text
    assert "one-time-password" not in caplog.text


async def test_the_chosen_language_and_level_are_used(screen: Screen) -> None:
    display = Display(screen, DisplaySettings(size="800x480", default_language="nb", quality=QrQuality.HIGH))
    try:
        await display.show(replace(AVAILABLE, language="xx"))
        await display.show(replace(AVAILABLE, language="nb"))
    finally:
        display.close()
    assert screen.frames[0].rgb == screen.frames[1].rgb
    assert (screen.frames[0].width, screen.frames[0].height) == (800, 480)
    assert codes_in(screen.frames[0]) == [URL]


def test_an_unknown_size_is_refused_with_the_known_ones(screen: Screen) -> None:
    with pytest.raises(ValueError, match=r"'640x480' is not known; allowed: 320x240, 800x480"):
        Display(screen, DisplaySettings(size="640x480"))


def _two(first: Notice = Notice.SCAN_TO_PAY, second: Notice = Notice.SCAN_TO_PAY) -> StationView:
    return station(
        *(
            evse(ScreenKind.AVAILABLE, number, notice=notice, tariff=TARIFF, qr_payload=f"https://pay.example.com/{number}")
            for number, notice in ((1, first), (2, second))
        )
    )


async def test_the_evse_where_something_happened_is_opened(display: Display, screen: Screen) -> None:
    await display.show(_two())
    await display.show(_two(second=Notice.PRESENT_TOKEN_OR_PAY))
    await display.show(replace(_two(second=Notice.PRESENT_TOKEN_OR_PAY), online=False))
    await display.show(_two(first=Notice.PRESENT_TOKEN_OR_PAY, second=Notice.PRESENT_TOKEN_OR_PAY))
    assert [codes_in(frame)[0][-1] for frame in screen.frames] == ["1", "2", "2", "1"]


async def test_the_pages_turn_so_that_every_code_is_seen(display: Display, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display_module, "TURN_S", 0.01)
    await display.show(_two())
    turning = asyncio.create_task(display.turn_pages())
    async with asyncio.timeout(20):
        while len(screen.frames) < 4:
            await asyncio.sleep(0.005)
    turning.cancel()
    await asyncio.gather(turning, return_exceptions=True)
    assert [codes_in(frame)[0][-1] for frame in screen.frames[:4]] == ["1", "2", "1", "2"]


async def test_a_single_evse_is_not_redrawn_by_turning(display: Display, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display_module, "TURN_S", 0.005)
    await display.show(AVAILABLE)
    turning = asyncio.create_task(display.turn_pages())
    await asyncio.sleep(0.05)
    turning.cancel()
    await asyncio.gather(turning, return_exceptions=True)
    assert len(screen.frames) == 1
