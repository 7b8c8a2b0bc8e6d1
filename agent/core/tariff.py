"""The cost of a session at the frozen tariff. Multiply first, divide last, round once, half up, to the currency's minor unit."""

from decimal import ROUND_HALF_UP, Decimal, localcontext

from agent.domain.tariff import SessionCost, Tariff

_MINOR_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}

_DIGITS = 60
"""Working precision: every product is exact in it, so that only the one division before the rounding is not."""
_PRICE_STEP = Decimal("1e-20")
_MS_PER_HOUR = 3_600_000


def minor_digits(currency: str) -> int:
    """Decimals of a currency's minor unit (ISO 4217): 0, 2 or 3."""
    return _MINOR_DIGITS.get(currency, 2)


def round_money(amount: Decimal, currency: str) -> Decimal:
    """The one rounding of money: half up to the minor unit."""
    return amount.quantize(Decimal(1).scaleb(-minor_digits(currency)), rounding=ROUND_HALF_UP)


def session_cost(tariff: Tariff, *, energy_wh: int, duration_ms: int, is_final: bool) -> SessionCost:
    """Cost of `energy_wh` whole Wh and `duration_ms` between the two timestamps on the wire, VAT included.

    gross = kWh x price + minutes x price + price per session; VAT = gross - gross / (1 + rate). A session that ends without any energy
    costs nothing, minutes and session fee included (docs/price-and-payment-wire.md).
    """
    with localcontext() as context:
        context.prec = _DIGITS
        # A price per hour comes as a sixtieth, cut off after 28 digits: taken back to the hour, it is what the portal set.
        price_hour = (tariff.price_minute * 60).quantize(_PRICE_STEP)
        summed = tariff.price_kwh * energy_wh * 3_600 + price_hour * duration_ms + tariff.price_session * _MS_PER_HOUR
        delivered_nothing = is_final and energy_wh == 0
        gross = round_money(Decimal(0) if delivered_nothing else summed / _MS_PER_HOUR, tariff.currency)
        vat = round_money(gross * tariff.vat_percent / (100 + tariff.vat_percent), tariff.currency)
    return SessionCost(
        currency=tariff.currency,
        gross=gross,
        vat=vat,
        energy_wh=energy_wh,
        seconds=Decimal(duration_ms).scaleb(-3),
        is_final=is_final,
    )
