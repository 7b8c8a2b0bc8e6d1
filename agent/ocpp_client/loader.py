"""Fills the queue's window from the outbox. The only place that reads the outbox."""

import asyncio
import logging
from collections.abc import Callable

from agent.ocpp_client.adapter import Outbox
from agent.ocpp_client.queue import PAGE, Queue

RETRY_S = 5.0

_logger = logging.getLogger(__name__)


class RowLoader:
    """Reads pages while the queue wants rows. `loaded` is called when there is something new to send."""

    def __init__(
        self,
        outbox: Outbox,
        queue: Queue,
        *,
        is_accepted: Callable[[], bool],
        is_global: Callable[[], bool],
        loaded: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._queue = queue
        self._is_accepted = is_accepted
        self._is_global = is_global
        self._loaded = loaded
        self._kicked = asyncio.Event()

    def kick(self) -> None:
        """The outbox grew, the window shrank, or the link came up."""
        self._kicked.set()

    async def run(self) -> None:
        """Read whenever there is reason to. Does not end; what the disk does is logged and tried again."""
        while True:
            self._kicked.clear()
            try:
                await self._read_what_is_wanted()
            except Exception:
                _logger.exception("the outbox could not be read; trying again in %g s", RETRY_S)
                self._queue.load_failed()
                await asyncio.sleep(RETRY_S)
                continue
            await self._kicked.wait()

    async def _read_what_is_wanted(self) -> None:
        while True:
            if self._is_accepted() and not self._queue.knows_late_rows:
                self._queue.set_late_up_to(await newest_row(self._outbox, self._queue))
                self._loaded()
            after = self._queue.load_after(is_global=self._is_global())
            if after is None:
                return
            self._queue.add(await self._outbox.rows(after, PAGE))
            self._loaded()


async def newest_row(outbox: Outbox, queue: Queue) -> int:
    """The newest row's number, found with few reads of one row each: the outbox can only be read upwards."""
    newest = queue.newest_known()
    if not queue.has_more:
        return newest
    step = 1
    while rows := await outbox.rows(newest + step - 1, 1):
        newest = rows[0].row_id
        step *= 2
    below, above = newest, newest + step - 1
    while below < above:
        middle = (below + above) // 2
        rows = await outbox.rows(middle, 1)
        if rows:
            below = newest = rows[0].row_id
        else:
            above = middle
    return newest
