"""One telling view per screen, shared by the tests and the gallery."""

from datetime import UTC, datetime
from decimal import Decimal

from agent.domain.connector import FaultKind
from agent.domain.ids import EvseId
from agent.domain.screen import EvseView, Notice, ScreenKind, StationView
from agent.domain.tariff import SessionCost, Tariff

TARIFF = Tariff(currency="NOK", price_kwh=Decimal("4.50"), price_minute=Decimal("0.25"), price_session=Decimal(10), vat_percent=Decimal(25))
URL = "https://pay.example.com/c/CP001/1"
CLOCK = datetime(2026, 11, 23, 13, 7, tzinfo=UTC)


def cost(gross: str, vat: str, energy_wh: int, seconds: int, *, is_final: bool = False, currency: str = "NOK") -> SessionCost:
    return SessionCost(
        currency=currency, gross=Decimal(gross), vat=Decimal(vat), energy_wh=energy_wh, seconds=Decimal(seconds), is_final=is_final
    )


def evse(kind: ScreenKind, evse_id: int = 1, **fields: object) -> EvseView:
    return EvseView(evse_id=EvseId(evse_id), kind=kind, **fields)  # type: ignore[arg-type]


def station(*evses: EvseView, language: str = "en", online: bool = True, station_id: str = "CP001") -> StationView:
    return StationView(station_id=station_id, online=online, language=language, evses=evses, clock=CLOCK)


RUNNING = {"tariff": TARIFF, "energy_wh": 12345, "power_w": Decimal(11040), "seconds": 4025, "cost": cost("82.33", "16.47", 12345, 4025)}
RECEIPT = {"tariff": TARIFF, "energy_wh": 12345, "seconds": 4025, "cost": cost("82.33", "16.47", 12345, 4025, is_final=True)}

EXAMPLES: dict[ScreenKind, EvseView] = {
    ScreenKind.STARTING: evse(ScreenKind.STARTING),
    ScreenKind.AVAILABLE: evse(ScreenKind.AVAILABLE, notice=Notice.SCAN_TO_PAY, tariff=TARIFF, qr_payload=URL),
    ScreenKind.AUTHORIZING: evse(ScreenKind.AUTHORIZING, notice=Notice.CHECKING),
    ScreenKind.PREPARING: evse(ScreenKind.PREPARING, notice=Notice.PLUG_IN, deadline_s=54),
    ScreenKind.CHARGING: evse(ScreenKind.CHARGING, **RUNNING),
    ScreenKind.SUSPENDED: evse(ScreenKind.SUSPENDED, notice=Notice.PAUSED_BY_VEHICLE, **{**RUNNING, "power_w": Decimal(0)}),
    ScreenKind.STOPPING: evse(ScreenKind.STOPPING, notice=Notice.CHECKING, **{**RUNNING, "power_w": Decimal(0)}),
    ScreenKind.FINISHED: evse(ScreenKind.FINISHED, notice=Notice.UNPLUG, **RECEIPT),
    ScreenKind.REFUSED: evse(ScreenKind.REFUSED, notice=Notice.TOKEN_REFUSED),
    ScreenKind.FAULTED: evse(ScreenKind.FAULTED, notice=Notice.FAULT, fault=FaultKind.GROUND_FAULT),
    ScreenKind.UNAVAILABLE: evse(ScreenKind.UNAVAILABLE, notice=Notice.OUT_OF_SERVICE),
    ScreenKind.OFFLINE: evse(ScreenKind.OFFLINE, notice=Notice.OFFLINE_NO_PAYMENT),
    ScreenKind.UNCLAIMED: evse(ScreenKind.UNCLAIMED, notice=Notice.ADD_IN_PORTAL),
}
