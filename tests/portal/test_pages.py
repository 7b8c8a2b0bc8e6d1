"""Figures as people read them."""

from decimal import Decimal

import pytest

from simulator.portal.pages import energy_text, error_page, power_text, shown_price, time_text
from tests.portal.rig import NOK


@pytest.mark.parametrize(("energy_wh", "text"), [(0, "0.000"), (1, "0.001"), (12_345, "12.345")])
def test_energy_has_the_whole_resolution_of_the_bill(energy_wh: int, text: str) -> None:
    assert energy_text(energy_wh) == text


def test_time_and_power() -> None:
    assert time_text(3_661) == "1:01:01"
    assert time_text(90_000) == "25:00:00"
    assert power_text(Decimal(7_360)) == "7.4"
    assert power_text(None) == "–"


def test_the_price_in_a_form_is_the_whole_price() -> None:
    assert shown_price(NOK) == "NOK 4.5 0.25 5 25"


def test_a_page_loads_nothing_from_elsewhere() -> None:
    page = error_page("x<y", "a & b")
    assert "http" not in page.replace("http-equiv", "")
    assert "x&lt;y" in page
    assert "a &amp; b" in page
