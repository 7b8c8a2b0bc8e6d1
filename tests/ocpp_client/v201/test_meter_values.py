from decimal import Decimal

import pytest
from hypothesis import given

from agent.domain.ids import ConnectorId, EvseId
from agent.domain.metering import Measurand, MeterValue, Phase, Quantity, ReadingContext
from agent.domain.notices import MeterValuesNotice
from agent.ocpp_client.v201.adapter import V201Adapter
from tests.ocpp_client.official import valid_request
from tests.ocpp_client.samples import AT, DEFINITIONS, FIRST, TIMELESS, Clock, Refs, energy, meter_values


def _notice(*values: MeterValue) -> MeterValuesNotice:
    return MeterValuesNotice(evse_id=EvseId(2), connector_id=ConnectorId(1), meter_values=values)


def _value(*quantities: Quantity) -> MeterValue:
    return MeterValue(at=AT, context=ReadingContext.SAMPLE_CLOCK, quantities=quantities)


@pytest.mark.pain(55)
@pytest.mark.parametrize(
    ("measurand", "value", "number", "unit", "location"),
    [
        (Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, "1234567.89", 1234567, "Wh", None),
        (Measurand.ENERGY_ACTIVE_EXPORT_REGISTER, "5.999", 5, "Wh", None),
        (Measurand.POWER_ACTIVE_IMPORT, "1.104E+4", 11040, "W", None),
        (Measurand.VOLTAGE, "229.98765", Decimal("229.988"), "V", None),
        (Measurand.CURRENT_IMPORT, "-0.0001", 0, "A", None),
        (Measurand.POWER_FACTOR, "0.980", Decimal("0.98"), None, None),
        (Measurand.FREQUENCY, "50.01", Decimal("50.01"), "Hz", None),
        (Measurand.SOC, "80", 80, "Percent", "EV"),
    ],
)
def test_values_are_numbers_in_the_units_of_the_standard(
    adapter: V201Adapter, measurand: Measurand, value: str, number: int | Decimal, unit: str | None, location: str | None
) -> None:
    (call,) = adapter.encode(_notice(_value(Quantity(measurand, Decimal(value), Phase.L1))), Refs(), FIRST)
    (sampled,) = valid_request("2.0.1", call.action, call.payload)["meterValue"][0]["sampledValue"]
    assert sampled.pop("phase") == "L1"
    assert sampled.pop("unitOfMeasure", None) == (None if unit is None else {"unit": unit})
    assert sampled.pop("location", None) == location
    assert sampled == {"value": number, "measurand": measurand.value, "context": "Sample.Clock"}


def test_idle_values_name_the_evse(adapter: V201Adapter) -> None:
    (call,) = adapter.encode(_notice(energy("10")), Refs(), FIRST)
    payload = valid_request("2.0.1", call.action, call.payload)
    assert call.action == "MeterValues"
    assert payload["evseId"] == 2
    assert payload["meterValue"][0]["timestamp"] == "2026-06-01T12:00:00.000Z"


@pytest.mark.pain(55)
def test_what_the_version_does_not_know_and_what_was_not_read_is_not_sent(adapter: V201Adapter) -> None:
    warm = Quantity(Measurand.TEMPERATURE, Decimal(40))
    assert adapter.encode(_notice(_value(), _value(warm)), Refs(), FIRST) == ()
    (call,) = adapter.encode(_notice(_value(warm, Quantity(Measurand.VOLTAGE, Decimal(230)))), Refs(), FIRST)
    (sampled,) = valid_request("2.0.1", call.action, call.payload)["meterValue"][0]["sampledValue"]
    assert sampled["measurand"] == "Voltage"


def test_value_waits_until_its_time_is_known(adapter: V201Adapter) -> None:
    assert not adapter.can_encode(_notice(energy("10", at=TIMELESS)), Refs())
    assert adapter.can_encode(_notice(energy("10")), Refs())


@given(value=meter_values)
def test_whatever_is_read_agrees_with_the_schema(value: MeterValue) -> None:
    adapter = V201Adapter(DEFINITIONS, Clock())
    for call in adapter.encode(_notice(value), Refs(), FIRST):
        valid_request("2.0.1", call.action, call.payload)
