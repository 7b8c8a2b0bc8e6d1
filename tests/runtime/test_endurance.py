"""What the whole daemon writes and says while nothing happens and while somebody charges: in virtual time, with a real portal and meter."""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.domain.authorization import IdToken
from agent.store.wear import Cost
from simulator.chaos.plan import Plan, SessionState
from simulator.chaos.site import CARD, EVSE, ChaosSite

MB = 1_000_000
DAY_S = 86_400
HOUR_S = 3_600
PLAN = Plan(seed=1, version="1.6", has_lock=False, power_loss_policy="stop", read_every_s=1.0, visits=())
pytestmark = pytest.mark.virtual_time


class Lines(logging.Handler):
    """What would be in the journal."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seen: Counter[tuple[str, str]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.seen[record.name, record.getMessage()] += 1


@contextmanager
def logged() -> Iterator[Lines]:
    lines, logger = Lines(), logging.getLogger("agent")
    level = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(lines)
        logger.setLevel(level)


def files(folder: Path) -> dict[str, int]:
    """Size and moment of change of everything the daemon keeps."""
    return {str(each.relative_to(folder)): each.stat().st_mtime_ns for each in folder.rglob("*") if each.is_file()}


async def counted(site: ChaosSite) -> Cost:
    assert site.app is not None
    return (await site.app.store.storage()).total


@pytest.mark.pain(88)
async def test_an_idle_charger_writes_nothing_and_says_nothing(tmp_path: Path) -> None:
    """Connected, its meter read every second, heartbeats on the line: half an hour leaves no byte and no line."""
    async with ChaosSite(tmp_path, PLAN) as site:
        assert await site.comes_to(SessionState.FREE, 60)
        await asyncio.sleep(120)
        with logged() as lines:
            before, kept = await counted(site), files(site.disk)
            await asyncio.sleep(HOUR_S / 2)
            assert await counted(site) - before == Cost()
            assert files(site.disk) == kept, "no file of the daemon was touched"
        assert lines.seen == {}
        await site.leave()
        assert site.violations == []


@pytest.mark.pain(88)
async def test_a_charging_hour_stays_within_the_flash_budget(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Values every 60 s: a start and four times a measured quarter stay below 2 MB, also in blocks of the flash."""
    async with ChaosSite(tmp_path, PLAN, sample_interval_s=60) as site:
        assert await site.comes_to(SessionState.FREE, 60)
        await asyncio.sleep(10)
        assert site.app is not None
        before, recorded = await counted(site), site.app.recorder.written_bytes
        site.rig.world.plug_in(EVSE, max_current_a=32, phases=3, delay_s=1)
        site.rig.world.swipe(IdToken(CARD), EVSE)
        assert await site.comes_to(SessionState.CHARGING, 60)
        await asyncio.sleep(20)
        begun, begun_recorded = await counted(site), site.app.recorder.written_bytes
        with logged() as lines:
            await asyncio.sleep(HOUR_S / 4)
        quarter = await counted(site) - begun
        hour = sum([quarter] * 4, begun - before)
        recorder = begun_recorded - recorded + 4 * (site.app.recorder.written_bytes - begun_recorded)
        record_property("charging hour", f"{hour} recorder {recorder}")
        print(f"charging hour: {hour}, recorder {recorder} bytes, lines {sum(lines.seen.values())}")
        assert hour.syncs < 140
        assert hour.written_bytes + recorder < 1.25 * MB
        assert hour.flash_bytes + recorder < 2.0 * MB
        assert sum(lines.seen.values()) <= 2, lines.seen
        site.rig.world.unplug(EVSE)
        await site.comes_to(SessionState.FREE, 60)
        await site.leave()
        assert site.violations == []


@pytest.mark.pain(89)
async def test_what_is_kept_in_memory_does_not_grow_with_time(tmp_path: Path) -> None:
    """Sessions come and go; afterwards the process is as large as before, within what its bounded rings take."""
    async with ChaosSite(tmp_path, PLAN) as site:
        assert await site.comes_to(SessionState.FREE, 60)
        sizes: list[int] = []
        for _ in range(12):
            site.rig.world.plug_in(EVSE, max_current_a=32, phases=3, delay_s=0)
            site.rig.world.swipe(IdToken(CARD), EVSE)
            assert await site.comes_to(SessionState.CHARGING, 60)
            await asyncio.sleep(15)
            site.rig.world.unplug(EVSE)
            assert await site.comes_to(SessionState.FREE, 60)
            await asyncio.sleep(5)
            sizes.append(resident_kib())
        await site.leave()
        assert site.violations == []
    assert sizes[-1] - sizes[3] < 6 * 1024, sizes


def resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
