"""TransactionNotice as StartTransaction, MeterValues, StopTransaction and, where the session is sold, the station's own cost figure.

The transaction's number is the CSMS's in 1.6: it is put in when a message is sent, -1 where the Start was never answered (errata 3.18).
"""

import json

from agent.domain.authorization import AuthorizationStatus
from agent.domain.events import TransactionAnswered
from agent.domain.notices import TransactionNotice
from agent.domain.tariff import SessionCost
from agent.domain.time import Instant
from agent.domain.transaction import StoppedReason, TransactionEventType
from agent.ocpp_client.adapter import Call, JsonObject, RemoteRefs, Reply
from agent.ocpp_client.catalog import Answered
from agent.ocpp_client.fields import integer, plain
from agent.ocpp_client.v16 import meter_values
from agent.ocpp_client.v16.authorize import id_tag, maybe_id_tag_info
from agent.ocpp_client.v16.context import Context

UNKNOWN_TRANSACTION = -1
COST_MESSAGE = "SessionCost"

STOP_REASON: dict[StoppedReason, str | None] = {
    StoppedReason.DE_AUTHORIZED: "DeAuthorized",
    StoppedReason.EMERGENCY_STOP: "EmergencyStop",
    StoppedReason.ENERGY_LIMIT_REACHED: "Other",
    StoppedReason.EV_DISCONNECTED: "EVDisconnected",
    StoppedReason.GROUND_FAULT: "Other",
    StoppedReason.HARD_RESET: "HardReset",
    StoppedReason.LOCAL: None,  # the default of an absent reason (1.6 6.49)
    StoppedReason.LOCAL_OUT_OF_CREDIT: "Other",
    StoppedReason.OTHER: "Other",
    StoppedReason.OVERCURRENT_FAULT: "Other",
    StoppedReason.POWER_LOSS: "PowerLoss",
    StoppedReason.POWER_QUALITY: "Other",
    StoppedReason.REBOOT: "Reboot",
    StoppedReason.REMOTE: "Remote",
    StoppedReason.SOFT_RESET: "SoftReset",
    StoppedReason.STOPPED_BY_EV: "Other",
    StoppedReason.TIME_LIMIT_REACHED: "Other",
    StoppedReason.TIMEOUT: "Other",
    StoppedReason.UNLOCK_COMMAND: "UnlockCommand",
}
"""1.6 7.36 Reason; what only 2.x can say is Other."""


def can_encode(context: Context, notice: TransactionNotice, refs: RemoteRefs) -> bool:
    """Whether the number and every time that the messages carry are known."""
    if notice.event_type is not TransactionEventType.STARTED and _remote_id(notice, refs) is None:
        return False
    return context.missing_time(moments(notice)) is None


def moments(notice: TransactionNotice) -> list[Instant]:
    """The moments of which its messages tell the time."""
    found = [value.at for value in notice.meter_values if value.quantities]
    if notice.event_type is not TransactionEventType.UPDATED:
        found.append(notice.at)
    return found


def encode(context: Context, notice: TransactionNotice, refs: RemoteRefs) -> tuple[Call, ...]:
    """The messages of one transaction event; none for an Updated without meter values, which 1.6 has no message for."""
    match notice.event_type:
        case TransactionEventType.STARTED:
            return (_start(context, notice),)
        case TransactionEventType.UPDATED:
            remote_id = _known_remote_id(notice, refs)
            calls = meter_values.encode_call(context, context.connector_of(notice.evse_id), remote_id, notice.meter_values)
            return (*calls, *_cost(context, notice, remote_id)) if calls else ()
        case TransactionEventType.ENDED:
            remote_id = _known_remote_id(notice, refs)
            return (_stop(context, notice, remote_id), *_cost(context, notice, remote_id))


def decode_start_reply(answered: Answered[Context]) -> Reply:
    """The transaction's number, and the verdict about its token.

    A Start that was sent before may be booked already; a CSMS then says ConcurrentTx about the very session that the Start belongs to, and
    that must not end it. A number 0 is passed on as it is: the StopTransaction is sent with it all the same.
    """
    if not isinstance(answered.notice, TransactionNotice):
        return Reply()
    info = maybe_id_tag_info(answered.payload)
    was_sent_before = answered.sending.attempt > 1 or answered.sending.is_late
    is_echo = was_sent_before and info is not None and info.status is AuthorizationStatus.CONCURRENT_TX
    events = () if info is None or is_echo else (TransactionAnswered(answered.notice.transaction_id, info),)
    return Reply(events=events, remote_id=integer(answered.payload, "transactionId"))


def decode_stop_reply(answered: Answered[Context]) -> Reply:
    """A verdict about the token that stopped it, where the CSMS gives one."""
    info = maybe_id_tag_info(answered.payload)
    if info is None or not isinstance(answered.notice, TransactionNotice):
        return Reply()
    return Reply(events=(TransactionAnswered(answered.notice.transaction_id, info),))


def _start(context: Context, notice: TransactionNotice) -> Call:
    return Call(
        "StartTransaction",
        {
            "connectorId": context.connector_of(notice.evse_id),
            "idTag": id_tag(notice.id_token),
            "meterStart": _register(notice),
            "timestamp": context.timestamp(notice.at),
        },
    )


def _stop(context: Context, notice: TransactionNotice, remote_id: int) -> Call:
    payload: dict[str, object] = {
        "transactionId": remote_id,
        "timestamp": context.timestamp(notice.at),
        "meterStop": _register(notice),
    }
    reason = None if notice.stopped_reason is None else STOP_REASON[notice.stopped_reason]
    if reason is not None:
        payload["reason"] = reason
    if notice.id_token is not None and notice.id_token.value:
        payload["idTag"] = id_tag(notice.id_token)
    transaction_data = meter_values.encode_meter_values(context, notice.meter_values)
    if transaction_data:
        payload["transactionData"] = transaction_data
    return Call("StopTransaction", payload)


def _cost(context: Context, notice: TransactionNotice, remote_id: int) -> tuple[Call, ...]:
    """The cost figure names the transaction by its number, so there is none for a Start that was never answered."""
    if notice.cost is None or remote_id == UNKNOWN_TRANSACTION:
        return ()
    text = json.dumps({"transactionId": remote_id, **_cost_members(notice.cost)}, separators=(",", ":"))
    return (Call("DataTransfer", {"vendorId": context.vendor_id, "messageId": COST_MESSAGE, "data": text}),)


def _cost_members(cost: SessionCost) -> JsonObject:
    """Money and seconds as decimal text: a JSON number may pass through a binary float on its way."""
    return {
        "currency": cost.currency,
        "gross": plain(cost.gross),
        "vat": plain(cost.vat),
        "energyWh": cost.energy_wh,
        "seconds": plain(cost.seconds),
        "final": cost.is_final,
    }


def _remote_id(notice: TransactionNotice, refs: RemoteRefs) -> int | None:
    remote_id = refs.remote_id(notice.transaction_id)
    if remote_id is None and refs.is_start_dead(notice.transaction_id):
        return UNKNOWN_TRANSACTION
    return remote_id


def _known_remote_id(notice: TransactionNotice, refs: RemoteRefs) -> int:
    remote_id = _remote_id(notice, refs)
    if remote_id is None:
        msg = f"transaction {notice.transaction_id} has no number of the CSMS yet; its {notice.event_type} cannot be sent"
        raise ValueError(msg)
    return remote_id


def _register(notice: TransactionNotice) -> int:
    """A number that was not read is never sent; the core does not begin or end a transaction without one."""
    if notice.register_wh is None:
        msg = f"transaction {notice.transaction_id}: its {notice.event_type} has no meter register, which 1.6 cannot do without"
        raise ValueError(msg)
    return notice.register_wh
