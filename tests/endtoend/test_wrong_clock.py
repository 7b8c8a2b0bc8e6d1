"""A board that does not know the time, or is told another one in the middle of a session: what reaches the portal has the right times."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.store.store import FILE_NAME
from tests.endtoend.conftest import Template
from tests.endtoend.prepared import running
from tests.endtoend.rig import Charger

CARD = "CAFE0001"
OFFLINE_CARDS = {"AuthCtrlr.OfflineTxForUnknownIdEnabled": True}
CLOSE = timedelta(seconds=2)


def now() -> datetime:
    return datetime.now(UTC)


async def trust(charger: Charger) -> str:
    status: Any = await charger.diagnose("status")
    return str(status["clock"]["trust"])


def forget_the_time(charger: Charger) -> None:
    """The charger was prepared in this boot of the machine: without its anchor it is a board that has just woken up."""
    with closing(sqlite3.connect(charger.state / FILE_NAME)) as db, db:
        assert db.execute("DELETE FROM clock_anchors").rowcount == 1


@pytest.mark.pain(22)
@pytest.mark.pain(25)
@pytest.mark.parametrize(("version", "is_killed"), [("1.6", True), ("2.0.1", False)])
async def test_a_session_without_any_clock_gets_its_times_when_the_portal_tells_the_time(
    template: Template, tmp_path: Path, version: str, is_killed: bool
) -> None:
    """A board without a battery starts offline: the whole session is over before anybody knows what time it was.

    And the agent may be killed meanwhile: the kernel's boot, and with it the monotonic clock, goes on.
    """
    async with running(await template(version), tmp_path / "c", starts=False, version=version, variables=OFFLINE_CARDS) as charger:
        forget_the_time(charger)
        await charger.control("clock.set", utc="unknown")
        await charger.control("network.down", mode="close")
        charger.portal.add_card(CARD)
        before = await charger.register()
        await charger.start_daemon()
        assert await trust(charger) == "persisted"
        await charger.watch(lambda: charger.holds("meter"), "the meter was read")
        await charger.plug_in()
        begun = now()
        await charger.control("rfid.swipe", token=CARD, evse=1)
        await charger.charge()
        ended = now()
        await charger.control("rfid.swipe", token=CARD, evse=1)
        await charger.watch(lambda: charger.screen_is("finished"), "the session has ended here")
        await charger.unplug()
        assert charger.portal.books() == []
        if is_killed:
            await charger.kill_daemon()
            await charger.start_daemon()
        await charger.control("network.up")
        await charger.watch(charger.is_free, "everything is delivered")
        assert await trust(charger) == "ocpp"
        assert await charger.differences(before) == []
        (row,) = charger.portal.books()
        assert row.started_at is not None
        assert row.stopped_at is not None
        assert abs(row.started_at - begun) < CLOSE
        assert timedelta(0) < row.stopped_at - ended < CLOSE + timedelta(seconds=2)
        moments = [datetime.fromisoformat(message["at"]) for message in charger.messages()]
        assert moments == sorted(moments)


@pytest.mark.parametrize(("version", "jump"), [("1.6", timedelta(days=-1)), ("2.0.1", timedelta(days=1))])
async def test_a_clock_that_jumps_in_a_session_changes_neither_its_length_nor_its_cost(
    template: Template, tmp_path: Path, version: str, jump: timedelta
) -> None:
    async with running(await template(version), tmp_path / "c", version=version) as charger:
        before = await charger.register()
        begun = now()
        key = await charger.session()
        await charger.control("clock.set", utc=(now() + jump).isoformat())
        await charger.charge()
        await charger.finish(key)
        took = now() - begun
        assert await charger.differences(before, key) == []
        (row,) = charger.portal.books()
        assert row.seconds is not None
        assert 0 < row.seconds <= Decimal(took.total_seconds())
        assert row.started_at is not None
        assert abs(row.started_at - begun) < 2 * CLOSE
        moments = [datetime.fromisoformat(message["at"]) for message in charger.messages()]
        assert moments == sorted(moments)
        assert moments[-1] < now() + CLOSE
