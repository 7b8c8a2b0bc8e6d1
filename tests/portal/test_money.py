"""What a session costs."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.tariff import Tariff
from simulator.portal.money import minor_digits, money_text, parse_amount, price_text, rounded, session_cost, settle, vat_in


def tariff(currency: str, kwh: str, minute: str = "0", session: str = "0", vat: str = "25") -> Tariff:
    return Tariff(
        currency=currency, price_kwh=Decimal(kwh), price_minute=Decimal(minute), price_session=Decimal(session), vat_percent=Decimal(vat)
    )


@pytest.mark.parametrize(
    ("price", "energy_wh", "seconds", "gross", "vat"),
    [
        (tariff("NOK", "4.50", "0.25", "5.00"), 10_000, "3600", "65.00", "13.00"),
        (tariff("NOK", "4.50", "0.25", "5.00"), 1, "0.001", "5.00", "1.00"),
        (tariff("NOK", "4.50"), 12_345, "0", "55.55", "11.11"),  # 55.5525
        (tariff("NOK", "0.01"), 500, "0", "0.01", "0.00"),  # exactly half a minor unit goes up
        (tariff("EUR", "0.59", "0.10", vat="21"), 7_777, "1234.567", "6.65", "1.15"),  # 4.58843 + 2.05761...
        (tariff("EUR", "0", "0.10", vat="0"), 0, "1", "0.00", "0.00"),  # a sixtieth of ten cents
        (tariff("EUR", "0", "0.10", vat="0"), 0, "3", "0.01", "0.00"),  # half a cent
        (tariff("JPY", "50", "1.5", "100", vat="10"), 3_210, "61", "262", "24"),  # 160.5 + 1.525 + 100
        (tariff("JPY", "1", vat="10"), 500, "0", "1", "0"),
        (tariff("KWD", "0.045", "0.0005", vat="5"), 20_001, "600", "0.905", "0.043"),  # 0.900045 + 0.005
        (tariff("NOK", "0"), 10_000, "3600", "0.00", "0.00"),
    ],
)
def test_cost_is_exact_and_rounded_once(price: Tariff, energy_wh: int, seconds: str, gross: str, vat: str) -> None:
    cost = session_cost(price, energy_wh, Decimal(seconds))
    assert (str(cost.gross), str(cost.vat)) == (gross, vat)


amounts = st.decimals(min_value=0, max_value=9999, places=6, allow_nan=False, allow_infinity=False)
currencies = st.sampled_from(["NOK", "EUR", "JPY", "KWD"])


def half_up(exact: Fraction, currency: str) -> Decimal:
    """The rule again, in whole numbers."""
    scale = 10 ** minor_digits(currency)
    return Decimal((2 * exact * scale + 1) // 2).scaleb(-minor_digits(currency))


@given(currencies, amounts, amounts, amounts, amounts.map(lambda n: n / 100), st.integers(0, 10**7), st.integers(0, 10**9))
def test_cost_agrees_with_fractions(
    currency: str, kwh: Decimal, minute: Decimal, session: Decimal, vat: Decimal, energy_wh: int, milliseconds: int
) -> None:
    price = Tariff(currency=currency, price_kwh=kwh, price_minute=minute, price_session=session, vat_percent=vat)
    cost = session_cost(price, energy_wh, Decimal(milliseconds).scaleb(-3))
    exact = Fraction(energy_wh, 1000) * Fraction(kwh) + Fraction(milliseconds, 60_000) * Fraction(minute) + Fraction(session)
    assert cost.gross == half_up(exact, currency)
    gross = Fraction(cost.gross)
    assert cost.vat == half_up(gross - gross / (1 + Fraction(vat) / 100), currency)
    assert 0 <= cost.vat <= cost.gross


@given(currencies, amounts, amounts.filter(bool), st.decimals(0, 100, places=3), st.decimals(0, 100, places=3))
def test_net_and_commission_make_the_gross_and_never_more_than_authorised(
    currency: str, gross: Decimal, authorized: Decimal, commission: Decimal, vat: Decimal
) -> None:
    gross, authorized = rounded(gross, currency), rounded(authorized, currency)
    taken = settle(gross, tariff(currency, "1", vat=str(vat)), authorized=authorized, commission_percent=commission)
    assert taken.net + taken.commission == taken.gross
    assert taken.gross + taken.uncollected == gross
    assert taken.gross <= authorized
    assert 0 <= taken.vat <= taken.gross
    assert 0 <= taken.net <= taken.gross


@given(currencies, amounts, st.decimals(0, 100, places=2))
def test_vat_of_the_net_amount_is_what_was_in_the_gross(currency: str, gross: Decimal, percent: Decimal) -> None:
    """Net of VAT, taxed again, is the gross amount within one minor unit times the rate."""
    gross = rounded(gross, currency)
    net_of_vat = gross - vat_in(gross, percent, currency)
    step = Decimal(1).scaleb(-minor_digits(currency))
    assert abs(net_of_vat * (1 + percent / 100) - gross) <= step


def test_rounding_is_half_up_to_the_minor_unit() -> None:
    assert rounded(Decimal("0.005"), "NOK") == Decimal("0.01")
    assert rounded(Decimal("0.5"), "JPY") == Decimal(1)
    assert rounded(Decimal("0.0005"), "KWD") == Decimal("0.001")
    assert Decimal("0.005").quantize(Decimal("0.01"), rounding=ROUND_HALF_UP) == Decimal("0.01")


@pytest.mark.parametrize(("typed", "amount"), [("4.50", "4.50"), (" 4,5 ", "4.5"), ("0", "0"), ("1000000", "1000000")])
def test_amounts_as_people_type_them(typed: str, amount: str) -> None:
    assert parse_amount(typed) == Decimal(amount)


@pytest.mark.parametrize("typed", ["", "-1", "1e3", "NaN", "1.2.3", "4.", ".5", "0.1234567", "٣", "12345678"])
def test_what_is_no_amount_is_refused(typed: str) -> None:
    assert parse_amount(typed) is None


def test_money_has_the_decimals_of_its_currency_and_prices_may_have_more() -> None:
    assert money_text(Decimal("4.5"), "NOK") == "4.50"
    assert money_text(Decimal("0.125"), "NOK") == "0.125"
    assert money_text(Decimal("262.000"), "JPY") == "262"
    assert money_text(Decimal(1), "KWD") == "1.000"


def test_price_in_words_goes_kwh_minute_session() -> None:
    assert price_text(tariff("NOK", "4.5", "0.25", "5")) == "4.50 NOK/kWh + 0.25 NOK/min + 5.00 NOK/session, VAT included"
    assert price_text(tariff("NOK", "0")) == "Free of charge"
