from collections.abc import Mapping
from typing import Any

import pytest

from agent.domain.commands import (
    CommandStatus,
    GetVariables,
    GetVariablesOutcome,
    SetVariableResult,
    SetVariablesOutcome,
    StatusOutcome,
)
from agent.domain.variables import SetVariableStatus, parse_variable_key
from agent.ocpp_client.adapter import OcppCallError
from agent.ocpp_client.v16.adapter import V16Adapter
from tests.ocpp_client.samples import Refs, Registry

REQUIRED_CORE_KEYS = [
    "AuthorizeRemoteTxRequests",
    "ClockAlignedDataInterval",
    "ConnectionTimeOut",
    "ConnectorPhaseRotation",
    "GetConfigurationMaxKeys",
    "HeartbeatInterval",
    "LocalAuthorizeOffline",
    "LocalPreAuthorize",
    "MeterValuesAlignedData",
    "MeterValuesSampledData",
    "MeterValueSampleInterval",
    "NumberOfConnectors",
    "ResetRetries",
    "StopTransactionOnEVSideDisconnect",
    "StopTransactionOnInvalidId",
    "StopTxnAlignedData",
    "StopTxnSampledData",
    "SupportedFeatureProfiles",
    "TransactionMessageAttempts",
    "TransactionMessageRetryInterval",
    "UnlockConnectorOnEVSideDisconnect",
]
"""1.6 section 9.1: every key with `required`."""


@pytest.fixture(name="station")
def fixture_station(adapter: V16Adapter) -> Registry:
    return Registry(adapter, "1.6")


def _get(station: Registry, *names: str) -> dict[str, str | None]:
    answer = station.ask("GetConfiguration", {"key": list(names)} if names else {})
    return {entry["key"]: entry.get("value") for entry in answer["configurationKey"]}


def _change(station: Registry, key: str, value: str) -> str:
    return str(station.ask("ChangeConfiguration", {"key": key, "value": value})["status"])


def _by_name(answer: Mapping[str, Any]) -> dict[str, dict[str, object]]:
    return {entry["key"]: entry for entry in answer["configurationKey"]}


@pytest.mark.parametrize("name", REQUIRED_CORE_KEYS)
def test_every_required_core_key_can_be_read(station: Registry, name: str) -> None:
    (value,) = _get(station, name).values()
    assert value is not None


def test_all_keys_are_given_when_none_is_asked(station: Registry) -> None:
    """TC_019."""
    payloads: list[dict[str, object]] = [{}, {"key": []}]
    for payload in payloads:
        answer = station.ask("GetConfiguration", payload)
        assert "unknownKey" not in answer
        names = [entry["key"] for entry in answer["configurationKey"]]
        assert set(REQUIRED_CORE_KEYS) < set(names)
        assert {"DefaultPrice", "WebPaymentsCtrlr.Enabled", "TariffCostCtrlr.VatPercent"} < set(names)
        assert len(names) == len(set(names))


def test_unknown_keys_are_named_and_known_ones_given(station: Registry) -> None:
    answer = station.ask("GetConfiguration", {"key": ["FooBar", "heartbeatinterval", "NumberOfConnectors", "HeartbeatInterval", "fooBAZ"]})
    assert answer["configurationKey"] == [
        {"key": "HeartbeatInterval", "readonly": False, "value": "300"},
        {"key": "NumberOfConnectors", "readonly": True, "value": "2"},
    ]
    assert answer["unknownKey"] == ["FooBar", "fooBAZ"]


def test_only_unknown_keys(station: Registry) -> None:
    assert station.ask("GetConfiguration", {"key": ["FooBar"]}) == {"unknownKey": ["FooBar"]}


def test_write_only_key_has_no_value(station: Registry) -> None:
    assert _change(station, "AuthorizationKey", "AB" * 20) == "Accepted"
    assert station.text("SecurityCtrlr.BasicAuthPassword") == "ab" * 20
    assert station.ask("GetConfiguration", {"key": ["AuthorizationKey"]}) == {
        "configurationKey": [{"key": "AuthorizationKey", "readonly": False}]
    }


def test_more_keys_than_the_station_takes_are_refused(adapter: V16Adapter) -> None:
    adapter.decode("GetConfiguration", {"key": [f"K{n}" for n in range(100)]}, Refs())
    with pytest.raises(OcppCallError, match="GetConfigurationMaxKeys") as caught:
        adapter.decode("GetConfiguration", {"key": [f"K{n}" for n in range(101)]}, Refs())
    assert adapter.error_code(caught.value.code) == "OccurenceConstraintViolation"


@pytest.mark.parametrize(
    ("key", "value", "status", "then"),
    [
        ("HeartbeatInterval", "60", "Accepted", "60"),
        ("HEARTBEATINTERVAL", " 61", "Accepted", "61"),
        ("HeartbeatInterval", "-1", "Rejected", "300"),
        ("HeartbeatInterval", "soon", "Rejected", "300"),
        ("WebSocketPingInterval", "-1", "Rejected", "60"),
        ("WebSocketPingInterval", "0", "Accepted", "0"),
        ("LocalPreAuthorize", "True", "Accepted", "true"),
        ("LocalPreAuthorize", "yes", "Rejected", "false"),
        ("MeterValuesSampledData", "Voltage, Power.Active.Import", "Accepted", "Voltage,Power.Active.Import"),
        ("MeterValuesSampledData", "Voltage,RPM", "Rejected", "Energy.Active.Import.Register,Power.Active.Import"),
        ("NumberOfConnectors", "9", "Rejected", "2"),
        ("DefaultPrice", "free", "Rejected", ""),
        ("DefaultPrice", r'{"priceText":"\ud800"}', "Rejected", ""),
        ("TariffCostCtrlr.Currency", "kroner", "Rejected", ""),
    ],
)
def test_change_is_answered_and_shown(station: Registry, key: str, value: str, status: str, then: str) -> None:
    """TC_021."""
    assert _change(station, key, value) == status
    assert list(_get(station, key).values()) == [then]


def test_unknown_key_is_not_supported(station: Registry) -> None:
    assert _change(station, "FooBar", "1") == "NotSupported"
    assert _change(station, "OCPPCommCtrlr.OfflineThreshold", "1") == "NotSupported"


def test_price_is_set_and_shown(station: Registry) -> None:
    price = '{"priceText":"4,50 kr","priceTextOffline":"4,50 kr","chargingPrice":{"kWhPrice":4.50,"hourPrice":30,"flatFee":0}}'
    assert _change(station, "DefaultPrice", price) == "Accepted"
    assert station.text("TariffCostCtrlr.OfflineChargingPrice[kWhPrice]") == "4.50"
    assert station.text("TariffCostCtrlr.TariffFallbackMessage") == "4,50 kr"
    assert _get(station, "DefaultPrice") == {"DefaultPrice": price}


def test_refused_price_leaves_the_old_one(station: Registry) -> None:
    assert _change(station, "DefaultPrice", '{"priceText":"a","chargingPrice":{"kWhPrice":1}}') == "Accepted"
    before = _get(station, "DefaultPrice")
    assert _change(station, "DefaultPrice", '{"priceText":"b","chargingPrice":{"kWhPrice":2,"flatFee":-1}}') == "Rejected"
    assert _get(station, "DefaultPrice") == before


@pytest.mark.parametrize(
    ("statuses", "word"),
    [
        (["Accepted", "Accepted"], "Accepted"),
        (["Accepted", "RebootRequired"], "RebootRequired"),
        (["RebootRequired", "Rejected"], "Rejected"),
        (["Rejected", "UnknownVariable"], "NotSupported"),
        (["UnknownComponent"], "NotSupported"),
        (["NotSupportedAttributeType"], "Rejected"),
        ([], "Rejected"),
    ],
)
def test_one_word_for_several_variables(adapter: V16Adapter, statuses: list[str], word: str) -> None:
    key = parse_variable_key("A.B")
    results = tuple(SetVariableResult(key=key, status=SetVariableStatus(status)) for status in statuses)
    command = adapter.decode("ChangeConfiguration", {"key": "A", "value": "1"}, Refs())
    assert adapter.encode_outcome("ChangeConfiguration", command, SetVariablesOutcome(results=results)) == {"status": word}


def test_reading_all_variables_shows_those_that_have_a_key(adapter: V16Adapter, station: Registry) -> None:
    results = tuple(station.variables.read(definition.key) for definition in station.variables.definitions())
    answer = adapter.encode_outcome("GetConfiguration", GetVariables(keys=None), GetVariablesOutcome(results=results))
    assert _by_name(answer) == _by_name(station.ask("GetConfiguration", {}))


@pytest.mark.parametrize(("action", "payload"), [("GetConfiguration", {}), ("ChangeConfiguration", {"key": "A", "value": "1"})])
def test_outcome_of_another_command_is_an_internal_error(adapter: V16Adapter, action: str, payload: dict[str, object]) -> None:
    command = adapter.decode(action, payload, Refs())
    with pytest.raises(OcppCallError, match=f"InternalError: {action}"):
        adapter.encode_outcome(action, command, StatusOutcome(status=CommandStatus.ACCEPTED))
