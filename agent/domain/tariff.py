"""The price that the portal sets and the cost that follows from it. Money is Decimal; portal prices include VAT."""

from decimal import Decimal

from agent.domain.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """Selling price of one charger, VAT included.

    `currency` is ISO 4217; prices are per kWh, per minute and per session; `vat_percent` 25 means 25 %.
    """

    currency: str
    price_kwh: Decimal
    price_minute: Decimal
    price_session: Decimal
    vat_percent: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCost:
    """What a session costs so far or in the end.

    `gross` includes `vat`; both are rounded to the currency's minor unit. `energy_wh` is the billed energy.
    """

    currency: str
    gross: Decimal
    vat: Decimal
    energy_wh: int
    seconds: Decimal
    is_final: bool
