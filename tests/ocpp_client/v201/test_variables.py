import pytest

from agent.domain.commands import CommandStatus, GetVariableResult, GetVariables, GetVariablesOutcome, StatusOutcome
from agent.domain.variables import GetVariableStatus, parse_variable_key
from agent.ocpp_client.adapter import OcppCallError
from agent.ocpp_client.v201.adapter import V201Adapter
from tests.ocpp_client.official import valid_response
from tests.ocpp_client.samples import Refs, Registry

REQUIRED = [
    "OCPPCommCtrlr.FileTransferProtocols",
    "OCPPCommCtrlr.MessageTimeout[Default]",
    "OCPPCommCtrlr.MessageAttempts[TransactionEvent]",
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]",
    "OCPPCommCtrlr.NetworkConfigurationPriority",
    "OCPPCommCtrlr.NetworkProfileConnectionAttempts",
    "OCPPCommCtrlr.OfflineThreshold",
    "OCPPCommCtrlr.ResetRetries",
    "OCPPCommCtrlr.UnlockOnEVSideDisconnect",
    "AuthCtrlr.AuthorizeRemoteStart",
    "AuthCtrlr.LocalAuthorizeOffline",
    "AuthCtrlr.LocalPreAuthorize",
    "TxCtrlr.EVConnectionTimeOut",
    "TxCtrlr.StopTxOnEVSideDisconnect",
    "TxCtrlr.StopTxOnInvalidId",
    "TxCtrlr.TxStartPoint",
    "TxCtrlr.TxStopPoint",
    "SampledDataCtrlr.TxStartedMeasurands",
    "SampledDataCtrlr.TxUpdatedMeasurands",
    "SampledDataCtrlr.TxEndedMeasurands",
    "SampledDataCtrlr.TxUpdatedInterval",
    "SampledDataCtrlr.TxEndedInterval",
    "AlignedDataCtrlr.Interval",
    "AlignedDataCtrlr.Measurands",
    "AlignedDataCtrlr.TxEndedInterval",
    "AlignedDataCtrlr.TxEndedMeasurands",
    "DeviceDataCtrlr.ItemsPerMessage[GetVariables]",
    "DeviceDataCtrlr.ItemsPerMessage[SetVariables]",
    "SecurityCtrlr.SecurityProfile",
]
"""Required variables of what is built (device model CSV 1.4)."""


@pytest.fixture(name="station")
def fixture_station(adapter: V201Adapter) -> Registry:
    return Registry(adapter, "2.0.1")


def _entry(name: str, **more: str) -> dict[str, object]:
    key = parse_variable_key(name)
    component: dict[str, object] = {"name": key.component}
    if key.component_instance is not None:
        component["instance"] = key.component_instance
    if key.evse_id is not None:
        component["evse"] = {"id": key.evse_id} if key.connector_id is None else {"id": key.evse_id, "connectorId": key.connector_id}
    variable = {"name": key.variable} if key.instance is None else {"name": key.variable, "instance": key.instance}
    return {"component": component, "variable": variable, **more}


@pytest.mark.parametrize("name", REQUIRED)
def test_every_required_variable_can_be_read(station: Registry, name: str) -> None:
    (result,) = station.ask("GetVariables", {"getVariableData": [_entry(name)]})["getVariableResult"]
    assert result["attributeStatus"] == "Accepted"
    assert result["attributeValue"] == station.text(name)


def test_results_are_named_as_they_were_asked_for(station: Registry) -> None:
    """Names are compared without case; the answer repeats the question."""
    names = ["ocppcommctrlr.HEARTBEATINTERVAL", "Connector[x]@1.2.Available", "OCPPCommCtrlr.Nonsense", "OCPPCommCtrlr.HeartbeatInterval"]
    results = station.ask("GetVariables", {"getVariableData": [_entry(name) for name in names]})["getVariableResult"]
    assert [{"component": r["component"], "variable": r["variable"]} for r in results] == [_entry(name) for name in names]
    assert [r["attributeStatus"] for r in results] == ["Accepted", "UnknownComponent", "UnknownVariable", "Accepted"]
    assert [r.get("attributeValue") for r in results] == ["300", None, None, "300"]


def test_write_only_variable_is_rejected(station: Registry) -> None:
    """B06.FR.09."""
    data = [_entry("SecurityCtrlr.BasicAuthPassword", attributeValue="a-very-secret-password")]
    (result,) = station.ask("SetVariables", {"setVariableData": data})["setVariableResult"]
    assert result["attributeStatus"] == "Accepted"
    (result,) = station.ask("GetVariables", {"getVariableData": [_entry("SecurityCtrlr.BasicAuthPassword")]})["getVariableResult"]
    assert result["attributeStatus"] == "Rejected"
    assert result["attributeStatusInfo"]["reasonCode"] == "WriteOnly"
    assert "secret" not in str(result)


@pytest.mark.parametrize("attribute_type", ["Target", "MinSet", "MaxSet"])
def test_other_attributes_are_not_supported(station: Registry, attribute_type: str) -> None:
    entry = _entry("OCPPCommCtrlr.HeartbeatInterval", attributeType=attribute_type)
    (result,) = station.ask("GetVariables", {"getVariableData": [entry]})["getVariableResult"]
    assert (result["attributeStatus"], result["attributeType"]) == ("NotSupportedAttributeType", attribute_type)
    (result,) = station.ask("SetVariables", {"setVariableData": [{**entry, "attributeValue": "60"}]})["setVariableResult"]
    assert (result["attributeStatus"], result["attributeType"]) == ("NotSupportedAttributeType", attribute_type)
    assert station.text("OCPPCommCtrlr.HeartbeatInterval") == "300"


def test_mixed_attributes_are_answered_one_by_one(station: Registry) -> None:
    data = [
        _entry("OCPPCommCtrlr.HeartbeatInterval"),
        _entry("OCPPCommCtrlr.HeartbeatInterval", attributeType="Target"),
        _entry("Nonsense.X", attributeType="MaxSet"),
        _entry("OCPPCommCtrlr.OfflineThreshold", attributeType="Actual"),
    ]
    results = station.ask("GetVariables", {"getVariableData": data})["getVariableResult"]
    assert [(r["attributeStatus"], r.get("attributeType"), r.get("attributeValue")) for r in results] == [
        ("Accepted", None, "300"),
        ("NotSupportedAttributeType", "Target", None),
        ("UnknownComponent", "MaxSet", None),
        ("Accepted", None, "300"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "status", "reason_code"),
    [
        ("OCPPCommCtrlr.HeartbeatInterval", "60", "Accepted", None),
        ("OCPPCommCtrlr.HeartbeatInterval", "soon", "Rejected", "InvalidValue"),
        ("SecurityCtrlr.Identity", "other", "Rejected", "ReadOnly"),
        ("OCPPCommCtrlr.Nonsense", "1", "UnknownVariable", "UnknownVariable"),
        ("Nonsense.HeartbeatInterval", "1", "UnknownComponent", "UnknownComponent"),
        ("TariffCostCtrlr.OfflineChargingPrice[kWhPrice]", "4.50", "Accepted", None),
        ("TariffCostCtrlr.OfflineChargingPrice[kWhPrice]", "-1", "Rejected", "InvalidValue"),
        ("WebPaymentsCtrlr.Enabled", "true", "Accepted", None),
    ],
)
def test_set_is_answered_with_the_reason(station: Registry, name: str, value: str, status: str, reason_code: str | None) -> None:
    (result,) = station.ask("SetVariables", {"setVariableData": [_entry(name, attributeValue=value)]})["setVariableResult"]
    assert result["attributeStatus"] == status
    assert result.get("attributeStatusInfo", {}).get("reasonCode") == reason_code
    if status == "Accepted":
        assert station.text(name) == value


def test_more_items_than_the_station_takes_are_refused(adapter: V201Adapter) -> None:
    item = _entry("OCPPCommCtrlr.HeartbeatInterval")
    adapter.decode("GetVariables", {"getVariableData": [item] * 100}, Refs())
    with pytest.raises(OcppCallError, match="OccurrenceConstraintViolation: GetVariables names 101"):
        adapter.decode("GetVariables", {"getVariableData": [item] * 101}, Refs())
    with pytest.raises(OcppCallError, match="OccurrenceConstraintViolation: SetVariables names 101"):
        adapter.decode("SetVariables", {"setVariableData": [{**item, "attributeValue": "1"}] * 101}, Refs())


def test_value_that_does_not_fit_is_rejected_whole(adapter: V201Adapter) -> None:
    key = parse_variable_key("A.B")
    result = GetVariableResult(key=key, status=GetVariableStatus.ACCEPTED, value="x" * 2501)
    answer = adapter.encode_outcome("GetVariables", GetVariables(keys=(key,)), GetVariablesOutcome(results=(result,)))
    (entry,) = valid_response("2.0.1", "GetVariables", answer)["getVariableResult"]
    assert (entry["attributeStatus"], entry["attributeStatusInfo"]["reasonCode"]) == ("Rejected", "TooLargeElement")


@pytest.mark.parametrize("action", ["GetVariables", "SetVariables"])
def test_outcome_of_another_command_is_an_internal_error(adapter: V201Adapter, action: str) -> None:
    with pytest.raises(OcppCallError, match=f"InternalError: {action}"):
        adapter.encode_outcome(action, GetVariables(keys=()), StatusOutcome(status=CommandStatus.ACCEPTED))
