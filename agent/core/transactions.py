"""Transactions: begin, update, end, and what each event carries. Every notice of one is made here, with the record that numbers it."""

from dataclasses import replace
from decimal import Decimal

from agent.core import variables as var
from agent.core.state import Authorization, Evse, Phase, Receipt, Station, Stop, Turn
from agent.core.tariff import session_cost
from agent.domain.authorization import IdToken
from agent.domain.effects import Enqueue
from agent.domain.metering import Measurand, MeterValue, Quantity, Reading, ReadingContext, billed_wh, whole_wh
from agent.domain.notices import TransactionNotice
from agent.domain.tariff import SessionCost, Tariff
from agent.domain.time import Instant
from agent.domain.transaction import ChargingState, TransactionEventType, TransactionLimit, TransactionRecord, TriggerReason
from agent.domain.variables import VariableKey

_MINUTES_PER_HOUR = 60


def current_tariff(variables: var.Variables) -> Tariff | None:
    """The price that the portal set, None while a part of it is missing: no price, no sale."""
    currency = variables.text(var.CURRENCY)
    vat_percent = variables.decimal(var.VAT_PERCENT)
    price_kwh = variables.decimal(var.PRICE_KWH)
    price_hour = variables.decimal(var.PRICE_HOUR)
    price_session = variables.decimal(var.PRICE_SESSION)
    if not currency or vat_percent is None or (price_kwh is None and price_hour is None and price_session is None):
        return None
    return Tariff(
        currency=currency,
        price_kwh=price_kwh or Decimal(0),
        price_minute=(price_hour or Decimal(0)) / _MINUTES_PER_HOUR,
        price_session=price_session or Decimal(0),
        vat_percent=vat_percent,
    )


def is_public(variables: var.Variables) -> bool:
    """Whether anybody may charge here for money: the portal's switch is on."""
    return variables.boolean(var.WEB_PAYMENTS_ENABLED)


def price_now(variables: var.Variables) -> Tariff | None:
    """The price of a session that begins now, None where charging is not sold."""
    return current_tariff(variables) if is_public(variables) else None


def meter_value(evse: Evse, reading: Reading, context: ReadingContext, wanted: tuple[Measurand, ...], anchor: Instant) -> MeterValue | None:
    """The wanted quantities that the reading really has, None when it has none: a number that was not read is never sent."""
    quantities: list[Quantity] = []
    for measurand in wanted:
        if measurand is Measurand.ENERGY_ACTIVE_IMPORT_REGISTER:
            if reading.energy_wh is not None:
                quantities.append(Quantity(measurand, Decimal(whole_wh(reading.energy_wh))))
        elif measurand is Measurand.CURRENT_OFFERED:
            quantities.append(Quantity(measurand, evse.output.amps))
        else:
            quantities.extend(q for q in reading.quantities if q.measurand is measurand)
    if not quantities:
        return None
    at = reading.at.anchored_to(anchor)
    if at.boot_id == anchor.boot_id and at.mono_ms < anchor.mono_ms:
        at = anchor  # the contactor was open between that reading and the begin: the register of the begin, told with its time
    return MeterValue(at=at, context=context, quantities=tuple(quantities))


def begin(turn: Turn, evse: Evse, authorization: Authorization, reading: Reading) -> Evse:
    """Both conditions hold and the register was read: the transaction exists from here (TxStartPoint PowerPathClosed)."""
    record = TransactionRecord(
        transaction_id=authorization.new_transaction_id,
        evse_id=evse.evse_id,
        connector_id=evse.config.connector_id,
        id_token=authorization.id_token,
        group_id_token=authorization.group_id_token,
        started_at=turn.at,
        meter_start=reading,
        last_reading=reading,
        remote_start_id=authorization.remote_start_id,
        tariff=authorization.tariff or price_now(turn.station.variables),
        started_offline=authorization.is_offline,
        limit=authorization.limit or announced_limit(turn.station, authorization.id_token),
    )
    others = tuple(one for one in turn.station.limits if not one.id_token.same_as(authorization.id_token))
    turn.station = turn.station if others == turn.station.limits else replace(turn.station, limits=others)
    plugged_last = evse.plugged_at is not None and evse.plugged_at.ms_since(authorization.since) > 0
    if authorization.is_remote:
        trigger = TriggerReason.REMOTE_START
    else:
        trigger = TriggerReason.CABLE_PLUGGED_IN if plugged_last else TriggerReason.AUTHORIZED
    started_with = turn.station.variables.measurands(var.TX_STARTED_MEASURANDS)
    value = meter_value(evse, reading, ReadingContext.TRANSACTION_BEGIN, started_with, record.started_at)
    ended_with = turn.station.variables.measurands(var.TX_ENDED_MEASURANDS)
    first = meter_value(evse, reading, ReadingContext.TRANSACTION_BEGIN, ended_with, record.started_at)
    record = replace(record, ended_values=() if first is None else (first,))
    evse = replace(
        evse,
        transaction=record,
        phase=Phase.TRANSACTION,
        authorization=None,
        reading_due=None,
        receipt=None,
        refusal=None,
        suspended_reason=None,
        stop_check=None,
        held_for=None,
        sample_at=next_sample(turn, var.TX_UPDATED_INTERVAL),
        ended_sample_at=next_sample(turn, var.TX_ENDED_INTERVAL),
    )
    turn.remark("transaction_started", evse, f"register {reading.energy_wh} Wh, trigger {trigger}")
    return _enqueue(turn, evse, TransactionEventType.STARTED, trigger, turn.at, values=() if value is None else (value,))


def announced_limit(station: Station, id_token: IdToken) -> TransactionLimit | None:
    """The limit that was told for a token's next transaction."""
    return next((one.limit for one in station.limits if one.id_token.same_as(id_token)), None)


def next_sample(turn: Turn, interval: VariableKey) -> Instant | None:
    """When the next value of an interval variable is due, None when it is 0."""
    seconds = turn.station.variables.integer(interval)
    return turn.at.plus_ms(seconds * 1000) if seconds > 0 else None


def update(turn: Turn, evse: Evse, trigger: TriggerReason, values: tuple[MeterValue, ...] = ()) -> Evse:
    """Something about a running transaction changed, or a value is due."""
    return _enqueue(turn, evse, TransactionEventType.UPDATED, trigger, turn.at, values=values)


def set_charging_state(turn: Turn, evse: Evse, state: ChargingState) -> Evse:
    """Note a new charging state and tell it."""
    record = evse.transaction
    if record is None or record.charging_state is state:
        return evse
    last = evse.reading if evse.reading is not None else record.last_reading
    evse = turn.put(replace(evse, transaction=replace(record, charging_state=state, last_reading=last)))
    return update(turn, evse, TriggerReason.CHARGING_STATE_CHANGED)


def end(turn: Turn, evse: Evse, stop: Stop, reading: Reading, *, is_estimated: bool, ended_at: Instant) -> Evse:
    """The last register is known: close the record and tell the CSMS, once."""
    record = evse.transaction
    if record is None:
        return evse
    ended_at = ended_at.anchored_to(record.running_since)
    start_wh, stop_wh = record.meter_start.energy_wh or Decimal(0), reading.energy_wh
    if stop_wh is None or stop_wh < start_wh:
        reading, stop_wh, is_estimated = record.last_reading, record.last_reading.energy_wh or start_wh, True
    energy_wh = billed_wh(start_wh, stop_wh)
    ended_with = turn.station.variables.measurands(var.TX_ENDED_MEASURANDS)
    # Read behind the end, after a boot: the contactor was open since, so it is the register of the end, and is told with the end's time.
    told = replace(reading, at=ended_at) if _is_later(reading.at, ended_at, turn.at) else reading
    last = meter_value(evse, told, ReadingContext.TRANSACTION_END, ended_with, record.running_since)
    values = record.ended_values if last is None else (*record.ended_values, last)
    billed_ms = duration_ms(record, ended_at)
    cost = None if record.tariff is None else session_cost(record.tariff, energy_wh=energy_wh, duration_ms=billed_ms, is_final=True)
    record = replace(
        record,
        ended_at=ended_at,
        meter_stop=reading,
        last_reading=reading,
        meter_stop_estimated=is_estimated,
        stopped_reason=stop.reason,
        stop_id_token=stop.id_token,
        energy_wh=energy_wh,
        cost_gross=None if cost is None else cost.gross,
        charging_state=ChargingState.EV_CONNECTED if evse.pilot.is_connected else ChargingState.IDLE,
        ended_values=(),
        stop_begun=None,
        interrupted_by=None,
    )
    receipt = Receipt(
        transaction_id=record.transaction_id,
        energy_wh=energy_wh,
        duration_ms=billed_ms,
        cost=cost,
        started_at=record.started_at,
        ended_at=ended_at,
        reason=stop.reason,
    )
    evse = replace(
        evse,
        transaction=record,
        receipt=receipt,
        stop=None,
        may_resume=False,
        offer_not_before=None,
        sample_at=None,
        ended_sample_at=None,
        suspended_reason=None,
    )
    if stop.fixed_reading is not None:
        # That register is not continued by what is read from now on: the next session waits for one that is.
        evse = replace(evse, reading=None)
    source = "estimated from the last stored reading" if is_estimated else "read after the contactor opened"
    if record.segments:
        source = f"the last good one before its {record.segments[0].ended_by}"
    turn.remark("transaction_ended", evse, f"{energy_wh} Wh, register {stop_wh} Wh {source}, reason {stop.reason}")
    evse = _enqueue(turn, evse, TransactionEventType.ENDED, stop.trigger, ended_at, values=values, cost=cost, stop=stop)
    phase = Phase.FINISHED if evse.pilot.is_connected else Phase.FREE
    return turn.put(replace(evse, phase=phase))


def duration_ms(record: TransactionRecord, at: Instant) -> int:
    """How long a transaction has run at a moment, as its timestamps on the wire show it; interruptions are left out."""
    return record.served_ms + max(0, wire_ms(record.running_since, at.anchored_to(record.running_since)))


def _is_later(moment: Instant, ended_at: Instant, now: Instant) -> bool:
    if moment.boot_id == ended_at.boot_id:
        return moment.mono_ms > ended_at.mono_ms
    return moment.boot_id == now.boot_id


def wire_ms(start: Instant, stop: Instant) -> int:
    """Milliseconds between two moments as their timestamps on the wire show them; monotonic time where a clock is unknown."""
    if start.utc is not None and stop.utc is not None:
        return _whole_ms(stop) - _whole_ms(start)
    return stop.ms_since(start)


def _whole_ms(instant: Instant) -> int:
    utc = instant.utc
    return 0 if utc is None else int(utc.timestamp()) * 1000 + utc.microsecond // 1000


def running_cost(evse: Evse, at: Instant) -> SessionCost | None:
    """What the running transaction costs at a moment, None when it is not sold here."""
    record = evse.transaction
    if record is None or record.tariff is None:
        return None
    return session_cost(record.tariff, energy_wh=energy_so_far(evse), duration_ms=duration_ms(record, at), is_final=False)


def energy_so_far(evse: Evse) -> int:
    """Billed energy of the running transaction in whole Wh."""
    record = evse.transaction
    if record is None:
        return 0
    start_wh = record.meter_start.energy_wh or Decimal(0)
    newest = evse.reading if evse.reading is not None else record.last_reading
    now_wh = newest.energy_wh
    return max(0, billed_wh(start_wh, start_wh if now_wh is None else now_wh))


def _enqueue(
    turn: Turn,
    evse: Evse,
    event_type: TransactionEventType,
    trigger: TriggerReason,
    at: Instant,
    *,
    values: tuple[MeterValue, ...] = (),
    cost: SessionCost | None = None,
    stop: Stop | None = None,
) -> Evse:
    record = evse.transaction
    if record is None:
        msg = f"EVSE {evse.evse_id} has no transaction to tell about"
        raise LookupError(msg)
    register = {TransactionEventType.STARTED: record.meter_start, TransactionEventType.ENDED: record.meter_stop}.get(event_type)
    if cost is None and values and event_type is TransactionEventType.UPDATED:
        cost = running_cost(evse, at)
    told = record.id_token if event_type is TransactionEventType.STARTED else None
    id_token = told if stop is None else stop.id_token
    notice = TransactionNotice(
        event_type=event_type,
        transaction_id=record.transaction_id,
        evse_id=record.evse_id,
        connector_id=record.connector_id,
        seq_no=record.next_seq_no,
        trigger=trigger,
        at=at.anchored_to(record.running_since),
        is_offline=not turn.station.is_online,
        id_token=id_token,
        charging_state=record.charging_state,
        stopped_reason=record.stopped_reason,
        remote_start_id=record.remote_start_id if event_type is TransactionEventType.STARTED else None,
        register_wh=None if register is None or register.energy_wh is None else whole_wh(register.energy_wh),
        meter_values=values,
        meter_serial_number=record.meter_start.serial_number,
        cost=cost,
    )
    turn.emit(Enqueue(notice))
    return turn.put(replace(evse, transaction=replace(record, next_seq_no=record.next_seq_no + 1, last_event_at=at)))
