"""A running portal for the tests, with the checks that every test ends with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from agent.domain.tariff import Tariff
from simulator.portal import Portal
from tests.portal.station import Station

NOK = Tariff(
    currency="NOK", price_kwh=Decimal("4.50"), price_minute=Decimal("0.25"), price_session=Decimal("5.00"), vat_percent=Decimal(25)
)
UID = "7F3K-22QX"


@asynccontextmanager
async def running_portal(
    path: Path | str, *, expect: tuple[str, ...] = (), port: int = 0, web: bool = False, **options: Any
) -> AsyncIterator[Portal]:
    """`expect` names the kinds of anomalies that the test provokes; any other one fails it."""
    portal = Portal(path, **{"call_timeout_s": 5, "start_timeout_s": 60, "commission_percent": Decimal(5), **options})
    await portal.start(port=port, web_port=0 if web else None)
    kinds: set[str] = set()
    try:
        yield portal
        kinds = {anomaly.kind for anomaly in portal.anomalies()}
        details = [anomaly for anomaly in portal.anomalies() if anomaly.kind not in expect]
        assert not details, details
    finally:
        await portal.aclose()
    assert kinds == set(expect)


async def claim(portal: Portal, serial: str = "SN-0001", *, tariff: Tariff | None = NOK, qr: bool = True) -> None:
    """Add the charger, give the default group a price, switch charging with QR on."""
    portal.provision(serial, UID)
    if tariff is not None:
        portal.set_group_price(tariff, energy_cost=Decimal("1.10"))
    await portal.add_charger(serial=serial, uid=UID, country="NO", region="Viken")
    portal.set_charge_with_qr(serial, enabled=qr)


@asynccontextmanager
async def public_charger(portal: Portal, version: str, *, serial: str = "SN-0001", identity: str = "CP001") -> AsyncIterator[Station]:
    """A claimed, booted, priced, public, available charger."""
    if serial not in {charger.serial for charger in portal.chargers()}:
        await claim(portal, serial)
    async with Station(portal.ocpp_url, identity, version, serial=serial) as station:
        assert await station.boot() == "Accepted"
        await station.status()
        await portal.wait_until(lambda: portal.settings_are_current(serial), 5)
        yield station
