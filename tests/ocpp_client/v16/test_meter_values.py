from decimal import Decimal

import pytest
from hypothesis import given

from agent.domain.ids import ConnectorId, EvseId
from agent.domain.metering import Measurand, MeterValue, Phase, Quantity, ReadingContext
from agent.domain.notices import MeterValuesNotice
from agent.ocpp_client.v16.adapter import V16Adapter
from tests.ocpp_client.official import valid_request
from tests.ocpp_client.samples import AT, DEFINITIONS, FIRST, TIMELESS, Clock, Refs, energy, meter_values
from tests.ocpp_client.v16.conftest import CONNECTORS


def _notice(*values: MeterValue) -> MeterValuesNotice:
    return MeterValuesNotice(evse_id=EvseId(2), connector_id=ConnectorId(1), meter_values=values)


def _sampled(adapter: V16Adapter, quantity: Quantity) -> dict[str, str]:
    value = MeterValue(at=AT, context=ReadingContext.SAMPLE_CLOCK, quantities=(quantity,))
    (call,) = adapter.encode(_notice(value), Refs(), FIRST)
    (entry,) = valid_request("1.6", call.action, call.payload)["meterValue"][0]["sampledValue"]
    return dict(entry)


@pytest.mark.pain(55)
@pytest.mark.parametrize(
    ("measurand", "value", "text", "unit", "location"),
    [
        (Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, "1234567.89", "1234567", "Wh", None),
        (Measurand.ENERGY_ACTIVE_EXPORT_REGISTER, "5.999", "5", "Wh", None),
        (Measurand.ENERGY_ACTIVE_IMPORT_INTERVAL, "12.5", "12.5", "Wh", None),
        (Measurand.POWER_ACTIVE_IMPORT, "11040.00", "11040", "W", None),
        (Measurand.POWER_ACTIVE_IMPORT, "1E+4", "10000", "W", None),
        (Measurand.VOLTAGE, "229.98765", "229.988", "V", None),
        (Measurand.CURRENT_IMPORT, "0.00004", "0", "A", None),
        (Measurand.CURRENT_IMPORT, "-0.0001", "0", "A", None),
        (Measurand.POWER_REACTIVE_IMPORT, "-12.50", "-12.5", "var", None),
        (Measurand.POWER_FACTOR, "0.98", "0.98", None, None),
        (Measurand.FREQUENCY, "50.01", "50.01", None, None),
        (Measurand.SOC, "80", "80", "Percent", "EV"),
        (Measurand.TEMPERATURE, "41.5", "41.5", "Celcius", "Body"),
    ],
)
def test_values_are_plain_text_in_the_words_of_1_6(
    adapter: V16Adapter, measurand: Measurand, value: str, text: str, unit: str | None, location: str | None
) -> None:
    sampled = _sampled(adapter, Quantity(measurand, Decimal(value)))
    expected = {"value": text, "measurand": measurand.value, "context": "Sample.Clock", "unit": unit, "location": location}
    assert sampled == {name: word for name, word in expected.items() if word is not None}


@pytest.mark.pain(56)
@pytest.mark.parametrize("phase", list(Phase))
def test_phase_is_told(adapter: V16Adapter, phase: Phase) -> None:
    assert _sampled(adapter, Quantity(Measurand.VOLTAGE, Decimal(230), phase))["phase"] == phase.value


def test_idle_values_name_the_connector_and_no_transaction(adapter: V16Adapter) -> None:
    (call,) = adapter.encode(_notice(energy("10")), Refs(), FIRST)
    payload = valid_request("1.6", call.action, call.payload)
    assert payload["connectorId"] == 5
    assert "transactionId" not in payload
    assert payload["meterValue"][0]["timestamp"] == "2026-06-01T12:00:00.000Z"


@pytest.mark.pain(55)
def test_nothing_read_is_nothing_sent(adapter: V16Adapter) -> None:
    empty = MeterValue(at=AT, context=ReadingContext.SAMPLE_CLOCK, quantities=())
    assert adapter.encode(_notice(empty), Refs(), FIRST) == ()
    assert adapter.encode(_notice(), Refs(), FIRST) == ()


def test_value_waits_until_its_time_is_known(adapter: V16Adapter) -> None:
    assert not adapter.can_encode(_notice(energy("10", at=TIMELESS)), Refs())
    assert adapter.can_encode(_notice(energy("10")), Refs())


@given(value=meter_values)
def test_whatever_is_read_agrees_with_the_schema(value: MeterValue) -> None:
    adapter = V16Adapter(DEFINITIONS, Clock(), CONNECTORS)
    for call in adapter.encode(_notice(value), Refs(), FIRST):
        for entry in valid_request("1.6", call.action, call.payload)["meterValue"][0]["sampledValue"]:
            assert "E" not in entry["value"]
            assert len(entry["value"].partition(".")[2]) <= 3
