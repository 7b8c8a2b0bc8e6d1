"""Reading payloads that a schema let through."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from simulator.portal.errors import WireError
from simulator.portal.fields import cost_report, digest, integer, json_object, samples, wire_moment

AT = "2026-03-01T10:00:00.250Z"


def energy(**sampled: Any) -> int | None:
    (found,) = samples([{"timestamp": AT, "sampledValue": [sampled]}])
    return found.energy_wh


@pytest.mark.parametrize(
    ("sampled", "energy_wh"),
    [
        ({"value": "1234"}, 1234),
        ({"value": "1234.999", "unit": "Wh"}, 1234),
        ({"value": "1.2349", "unit": "kWh"}, 1234),
        ({"value": Decimal("1.2349"), "unitOfMeasure": {"unit": "kWh"}}, 1234),
        ({"value": 1234, "unitOfMeasure": {"unit": "Wh", "multiplier": 3}}, 1_234_000),
        ({"value": "1234", "phase": "L1"}, None),
        ({"value": "AAAA", "format": "SignedData"}, None),
        ({"value": "1234", "measurand": "Voltage"}, None),
        ({"value": "NaN"}, None),
        ({"value": "1e99999999"}, None),
        ({"value": 1, "unitOfMeasure": {"multiplier": 999_999_999}}, None),
        ({"value": "Infinity"}, None),
        ({"value": "fault"}, None),
        ({"value": "0"}, 0),
    ],
)
def test_the_register_is_read_in_whole_watt_hours_or_not_at_all(sampled: dict[str, Any], energy_wh: int | None) -> None:
    assert energy(**sampled) == energy_wh


def test_power_and_context_are_read_beside_the_register() -> None:
    values: list[Any] = [
        {"value": "5", "context": "Transaction.Begin"},
        {"value": "7.36", "unit": "kW", "measurand": "Power.Active.Import"},
    ]
    (found,) = samples([{"timestamp": AT, "sampledValue": values}])
    assert (found.context, found.power_w, found.at) == (
        "Transaction.Begin",
        Decimal(7360),
        datetime(2026, 3, 1, 10, 0, 0, 250_000, tzinfo=UTC),
    )


@pytest.mark.parametrize("text", ["2026-03-01T10:00:00", "2026-02-30T10:00:00Z", "", "soon"])
def test_a_time_that_no_calendar_has_is_refused(text: str) -> None:
    with pytest.raises(WireError) as error:
        wire_moment(text)
    assert error.value.code == "PropertyConstraintViolation"


def test_an_offset_is_the_same_moment() -> None:
    assert wire_moment("2026-03-01T11:00:00+01:00") == wire_moment("2026-03-01T10:00:00.000Z")


def test_numbers_that_no_database_holds_are_refused() -> None:
    with pytest.raises(WireError):
        integer({"meterStart": 10**18}, "meterStart")
    assert integer({"meterStart": -5}, "meterStart") == -5


def test_the_digest_ignores_order_and_the_offline_flag_only() -> None:
    said: dict[str, Any] = {"seqNo": 1, "evse": {"id": 1, "connectorId": 1}}
    turned: dict[str, Any] = {"offline": True, "evse": {"connectorId": 1, "id": 1}, "seqNo": 1}
    assert digest(said) == digest(turned)
    assert digest(said) != digest({**said, "seqNo": 2})


def figure(**changed: Any) -> dict[str, Any]:
    return {"currency": "NOK", "gross": "65.00", "vat": "13.00", "energyWh": 10_000, "seconds": "3600", "final": True, **changed}


def test_the_chargers_figure_is_read_exactly() -> None:
    report = cost_report(figure(seconds=Decimal("3600.5")))
    assert report is not None
    assert (str(report.gross), str(report.vat), report.seconds, report.is_final) == ("65.00", "13.00", Decimal("3600.5"), True)


@pytest.mark.parametrize(
    "changed",
    [{"gross": "much"}, {"gross": None}, {"vat": "NaN"}, {"seconds": "1e999999999"}, {"final": "yes"}, {"energyWh": "1"}, {"currency": 5}],
)
def test_a_figure_that_cannot_be_read_is_none(changed: dict[str, Any]) -> None:
    assert cost_report(figure(**changed)) is None


def test_an_object_inside_a_string() -> None:
    assert json_object('{"a":1.50}') == {"a": Decimal("1.50")}
    assert json_object("[1]") is None
    assert json_object("{") is None
