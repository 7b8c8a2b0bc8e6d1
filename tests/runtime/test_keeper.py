"""Who looks after the chain: retention, and only by a clock that somebody vouches for."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from agent.domain.time import ClockTrust, Instant
from agent.runtime.keeper import FIRST_LOOK_S, Keeper
from agent.store.store import FILE_NAME, Store
from tests.store.build import BOOT, EPOCH, TOKEN
from tests.store.test_erasure import charge_with
from tests.store.test_ledger import opened, proved
from tests.virtual_time import VirtualTimeLoop


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as store:
        for number in range(1, 5):
            await charge_with(store, number, TOKEN, day=number)
        yield store


def keeper(store: Store, *, days: int = 10, trust: ClockTrust = ClockTrust.NTP, day: int | None = 13) -> Keeper:
    utc = None if day is None else EPOCH + timedelta(days=day)
    return Keeper(store, now=lambda: Instant(BOOT, 0, utc), trust=lambda: trust, retention_days=days)


async def test_what_is_too_old_is_removed(store: Store, tmp_path: Path) -> None:
    assert await keeper(store).forget() == 2
    assert (proved(tmp_path / FILE_NAME).is_sound, proved(tmp_path / FILE_NAME).sessions) == (True, 2)


@pytest.mark.parametrize(
    ("trust", "day"), [(ClockTrust.RTC, 13), (ClockTrust.PERSISTED, 13), (ClockTrust.UNKNOWN, None), (ClockTrust.NTP, None)]
)
async def test_a_doubtful_clock_removes_nothing(store: Store, trust: ClockTrust, day: int | None) -> None:
    assert await keeper(store, trust=trust, day=day).forget() == 0


async def test_without_retention_nothing_is_removed(store: Store) -> None:
    keeps = keeper(store, days=0, day=4000)
    await keeps.run()
    assert await keeps.forget() == 0


def test_it_is_looked_again_and_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as store:
            for number in range(1, 5):
                await charge_with(store, number, TOKEN, day=number)
            loop = asyncio.get_running_loop()
            now = [EPOCH]
            keeps = Keeper(store, now=lambda: Instant(BOOT, 0, now[0]), trust=lambda: ClockTrust.OCPP, retention_days=10)
            task = loop.create_task(keeps.run())
            left = []
            for day in (0, 13, 14, 30):
                now[0] = EPOCH + timedelta(days=day)
                await asyncio.sleep(FIRST_LOOK_S + 86_400)
                left.append(len(await store.sessions()))
            assert left == [4, 2, 1, 0]
            task.cancel()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(story())
