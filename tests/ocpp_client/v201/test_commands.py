import json
from decimal import Decimal

import pytest

from agent.domain.authorization import IdToken, IdTokenType
from agent.domain.commands import (
    ChangeAvailability,
    ClearCache,
    Command,
    CommandStatus,
    DataTransfer,
    DataTransferOutcome,
    GetVariablesOutcome,
    RequestStart,
    RequestStop,
    Reset,
    ResetKind,
    StatusOutcome,
    TriggerMessage,
    UnlockConnector,
)
from agent.domain.connector import OperationalStatus
from agent.domain.ids import ConnectorId, EvseId, TransactionId
from agent.domain.transaction import TransactionLimit
from agent.ocpp_client.adapter import OcppCallError
from agent.ocpp_client.v201.adapter import V201Adapter
from agent.ocpp_client.v201.commands import STATUS_WORDS
from tests.ocpp_client.official import valid_request, valid_response
from tests.ocpp_client.samples import TX, Refs

QR = IdToken("QR-1", IdTokenType.CENTRAL)
QR_WIRE = {"idToken": "QR-1", "type": "Central"}
PROFILE = {
    "id": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Relative",
    "chargingSchedule": [{"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16}]}],
}
INOPERATIVE = OperationalStatus.INOPERATIVE

CALLS: list[tuple[str, dict[str, object], Command]] = [
    ("RequestStartTransaction", {"idToken": QR_WIRE, "remoteStartId": 7}, RequestStart(id_token=QR, remote_start_id=7)),
    (
        "RequestStartTransaction",
        {
            "idToken": QR_WIRE,
            "remoteStartId": 7,
            "evseId": 2,
            "groupIdToken": {"idToken": "G", "type": "eMAID"},
            "chargingProfile": PROFILE,
        },
        RequestStart(id_token=QR, remote_start_id=7, evse_id=EvseId(2), group_id_token=IdToken("G", IdTokenType.EMAID)),
    ),
    (
        "RequestStartTransaction",
        {
            "idToken": QR_WIRE,
            "remoteStartId": 7,
            "customData": {
                "vendorId": "charger-agent",
                "transactionLimit": {"maxEnergy": 20000, "maxTime": 3600, "maxCost": "149.50"},
            },
        },
        RequestStart(
            id_token=QR,
            remote_start_id=7,
            limit=TransactionLimit(max_energy_wh=20_000, max_time_s=3600, max_cost=Decimal("149.50")),
        ),
    ),
    (
        "RequestStartTransaction",
        {
            "idToken": QR_WIRE,
            "remoteStartId": 7,
            "customData": {"vendorId": "com.example", "transactionLimit": {"maxEnergy": 20000}},
        },
        RequestStart(id_token=QR, remote_start_id=7),
    ),
    *(
        (
            "RequestStartTransaction",
            {"idToken": QR_WIRE, "remoteStartId": 7, "customData": {"vendorId": "charger-agent", "transactionLimit": unreadable}},
            RequestStart(id_token=QR, remote_start_id=7, limit=TransactionLimit(max_energy_wh=0)),
        )
        for unreadable in (None, 5, {}, {"maxEnergy": True}, {"maxEnergy": "NaN"}, {"maxCost": "ten"}, {"maxTime": 10**12}, {"maxCost": []})
    ),
    ("RequestStopTransaction", {"transactionId": TX}, RequestStop(transaction_id=TX)),
    ("RequestStopTransaction", {"transactionId": "theirs"}, RequestStop(transaction_id=TransactionId("theirs"))),
    ("ChangeAvailability", {"operationalStatus": "Inoperative"}, ChangeAvailability(operational_status=INOPERATIVE)),
    (
        "ChangeAvailability",
        {"operationalStatus": "Inoperative", "evse": {"id": 2}},
        ChangeAvailability(operational_status=INOPERATIVE, evse_id=EvseId(2)),
    ),
    (
        "ChangeAvailability",
        {"operationalStatus": "Inoperative", "evse": {"id": 2, "connectorId": 1}},
        ChangeAvailability(operational_status=INOPERATIVE, evse_id=EvseId(2), connector_id=ConnectorId(1)),
    ),
    ("ClearCache", {}, ClearCache()),
    ("Reset", {"type": "Immediate"}, Reset(kind=ResetKind.SOFT)),
    ("Reset", {"type": "OnIdle", "evseId": 2}, Reset(kind=ResetKind.ON_IDLE, evse_id=EvseId(2))),
    (
        "UnlockConnector",
        {"evseId": 2, "connectorId": 1},
        UnlockConnector(evse_id=EvseId(2), connector_id=ConnectorId(1), stops_transaction=False),
    ),
    ("DataTransfer", {"vendorId": "com.example"}, DataTransfer(vendor_id="com.example")),
    (
        "DataTransfer",
        {"vendorId": "com.example", "messageId": "M", "data": "text"},
        DataTransfer(vendor_id="com.example", message_id="M", data="text"),
    ),
    ("TriggerMessage", {"requestedMessage": "MeterValues"}, TriggerMessage(requested="MeterValues")),
    (
        "TriggerMessage",
        {"requestedMessage": "StatusNotification", "evse": {"id": 2, "connectorId": 1}},
        TriggerMessage(requested="StatusNotification", evse_id=EvseId(2)),
    ),
    ("TriggerMessage", {"requestedMessage": "TransactionEvent"}, TriggerMessage(requested="TransactionEvent")),
]


@pytest.mark.parametrize(("action", "payload", "command"), CALLS)
def test_call_becomes_a_command(adapter: V201Adapter, action: str, payload: dict[str, object], command: Command) -> None:
    valid_request("2.0.1", action, payload)
    assert adapter.decode(action, payload, Refs()) == command


@pytest.mark.parametrize("data", [{"a": [1, None]}, [], 5, True, {"price": Decimal("4.50")}])
def test_data_of_any_type_becomes_text(adapter: V201Adapter, data: object) -> None:
    command = adapter.decode("DataTransfer", {"vendorId": "com.example", "data": data}, Refs())
    assert isinstance(command, DataTransfer)
    assert command.data is not None
    assert json.loads(command.data) == ({"price": "4.50"} if data == {"price": Decimal("4.50")} else data)


@pytest.mark.parametrize(
    ("action", "outcome", "answer"),
    [
        ("RequestStartTransaction", StatusOutcome(status=CommandStatus.ACCEPTED), {"status": "Accepted"}),
        (
            "RequestStartTransaction",
            StatusOutcome(status=CommandStatus.ACCEPTED, transaction_id=TX),
            {"status": "Accepted", "transactionId": TX},
        ),
        (
            "RequestStartTransaction",
            StatusOutcome(status=CommandStatus.REJECTED, reason="a transaction runs", transaction_id=TX),
            {
                "status": "Rejected",
                "statusInfo": {"reasonCode": "TxInProgress", "additionalInfo": "a transaction runs"},
                "transactionId": TX,
            },
        ),
        (
            "RequestStopTransaction",
            StatusOutcome(status=CommandStatus.REJECTED, reason="no such transaction"),
            {"status": "Rejected", "statusInfo": {"reasonCode": "Unspecified", "additionalInfo": "no such transaction"}},
        ),
        ("Reset", StatusOutcome(status=CommandStatus.SCHEDULED), {"status": "Scheduled"}),
        ("ChangeAvailability", StatusOutcome(status=CommandStatus.SCHEDULED), {"status": "Scheduled"}),
        ("ClearCache", StatusOutcome(status=CommandStatus.REJECTED), {"status": "Rejected"}),
        ("UnlockConnector", StatusOutcome(status=CommandStatus.UNLOCKED), {"status": "Unlocked"}),
        (
            "UnlockConnector",
            StatusOutcome(status=CommandStatus.NOT_SUPPORTED, reason="the cable is fixed"),
            {"status": "UnlockFailed", "statusInfo": {"reasonCode": "FixedCable", "additionalInfo": "the cable is fixed"}},
        ),
        (
            "UnlockConnector",
            StatusOutcome(status=CommandStatus.ONGOING_AUTHORIZED_TRANSACTION),
            {"status": "OngoingAuthorizedTransaction"},
        ),
        ("UnlockConnector", StatusOutcome(status=CommandStatus.UNKNOWN_CONNECTOR), {"status": "UnknownConnector"}),
        ("DataTransfer", DataTransferOutcome(status=CommandStatus.UNKNOWN_VENDOR_ID), {"status": "UnknownVendorId"}),
        ("DataTransfer", DataTransferOutcome(status=CommandStatus.ACCEPTED, data="x"), {"status": "Accepted", "data": "x"}),
    ],
)
def test_outcome_has_the_words_of_the_action(
    adapter: V201Adapter, action: str, outcome: StatusOutcome | DataTransferOutcome, answer: dict[str, object]
) -> None:
    command = next(command for name, _, command in CALLS if name == action)
    assert valid_response("2.0.1", action, adapter.encode_outcome(action, command, outcome)) == answer


@pytest.mark.parametrize("action", list(STATUS_WORDS))
@pytest.mark.parametrize("status", list(CommandStatus))
def test_every_status_is_a_valid_answer_or_a_callerror(adapter: V201Adapter, action: str, status: CommandStatus) -> None:
    command = next(command for name, _, command in CALLS if name == action)
    outcome = DataTransferOutcome(status=status) if action == "DataTransfer" else StatusOutcome(status=status, reason="r" * 600)
    if status in STATUS_WORDS[action]:
        valid_response("2.0.1", action, adapter.encode_outcome(action, command, outcome))
    else:
        with pytest.raises(OcppCallError, match=r"NotSupported|NotImplemented|InternalError"):
            adapter.encode_outcome(action, command, outcome)


def test_message_that_is_never_sent_cannot_be_triggered(adapter: V201Adapter) -> None:
    command = TriggerMessage(requested="LogStatusNotification")
    for status in (CommandStatus.ACCEPTED, CommandStatus.NOT_IMPLEMENTED):
        answer = adapter.encode_outcome("TriggerMessage", command, StatusOutcome(status=status))
        assert valid_response("2.0.1", "TriggerMessage", answer) == {"status": "NotImplemented"}


@pytest.mark.parametrize("action", list(STATUS_WORDS))
def test_outcome_of_another_command_is_an_internal_error(adapter: V201Adapter, action: str) -> None:
    command = next(command for name, _, command in CALLS if name == action)
    with pytest.raises(OcppCallError, match="InternalError"):
        adapter.encode_outcome(action, command, GetVariablesOutcome(results=()))
