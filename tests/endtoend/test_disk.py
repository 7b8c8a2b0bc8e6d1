"""A disk that is full or read-only: the daemon says so and does not die, and what runs is recorded to its end on the reserve."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from simulator.demo.site import TARIFF
from simulator.portal import PaymentState
from simulator.portal.portal import Refusal
from tests.endtoend.conftest import Template
from tests.endtoend.prepared import running
from tests.endtoend.rig import SERIAL, STATION, Charger
from tests.store.test_trouble import fill, mount


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 6 MiB, for the store."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


async def storage_has_failed(charger: Charger) -> bool:
    status: Any = await charger.diagnose("status")
    return bool(status["storage"]["trouble"])


async def everything_is_written(charger: Charger) -> bool:
    return not await storage_has_failed(charger) and bool(await charger.events("storage_recovered"))


async def kilowatt_hour_costs(charger: Charger) -> str:
    """The price in force, as the charger knows it."""
    found: Any = await charger.diagnose("config", name="TariffCostCtrlr.OfflineChargingPrice[kWhPrice]")
    return str(found[0]["value"])


@pytest.mark.pain(86)
async def test_a_full_disk_is_told_while_nobody_charges_and_cured_without_a_restart(template: Template, tmp_path: Path, disk: Path) -> None:
    shutil.copytree(await template("1.6") / "state", disk / "state")
    async with running(await template("1.6"), tmp_path / "c", version="1.6", state=disk / "state") as charger:
        await charger.sees(lambda: charger.portal.refusal(STATION, 1) is None, "the portal sells here")
        ballast = fill(disk)
        await charger.watch(lambda: storage_has_failed(charger), "the full disk is noticed, although nothing is written")
        price = Decimal("4.60")
        charger.portal.set_group_price(replace(TARIFF, price_kwh=price))
        await charger.sees(lambda: charger.portal.settings_are_current(SERIAL), "the charger answers")
        assert await charger.events("storage_failed")
        blocker = await charger.blocker()
        assert blocker["name"] == "storage"
        assert "The disk is full" in blocker["text"]
        assert "free space on the file system of" in blocker["text"]
        assert "storage failed" in charger.log_text()
        await charger.sees(lambda: charger.portal.refusal(STATION, 1) is Refusal.FAULTED, "the portal does not sell here")
        assert {one.status for one in charger.portal.connectors(SERIAL)} == {"Faulted"}
        assert await charger.qr() is None
        await charger.kill_daemon()  # what was answered while the disk was full is on it
        await charger.start_daemon()
        assert Decimal(await kilowatt_hour_costs(charger)) == price
        assert await storage_has_failed(charger)
        ballast.unlink()
        await charger.watch(lambda: everything_is_written(charger), "everything is written")
        await charger.sees(lambda: charger.portal.refusal(STATION, 1) is None, "the portal sells here again")


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_session_goes_on_while_the_disk_is_full(template: Template, tmp_path: Path, disk: Path, version: str) -> None:
    shutil.copytree(await template(version) / "state", disk / "state")
    async with running(await template(version), tmp_path / "c", version=version, state=disk / "state") as charger:
        before = await charger.register()
        key = await charger.session()
        ballast = fill(disk)
        await charger.watch(lambda: storage_has_failed(charger), "the disk is full")
        await charger.charge(20)
        assert (await charger.evse())["charging_state"] == "Charging"
        assert charger.portal.payment(key).state is PaymentState.CHARGING
        ballast.unlink()
        await charger.watch(lambda: everything_is_written(charger), "everything is written")
        await charger.finish(key)
        assert await charger.differences(before, key) == []
        moments = [message["at"] for message in charger.messages()]
        assert moments == sorted(moments)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_session_ends_while_the_disk_is_full(template: Template, tmp_path: Path, disk: Path, version: str) -> None:
    """The driver leaves; the end is on the disk's last reserve and told at once. Nobody begins before there is space again."""
    shutil.copytree(await template(version) / "state", disk / "state")
    async with running(await template(version), tmp_path / "c", version=version, state=disk / "state") as charger:
        before = await charger.register()
        key = await charger.session()
        ballast = fill(disk)
        await charger.watch(lambda: storage_has_failed(charger), "the disk is full")
        await charger.unplug()
        await charger.settled(key)
        assert await charger.differences(before, key) == []
        assert await storage_has_failed(charger)
        await charger.sees(lambda: charger.portal.refusal(STATION, 1) is Refusal.FAULTED, "the portal does not sell here")
        ballast.unlink()
        await charger.watch(lambda: everything_is_written(charger), "there is space again")
        await charger.watch(charger.is_free, "the EVSE is free again")


@pytest.mark.pain(87)
async def test_a_daemon_starts_on_a_disk_that_takes_nothing_and_begins_no_session(template: Template, tmp_path: Path, disk: Path) -> None:
    shutil.copytree(await template("1.6") / "state", disk / "state")
    mount("-o", "remount,ro", str(disk))
    async with running(await template("1.6"), tmp_path / "c", version="1.6", state=disk / "state") as charger:
        assert await storage_has_failed(charger)
        assert "Read-only file system" in charger.log_text() or "cannot be written" in charger.log_text()
        await charger.sees(lambda: charger.portal.refusal(STATION, 1) is Refusal.FAULTED, "the portal is told")
        await charger.plug_in()
        charger.portal.add_card("CAFE0001")
        await charger.control("rfid.swipe", token="CAFE0001", evse=1)
        await asyncio.sleep(3)
        assert not (await charger.world_evse())["contactor"]["cycles"]
        await charger.unplug()
        mount("-o", "remount,rw", str(disk))
        await charger.watch(lambda: everything_is_written(charger), "everything is written")
        before = await charger.register()
        key = await charger.session()
        await charger.finish(key)
        assert await charger.differences(before, key) == []
