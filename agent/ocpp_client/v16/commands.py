"""What a CSMS of 1.6 asks beside configuration, and the words with which it is answered."""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Final

from agent.domain.authorization import IdToken, IdTokenType
from agent.domain.commands import (
    ChangeAvailability,
    ClearCache,
    Command,
    CommandStatus,
    DataTransfer,
    DataTransferOutcome,
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
from agent.ocpp_client.adapter import JsonObject, OcppCallError
from agent.ocpp_client.catalog import Asked, Codec, Done, unexpected
from agent.ocpp_client.fields import NOTHING_ALLOWED, integer, maybe_integer, maybe_text, text, transaction_limit
from agent.ocpp_client.rpc import is_text
from agent.ocpp_client.v16.context import FIRST_CONNECTOR, WHOLE_STATION, Context

TRIGGERS = frozenset({"BootNotification", "Heartbeat", "StatusNotification", "MeterValues"})
"""What can be asked for; the firmware and diagnostics messages are answered NotImplemented (1.6 7.46)."""

LIMIT_MESSAGE: Final = "TransactionLimit"
LONGEST_LIMIT: Final = 400
"""Characters; also the deepest nesting that is ever tried to be read."""

_YES_OR_NO = {CommandStatus.ACCEPTED: "Accepted", CommandStatus.SCHEDULED: "Accepted", CommandStatus.REJECTED: "Rejected"}

STATUS_WORDS: Mapping[str, Mapping[CommandStatus, str]] = {
    "RemoteStartTransaction": _YES_OR_NO,
    "RemoteStopTransaction": _YES_OR_NO,
    "ClearCache": _YES_OR_NO,
    "Reset": _YES_OR_NO,
    "ChangeAvailability": {**_YES_OR_NO, CommandStatus.SCHEDULED: "Scheduled"},
    "TriggerMessage": {**_YES_OR_NO, CommandStatus.NOT_IMPLEMENTED: "NotImplemented"},
    "UnlockConnector": {
        CommandStatus.UNLOCKED: "Unlocked",
        CommandStatus.UNLOCK_FAILED: "UnlockFailed",
        CommandStatus.REJECTED: "UnlockFailed",
        CommandStatus.ONGOING_AUTHORIZED_TRANSACTION: "UnlockFailed",
        CommandStatus.NOT_SUPPORTED: "NotSupported",
        CommandStatus.UNKNOWN_CONNECTOR: "NotSupported",  # 1.6 7.47: no lock, or no such connector (TC_031)
    },
    "DataTransfer": {
        CommandStatus.ACCEPTED: "Accepted",
        CommandStatus.REJECTED: "Rejected",
        CommandStatus.UNKNOWN_MESSAGE_ID: "UnknownMessageId",
        CommandStatus.UNKNOWN_VENDOR_ID: "UnknownVendorId",
    },
}


def decode_remote_start(asked: Asked[Context]) -> Command:
    """A charging profile is ignored as long as smart charging is not built (1.6 5.11)."""
    connector_id = maybe_integer(asked.payload, "connectorId")
    return RequestStart(
        id_token=IdToken(text(asked.payload, "idTag"), IdTokenType.CENTRAL),
        evse_id=None if connector_id is None else asked.context.evse_of(connector_id),
    )


def decode_remote_stop(asked: Asked[Context]) -> Command:
    """The CSMS's number of the transaction becomes ours."""
    return RequestStop(transaction_id=asked.refs.transaction_id(integer(asked.payload, "transactionId")))


def decode_change_availability(asked: Asked[Context]) -> Command:
    """Connector 0 is the whole station."""
    connector_id = integer(asked.payload, "connectorId")
    return ChangeAvailability(
        operational_status=OperationalStatus(text(asked.payload, "type")),
        evse_id=None if connector_id == WHOLE_STATION else asked.context.evse_of(connector_id),
    )


def decode_clear_cache(_: Asked[Context]) -> Command:
    """An empty object."""
    return ClearCache()


def decode_reset(asked: Asked[Context]) -> Command:
    """Hard or Soft."""
    return Reset(kind=ResetKind(text(asked.payload, "type")))


def decode_unlock(asked: Asked[Context]) -> Command:
    """In 1.6 it ends a running transaction (5.18)."""
    evse_id = asked.context.evse_of(integer(asked.payload, "connectorId"))
    return UnlockConnector(evse_id=evse_id, connector_id=FIRST_CONNECTOR, stops_transaction=True)


def decode_data_transfer(asked: Asked[Context]) -> Command:
    """Vendor's message; data is text in 1.6. Ours is `TransactionLimit`: 1.6 has no other place for what a driver agreed to."""
    if asked.payload["vendorId"] == asked.context.vendor_id and asked.payload.get("messageId") == LIMIT_MESSAGE:
        return _limit(maybe_text(asked.payload, "data") or "")
    return DataTransfer(
        vendor_id=text(asked.payload, "vendorId"), message_id=maybe_text(asked.payload, "messageId"), data=maybe_text(asked.payload, "data")
    )


def _limit(data: str) -> Command:
    """`{"idTag":…,"maxEnergy":…,"maxTime":…,"maxCost":…}`; what cannot be read names no token and allows nothing, and is refused."""
    try:
        found = json.loads(data, parse_float=Decimal) if len(data) <= LONGEST_LIMIT else None
    except ValueError:
        found = None
    members = found if isinstance(found, dict) and is_text(found) else {}
    tag = members.get("idTag")
    limit = transaction_limit(members) if isinstance(tag, str) and tag else NOTHING_ALLOWED
    return LimitTransaction(id_token=IdToken(tag if isinstance(tag, str) else "", IdTokenType.CENTRAL), limit=limit)


def decode_trigger(asked: Asked[Context]) -> Command:
    """Without a connector (or for connector 0) every one is meant."""
    connector_id = maybe_integer(asked.payload, "connectorId")
    is_whole = connector_id is None or connector_id == WHOLE_STATION
    return TriggerMessage(
        requested=text(asked.payload, "requestedMessage"),
        evse_id=None if is_whole or connector_id is None else asked.context.evse_of(connector_id),
    )


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
    """An answer that is a status and nothing else."""
    if not isinstance(done.outcome, StatusOutcome):
        raise unexpected(action, done.outcome)
    return {"status": _word(action, done.outcome.status, done.outcome.reason)}


def status_codec(action: str, decode: Callable[[Asked[Context]], Command], done_for: str) -> Codec[Context]:
    """The codec of a command that is answered with a status and nothing else."""
    return Codec(done_for=done_for, decode=decode, encode_outcome=partial(encode_status, action))


def _word(action: str, status: CommandStatus, reason: str) -> str:
    """The action's word for a status; where it has none the call is answered with a CALLERROR."""
    word = STATUS_WORDS[action].get(status)
    if word is not None:
        return word
    neutral_codes = {CommandStatus.NOT_SUPPORTED: "NotSupported", CommandStatus.NOT_IMPLEMENTED: "NotImplemented"}
    raise OcppCallError(neutral_codes.get(status, "InternalError"), reason or f"{action} was answered {status}")
