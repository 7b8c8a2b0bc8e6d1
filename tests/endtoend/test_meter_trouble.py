"""The meter falls silent, starts again or is swapped in the middle of a session: told, never invented, billed as far as it is known."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from simulator.portal import PaymentState
from tests.endtoend.conftest import Template
from tests.endtoend.prepared import running
from tests.endtoend.rig import SERIAL, STATION, Charger

STALE_S = 5
"""Without a good reading for so long the meter is lost."""
WH_PER_S = Decimal(7)
"""32 A on three phases, rounded up."""


async def silence(charger: Charger, kind: str = "meter_silent") -> tuple[Decimal, datetime]:
    """The meter does not answer any more; gives its register and the time of this moment."""
    register = await charger.register()
    await charger.control("fault.set", kind=kind, evse=1)
    return register, datetime.now(UTC)


async def is_lost(charger: Charger) -> None:
    async def check() -> bool:
        found: Any = await charger.diagnose("meter")
        return bool(found["meters"][0]["is_lost"])

    await charger.watch(check, "the meter is lost")


def sampled_after(charger: Charger, moment: datetime) -> list[tuple[Any, ...]]:
    """Registers that the charger claims to have read after a moment."""
    return [(row.last_at, row.last_wh) for row in charger.portal.books() if row.last_at is not None and row.last_at > moment]


@pytest.mark.pain(49)
@pytest.mark.parametrize(("version", "kind"), [("1.6", "meter_silent"), ("2.0.1", "meter_nan")])
async def test_a_silent_meter_ends_the_session_with_the_last_register_that_was_read(
    template: Template, tmp_path: Path, version: str, kind: str
) -> None:
    async with running(await template(version), tmp_path / "c", version=version, session='on_meter_loss = "stop"') as charger:
        before = await charger.register()
        key = await charger.session()
        register, moment = await silence(charger, kind)
        payment = await charger.settled(key)
        assert payment.state is PaymentState.CAPTURED
        (row,) = charger.portal.books()
        assert row.stop_reason == "Other"
        assert row.stop_wh is not None
        assert register - 2 * WH_PER_S <= row.stop_wh <= register
        assert await charger.differences(before, key, is_estimated=True) == []
        assert sampled_after(charger, moment) == [], "nothing was invented"
        if version == "1.6":  # 2.0.1 has no error codes in StatusNotification
            assert {one.error for one in charger.portal.connectors(SERIAL) if one.evse == 1} == {"PowerMeterFailure"}
        await charger.sees(lambda: charger.portal.refusal(STATION, 1) is not None, "the portal does not sell here")
        assert (await charger.blocker())["name"] == "meter"
        await charger.control("fault.clear", kind=kind, evse=1)
        await charger.unplug()
        await charger.watch(charger.is_free, "the EVSE is free again when the meter answers")


@pytest.mark.pain(50)
async def test_a_session_waits_for_its_meter_as_long_as_it_was_told_to(template: Template, tmp_path: Path) -> None:
    policy = f'on_meter_loss = "stop_after"\nmeter_loss_timeout_s = {STALE_S}'
    async with running(await template("2.0.1"), tmp_path / "c", session=policy) as charger:
        before = await charger.register()
        key = await charger.session()
        register, moment = await silence(charger)
        await is_lost(charger)
        assert (await charger.world_evse())["contactor"]["is_closed"], "it is waited for"
        await charger.settled(key)
        stopped = datetime.now(UTC)
        assert (stopped - moment).total_seconds() > 2 * STALE_S - 2
        (row,) = charger.portal.books()
        assert row.stop_wh is not None
        assert register - 2 * WH_PER_S <= row.stop_wh <= register
        assert await charger.differences(before, key, is_estimated=True) == []
        assert sampled_after(charger, moment) == []


@pytest.mark.parametrize("policy", ['on_meter_loss = "continue"', 'on_meter_loss = "stop_after"\nmeter_loss_timeout_s = 60'])
async def test_a_meter_that_comes_back_in_time_gives_the_exact_energy(template: Template, tmp_path: Path, policy: str) -> None:
    async with running(await template("1.6"), tmp_path / "c", version="1.6", session=policy) as charger:
        before = await charger.register()
        key = await charger.session()
        register, moment = await silence(charger)
        await is_lost(charger)
        await charger.sees(
            lambda: {one.error for one in charger.portal.connectors(SERIAL) if one.evse == 1} == {"PowerMeterFailure"},
            "the portal is told that the meter failed",
        )
        assert (await charger.evse())["charging_state"] == "Charging"
        assert await charger.register() > register, "energy flows unmeasured"
        assert sampled_after(charger, moment) == []
        await charger.control("fault.clear", kind="meter_silent", evse=1)
        await charger.sees(lambda: sampled_after(charger, moment), "values come again")
        await charger.finish(key)
        assert await charger.differences(before, key) == []


@pytest.mark.pain(53)
@pytest.mark.parametrize(("version", "kind"), [("1.6", "meter_reset"), ("2.0.1", "meter_swap")])
async def test_a_register_that_begins_anew_ends_the_session_at_the_last_good_value(
    template: Template, tmp_path: Path, version: str, kind: str
) -> None:
    async with running(await template(version), tmp_path / "c", version=version) as charger:
        before = await charger.register()
        key = await charger.session()
        register, _ = await silence(charger, kind)
        await charger.settled(key)
        (row,) = charger.portal.books()
        assert row.stop_wh is not None
        assert row.start_wh == int(before)
        assert register - 2 * WH_PER_S <= row.stop_wh <= register
        assert await charger.differences(before, key, is_estimated=True) == []
        assert await charger.events("meter_discontinuity")
        await charger.unplug()
        await charger.watch(charger.is_free, "the EVSE is free again, with the new register")
        (stored,) = await charger.sessions()
        assert stored["meter_serial_number"] == "24115071", "the meter that began it"
        old, new = stored["segments"]
        assert (old["is_billed"], old["serial_number"], old["ended_by"]) == (True, "24115071", kind.removeprefix("meter_"))
        assert (old["start_wh"], old["stop_wh"]) == (stored["register_start_wh"], stored["register_stop_wh"])
        assert (new["is_billed"], new["ended_by"]) == (False, None)
        assert Decimal(new["start_wh"]) < Decimal(new["stop_wh"]), "what flowed until the contactor was open is in the books"


@pytest.mark.pain(53)
@pytest.mark.parametrize(("version", "kind", "ended_by"), [("1.6", "meter_swap", "swap"), ("2.0.1", "meter_reset", "reset")])
async def test_a_meter_that_is_exchanged_during_a_cut_is_not_billed(
    template: Template, tmp_path: Path, version: str, kind: str, ended_by: str
) -> None:
    async with running(await template(version), tmp_path / "c", version=version) as charger:
        before = await charger.register()
        key = await charger.session()
        await charger.kill_daemon()
        register = await charger.register()
        await charger.control("fault.set", kind=kind, evse=1)
        await charger.start_daemon()
        await charger.settled(key)
        (row,) = charger.portal.books()
        assert row.stop_wh is not None
        assert int(before) <= row.stop_wh <= register, "the last stored register of the meter that began it"
        assert await charger.differences(before, key, is_estimated=True) == []
        (stored,) = await charger.sessions()
        old, new = stored["segments"]
        assert (old["stop_wh"], old["ended_by"], new["is_billed"]) == (stored["register_stop_wh"], ended_by, False)
        await charger.unplug()
        await charger.watch(charger.is_free, "the EVSE is free again, with the new meter")
