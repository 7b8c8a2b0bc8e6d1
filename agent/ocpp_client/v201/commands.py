"""What a CSMS of 2.0.1 asks beside variables, and the words with which it is answered."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import cast

from agent.domain.commands import (
    ChangeAvailability,
    ClearCache,
    Command,
    CommandStatus,
    DataTransfer,
    DataTransferOutcome,
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
from agent.ocpp_client.adapter import JsonObject, OcppCallError
from agent.ocpp_client.catalog import Asked, Codec, Done, unexpected
from agent.ocpp_client.fields import NOTHING_ALLOWED, child, integer, maybe_child, maybe_integer, maybe_text, text, transaction_limit
from agent.ocpp_client.v201.authorize import decode_id_token
from agent.ocpp_client.v201.context import Context
from agent.ocpp_client.v201.status_info import status_info

TRIGGERS = frozenset({"BootNotification", "Heartbeat", "StatusNotification", "MeterValues"})
"""What can be asked for; the others are answered NotImplemented (F06.FR.08)."""

_RESET_KIND = {"Immediate": ResetKind.SOFT, "OnIdle": ResetKind.ON_IDLE}
"""Immediate ends transactions and reports them first (B12.FR.04), as 1.6 Soft does."""

_YES_OR_NO = {CommandStatus.ACCEPTED: "Accepted", CommandStatus.SCHEDULED: "Accepted", CommandStatus.REJECTED: "Rejected"}
_SCHEDULED = {**_YES_OR_NO, CommandStatus.SCHEDULED: "Scheduled"}

STATUS_WORDS: Mapping[str, Mapping[CommandStatus, str]] = {
    "RequestStartTransaction": _YES_OR_NO,
    "RequestStopTransaction": _YES_OR_NO,
    "ClearCache": _YES_OR_NO,
    "Reset": _SCHEDULED,
    "ChangeAvailability": _SCHEDULED,
    "TriggerMessage": {**_YES_OR_NO, CommandStatus.NOT_IMPLEMENTED: "NotImplemented"},
    "UnlockConnector": {
        CommandStatus.UNLOCKED: "Unlocked",
        CommandStatus.UNLOCK_FAILED: "UnlockFailed",
        CommandStatus.REJECTED: "UnlockFailed",
        CommandStatus.NOT_SUPPORTED: "UnlockFailed",  # a fixed cable: 2.0.1 has no word of its own
        CommandStatus.ONGOING_AUTHORIZED_TRANSACTION: "OngoingAuthorizedTransaction",
        CommandStatus.UNKNOWN_CONNECTOR: "UnknownConnector",
    },
    "DataTransfer": {
        CommandStatus.ACCEPTED: "Accepted",
        CommandStatus.REJECTED: "Rejected",
        CommandStatus.UNKNOWN_MESSAGE_ID: "UnknownMessageId",
        CommandStatus.UNKNOWN_VENDOR_ID: "UnknownVendorId",
    },
}
_REASON_CODE = {CommandStatus.NOT_SUPPORTED: "FixedCable", CommandStatus.NOT_IMPLEMENTED: "UnsupportedRequest"}
"""Appendix 5; where the core gives only a sentence the code is Unspecified."""


def decode_request_start(asked: Asked[Context]) -> Command:
    """A charging profile is ignored as long as smart charging is not built (F01.FR.12)."""
    evse_id = maybe_integer(asked.payload, "evseId")
    group = maybe_child(asked.payload, "groupIdToken")
    custom = maybe_child(asked.payload, "customData")
    is_ours = custom is not None and custom.get("vendorId") == asked.context.vendor_id
    return RequestStart(
        id_token=decode_id_token(child(asked.payload, "idToken")),
        evse_id=None if evse_id is None else EvseId(evse_id),
        remote_start_id=integer(asked.payload, "remoteStartId"),
        group_id_token=None if group is None else decode_id_token(group),
        limit=_limit(custom) if custom is not None and is_ours else None,
    )


def _limit(custom: JsonObject) -> TransactionLimit | None:
    """`transactionLimit` is 2.1's; 2.0.1 carries it as custom data. What is there and is no object allows nothing."""
    if "transactionLimit" not in custom:
        return None
    limit = custom["transactionLimit"]
    return transaction_limit(cast("JsonObject", limit)) if isinstance(limit, dict) else NOTHING_ALLOWED


def decode_request_stop(asked: Asked[Context]) -> Command:
    """The transaction's id is ours."""
    return RequestStop(transaction_id=TransactionId(text(asked.payload, "transactionId")))


def decode_change_availability(asked: Asked[Context]) -> Command:
    """Without an EVSE the whole station is meant."""
    evse_id, connector_id = _decode_evse(asked.payload)
    return ChangeAvailability(
        operational_status=OperationalStatus(text(asked.payload, "operationalStatus")), evse_id=evse_id, connector_id=connector_id
    )


def decode_clear_cache(_: Asked[Context]) -> Command:
    """An empty object."""
    return ClearCache()


def decode_reset(asked: Asked[Context]) -> Command:
    """Immediate or OnIdle, the station or one EVSE."""
    evse_id = maybe_integer(asked.payload, "evseId")
    return Reset(kind=_RESET_KIND[text(asked.payload, "type")], evse_id=None if evse_id is None else EvseId(evse_id))


def decode_unlock(asked: Asked[Context]) -> Command:
    """During an authorized transaction it is refused (F05.FR.02)."""
    evse_id, connector_id = integer(asked.payload, "evseId"), integer(asked.payload, "connectorId")
    return UnlockConnector(evse_id=EvseId(evse_id), connector_id=ConnectorId(connector_id), stops_transaction=False)


def decode_data_transfer(asked: Asked[Context]) -> Command:
    """Vendor's message; data that is not a text is passed on as JSON text."""
    data = asked.payload.get("data")
    return DataTransfer(
        vendor_id=text(asked.payload, "vendorId"),
        message_id=maybe_text(asked.payload, "messageId"),
        data=data if data is None or isinstance(data, str) else json.dumps(data, ensure_ascii=False, default=_exact_number),
    )


def decode_trigger(asked: Asked[Context]) -> Command:
    """Without an EVSE every one is meant."""
    return TriggerMessage(requested=text(asked.payload, "requestedMessage"), evse_id=_decode_evse(asked.payload)[0])


def encode_request_start(done: Done[Context]) -> JsonObject:
    """With the transaction that runs already, where there is one (F01.FR.13, F02.FR.05)."""
    payload = dict(encode_status("RequestStartTransaction", done))
    if isinstance(done.outcome, StatusOutcome) and done.outcome.transaction_id is not None:
        payload["transactionId"] = done.outcome.transaction_id
    return payload


def encode_trigger(done: Done[Context]) -> JsonObject:
    """NotImplemented for what this station never sends, whatever became of the request."""
    if isinstance(done.command, TriggerMessage) and done.command.requested not in TRIGGERS:
        return {"status": "NotImplemented"}
    return encode_status("TriggerMessage", done)


def encode_data_transfer(done: Done[Context]) -> JsonObject:
    """A status and, where the vendor's message has one, an answer text."""
    if not isinstance(done.outcome, DataTransferOutcome):
        raise unexpected("DataTransfer", done.outcome)
    payload: dict[str, object] = {"status": _word("DataTransfer", done.outcome.status, "")}
    if done.outcome.data is not None:
        payload["data"] = done.outcome.data
    return payload


def encode_status(action: str, done: Done[Context]) -> JsonObject:
    """A status and, where it is not a plain yes, why."""
    if not isinstance(done.outcome, StatusOutcome):
        raise unexpected(action, done.outcome)
    status, reason = done.outcome.status, done.outcome.reason
    payload: dict[str, object] = {"status": _word(action, status, reason)}
    if reason or status in _REASON_CODE:
        code = "TxInProgress" if done.outcome.transaction_id is not None else _REASON_CODE.get(status, "Unspecified")
        payload["statusInfo"] = status_info(code, reason)
    return payload


def status_codec(action: str, decode: Callable[[Asked[Context]], Command], done_for: str) -> Codec[Context]:
    """The codec of a command that is answered with a status."""
    return Codec(done_for=done_for, decode=decode, encode_outcome=partial(encode_status, action))


def _word(action: str, status: CommandStatus, reason: str) -> str:
    """The action's word for a status; where it has none the call is answered with a CALLERROR."""
    word = STATUS_WORDS[action].get(status)
    if word is not None:
        return word
    neutral_codes = {CommandStatus.NOT_SUPPORTED: "NotSupported", CommandStatus.NOT_IMPLEMENTED: "NotImplemented"}
    raise OcppCallError(neutral_codes.get(status, "InternalError"), reason or f"{action} was answered {status}")


def _decode_evse(payload: JsonObject) -> tuple[EvseId | None, ConnectorId | None]:
    evse = maybe_child(payload, "evse")
    if evse is None:
        return None, None
    connector_id = maybe_integer(evse, "connectorId")
    return EvseId(integer(evse, "id")), None if connector_id is None else ConnectorId(connector_id)


def _exact_number(value: object) -> object:
    """A Decimal inside vendor data, as text: a JSON writer would make a binary float of it."""
    if isinstance(value, Decimal):
        return format(value, "f")
    msg = f"vendor data holds a {type(value).__name__}"
    raise TypeError(msg)
