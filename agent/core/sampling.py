"""Meter values on time: periodic ones of a transaction, clock-aligned ones of every EVSE, and those kept for the end message."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agent.core import variables as var
from agent.core.state import Evse, Phase, Turn
from agent.core.transactions import meter_value, next_sample, update
from agent.domain.effects import Send
from agent.domain.metering import MeterValue, Reading, ReadingContext
from agent.domain.notices import MeterValuesNotice
from agent.domain.time import Instant
from agent.domain.transaction import TriggerReason
from agent.domain.variables import VariableKey

_CHECKPOINT_MS = 60_000
_SAMPLE_SOON_MS = 2_000
"""A sample that is due so soon brings the checkpoint along: with values every 60 s that saves the flash every third commit."""
_MAX_AGE_MS = 10_000
"""A reading older than this is not sent as a present value."""


def fresh_reading(turn: Turn, evse: Evse) -> Reading | None:
    """The newest good reading, while it still speaks for the present."""
    reading = evse.reading
    if reading is None or evse.meter_lost_at is not None or turn.at.ms_since(reading.at) > _MAX_AGE_MS:
        return None
    return reading


def periodic(turn: Turn, evse: Evse) -> Evse:
    """Send what is due of a running transaction, and arm the next."""
    if evse.phase not in {Phase.TRANSACTION, Phase.STOPPING} or evse.transaction is None:
        return evse
    if evse.ended_sample_at is not None and turn.at.ms_since(evse.ended_sample_at) >= 0:
        evse = turn.put(replace(evse, ended_sample_at=_after(turn, evse.ended_sample_at, var.TX_ENDED_INTERVAL)))
        evse = _keep_for_end(turn, evse, ReadingContext.SAMPLE_PERIODIC, var.TX_ENDED_MEASURANDS)
    if evse.sample_at is not None and turn.at.ms_since(evse.sample_at) >= 0:
        evse = turn.put(replace(evse, sample_at=_after(turn, evse.sample_at, var.TX_UPDATED_INTERVAL)))
        evse = _send_sample(turn, evse, TriggerReason.METER_VALUE_PERIODIC, ReadingContext.SAMPLE_PERIODIC, var.TX_UPDATED_MEASURANDS)
    return _checkpoint(turn, evse)


def _checkpoint(turn: Turn, evse: Evse) -> Evse:
    """What a power cut falls back on is never older than a minute and two seconds, however rarely values are sent."""
    record, reading = evse.transaction, evse.reading
    if record is None or reading is None or not evse.has_transaction or reading.at.ms_since(record.last_reading.at) < _CHECKPOINT_MS:
        return evse
    if evse.sample_at is not None and evse.sample_at.ms_since(turn.at) <= _SAMPLE_SOON_MS:
        return evse
    return turn.put(replace(evse, transaction=replace(record, last_reading=reading)))


def triggered(turn: Turn, evse: Evse) -> None:
    """Send the present values because the CSMS asked for them (TriggerMessage)."""
    if evse.phase is Phase.RECOVERING:
        return  # a sample would become the stored register, against which the one at the boot has yet to be judged
    if evse.has_transaction:
        _send_sample(turn, evse, TriggerReason.TRIGGER, ReadingContext.TRIGGER, var.TX_UPDATED_MEASURANDS)
    else:
        _send_idle(turn, evse, ReadingContext.TRIGGER, var.TX_UPDATED_MEASURANDS)


def aligned(turn: Turn) -> None:
    """Send clock-aligned values of every EVSE when the grid of the clock is reached (1.6 4.7, 2.x J01), and arm the next."""
    due = turn.station.aligned_at
    if due is not None and turn.at.ms_since(due) < 0:
        return
    if due is not None and turn.at.utc is not None:
        for evse in turn.station.evses:
            if evse.phase is Phase.RECOVERING:
                continue
            if evse.has_transaction:
                evse = _send_sample(turn, evse, TriggerReason.METER_VALUE_CLOCK, ReadingContext.SAMPLE_CLOCK, var.ALIGNED_MEASURANDS)  # noqa: PLW2901 - the EVSE as it is now
                _keep_for_end(turn, evse, ReadingContext.SAMPLE_CLOCK, var.ALIGNED_ENDED_MEASURANDS)
            else:
                _send_idle(turn, evse, ReadingContext.SAMPLE_CLOCK, var.ALIGNED_MEASURANDS)
    arm_aligned(turn)


def arm_aligned(turn: Turn) -> None:
    """Name the next moment on the grid, counted from midnight UTC; none while the clock is unknown or the interval is 0."""
    seconds = turn.station.variables.integer(var.ALIGNED_INTERVAL)
    target = None if seconds <= 0 or turn.at.utc is None else _next_on_grid(turn.at, turn.at.utc, seconds)
    if target != turn.station.aligned_at:
        turn.station = replace(turn.station, aligned_at=target)


def _next_on_grid(at: Instant, utc: datetime, seconds: int) -> Instant:
    midnight = datetime(utc.year, utc.month, utc.day, tzinfo=UTC)
    since_ms = (utc - midnight) // timedelta(milliseconds=1)
    step_ms = seconds * 1000
    # The grid begins anew at midnight, so an interval that does not divide the day ends with a short step.
    next_ms = min((since_ms // step_ms + 1) * step_ms, 86_400_000)
    return at.plus_ms(next_ms - since_ms)


def _after(turn: Turn, due: Instant, interval: VariableKey) -> Instant | None:
    """One interval after `due`, so that the rhythm does not drift; from now where more than one was missed."""
    seconds = turn.station.variables.integer(interval)
    if seconds <= 0:
        return None
    following = due.plus_ms(seconds * 1000)
    return following if turn.at.ms_since(following) < 0 else next_sample(turn, interval)


def _send_sample(turn: Turn, evse: Evse, trigger: TriggerReason, context: ReadingContext, measurands: VariableKey) -> Evse:
    value = _value(turn, evse, context, measurands)
    record = evse.transaction
    if value is None or record is None:
        return evse
    # The checkpoint: what a power cut falls back on rides with the sample's own commit.
    last = evse.reading if evse.reading is not None else record.last_reading
    evse = turn.put(replace(evse, transaction=replace(record, last_reading=last)))
    return update(turn, evse, trigger, (value,))


def _send_idle(turn: Turn, evse: Evse, context: ReadingContext, measurands: VariableKey) -> None:
    value = _value(turn, evse, context, measurands)
    if value is not None:
        turn.emit(Send(MeterValuesNotice(evse_id=evse.evse_id, connector_id=evse.config.connector_id, meter_values=(value,))))


def _value(turn: Turn, evse: Evse, context: ReadingContext, measurands: VariableKey) -> MeterValue | None:
    reading = fresh_reading(turn, evse)
    if reading is None:
        return None
    anchor = reading.at if evse.transaction is None or not evse.has_transaction else evse.transaction.running_since
    return meter_value(evse, reading, context, turn.station.variables.measurands(measurands), anchor)


def _keep_for_end(turn: Turn, evse: Evse, context: ReadingContext, measurands: VariableKey) -> Evse:
    value = _value(turn, evse, context, measurands)
    record = evse.transaction
    if value is None or record is None:
        return evse
    kept = (*record.ended_values, value)
    if len(kept) >= turn.station.variables.integer(var.ENDED_MAX_VALUES):
        kept = (kept[0], *kept[1::2])  # thinned as first, third, fifth (1.6 4.9); the first always stays
    return turn.put(replace(evse, transaction=replace(record, ended_values=kept)))
