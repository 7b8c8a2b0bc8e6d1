"""The cost of a session at the frozen tariff. Multiply first, divide last, round once, half up, to the currency's minor unit."""

from decimal import ROUND_HALF_UP, Decimal

from agent.domain.tariff import SessionCost, Tariff

_MINOR_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def minor_digits(currency: str) -> int:
    """Decimals of a currency's minor unit (ISO 4217): 0, 2 or 3."""
    return _MINOR_DIGITS.get(currency, 2)


def round_money(amount: Decimal, currency: str) -> Decimal:
    """The one rounding of money: half up to the minor unit."""
    return amount.quantize(Decimal(1).scaleb(-minor_digits(currency)), rounding=ROUND_HALF_UP)


def session_cost(tariff: Tariff, *, energy_wh: int, duration_ms: int, is_final: bool) -> SessionCost:
    """Cost of `energy_wh` whole Wh and `duration_ms` between the two timestamps on the wire, VAT included.

    gross = kWh x price + minutes x price + price per session; VAT = gross - gross / (1 + rate).
    """
    exact = tariff.price_kwh * energy_wh / Decimal(1000) + tariff.price_minute * duration_ms / Decimal(60_000) + tariff.price_session
    gross = round_money(exact, tariff.currency)
    vat = round_money(gross - gross * 100 / (100 + tariff.vat_percent), tariff.currency)
    return SessionCost(
        currency=tariff.currency,
        gross=gross,
        vat=vat,
        energy_wh=energy_wh,
        seconds=Decimal(duration_ms).scaleb(-3),
        is_final=is_final,
    )
