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
    LimitTransaction,
    RequestStart,
    RequestStop,
    Reset,
    ResetKind,
    StatusOutcome,
    TriggerMessage,
    UnlockConnector,
)
from agent.domain.connector import OperationalStatus
from agent.domain.ids import ConnectorId, EvseId
from agent.domain.transaction import TransactionLimit
from agent.ocpp_client.adapter import OcppCallError
from agent.ocpp_client.v16.adapter import V16Adapter
from agent.ocpp_client.v16.commands import STATUS_WORDS
from tests.ocpp_client.official import valid_request, valid_response
from tests.ocpp_client.samples import TX, Refs

REFS = Refs({TX: 4711})
PROFILE = {
    "chargingProfileId": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Relative",
    "chargingSchedule": {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16}]},
}
WEB = IdToken("WEB-1", IdTokenType.CENTRAL)

CALLS: list[tuple[str, dict[str, object], Command]] = [
    ("RemoteStartTransaction", {"idTag": "WEB-1"}, RequestStart(id_token=WEB)),
    ("RemoteStartTransaction", {"idTag": "WEB-1", "connectorId": 5}, RequestStart(id_token=WEB, evse_id=EvseId(2))),
    ("RemoteStartTransaction", {"idTag": "WEB-1", "chargingProfile": PROFILE}, RequestStart(id_token=WEB)),
    ("RemoteStartTransaction", {"idTag": "WEB-1", "connectorId": 0}, RequestStart(id_token=WEB, evse_id=EvseId(0))),
    ("RemoteStartTransaction", {"idTag": "WEB-1", "connectorId": 2}, RequestStart(id_token=WEB, evse_id=EvseId(-2))),
    ("RemoteStopTransaction", {"transactionId": 4711}, RequestStop(transaction_id=TX)),
    ("RemoteStopTransaction", {"transactionId": 1}, RequestStop(transaction_id=None)),
    ("ChangeAvailability", {"connectorId": 0, "type": "Inoperative"}, ChangeAvailability(operational_status=OperationalStatus.INOPERATIVE)),
    (
        "ChangeAvailability",
        {"connectorId": 5, "type": "Operative"},
        ChangeAvailability(operational_status=OperationalStatus.OPERATIVE, evse_id=EvseId(2)),
    ),
    ("ClearCache", {}, ClearCache()),
    ("Reset", {"type": "Hard"}, Reset(kind=ResetKind.HARD)),
    ("Reset", {"type": "Soft"}, Reset(kind=ResetKind.SOFT)),
    ("UnlockConnector", {"connectorId": 1}, UnlockConnector(evse_id=EvseId(1), connector_id=ConnectorId(1), stops_transaction=True)),
    ("DataTransfer", {"vendorId": "com.example"}, DataTransfer(vendor_id="com.example")),
    (
        "DataTransfer",
        {"vendorId": "com.example", "messageId": "M", "data": "[1]"},
        DataTransfer(vendor_id="com.example", message_id="M", data="[1]"),
    ),
    (
        "DataTransfer",
        {
            "vendorId": "charger-agent",
            "messageId": "TransactionLimit",
            "data": '{"idTag":"QR-1","maxEnergy":20000,"maxTime":3600,"maxCost":149.50}',
        },
        LimitTransaction(
            id_token=IdToken("QR-1", IdTokenType.CENTRAL),
            limit=TransactionLimit(max_energy_wh=20_000, max_time_s=3600, max_cost=Decimal("149.50")),
        ),
    ),
    *(
        (
            "DataTransfer",
            {"vendorId": "charger-agent", "messageId": "TransactionLimit", "data": data},
            LimitTransaction(id_token=IdToken("", IdTokenType.CENTRAL), limit=TransactionLimit(max_energy_wh=0)),
        )
        for data in (
            "",
            "{",
            "[1]",
            "5",
            '{"maxEnergy":5}',
            '{"idTag":7,"maxEnergy":5}',
            "[" * 5000,
            '{"idTag":"","maxEnergy":5}',
            r'{"idTag":"\ud800","maxEnergy":5}',
        )
    ),
    ("TriggerMessage", {"requestedMessage": "StatusNotification"}, TriggerMessage(requested="StatusNotification")),
    ("TriggerMessage", {"requestedMessage": "MeterValues", "connectorId": 0}, TriggerMessage(requested="MeterValues")),
    (
        "TriggerMessage",
        {"requestedMessage": "StatusNotification", "connectorId": 5},
        TriggerMessage(requested="StatusNotification", evse_id=EvseId(2)),
    ),
    ("TriggerMessage", {"requestedMessage": "FirmwareStatusNotification"}, TriggerMessage(requested="FirmwareStatusNotification")),
]


@pytest.mark.parametrize(("action", "payload", "command"), CALLS)
def test_call_becomes_a_command(adapter: V16Adapter, action: str, payload: dict[str, object], command: Command) -> None:
    valid_request("1.6", action, payload)
    assert adapter.decode(action, payload, REFS) == command


ANSWERS = [
    ("RemoteStartTransaction", CommandStatus.ACCEPTED, "Accepted"),
    ("RemoteStartTransaction", CommandStatus.REJECTED, "Rejected"),
    ("RemoteStopTransaction", CommandStatus.REJECTED, "Rejected"),
    ("ChangeAvailability", CommandStatus.SCHEDULED, "Scheduled"),
    ("ClearCache", CommandStatus.REJECTED, "Rejected"),
    ("Reset", CommandStatus.SCHEDULED, "Accepted"),
    ("UnlockConnector", CommandStatus.UNLOCKED, "Unlocked"),
    ("UnlockConnector", CommandStatus.UNLOCK_FAILED, "UnlockFailed"),
    ("UnlockConnector", CommandStatus.NOT_SUPPORTED, "NotSupported"),
    ("UnlockConnector", CommandStatus.UNKNOWN_CONNECTOR, "NotSupported"),
    ("TriggerMessage", CommandStatus.NOT_IMPLEMENTED, "NotImplemented"),
    ("TriggerMessage", CommandStatus.REJECTED, "Rejected"),
]


@pytest.mark.parametrize(("action", "status", "word"), ANSWERS)
def test_status_has_the_word_of_the_action(adapter: V16Adapter, action: str, status: CommandStatus, word: str) -> None:
    command = next(command for name, _, command in CALLS if name == action)
    payload = adapter.encode_outcome(action, command, StatusOutcome(status=status, reason="because"))
    assert valid_response("1.6", action, payload) == {"status": word}


@pytest.mark.parametrize("action", list(STATUS_WORDS))
@pytest.mark.parametrize("status", list(CommandStatus))
def test_every_status_is_a_valid_answer_or_a_callerror(adapter: V16Adapter, action: str, status: CommandStatus) -> None:
    command = next(command for name, _, command in CALLS if name == action)
    outcome = DataTransferOutcome(status=status) if action == "DataTransfer" else StatusOutcome(status=status, reason="because")
    if status in STATUS_WORDS[action]:
        valid_response("1.6", action, adapter.encode_outcome(action, command, outcome))
    else:
        with pytest.raises(OcppCallError, match=r"NotSupported|NotImplemented|InternalError"):
            adapter.encode_outcome(action, command, outcome)


def test_message_that_is_never_sent_cannot_be_triggered(adapter: V16Adapter) -> None:
    command = TriggerMessage(requested="DiagnosticsStatusNotification")
    for status in (CommandStatus.ACCEPTED, CommandStatus.NOT_IMPLEMENTED):
        assert adapter.encode_outcome("TriggerMessage", command, StatusOutcome(status=status)) == {"status": "NotImplemented"}


def test_vendors_answer_is_passed_on(adapter: V16Adapter) -> None:
    outcome = DataTransferOutcome(status=CommandStatus.ACCEPTED, data='{"a":1}')
    payload = adapter.encode_outcome("DataTransfer", DataTransfer(vendor_id="x"), outcome)
    assert valid_response("1.6", "DataTransfer", payload) == {"status": "Accepted", "data": '{"a":1}'}


@pytest.mark.parametrize("action", list(STATUS_WORDS))
def test_outcome_of_another_command_is_an_internal_error(adapter: V16Adapter, action: str) -> None:
    command = next(command for name, _, command in CALLS if name == action)
    with pytest.raises(OcppCallError, match="InternalError"):
        adapter.encode_outcome(action, command, GetVariablesOutcome(results=()))
