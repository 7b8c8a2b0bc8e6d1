"""Keeps an output showing the newest view: draws beside the event loop, only what changed, and never more than one picture behind."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.domain.values import dataclass
from agent.qr_display.content import host_of
from agent.qr_display.design import LAYOUTS, Layout
from agent.qr_display.render import MIN_MODULE_PX, QrQuality
from agent.qr_display.words import ENGLISH

if TYPE_CHECKING:
    from datetime import tzinfo

    from agent.domain.screen import EvseView, StationView
    from agent.qr_display.api import Output

LOGGER = logging.getLogger(__name__)

_Unfit = tuple[str, int]
"""Host and length of a payload that could not be drawn. Not the payload: it may hold a one-time code."""

TURN_S = 10.0
"""How long one EVSE's code stays when several share a small screen: long enough to lift a phone and scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplaySettings:
    """What does not change while the charger runs. `timezone` None: the machine's. `default_language`: for unknown ones."""

    size: str = "800x480"
    default_language: str = ENGLISH
    serial_number: str = ""
    timezone: tzinfo | None = None
    quality: QrQuality = QrQuality.MEDIUM

    def layout(self) -> Layout:
        """The layout of `size`. Raises ValueError with the sizes that there are."""
        try:
            return LAYOUTS[self.size]
        except KeyError:
            raise ValueError(f"display size {self.size!r} is not known; allowed: {', '.join(LAYOUTS)}") from None


class Display:
    """One output with one worker thread. Call `show` with every new view; run `turn_pages` beside it; `close` at the end.

    Where more EVSEs than columns share the screen, the one whose state changed last is shown, and `turn_pages` shows them in turn.
    """

    def __init__(self, output: Output, settings: DisplaySettings) -> None:
        """Raises ValueError for an unknown size. Imports nothing heavy: the first picture does."""
        self._output = output
        self._settings = settings
        self._layout = settings.layout()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="display")
        self._drawing = asyncio.Lock()
        self._pending: StationView | None = None
        self._newest: StationView | None = None
        self._shown: tuple[StationView, int] | None = None
        self._page = 0
        self._page_since = 0.0
        self._unfit: frozenset[_Unfit] = frozenset()
        self.problem: str | None = None
        self.drawn = 0

    async def show(self, view: StationView) -> None:
        """Returns when this view, or a newer one, was drawn (or could not be shown: then `problem` says why). Only the newest waits."""
        view = _to_the_minute(view)
        loop_time = asyncio.get_running_loop().time()
        page = _page_to_open(self._newest, view, self._layout.columns)
        if page is not None:
            self._page, self._page_since = page, loop_time
        self._newest = self._pending = view
        async with self._drawing:
            newest, self._pending = self._pending, None
            if newest is not None:
                await self._draw(newest)

    async def turn_pages(self) -> None:
        """Shows the EVSEs in turn where they do not fit side by side. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            wait = self._page_since + TURN_S - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            self._page_since = loop.time()
            if self._newest is not None and len(self._newest.evses) > self._layout.columns:
                self._page = (self._page + 1) % len(self._newest.evses)
                await self.show(self._newest)

    def close(self) -> None:
        """Lets the worker go; a picture that is being drawn is finished first, but not waited for."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _draw(self, view: StationView) -> None:
        page = self._page if len(view.evses) > self._layout.columns else 0
        if self._shown == (view, page):
            return
        unfit, error = await asyncio.get_running_loop().run_in_executor(self._worker, self._draw_and_output, view, page)
        self.drawn += 1
        # A display that fell out must not end the daemon; the next view tries again.
        self._shown = (view, page) if error is None else None
        self._report(error)
        self._warn_about(unfit)

    def _draw_and_output(self, view: StationView, page: int) -> tuple[frozenset[_Unfit], OSError | None]:
        """In the worker thread. PIL, Babel and segno are imported here, when the first picture is due."""
        from agent.qr_display.screens import ScreenOptions, compose

        settings = self._settings
        options = ScreenOptions(
            serial_number=settings.serial_number,
            timezone=settings.timezone,
            quality=settings.quality,
            default_language=settings.default_language,
        )
        canvas = compose(view, self._layout, page=page, options=options)
        frame = canvas.frame(view)
        error: OSError | None = None
        try:
            self._output.show(frame)
        except OSError as failure:
            error = failure
        return frozenset((host_of(payload) or "", len(payload)) for payload in canvas.unfit_payloads), error

    def _report(self, error: OSError | None) -> None:
        problem = None
        if error is not None:
            problem = f"the display output does not accept pictures ({error}); check the cable, the path and the free space"
        if problem is not None and problem != self.problem:
            LOGGER.warning(problem)
        elif problem is None and self.problem is not None:
            LOGGER.info("the display output accepts pictures again")
        self.problem = problem

    def _warn_about(self, unfit: frozenset[_Unfit]) -> None:
        for host, length in sorted(unfit - self._unfit):
            LOGGER.warning(
                "the QR code for %s (%d characters, level %s) does not fit a %s display with %d px per module: the screen names the host "
                "instead; use a shorter URL template or a lower QRCodeQuality",
                host,
                length,
                self._settings.quality.name,
                self._layout.name,
                MIN_MODULE_PX,
            )
        self._unfit = unfit


def _to_the_minute(view: StationView) -> StationView:
    """Screens show hours and minutes, so a second alone is no reason to draw."""
    return view if view.clock is None else replace(view, clock=view.clock.replace(second=0, microsecond=0))


def _page_to_open(before: StationView | None, view: StationView, columns: int) -> int | None:
    """The EVSE at which something happened since the view before, None when the open page may stay."""
    if before is None or len(view.evses) <= columns or len(before.evses) != len(view.evses):
        return 0 if before is None or len(before.evses) != len(view.evses) else None
    changed = [index for index, (old, new) in enumerate(zip(before.evses, view.evses, strict=True)) if _state(old) != _state(new)]
    return changed[-1] if changed else None


def _state(evse: EvseView) -> tuple[object, ...]:
    return evse.kind, evse.notice, evse.fault
