"""Looks after the chain of finished sessions: removes what is older than the retention allows."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from agent.domain.errors import StoreError
from agent.domain.time import ClockTrust, Instant
from agent.store.store import Store

_log = logging.getLogger("agent.keeper")

FIRST_LOOK_S: Final = 600.0
"""A start has better things to do, and the time may not be known yet."""
LOOK_S: Final = 6 * 3600.0


class Keeper:
    """`run` is the task; nothing that charging depends on happens in it."""

    def __init__(self, store: Store, *, now: Callable[[], Instant], trust: Callable[[], ClockTrust], retention_days: int) -> None:
        self._store = store
        self._now = now
        self._trust = trust
        self._retention = timedelta(days=retention_days)

    async def run(self) -> None:
        """Until cancelled."""
        if self._retention:
            await self._forget_for_ever()

    async def _forget_for_ever(self) -> None:
        wait_s = FIRST_LOOK_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = LOOK_S
            await self.forget()

    async def forget(self) -> int:
        """Remove what is too old; gives the number of rows. A clock that nobody vouches for removes nothing."""
        utc = self._now().utc
        if utc is None or not self._retention or self._trust() not in (ClockTrust.NTP, ClockTrust.OCPP):
            return 0
        try:
            count = await self._store.forget_before(utc - self._retention)
        except StoreError as error:
            _log.warning("sessions beyond the retention could not be removed: %s", error)
            return 0
        if count:
            _log.info("removed %d rows of sessions that ended more than %d days ago", count, self._retention.days)
        return count
