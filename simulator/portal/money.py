"""What a session costs: pure, exact, rounded once. The portal's own arithmetic, on purpose not shared with the charger's."""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext

from agent.domain.tariff import Tariff

_NO_DECIMALS = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF")
)
_THREE_DECIMALS = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])
_NUMBER = re.compile(r"[0-9]{1,7}(?:[.,][0-9]{1,6})?")
_DIGITS = 60
"""Working precision: every product here is exact in it, so that a division is the only step that can be inexact before the one rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """`gross` includes `vat`; both in the currency's minor unit."""

    gross: Decimal
    vat: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What was taken from the driver, and what reaches the owner: net + commission = gross. `uncollected` was owed beyond the hold."""

    gross: Decimal
    vat: Decimal
    commission: Decimal
    net: Decimal
    uncollected: Decimal


def minor_digits(currency: str) -> int:
    """Decimals of the ISO 4217 minor unit: 0, 2 or 3."""
    if currency in _NO_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


def rounded(amount: Decimal, currency: str) -> Decimal:
    """To the minor unit, half up (away from zero). The one rounding of money."""
    with localcontext() as context:
        context.prec = _DIGITS
        return amount.quantize(Decimal(1).scaleb(-minor_digits(currency)), rounding=ROUND_HALF_UP)


def session_gross(tariff: Tariff, energy_wh: int, seconds: Decimal) -> Decimal:
    """KWh x price_kwh + minutes x price_minute + price_session, VAT included: multiplied first, divided last, rounded once."""
    with localcontext() as context:
        context.prec = _DIGITS
        sixty_thousandfold = energy_wh * tariff.price_kwh * 60 + seconds * tariff.price_minute * 1000 + tariff.price_session * 60_000
        return rounded(sixty_thousandfold / 60_000, tariff.currency)


def vat_in(gross: Decimal, vat_percent: Decimal, currency: str) -> Decimal:
    """The VAT inside a gross amount: gross - gross / (1 + rate), which is gross x percent / (100 + percent), rounded once."""
    with localcontext() as context:
        context.prec = _DIGITS
        return rounded(gross * vat_percent / (100 + vat_percent), currency)


def session_cost(tariff: Tariff, energy_wh: int, seconds: Decimal) -> Cost:
    """Gross and the VAT in it."""
    gross = session_gross(tariff, energy_wh, seconds)
    return Cost(gross=gross, vat=vat_in(gross, tariff.vat_percent, tariff.currency))


def settle(gross: Decimal, tariff: Tariff, *, authorized: Decimal, commission_percent: Decimal) -> Settlement:
    """Capture `gross`, at most what was authorised; VAT and commission are those of what was captured."""
    captured = min(gross, authorized)
    with localcontext() as context:
        context.prec = _DIGITS
        commission = rounded(captured * commission_percent / 100, tariff.currency)
    return Settlement(
        gross=captured,
        vat=vat_in(captured, tariff.vat_percent, tariff.currency),
        commission=commission,
        net=captured - commission,
        uncollected=gross - captured,
    )


def parse_amount(text: str) -> Decimal | None:
    """A price or percentage as a person types it (`4.50`, `4,50`); None unless it is a plain number >= 0 with at most 6 decimals."""
    text = text.strip()
    return Decimal(text.replace(",", ".")) if _NUMBER.fullmatch(text) else None


def money_text(amount: Decimal, currency: str) -> str:
    """At least the decimals of the minor unit, more only where a price has them: `4.50`, `0.125`."""
    _, _, fraction = format(amount.normalize(), "f").partition(".")
    return format(amount, f".{max(minor_digits(currency), len(fraction))}f")


def price_text(tariff: Tariff) -> str:
    """The price in words, per kWh, per minute, per session: the order that AFIR article 5(4) asks for."""
    parts = [
        f"{money_text(price, tariff.currency)} {tariff.currency}/{unit}"
        for price, unit in ((tariff.price_kwh, "kWh"), (tariff.price_minute, "min"), (tariff.price_session, "session"))
        if price
    ]
    return " + ".join(parts) + ", VAT included" if parts else "Free of charge"
