"""The station: one pure function from an event to the next state and the effects it orders."""

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from agent.core import authorization, commands, control_pilot, limits, recovery, sampling, segments, status
from agent.core import evse as session
from agent.core.state import Evse, Fault, MeterLossPolicy, Phase, Station, StationConfig, StopStage, Turn
from agent.core.variables import Variables
from agent.domain.commands import ResetKind, VariableAssignment
from agent.domain.effects import Effect, Exit, Restart
from agent.domain.events import (
    AuthorizationAnswered,
    AuthorizationFailed,
    CommandReceived,
    ContactorRefused,
    ContactorReported,
    Event,
    FaultCleared,
    FaultRaised,
    IdTokenPresented,
    LinkChanged,
    LinkState,
    LockReported,
    MeterDiscontinuity,
    MeterLost,
    MeterRead,
    PilotMeasured,
    Started,
    StopRequested,
    StoreFailed,
    StoreRecovered,
    Tick,
    TransactionAnswered,
)
from agent.domain.ids import EvseId, TransactionId
from agent.domain.metering import Quality, Reading
from agent.domain.records import EvseRecord
from agent.domain.time import Instant
from agent.domain.transaction import ChargingState, StoppedReason, TriggerReason

__all__ = ["MeterLossPolicy", "Station", "StationConfig", "new_station", "next_deadline", "step"]


def new_station(config: StationConfig, variables: Variables, at: Instant) -> Station:
    """A station that knows only its configuration; `Started` gives it its memory."""
    # The run before may have left a plug locked: as if this one had locked it, so that it is released unless a transaction needs it.
    evses = tuple(
        Evse(config=evse, record=EvseRecord(evse_id=evse.evse_id), record_since=at, lock_commanded=evse.has_lock) for evse in config.evses
    )
    return Station(config=config, boot_id=at.boot_id, evses=evses, variables=variables, link_since=at)


def step(station: Station, event: Event, at: Instant) -> tuple[Station, tuple[Effect, ...]]:
    """What an event changes and orders. The same station, event and moment give the same result."""
    turn = Turn(station, at)
    touched = _apply(turn, event)
    for evse_id in touched:
        session.advance(turn, evse_id)
    sampling.aligned(turn)
    _leave(turn)
    return turn.station, tuple(turn.effects)


def next_deadline(station: Station) -> Instant | None:
    """When the core wants a `Tick`, None when nothing is due."""
    moments = [station.aligned_at] if station.aligned_at is not None else []
    for evse in station.evses:
        moments.extend(moment for moment in _deadlines(station, evse) if moment is not None)
    return min(moments, key=lambda moment: moment.mono_ms, default=None)


def _deadlines(station: Station, evse: Evse) -> Iterable[Instant | None]:
    yield control_pilot.deadline(evse.pilot)
    yield evse.refusal_until
    if evse.phase not in {Phase.TRANSACTION, Phase.STOPPING}:
        yield evse.unlock_deadline
    yield evse.reading_due
    yield evse.close_not_before
    yield evse.offer_not_before
    if evse.authorization is not None and evse.plugged_at is None:
        yield session.connection_deadline(Turn(station, evse.authorization.since), evse.authorization)
    if evse.phase is Phase.TRANSACTION:
        yield from _transaction_deadlines(station, evse)
    if evse.stop is not None and not (evse.stop.stage is StopStage.READING and not evse.stop.ends_transaction):
        yield evse.stop.deadline
        if evse.stop.stage is StopStage.READING and not evse.stop.is_asked and evse.phase is Phase.STOPPING:
            yield evse.stop.stage_since.plus_ms(session.SETTLE_MS)


def _transaction_deadlines(station: Station, evse: Evse) -> Iterable[Instant | None]:
    yield evse.sample_at
    yield evse.ended_sample_at
    if evse.meter_lost_at is not None and station.config.on_meter_loss is MeterLossPolicy.STOP_AFTER:
        yield evse.meter_lost_at.plus_ms(station.config.meter_loss_timeout_s * 1000)
    if evse.suspended_at is not None and evse.suspended_reason is not None and evse.contactor_commanded:
        yield evse.suspended_at.plus_ms(session.RAMP_DOWN_MS)
    record = evse.transaction
    if record is not None:
        yield from limits.deadlines(evse, record)
    if record is not None and record.charging_state is ChargingState.EV_CONNECTED:
        yield session.wake_up_deadline(record.started_at)


def _everything(turn: Turn) -> tuple[EvseId, ...]:
    return tuple(evse.evse_id for evse in turn.station.evses)


def _apply(turn: Turn, event: Event) -> tuple[EvseId, ...]:  # noqa: PLR0911 - one arm per event, each one line
    """Take the event in; the EVSEs that it touches come back."""
    match event:
        case Started():
            return _started(turn, event)
        case Tick():
            return _everything(turn)
        case StopRequested():
            return _stop_requested(turn)
        case PilotMeasured() | ContactorReported() | ContactorRefused() | LockReported() | MeterLost() | MeterDiscontinuity():
            return _evse_event(turn, event)
        case MeterRead():
            return _meter_read(turn, event.reading)
        case FaultRaised() | FaultCleared():
            return _fault_event(turn, event)
        case IdTokenPresented():
            authorization.presented(turn, event)
            return _everything(turn)
        case LinkChanged():
            return _link_changed(turn, event)
        case CommandReceived():
            commands.received(turn, event)
            status.report_station(turn)
            return _everything(turn)
        case AuthorizationAnswered():
            authorization.answered(turn, event.request_id, event.info)
            return _everything(turn)
        case AuthorizationFailed():
            authorization.failed(turn, event.request_id, event.reason)
            return _everything(turn)
        case TransactionAnswered():
            return _transaction_answered(turn, event)
        case StoreFailed():
            return _storage(turn, event.reason)
        case StoreRecovered():
            return _storage(turn, None)
        case _ as unreachable:
            assert_never(unreachable)


def _started(turn: Turn, event: Started) -> tuple[EvseId, ...]:
    recovered = event.recovered
    turn.station = replace(
        turn.station,
        record=replace(recovered.station, reset_kind=None),
        cache={entry.id_token.value.casefold(): entry for entry in recovered.cache},
    )
    for stored in recovered.variables:
        assignment = (VariableAssignment(key=stored.key, value=stored.value),)
        variables, results = turn.station.variables.assign(assignment, stored.source)
        turn.station = replace(turn.station, variables=variables)
        for result in results:
            if result.reason:
                turn.remark("stored_variable_dropped", None, result.reason, is_warning=True)
    for evse_record in recovered.evses:
        if turn.station.evse(evse_record.evse_id) is not None:
            turn.put(replace(turn.evse(evse_record.evse_id), record=evse_record))
    recovery.recover(turn, recovered)
    turn.remark("started", None, f"{len(recovered.transactions)} transaction(s) were open")
    sampling.arm_aligned(turn)
    return _everything(turn)


def _stop_requested(turn: Turn) -> tuple[EvseId, ...]:
    turn.station = replace(turn.station, is_leaving=True, left_since=turn.at)
    for evse in turn.station.evses:
        cleared = turn.put(replace(evse, authorization=None, reading_due=None))
        if cleared.phase is Phase.STOPPING and cleared.stop is not None:
            deadline = turn.at.plus_ms(session.LEAVING_RAMP_DOWN_MS)
            if cleared.stop.deadline.ms_since(deadline) > 0:
                turn.put(replace(cleared, stop=replace(cleared.stop, deadline=deadline)))
        else:
            session.request_stop(turn, cleared, StoppedReason.REBOOT, TriggerReason.ABNORMAL_CONDITION, ends_transaction=False)
    turn.remark("leaving", None, "stop requested; transactions stay open on disk")
    return _everything(turn)


def _evse_event(
    turn: Turn, event: PilotMeasured | ContactorReported | ContactorRefused | LockReported | MeterLost | MeterDiscontinuity
) -> tuple[EvseId, ...]:
    evse = turn.station.evse(event.evse_id)
    if evse is None:
        turn.remark("unknown_evse", None, f"{type(event).__name__} for EVSE {event.evse_id}", is_warning=True)
        return ()
    match event:
        case PilotMeasured(state=state):
            turn.put(replace(evse, pilot=control_pilot.measured(evse.pilot, state, turn.at)))
        case ContactorReported(is_closed=is_closed):
            # The guard releases no live plug: what was ordered before it opened has to be ordered again.
            is_held = evse.lock_commanded or (evse.is_locked and evse.contactor_closed and not is_closed)
            turn.put(replace(evse, contactor_closed=is_closed, lock_commanded=is_held))
        case ContactorRefused(interlock=interlock) if evse.contactor_commanded:
            turn.remark("contactor_refused", evse, interlock.value, is_warning=True)
            turn.put(replace(evse, contactor_commanded=False, close_not_before=turn.at.plus_ms(session.CLOSE_RETRY_MS)))
        case ContactorRefused():
            pass  # the guard was quicker with what the core has decided meanwhile
        case LockReported(is_locked=is_locked):
            # A lock that let go without power is driven in again where the transaction may go on.
            is_held = evse.lock_commanded and (is_locked or not recovery.relocks(turn.station, evse))
            turn.put(replace(evse, is_locked=is_locked, lock_commanded=is_held))
        case MeterLost(reason=reason):
            if evse.meter_lost_at is None:
                turn.put(replace(evse, meter_lost_at=turn.at, meter_lost_reason=reason))
                turn.remark("meter_lost", evse, reason, is_warning=True)
        case MeterDiscontinuity():
            _discontinuity(turn, evse, event)
    return (event.evse_id,)


def _discontinuity(turn: Turn, evse: Evse, event: MeterDiscontinuity) -> None:
    before = "nothing" if event.last_good is None else f"{event.last_good.energy_wh} Wh"
    turn.remark("meter_discontinuity", evse, f"{event.kind}: register {before}, then {event.first_new.energy_wh} Wh", is_warning=True)
    record = evse.transaction
    if record is None or not evse.has_transaction:
        return
    if evse.phase is Phase.RECOVERING and evse.stop is not None:
        record = segments.broken(record, record.last_reading, event.kind, event.first_new)
        turn.put(replace(evse, transaction=record, stop=replace(evse.stop, fixed_reading=record.last_reading)))
        return
    # The tracker's last good one may be doubted for other reasons, and after a second break it belongs to a register that is not billed.
    last_good = record.last_reading if record.segments else evse.reading or record.last_reading
    counted = None if evse.stop is None else evse.stop.new_register
    record = segments.broken(record, last_good, event.kind, event.first_new, counted)
    evse = turn.put(replace(evse, transaction=record))
    session.request_stop(turn, evse, StoppedReason.OTHER, TriggerReason.ABNORMAL_CONDITION, fixed_reading=last_good)


def _meter_read(turn: Turn, reading: Reading) -> tuple[EvseId, ...]:
    evse = turn.station.evse(reading.evse_id)
    if evse is None or reading.quality is not Quality.GOOD or reading.energy_wh is None:
        return ()
    was_lost = evse.meter_lost_at is not None
    evse = replace(evse, meter_lost_at=None, meter_lost_reason="")
    if evse.phase is Phase.STOPPING and evse.stop is not None and evse.stop.fixed_reading is not None:
        evse = replace(evse, stop=replace(evse.stop, new_register=reading))  # counted for the books, neither billed nor sent
    elif evse.phase in {Phase.TRANSACTION, Phase.STOPPING} and evse.reading is not None and not session.continues(evse.reading, reading):
        return ()  # energy never falls inside a transaction; the discontinuity itself comes as an event of its own
    else:
        evse = replace(evse, reading=reading)
    turn.put(evse)
    if was_lost:
        turn.remark("meter_recovered", evse)
    return (reading.evse_id,)


def _fault_event(turn: Turn, event: FaultRaised | FaultCleared) -> tuple[EvseId, ...]:
    detail = event.detail if isinstance(event, FaultRaised) else ""
    is_present = isinstance(event, FaultRaised)
    if event.evse_id is not None:
        evse = turn.station.evse(event.evse_id)
        if evse is not None:
            session.set_fault(turn, evse, event.fault, is_present, detail)
            return (event.evse_id,)
        return ()
    others = tuple(fault for fault in turn.station.faults if fault.kind is not event.fault)
    if is_present != (len(others) != len(turn.station.faults)):
        faults = (*others, Fault(event.fault, turn.at, detail)) if is_present else others
        turn.station = replace(turn.station, faults=faults)
        turn.remark("fault_raised" if is_present else "fault_cleared", None, f"{event.fault} {detail}".strip(), is_warning=is_present)
        status.report_station(turn)
    return _everything(turn)


def _link_changed(turn: Turn, event: LinkChanged) -> tuple[EvseId, ...]:
    if event.state is not turn.station.link:
        turn.station = replace(turn.station, link=event.state, link_since=turn.at)
        turn.remark("link", None, event.state.value)
    if event.state is LinkState.ACCEPTED:
        turn.station = replace(turn.station, was_accepted_now=True)
        if not turn.station.record.was_accepted:
            turn.station = replace(turn.station, record=replace(turn.station.record, was_accepted=True))
        status.report_station(turn, always=event.report_all)
        if event.report_all:
            for evse in turn.station.evses:
                status.report(turn, evse, always=True)
    return _everything(turn)


def _transaction_answered(turn: Turn, event: TransactionAnswered) -> tuple[EvseId, ...]:
    evse = _evse_of(turn, event.transaction_id)
    if evse is None:
        return ()
    if event.info is not None and evse.has_transaction:
        authorization.transaction_answered(turn, evse, event.info)
    record = evse.transaction
    if event.total_cost is not None and record is not None and record.cost_gross is not None and record.cost_gross != event.total_cost:
        turn.remark("cost_differs", evse, f"the portal bills {event.total_cost}, the station counted {record.cost_gross}", is_warning=True)
    return (evse.evse_id,)


def _evse_of(turn: Turn, transaction_id: TransactionId) -> Evse | None:
    for evse in turn.station.evses:
        if evse.transaction is not None and evse.transaction.transaction_id == transaction_id:
            return evse
    return None


def _storage(turn: Turn, failure: str | None) -> tuple[EvseId, ...]:
    if failure is not None and turn.station.storage_failure is None:
        turn.remark("storage_failed", None, failure, is_warning=True)
        turn.station = replace(turn.station, storage_failure=failure, storage_failed_at=turn.at)
        for evse in turn.station.evses:
            if evse.authorization is not None:
                turn.put(replace(evse, authorization=None, reading_due=None))
    elif failure is None and turn.station.storage_failure is not None:
        turn.remark("storage_recovered")
        turn.station = replace(turn.station, storage_failure=None, storage_failed_at=None)
    status.report_station(turn)
    return _everything(turn)


def _leave(turn: Turn) -> None:
    """Restart or exit once every EVSE is at rest."""
    station = turn.station
    if station.has_left or (station.reset is None and not station.is_leaving):
        return
    # Every stop waits for the contactor, within its time: one that is closed when no transaction is left is welded, and a restart is
    # what a technician tries first.
    is_ordered_open = not any(evse.contactor_commanded for evse in station.evses)
    if station.is_leaving:
        # A contactor that does not report open in its time is welded: waiting longer would not open it.
        waited = all(evse.stop is None or evse.stop.stage is StopStage.READING or evse.phase is Phase.RECOVERING for evse in station.evses)
        if waited and is_ordered_open:
            turn.station = replace(station, has_left=True)
            turn.emit(Exit())
        return
    if station.reset is not None and is_ordered_open and not any(evse.has_transaction for evse in station.evses):
        turn.station = replace(station, has_left=True)
        turn.emit(Restart(station.reset, drains=station.reset is not ResetKind.HARD))
