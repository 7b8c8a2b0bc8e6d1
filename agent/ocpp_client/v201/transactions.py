"""TransactionNotice as TransactionEvent."""

from decimal import Decimal

from agent.domain.authorization import AuthorizationStatus
from agent.domain.events import TransactionAnswered
from agent.domain.metering import Measurand, MeterValue, Quantity, ReadingContext
from agent.domain.notices import TransactionNotice
from agent.domain.tariff import SessionCost
from agent.domain.time import Instant
from agent.domain.transaction import StoppedReason, TransactionEventType
from agent.ocpp_client.adapter import Call, JsonObject, Reply, Sending
from agent.ocpp_client.catalog import Answered
from agent.ocpp_client.fields import maybe_decimal, plain
from agent.ocpp_client.v201.authorize import encode_id_token, maybe_id_token_info
from agent.ocpp_client.v201.context import Context
from agent.ocpp_client.v201.meter_values import encode_meter_values, sendable

_REASONS_OF_1_6 = {
    StoppedReason.HARD_RESET: "ImmediateReset",
    StoppedReason.SOFT_RESET: "ImmediateReset",
    StoppedReason.UNLOCK_COMMAND: "Other",
}
STOPPED_REASON: dict[StoppedReason, str] = {reason: _REASONS_OF_1_6.get(reason, reason.value) for reason in StoppedReason}
"""2.0.1 ReasonEnumType."""


def can_encode(context: Context, notice: TransactionNotice) -> bool:
    """Whether the time of the event and of every value in it is known."""
    return context.missing_time(moments(notice)) is None


def moments(notice: TransactionNotice) -> list[Instant]:
    """The moments of which its message tells the time."""
    return [notice.at, *(value.at for value, _ in sendable(notice.meter_values))]


def encode(context: Context, notice: TransactionNotice, sending: Sending) -> tuple[Call, ...]:
    """One TransactionEvent. Only `offline` may differ between two sendings (E11.FR.07)."""
    payload: dict[str, object] = {
        "eventType": notice.event_type.value,
        "timestamp": context.timestamp(notice.at),
        "triggerReason": notice.trigger.value,
        "seqNo": notice.seq_no,
        "transactionInfo": _transaction_info(notice),
    }
    if notice.is_offline or sending.is_late:
        payload["offline"] = True
    if notice.event_type is TransactionEventType.STARTED:
        payload["evse"] = {"id": int(notice.evse_id), "connectorId": int(notice.connector_id)}
    if notice.id_token is not None:
        payload["idToken"] = encode_id_token(notice.id_token)
    meter_value = encode_meter_values(context, (*notice.meter_values, *_billed_register(notice)))
    if meter_value:
        payload["meterValue"] = meter_value
    custom = _custom(notice)
    if custom:
        payload["customData"] = {"vendorId": context.vendor_id, **custom}
    return (Call("TransactionEvent", payload),)


def decode_reply(answered: Answered[Context]) -> Reply:
    """A verdict about the token and the CSMS's cost figure, where the answer holds them.

    ConcurrentTx on a Started that was sent before is about the very session that the event belongs to, and must not end it.
    """
    notice = answered.notice
    if not isinstance(notice, TransactionNotice):
        return Reply()
    info = maybe_id_token_info(answered.payload)
    was_sent_before = answered.sending.attempt > 1 or answered.sending.is_late
    if was_sent_before and info is not None and info.status is AuthorizationStatus.CONCURRENT_TX:
        info = None
    # To an Updated it is what the session costs so far (I02); compared with the final figure it would differ for no reason.
    total_cost = maybe_decimal(answered.payload, "totalCost") if notice.event_type is TransactionEventType.ENDED else None
    if info is None and total_cost is None:
        return Reply()
    return Reply(events=(TransactionAnswered(notice.transaction_id, info, total_cost),))


_BILLED_IN = {
    TransactionEventType.STARTED: ReadingContext.TRANSACTION_BEGIN,
    TransactionEventType.ENDED: ReadingContext.TRANSACTION_END,
}


def _billed_register(notice: TransactionNotice) -> tuple[MeterValue, ...]:
    """The register that begins or ends the bill, where the CSMS's measurand lists leave it out: 2.0.1 has no other place for it."""
    reading_context = _BILLED_IN.get(notice.event_type)
    if reading_context is None or notice.register_wh is None:
        return ()
    register = Measurand.ENERGY_ACTIVE_IMPORT_REGISTER
    if any(v.context is reading_context and any(q.measurand is register for q in v.quantities) for v in notice.meter_values):
        return ()
    return (MeterValue(at=notice.at, context=reading_context, quantities=(Quantity(register, Decimal(notice.register_wh)),)),)


def _transaction_info(notice: TransactionNotice) -> JsonObject:
    info: dict[str, object] = {"transactionId": notice.transaction_id}
    if notice.charging_state is not None:
        info["chargingState"] = notice.charging_state.value
    if notice.seconds_charging is not None:
        info["timeSpentCharging"] = int(notice.seconds_charging)
    if notice.stopped_reason is not None and notice.event_type is TransactionEventType.ENDED:
        info["stoppedReason"] = STOPPED_REASON[notice.stopped_reason]
    if notice.remote_start_id is not None:
        info["remoteStartId"] = notice.remote_start_id
    return info


def _custom(notice: TransactionNotice) -> JsonObject:
    """The meter's serial number beside the registers that are billed, and the station's own cost figure."""
    custom: dict[str, object] = {}
    if notice.meter_serial_number is not None and notice.event_type is not TransactionEventType.UPDATED:
        custom["meterSerialNumber"] = notice.meter_serial_number
    if notice.cost is not None:
        custom["sessionCost"] = _cost(notice.cost)
    return custom


def _cost(cost: SessionCost) -> JsonObject:
    """Money and seconds as decimal text: a JSON number may pass through a binary float on its way."""
    return {
        "currency": cost.currency,
        "gross": plain(cost.gross),
        "vat": plain(cost.vat),
        "energyWh": cost.energy_wh,
        "seconds": plain(cost.seconds),
        "final": cost.is_final,
    }
