"""The cost of a session: to the minor unit what exact arithmetic says."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import variables as var
from agent.core.tariff import session_cost
from agent.core.transactions import current_tariff
from agent.core.variables import Variables, definitions
from agent.domain.tariff import Tariff
from tests.core.rig import PRICED, assign


def tariff_of(hour: str, *, kwh: str = "0", session: str = "0", vat: str = "25") -> Tariff:
    """What the station keeps of prices that the portal set."""
    values = {**PRICED, var.PRICE_HOUR: hour, var.PRICE_KWH: kwh, var.PRICE_SESSION: session, var.VAT_PERCENT: vat}
    tariff = current_tariff(assign(Variables.of(definitions(evses=1, is_tethered=True)), values))
    assert tariff is not None
    return tariff


def half_up(exact: Fraction) -> Decimal:
    cents = (exact * 200 + 1) // 2
    return (Decimal(cents) / 100).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


@pytest.mark.parametrize(("hour", "duration_ms", "gross"), [("20", 15_300, "0.09"), ("20", 153_900, "0.86"), ("10", 3_600_000, "10.00")])
def test_half_a_cent_of_time_is_rounded_up(hour: str, duration_ms: int, gross: str) -> None:
    """A sixtieth of a price per hour may have no end of digits; the portal's own exact figure is rounded up at half a cent."""
    assert session_cost(tariff_of(hour), energy_wh=0, duration_ms=duration_ms, is_final=False).gross == Decimal(gross)


PRICES = st.integers(0, 10**6).map(lambda n: Decimal(n).scaleb(-4))


@given(PRICES, PRICES, PRICES, st.integers(1, 10**6), st.integers(0, 4 * 86_400).map(lambda n: n * 900))
def test_it_is_the_exact_sum_rounded_once(hour: Decimal, kwh: Decimal, session: Decimal, energy_wh: int, duration_ms: int) -> None:
    cost = session_cost(
        tariff_of(str(hour), kwh=str(kwh), session=str(session)), energy_wh=energy_wh, duration_ms=duration_ms, is_final=True
    )
    exact = Fraction(kwh) * energy_wh / 1000 + Fraction(hour) * duration_ms / 3_600_000 + Fraction(session)
    assert cost.gross == half_up(exact)
    assert cost.vat == half_up(Fraction(cost.gross) * 25 / 125)


def test_a_session_that_delivered_nothing_costs_nothing_in_the_end() -> None:
    """The portal voids the payment (docs/price-and-payment-wire.md): the receipt on the display must not say otherwise."""
    tariff = Tariff(
        currency="NOK", price_kwh=Decimal("4.50"), price_minute=Decimal("0.50"), price_session=Decimal(5), vat_percent=Decimal(25)
    )
    final = session_cost(tariff, energy_wh=0, duration_ms=60_000, is_final=True)
    assert (final.gross, final.vat) == (Decimal("0.00"), Decimal("0.00"))
    assert session_cost(tariff, energy_wh=0, duration_ms=60_000, is_final=False).gross == Decimal("5.50")
